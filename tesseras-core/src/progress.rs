//! The progress of a long task: one type from the disk to the terminal.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The progress of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The current stage, in a few words for people.
    pub stage: Cow<'static, str>,
    /// How much of it is done.
    pub done: u64,
    /// The total; 0 if unknown.
    pub total: u64,
    /// The unit of the counts.
    pub unit: Unit,
}

/// The unit of a progress count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Anything else: pieces, nodes, tesserae.
    Items,
}

impl Progress {
    /// The start of a stage without counts.
    pub fn begun(stage: &'static str) -> Self {
        Self { stage: Cow::Borrowed(stage), done: 0, total: 0, unit: Unit::Items }
    }
}

/// Is called with the progress of a task, on the working thread; must return at once.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Discards the progress.
pub fn silent() -> OnProgress {
    Arc::new(|_| {})
}

/// Counts the bytes of one stage, possibly from several threads. Clones share their count.
#[derive(Clone)]
pub struct Meter(Arc<Stage>);

struct Stage {
    name: &'static str,
    total: AtomicU64,
    done: AtomicU64,
    on_progress: OnProgress,
}

impl Meter {
    /// Starts a stage of `total` bytes; 0 if that is not known yet.
    pub fn new(name: &'static str, total: u64, on_progress: &OnProgress) -> Self {
        let (total, done) = (AtomicU64::new(total), AtomicU64::new(0));
        let meter = Self(Arc::new(Stage { name, total, done, on_progress: on_progress.clone() }));
        meter.add(0);
        meter
    }

    /// A meter that reports nothing.
    pub fn silent() -> Self {
        Self::new("", 0, &silent())
    }

    /// Sets the total and restarts the count. The actual number may be lower (a file is left out)
    /// or higher (a file grew).
    pub fn begin(&self, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
        self.0.done.store(0, Ordering::Relaxed);
        self.add(0);
    }

    /// Adds processed bytes.
    pub fn add(&self, bytes: u64) {
        let Stage { name, total, done, on_progress } = &*self.0;
        let done = done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let total = total.load(Ordering::Relaxed);
        let progress = Progress {
            stage: Cow::Borrowed(name),
            done: done.min(total),
            total,
            unit: Unit::Bytes,
        };
        on_progress(progress);
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meter").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_meter_counts_from_all_clones_and_never_past_its_total() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let on_progress: OnProgress = {
            let told = told.clone();
            Arc::new(move |progress| told.lock().expect("no panic").push(progress))
        };
        let meter = Meter::new("reading", 10, &on_progress);
        meter.add(4);
        meter.clone().add(5);
        meter.add(7);
        meter.begin(3);
        meter.add(2);
        let told = told.lock().expect("no panic");
        let figures: Vec<_> = told.iter().map(|p| (p.done, p.total)).collect();
        assert_eq!(figures, [(0, 10), (4, 10), (9, 10), (10, 10), (0, 3), (2, 3)]);
        assert!(told.iter().all(|p| p.stage == "reading" && p.unit == Unit::Bytes));
    }
}
