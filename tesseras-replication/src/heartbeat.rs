//! How far a transfer is, and when it last made progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Marked by a transfer with each of its chunks, and read by its task. Cheap to clone; clones share
/// their state.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    begun: Instant,
    /// Milliseconds from the start of the task to the last mark, plus 1; 0 before the first mark.
    last: Arc<AtomicU64>,
    /// Whether it waits for its turn on this node.
    queued: Arc<AtomicBool>,
    /// How many bytes were received or sent.
    bytes: Arc<AtomicU64>,
}

impl Heartbeat {
    /// For a transfer of the task that began at this time.
    pub(crate) fn since(begun: Instant) -> Self {
        let (last, queued, bytes) = Default::default();
        Self { begun, last, queued, bytes }
    }

    /// So many more bytes were received or sent.
    pub(crate) fn mark(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(elapsed + 1, Ordering::Relaxed);
    }

    /// Whether it waits from now on for its turn on this node, which is not its peer's lateness.
    pub(crate) fn set_queued(&self, queued: bool) {
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// Whether it waits for its turn on this node.
    pub(crate) fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether nothing was received or sent since this long after the start of the task.
    pub(crate) fn is_still_since(&self, time: Duration) -> bool {
        self.last().is_none_or(|last| last <= time)
    }

    /// The time of the last mark, from the start of the task.
    pub(crate) fn last(&self) -> Option<Duration> {
        self.last.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    /// How many bytes were received or sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
