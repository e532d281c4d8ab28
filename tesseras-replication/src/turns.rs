//! Turns for transfers that other nodes request: a few at once; no peer blocks the others with many
//! or slow ones. Transfers that this node starts itself have turns of their own ([`crate::peers`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::policy::turns::{Holding, to_cut};

/// How long a peer without a turn waits before another peer's turn may be cut.
const BEFORE_CUTTING: Duration = Duration::from_secs(2);

/// The turns of one direction.
pub(crate) struct Turns {
    most: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: u64,
    holding: BTreeMap<u64, Held>,
    /// The waiting peers, in the order of their arrival.
    waiting: BTreeMap<u64, NodeId>,
    freed: Arc<Notify>,
}

struct Held {
    peer: NodeId,
    since: Instant,
    bytes: Arc<AtomicU64>,
}

/// A turn, until it is dropped or cut.
pub(crate) struct Turn {
    number: u64,
    bytes: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
}

/// A waiting peer.
struct Place<'a> {
    number: u64,
    state: &'a Mutex<State>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.state);
        state.waiting.remove(&self.number);
        state.freed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.holding.remove(&self.number);
        state.freed.notify_waiters();
    }
}

impl Turn {
    /// Counts transferred bytes. `false` if the turn was cut: others wait, and this transfer is too
    /// slow, or one of several of one peer.
    pub(crate) fn goes_on(&self, bytes: u64) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.state).holding.contains_key(&self.number)
    }
}

impl Turns {
    /// Allows this many turns at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, state: Arc::default() }
    }

    /// Waits for a turn until a deadline; `None` if there was none by then.
    pub(crate) async fn take(&self, peer: NodeId, deadline: Instant) -> Option<Turn> {
        let (place, freed) = {
            let mut state = lock(&self.state);
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, peer);
            (Place { number, state: &self.state }, state.freed.clone())
        };
        let mut may_cut_at = Instant::now() + BEFORE_CUTTING;
        loop {
            let freed = freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(turn) = self.try_take(place.number, peer) {
                return Some(turn);
            }
            if Instant::now() >= deadline {
                return None;
            }
            if timeout_at(deadline.min(may_cut_at), freed).await.is_err() {
                self.cut_one(peer);
                may_cut_at = Instant::now() + BEFORE_CUTTING;
            }
        }
    }

    /// A turn, if one is free and no other peer has precedence: peers without a turn come before
    /// peers with one.
    fn try_take(&self, number: u64, peer: NodeId) -> Option<Turn> {
        let mut state = lock(&self.state);
        let has_one =
            |state: &State, peer: &NodeId| state.holding.values().any(|h| h.peer == *peer);
        let before_me = |(other, waits): (&u64, &NodeId)| {
            *other != number
                && match (has_one(&state, waits), has_one(&state, &peer)) {
                    (false, true) => true,
                    (true, false) => false,
                    _ => *other < number,
                }
        };
        let better = state.waiting.iter().filter(|waits| before_me(*waits)).count();
        if state.holding.len() + better >= self.most {
            return None;
        }
        let bytes = Arc::new(AtomicU64::new(0));
        let held = Held { peer, since: Instant::now(), bytes: bytes.clone() };
        state.holding.insert(number, held);
        Some(Turn { number, bytes, state: self.state.clone() })
    }

    /// Cuts the turn of a peer that has too many, or is too slow, for one that has none.
    fn cut_one(&self, peer: NodeId) {
        let mut state = lock(&self.state);
        let holding: Vec<Holding> = state
            .holding
            .iter()
            .map(|(number, held)| Holding {
                number: *number,
                peer: held.peer,
                lasted: held.since.elapsed(),
                bytes: held.bytes.load(Ordering::Relaxed),
            })
            .collect();
        if let Some(number) = to_cut(&holding, &peer) {
            tracing::info!(number, "a transfer is cut because others wait");
            state.holding.remove(&number);
            state.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::new([seed; 20])
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_turn_goes_before_who_has_one() {
        let turns = Turns::new(2);
        let first = turns.take(node(1), soon()).await.expect("free");
        let second = turns.take(node(1), soon()).await.expect("nobody else waits");
        let more = turns.take(node(1), soon());
        let other = turns.take(node(2), soon());
        tokio::pin!(more, other);
        assert!(futures_util::poll!(more.as_mut()).is_pending());
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        drop(first);
        assert!(futures_util::poll!(more.as_mut()).is_pending());
        let other = other.await.expect("it came later, and has none");
        assert!(second.goes_on(1) && other.goes_on(1));
        drop(second);
        assert!(more.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_with_all_turns_gives_one_up_for_another() {
        let turns = Turns::new(2);
        let (first, second) =
            (turns.take(node(1), soon()).await, turns.take(node(1), soon()).await);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let begun = Instant::now();
        let other = turns.take(node(2), soon()).await.expect("one was cut");
        assert_eq!(begun.elapsed(), BEFORE_CUTTING);
        assert!(first.expect("free").goes_on(1) && !second.expect("free").goes_on(1));
        assert!(other.goes_on(1));
    }

    #[tokio::test(start_paused = true)]
    async fn four_who_drip_do_not_stop_a_node() {
        let turns = Turns::new(4);
        let mut dripping = Vec::new();
        for seed in 1..=4 {
            dripping.push(turns.take(node(seed), soon()).await.expect("free"));
        }
        assert!(turns.take(node(9), soon()).await.is_none(), "they have only begun");
        tokio::time::sleep(Duration::from_secs(20)).await;
        dripping.iter().for_each(|turn| _ = turn.goes_on(8 * 1024 * 20));
        dripping[2].goes_on(100 << 20);
        let other = turns.take(node(9), soon()).await;
        assert!(other.is_some());
        let cut: Vec<bool> = dripping.iter().map(|turn| turn.goes_on(0)).collect();
        assert_eq!(cut.iter().filter(|goes_on| !**goes_on).count(), 1);
        assert!(cut[2], "the fast one goes on");
    }
}
