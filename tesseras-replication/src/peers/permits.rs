//! The turns of this node's own transfers in one direction. Work for strangers, of which one that is
//! slow may take many turns for long, leaves half of them to the owner.

use std::sync::Arc;

use crate::heartbeat::Heartbeat;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For whom a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// What the owner of this node asked for: publishing, fetching, status.
    Owner,
    /// Repair, which nobody waits for.
    Upkeep,
}

/// The turns in one direction.
pub(super) struct Permits {
    all: Arc<Semaphore>,
    upkeep: Arc<Semaphore>,
}

/// A turn; kept until all bytes are received or sent.
pub(crate) struct TransferPermit {
    _all: OwnedSemaphorePermit,
    _upkeep: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// Twice as many turns as a task may take, of which upkeep takes at most half.
    pub(super) fn new(of_a_task: usize) -> Self {
        let [all, upkeep] = [2 * of_a_task, of_a_task].map(|n| Arc::new(Semaphore::new(n)));
        Self { all, upkeep }
    }

    /// Waits for a turn; `heard` is told in the meantime.
    pub(super) async fn turn(&self, whose: For, heard: Option<&Heartbeat>) -> TransferPermit {
        let be_queued = |queued| heard.iter().for_each(|heard| heard.be_queued(queued));
        be_queued(true);
        let _upkeep = match whose {
            For::Owner => None,
            For::Upkeep => Some(acquire(&self.upkeep).await),
        };
        let permit = TransferPermit { _all: acquire(&self.all).await, _upkeep };
        be_queued(false);
        permit
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits.clone().acquire_owned().await.expect("the semaphore is never closed")
}
