//! What a transfer and its task know of each other: whether it has a permit, how far it is, and when
//! it last made progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_core::lock::lock;
use tesseras_wire::Body;
use tokio::time::Instant;

use super::permits::{LateSlot, Permits, Priority, TransferPermit};

/// Changed by a transfer, with each of its chunks, and read by its task. Cheap to clone; clones
/// share their state.
#[derive(Clone)]
pub(crate) struct TransferState(Arc<Shared>);

struct Shared {
    /// When the task began.
    begun: Instant,
    /// Milliseconds from then to the last mark, plus 1; 0 before the first mark.
    last: AtomicU64,
    /// How many bytes were received or sent.
    bytes: AtomicU64,
    /// Whether it waits on this node.
    queued: AtomicBool,
    /// Whether it goes on without a permit.
    late: Mutex<Option<LateSlot>>,
    permit: Mutex<Option<TransferPermit>>,
}

impl TransferState {
    /// For a transfer of the task that began at this time. It may be given a permit.
    pub(crate) fn new(begun: Instant, permit: Option<TransferPermit>) -> Self {
        let (last, bytes, queued, late) = Default::default();
        Self(Arc::new(Shared { begun, last, bytes, queued, late, permit: Mutex::new(permit) }))
    }

    /// Waits for a permit on this node, unless it has one or is late.
    pub(super) async fn take_permit(&self, permits: &Permits, priority: Priority) {
        if lock(&self.0.late).is_some() || lock(&self.0.permit).is_some() {
            return;
        }
        self.0.queued.store(true, Ordering::Relaxed);
        let permit = permits.acquire(priority).await;
        *lock(&self.0.permit) = Some(permit);
        self.0.queued.store(false, Ordering::Relaxed);
    }

    /// Waits for something else on this node, without a permit.
    pub(crate) async fn wait_for(&self, waited_for: impl Future<Output = ()>) {
        drop(self.give_up_permit());
        self.0.queued.store(true, Ordering::Relaxed);
        waited_for.await;
        self.0.queued.store(false, Ordering::Relaxed);
    }

    /// Gives up the permit, if it has one; what is in progress goes on without.
    pub(crate) fn give_up_permit(&self) -> Option<TransferPermit> {
        lock(&self.0.permit).take()
    }

    /// It is late: unless too many are, it goes on without a permit from now on, also if its peer has
    /// to be asked again. Returns the permit that it had.
    pub(crate) fn mark_late(&self) -> Option<TransferPermit> {
        let slot = lock(&self.0.permit).as_ref()?.late_slot()?;
        *lock(&self.0.late) = Some(slot);
        self.give_up_permit()
    }

    /// So many more bytes were received or sent.
    pub(crate) fn mark(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let elapsed = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.last.store(elapsed + 1, Ordering::Relaxed);
    }

    /// The same body, of which all that is taken to be sent is marked.
    pub(super) fn marking(&self, body: Body) -> Body {
        let state = self.clone();
        Box::pin(body.inspect(move |chunk| {
            state.mark(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64));
        }))
    }

    /// Whether it waits on this node for its permit or bandwidth, which is not its peer's lateness.
    pub(crate) fn is_queued(&self) -> bool {
        self.0.queued.load(Ordering::Relaxed)
    }

    /// Whether nothing was received or sent since this long after the start of the task.
    pub(crate) fn is_still_since(&self, time: Duration) -> bool {
        self.last().is_none_or(|last| last <= time)
    }

    /// The time of the last mark, from the start of the task.
    pub(crate) fn last(&self) -> Option<Duration> {
        self.0.last.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    /// How many bytes were received or sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}
