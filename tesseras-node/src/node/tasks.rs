//! The tasks of one node, and how they are ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All tasks of one node. They are cancelled when this is dropped.
#[derive(Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// Runs a task that this node owns. It must end once a token of [`Self::token`] is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// The tracker on which a part spawns its own tasks.
    pub fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// A token that is cancelled when the node stops.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Cancels all tasks and waits for them, at most for `grace`; returns whether all have ended.
    pub async fn end(&self, grace: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait()).await.is_ok()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.token.cancel();
    }
}
