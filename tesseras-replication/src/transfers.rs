//! The transfers of one task that are in progress. A late one may be hedged: another transfer is
//! started in its place, and the first to arrive counts. One that is much later is given up.

use std::fmt::Debug;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use tesseras_core::ids::NodeId;
use tesseras_wire::BoxFuture;
use tokio::time::{Duration, Instant, sleep};

use crate::heartbeat::Heartbeat;
use crate::peers::Peers;
use crate::policy::pace::{GivenUp, Paces};
use crate::policy::patience::Patience;

/// How often to check for late transfers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Transfers of what is named `K`, each with one node; they fail with an `E`.
pub(crate) struct Transfers<'a, K, E> {
    peers: &'a Peers,
    begun: Instant,
    paces: Paces<K>,
    in_progress: Vec<Transfer<K>>,
    /// Each gives `None` if it was stopped.
    running: FuturesUnordered<BoxFuture<'a, Option<Ended<K, E>>>>,
}

/// A transfer in progress.
struct Transfer<K> {
    key: K,
    node: NodeId,
    heard: Heartbeat,
    is_late: bool,
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
            in_progress: Vec::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// How many are in progress.
    pub(crate) fn len(&self) -> usize {
        self.in_progress.len()
    }

    /// How many are in progress and not late.
    pub(crate) fn in_time(&self) -> usize {
        self.paces.in_time()
    }

    /// Whether this is being transferred.
    pub(crate) fn has(&self, key: K) -> bool {
        self.in_progress.iter().any(|transfer| transfer.key == key)
    }

    /// Starts a transfer, which marks the heartbeat whenever bytes pass. If one of those that it can
    /// stand in for is late, it is its hedge.
    pub(crate) fn begin(
        &mut self,
        key: K,
        node: NodeId,
        stands_in_for: impl Fn(K) -> bool,
        transfer: impl FnOnce(Heartbeat) -> BoxFuture<'a, Result<(), E>>,
    ) {
        let now = self.begun.elapsed();
        self.paces.begin(key, node, now);
        let is_open =
            |t: &&mut Transfer<K>| t.is_late && t.hedged.is_none() && stands_in_for(t.key);
        if let Some(late) = self.in_progress.iter_mut().find(is_open) {
            late.hedged = Some(now);
            self.peers.note_hedge();
        }
        let heard = Heartbeat::since(self.begun);
        let running = transfer(heard.clone());
        let (stop, stopped) = AbortHandle::new_pair();
        self.in_progress.push(Transfer { key, node, heard, is_late: false, hedged: None, stop });
        let running = Abortable::new(running, stopped);
        self.running.push(Box::pin(async move {
            let result = running.await.ok()?;
            Some(Ended { key, node, result })
        }));
    }

    fn hear(&mut self) {
        for Transfer { key, node, heard, .. } in &self.in_progress {
            if heard.is_queued() {
                self.paces.queued(*key, *node, self.begun.elapsed());
            } else if let Some(at) = heard.last() {
                self.paces.heard(*key, *node, heard.bytes(), at);
            }
        }
    }

    /// The transfers that are late since the last call, and may be hedged. `has_other` says whether
    /// another node could be tried instead.
    pub(crate) fn late(&mut self, has_other: impl Fn(K, NodeId) -> bool) -> Vec<(K, NodeId)> {
        self.hear();
        let now = self.begun.elapsed();
        let late = self.paces.late(now, || self.peers.may_hedge(), has_other);
        for (key, node) in &late {
            tracing::debug!(?key, %node, "a transfer is late");
            let is_this = |t: &&mut Transfer<K>| (t.key, t.node) == (*key, *node);
            self.in_progress.iter_mut().filter(is_this).for_each(|t| t.is_late = true);
        }
        late
    }

    /// Stops one transfer that is so late that another node should be asked instead, if there is
    /// such a transfer and, as `has_other` says, such a node.
    pub(crate) fn give_up(&mut self, has_other: impl Fn(K, NodeId) -> bool) -> Option<GivenUp<K>> {
        self.hear();
        let given_up = self.paces.give_up(self.begun.elapsed(), has_other)?;
        let GivenUp { key, node, all_are_slow } = given_up;
        if all_are_slow {
            self.in_progress.iter_mut().for_each(|transfer| transfer.is_late = false);
        }
        tracing::info!(?key, %node, "a transfer is given up: others are quicker, or may be");
        let is_this = |t: &mut Transfer<K>| (t.key, t.node) == (key, node);
        for stopped in self.in_progress.extract_if(.., is_this) {
            stopped.stop.abort();
            // It would have kept the task waiting.
            if stopped.hedged.is_some() {
                self.peers.note_needed_hedge();
            }
        }
        Some(given_up)
    }

    /// Waits for the next to end; `None` after a short while, as some may be late by then. Nothing is
    /// lost if this is dropped before.
    pub(crate) async fn next(&mut self) -> Option<Ended<K, E>> {
        let ended = tokio::select! {
            biased;
            Some(ended) = self.running.next() => ended?,
            () = sleep(LOOK_EVERY) => return None,
        };
        let is_this = |t: &mut Transfer<K>| (t.key, t.node) == (ended.key, ended.node);
        let hedged = self.in_progress.extract_if(.., is_this).any(|t| t.hedged.is_some());
        if hedged && ended.result.is_err() {
            self.peers.note_needed_hedge();
        }
        self.paces.end(ended.key, ended.node, ended.result.is_ok(), self.begun.elapsed());
        Some(ended)
    }
}

impl<K, E> Drop for Transfers<'_, K, E> {
    fn drop(&mut self) {
        // A late transfer that has stood still since it was hedged would have kept the task waiting.
        let is_still = |t: &&Transfer<K>| t.hedged.is_some_and(|at| t.heard.is_still_since(at));
        for _ in self.in_progress.iter().filter(is_still) {
            self.peers.note_needed_hedge();
        }
    }
}
