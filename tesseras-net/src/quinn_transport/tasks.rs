//! The owner of a transport's tasks, and how they end.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the tasks of a transport run, and what ends them. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    pub(super) tracker: TaskTracker,
    /// Stops new connections and requests; those in progress continue.
    pub(super) cancel: CancellationToken,
    /// Ends everything at once.
    pub(super) closed: CancellationToken,
}
