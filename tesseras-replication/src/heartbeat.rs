//! When a transfer was last heard of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Marked by a transfer with each of its chunks, and read by the task that it belongs to. Cheap to
/// clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    begun: Instant,
    /// Milliseconds since then, and 1; 0 before the first mark.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Of a transfer of the task that began at this time.
    pub(crate) fn since(begun: Instant) -> Self {
        Self { begun, last: Arc::default() }
    }

    /// Something came, or was taken.
    pub(crate) fn mark(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(elapsed + 1, Ordering::Relaxed);
    }

    /// When that last was, counted from when the task began.
    pub(crate) fn last(&self) -> Option<Duration> {
        self.last.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }
}
