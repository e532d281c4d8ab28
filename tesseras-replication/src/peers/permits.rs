//! The permits of this node's own transfers in one direction. Background work, which slow peers may
//! prolong, leaves half of them to the owner.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whether somebody waits for a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// What the owner of this node asked for: publishing, fetching, status.
    Interactive,
    /// Repair, which nobody waits for.
    Background,
}

/// The permits in one direction.
pub(super) struct Permits {
    all: Arc<Semaphore>,
    background: Arc<Semaphore>,
    /// Of those that go on without a permit.
    late: Arc<Semaphore>,
    of_a_task: usize,
}

/// A permit; kept until all bytes are received or sent, or the transfer is late.
pub(crate) struct TransferPermit {
    _all: OwnedSemaphorePermit,
    _background: Option<OwnedSemaphorePermit>,
    late: Arc<Semaphore>,
}

/// The slot of a late transfer, which goes on without a permit.
pub(super) type LateSlot = OwnedSemaphorePermit;

/// How many late transfers go on without a permit, for each that a task may start.
pub(crate) const LATE: usize = 4;

impl Permits {
    /// Twice as many permits as a task may take, of which background work takes at most half.
    pub(super) fn new(of_a_task: usize) -> Self {
        let [all, background, late] =
            [2 * of_a_task, of_a_task, LATE * of_a_task].map(|n| Arc::new(Semaphore::new(n)));
        Self { all, background, late, of_a_task }
    }

    /// Whether anything but background work has a permit.
    pub(super) fn are_taken_interactively(&self) -> bool {
        let taken = (2 * self.of_a_task).saturating_sub(self.all.available_permits());
        taken > self.of_a_task.saturating_sub(self.background.available_permits())
    }

    /// Waits for a permit.
    pub(super) async fn acquire(&self, priority: Priority) -> TransferPermit {
        let _background = match priority {
            Priority::Interactive => None,
            Priority::Background => Some(acquire(&self.background).await),
        };
        TransferPermit { _all: acquire(&self.all).await, _background, late: self.late.clone() }
    }
}

impl TransferPermit {
    /// A slot for its transfer, which is late; `None` if too many are.
    pub(super) fn late_slot(&self) -> Option<LateSlot> {
        self.late.clone().try_acquire_owned().ok()
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    permits.clone().acquire_owned().await.expect("the semaphore is never closed")
}
