//! How far a long task has come, for anyone who wants to show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// In a few words for people.
    pub stage: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 when that is not known.
    pub total: u64,
    /// Whether bytes are counted, or things.
    pub bytes: bool,
}

/// Is told about steps; must return at once.
pub type OnStep = Arc<dyn Fn(Step) + Send + Sync>;

/// Nobody wants to know.
pub fn silent() -> OnStep {
    Arc::new(|_| {})
}

/// Counts the bytes of one stage, from several transfers at once.
#[derive(Clone)]
pub(crate) struct ByteCount {
    stage: &'static str,
    total: u64,
    done: Arc<AtomicU64>,
    on_step: OnStep,
}

impl ByteCount {
    pub(crate) fn new(stage: &'static str, total: u64, on_step: &OnStep) -> Self {
        let count =
            Self { stage, total, done: Arc::new(AtomicU64::new(0)), on_step: on_step.clone() };
        count.add(0);
        count
    }

    pub(crate) fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let done = done.min(self.total);
        (self.on_step)(Step { stage: self.stage, done, total: self.total, bytes: true });
    }
}
