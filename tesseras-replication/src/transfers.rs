//! The transfers of one task that are in progress. A late one may be hedged: another transfer is
//! started in its place, and the first to arrive counts. One that is much later is given up.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use tesseras_core::ids::NodeId;
use tesseras_wire::BoxFuture;
use tokio::time::{Duration, Instant, sleep};

use crate::peers::{Peers, TransferPermit, TransferState};
use crate::policy::pace::{Paces, Running};
use crate::policy::patience::Patience;

/// How often to check for late transfers.
const LOOK_FOR_LATE_EVERY: Duration = Duration::from_millis(50);

/// Transfers of what is named `K`, each with one node; they fail with an `E`.
pub(crate) struct Transfers<'a, K, E> {
    peers: &'a Peers,
    begun: Instant,
    paces: Paces<K>,
    in_progress: BTreeMap<(K, NodeId), Transfer>,
    /// The permits of this node that late transfers gave up, for those that begin instead.
    permits: Vec<TransferPermit>,
    /// Each gives `None` if it was stopped.
    running: FuturesUnordered<BoxFuture<'a, Option<Ended<K, E>>>>,
}

/// A transfer in progress.
struct Transfer {
    state: TransferState,
    /// When a hedge was started for it, from the start of the task.
    hedged: Option<Duration>,
    stop: AbortHandle,
}

/// A transfer that has ended.
pub(crate) struct Ended<K, E> {
    pub(crate) key: K,
    pub(crate) node: NodeId,
    pub(crate) result: Result<(), E>,
}

impl<'a, K, E> Transfers<'a, K, E>
where
    K: Copy + Ord + Debug + Send + 'a,
    E: 'a,
{
    /// None; a transfer is late by this patience.
    pub(crate) fn new(peers: &'a Peers, patience: Patience) -> Self {
        Self {
            peers,
            begun: Instant::now(),
            paces: Paces::new(patience),
            in_progress: BTreeMap::new(),
            permits: Vec::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// Those that are in progress.
    pub(crate) fn running(&self) -> &Running<K> {
        self.paces.running()
    }

    /// Whether none is in progress.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_progress.is_empty()
    }

    /// Whether another one may begin.
    pub(crate) fn may_begin(&self) -> bool {
        self.paces.may_begin(self.peers.max_transfers())
    }

    /// Starts a transfer, which marks its state whenever bytes pass. If one of those that it can
    /// stand in for is late, it is its hedge.
    pub(crate) fn begin(
        &mut self,
        key: K,
        node: NodeId,
        stands_in_for: impl Fn(K) -> bool,
        transfer: impl FnOnce(TransferState) -> BoxFuture<'a, Result<(), E>>,
    ) {
        let now = self.begun.elapsed();
        self.paces.begin(key, node, now);
        let is_open = |((key, node), t): &(&(K, NodeId), &mut Transfer)| {
            self.paces.running().is_late(*key, *node) && t.hedged.is_none() && stands_in_for(*key)
        };
        if let Some((_, late)) = self.in_progress.iter_mut().find(is_open) {
            late.hedged = Some(now);
            self.peers.hedges().note_hedge();
        }
        let state = TransferState::new(self.begun, self.permits.pop());
        let running = transfer(state.clone());
        let (stop, stopped) = AbortHandle::new_pair();
        self.in_progress.insert((key, node), Transfer { state, hedged: None, stop });
        let running = Abortable::new(running, stopped);
        self.running.push(Box::pin(async move {
            let result = running.await.ok()?;
            Some(Ended { key, node, result })
        }));
    }

    fn hear(&mut self) {
        let now = self.begun.elapsed();
        for ((key, node), Transfer { state, .. }) in &self.in_progress {
            self.paces.set_queued(*key, *node, state.is_queued(), now);
            if let Some(at) = state.last() {
                self.paces.heard(*key, *node, state.bytes(), at);
            }
        }
    }

    /// Marks the transfers that are late from now on and may be hedged, and returns them: they go on
    /// without a permit of this node. `has_other` says whether another node could be tried instead.
    pub(crate) fn mark_late(
        &mut self,
        has_other: impl Fn(&Running<K>, K, NodeId) -> bool,
    ) -> Vec<(K, NodeId)> {
        self.hear();
        let now = self.begun.elapsed();
        let late = self.paces.mark_late(now, || self.peers.hedges().may_hedge(), has_other);
        for (key, node) in &late {
            tracing::debug!(?key, %node, "a transfer is late");
            let transfer = self.in_progress.get(&(*key, *node));
            self.permits.extend(transfer.and_then(|transfer| transfer.state.mark_late()));
        }
        late
    }

    /// Stops one transfer that is so late that another node should be asked instead, if there is
    /// such a transfer and, as `has_other` says, such a node. Returns that of the transfer.
    pub(crate) fn give_up(
        &mut self,
        has_other: impl Fn(&Running<K>, K, NodeId) -> bool,
    ) -> Option<NodeId> {
        self.hear();
        let (key, node) = self.paces.give_up(self.begun.elapsed(), has_other)?;
        tracing::info!(?key, %node, "a transfer is given up: others are quicker, or may be");
        let stopped = self.in_progress.remove(&(key, node))?;
        stopped.stop.abort();
        self.permits.extend(stopped.state.give_up_permit());
        // It would have kept the task waiting.
        if stopped.hedged.is_some() {
            self.peers.hedges().note_needed();
        }
        Some(node)
    }

    /// Waits for the next to end; `None` after a short while, as some may be late by then. Nothing is
    /// lost if this is dropped before.
    pub(crate) async fn next(&mut self) -> Option<Ended<K, E>> {
        self.permits.clear();
        let ended = tokio::select! {
            biased;
            Some(ended) = self.running.next() => ended?,
            () = sleep(LOOK_FOR_LATE_EVERY) => return None,
        };
        self.hear();
        let transfer = self.in_progress.remove(&(ended.key, ended.node));
        if ended.result.is_err() && transfer.is_some_and(|transfer| transfer.hedged.is_some()) {
            self.peers.hedges().note_needed();
        }
        self.paces.end(ended.key, ended.node, ended.result.is_ok(), self.begun.elapsed());
        Some(ended)
    }
}

impl<K, E> Drop for Transfers<'_, K, E> {
    fn drop(&mut self) {
        // A late transfer that has stood still since it was hedged would have kept the task waiting.
        let is_still = |t: &&Transfer| t.hedged.is_some_and(|at| t.state.is_still_since(at));
        for _ in self.in_progress.values().filter(is_still) {
            self.peers.hedges().note_needed();
        }
    }
}
