//! Permits for transfers that other nodes request. There are few, and no peer and no neighbourhood
//! keeps the others from them with many transfers or slow ones. Transfers that this node starts itself
//! have permits of their own ([`crate::peers`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tesseras_core::lock::lock;
use tesseras_core::ports::PeerAt;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::policy::fair_share::{A_STEP, Entry, Holding, Waiting, entry, next, to_cut};

/// How long a peer without a permit waits before another peer's permit may be revoked.
const BEFORE_REVOKING: Duration = Duration::from_secs(2);
/// How long it then waits until it tries again to have one cut.
const REVOKE_AGAIN: Duration = Duration::from_millis(500);

/// The permits of one direction.
pub(crate) struct ServingPermits {
    most: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: u64,
    holding: BTreeMap<u64, Held>,
    /// How many permits were revoked whose transfers have not ended yet.
    ending: usize,
    /// The waiting requests, in the order of their arrival.
    waiting: Vec<Waiting>,
    changed: Arc<Notify>,
}

impl State {
    fn peers(&self) -> Vec<PeerAt> {
        self.holding.values().map(|held| held.peer).collect()
    }
}

struct Held {
    peer: PeerAt,
    since: Instant,
    bytes: u64,
    /// What has moved since its peer last counted as moving.
    step: u64,
    /// For how long this node has waited for the peer since then, without the current wait.
    waited: Duration,
    /// Since when it waits for the peer now; `None` while this node itself is at work.
    waits_since: Option<Instant>,
    cut: CancellationToken,
}

impl Held {
    fn stalled(&self) -> Duration {
        self.waited + self.waits_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A permit, until it is dropped or revoked.
pub(crate) struct ServingPermit {
    number: u64,
    cut: CancellationToken,
    state: Arc<Mutex<State>>,
}

/// A place among the waiting requests.
struct Place<'a> {
    number: u64,
    state: &'a Mutex<State>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.state);
        state.waiting.retain(|one| one.number != self.number);
        state.changed.notify_waiters();
    }
}

impl Drop for ServingPermit {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if state.holding.remove(&self.number).is_none() {
            state.ending = state.ending.saturating_sub(1);
        }
        state.changed.notify_waiters();
    }
}

impl ServingPermit {
    /// Counts transferred bytes. `false` if the permit was revoked: others wait, and this transfer has
    /// stalled, is too slow, or is one of several of one peer or neighbourhood.
    pub(crate) fn goes_on(&self, bytes: u64) -> bool {
        self.held(|held| {
            held.bytes += bytes;
            held.step += bytes;
            if held.step >= A_STEP {
                (held.step, held.waited) = (0, Duration::ZERO);
                held.waits_since = held.waits_since.map(|_| Instant::now());
            }
        })
        .is_some()
    }

    /// From now on this node waits for the peer.
    pub(crate) fn waits(&self) {
        self.held(|held| _ = held.waits_since.get_or_insert_with(Instant::now));
    }

    /// From now on the peer waits for this node.
    pub(crate) fn works(&self) {
        self.held(|held| {
            let since = held.waits_since.take();
            held.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        });
    }

    /// Returns once the permit is revoked.
    pub(crate) async fn revoked(&self) {
        self.cut.cancelled().await;
    }

    /// Changes the record of this permit, unless it was revoked.
    fn held<T>(&self, change: impl FnOnce(&mut Held) -> T) -> Option<T> {
        lock(&self.state).holding.get_mut(&self.number).map(change)
    }
}

impl ServingPermits {
    /// Allows this many permits at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, state: Arc::default() }
    }

    /// Whether anyone has a permit.
    pub(crate) fn are_taken(&self) -> bool {
        !lock(&self.state).holding.is_empty()
    }

    /// Waits for a permit until a deadline; `None` if there was none by then, or if too many wait.
    pub(crate) async fn take(&self, peer: PeerAt, deadline: Instant) -> Option<ServingPermit> {
        let (place, changed) = self.queue(peer)?;
        let mut may_cut_at = Instant::now() + BEFORE_REVOKING;
        loop {
            let changed = changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(permit) = self.try_take(place.number)? {
                return Some(permit);
            }
            if Instant::now() >= deadline {
                return None;
            }
            if timeout_at(deadline.min(may_cut_at), changed).await.is_err() {
                self.cut_one(&place);
                may_cut_at = Instant::now() + REVOKE_AGAIN;
            }
        }
    }

    /// A place among the waiting requests, if there is one.
    fn queue(&self, peer: PeerAt) -> Option<(Place<'_>, Arc<Notify>)> {
        let mut state = lock(&self.state);
        match entry(&state.waiting, &peer) {
            Entry::Granted => {}
            Entry::InsteadOf(other) => {
                state.waiting.retain(|one| one.number != other);
                state.changed.notify_waiters();
            }
            Entry::Refused => return None,
        }
        state.last += 1;
        let number = state.last;
        state.waiting.push(Waiting { number, peer });
        Some((Place { number, state: &self.state }, state.changed.clone()))
    }

    /// A permit, if one is free and no other request comes first. `None` if it may not wait any more.
    #[expect(clippy::option_option, reason = "the outer one ends the waiting")]
    fn try_take(&self, number: u64) -> Option<Option<ServingPermit>> {
        let mut state = lock(&self.state);
        let peer = state.waiting.iter().find(|one| one.number == number)?.peer;
        let free = self.most.saturating_sub(state.holding.len());
        if free == 0 || !next(&state.peers(), &state.waiting, free).contains(&number) {
            return Some(None);
        }
        let cut = CancellationToken::new();
        let held = Held {
            peer,
            since: Instant::now(),
            bytes: 0,
            step: 0,
            waited: Duration::ZERO,
            waits_since: None,
            cut: cut.clone(),
        };
        state.holding.insert(number, held);
        state.waiting.retain(|one| one.number != number);
        Some(Some(ServingPermit { number, cut, state: self.state.clone() }))
    }

    /// Revokes a permit for the waiting request that comes first, if this is the one.
    fn cut_one(&self, place: &Place<'_>) {
        let mut state = lock(&self.state);
        let is_first = next(&state.peers(), &state.waiting, 1) == [place.number];
        let waiting = state.waiting.iter().find(|one| one.number == place.number);
        let Some(peer) = waiting.map(|one| one.peer).filter(|_| is_first) else { return };
        let holding: Vec<Holding> = state
            .holding
            .iter()
            .map(|(number, held)| Holding {
                number: *number,
                peer: held.peer,
                lasted: held.since.elapsed(),
                bytes: held.bytes,
                stalled: held.stalled(),
            })
            .collect();
        if let Some(number) = to_cut(&holding, state.ending, self.most, &peer)
            && let Some(held) = state.holding.remove(&number)
        {
            tracing::info!(peer = %held.peer.id, "a transfer is cut because others wait");
            held.cut.cancel();
            state.ending += 1;
            state.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::NodeId;

    use super::*;

    fn node(seed: u8) -> PeerAt {
        let subnet = Subnet::V4([8, 8, seed]);
        PeerAt { id: NodeId::new([seed; 20]), subnet }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_without_a_permit_goes_before_one_that_has_one() {
        let permits = ServingPermits::new(2);
        let first = permits.take(node(1), soon()).await.expect("free");
        let second = permits.take(node(1), soon()).await.expect("nobody else waits");
        let more = permits.take(node(1), soon());
        let other = permits.take(node(2), soon());
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
    async fn one_peer_with_all_permits_gives_one_up_for_another() {
        let permits = ServingPermits::new(2);
        let (first, second) =
            (permits.take(node(1), soon()).await, permits.take(node(1), soon()).await);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let begun = Instant::now();
        let other = permits.take(node(2), soon()).await.expect("one was cut");
        assert_eq!(begun.elapsed(), BEFORE_REVOKING);
        assert!(first.expect("free").goes_on(1) && !second.expect("free").goes_on(1));
        assert!(other.goes_on(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stalls_gives_up_its_permit_and_one_that_waits_for_this_node_does_not() {
        let permits = ServingPermits::new(2);
        let stalled = permits.take(node(1), soon()).await.expect("free");
        let working = permits.take(node(2), soon()).await.expect("free");
        stalled.waits();
        assert!(stalled.goes_on(A_STEP));
        let other = permits.take(node(9), soon()).await.expect("one was cut");
        stalled.revoked().await;
        assert!(!stalled.goes_on(A_STEP) && working.goes_on(0) && other.goes_on(0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_many_that_wait_in_a_neighbourhood_is_sent_away_for_another_neighbourhood() {
        let permits = ServingPermits::new(1);
        let _held = permits.take(node(1), soon()).await.expect("free");
        let crowd = || (0..64).map(|at| PeerAt { id: node(at).id, ..node(at / 16) });
        let mut waiting: Vec<_> =
            crowd().map(|peer| Box::pin(permits.take(peer, soon()))).collect();
        for place in &mut waiting {
            assert!(futures_util::poll!(place).is_pending());
        }
        let crowded = permits.take(PeerAt { id: node(99).id, ..node(3) }, soon());
        assert!(crowded.await.is_none(), "that neighbourhood has its share");
        let other = permits.take(node(50), soon());
        tokio::pin!(other);
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        let sent_away = waiting.iter_mut().map(|place| place.as_mut().now_or_never());
        assert_eq!(sent_away.filter(|end| matches!(end, Some(None))).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn four_peers_that_drip_do_not_stop_a_node() {
        let permits = ServingPermits::new(4);
        let mut dripping = Vec::new();
        for seed in 1..=4 {
            dripping.push(permits.take(node(seed), soon()).await.expect("free"));
        }
        assert!(permits.take(node(9), soon()).await.is_none(), "they have only begun");
        tokio::time::sleep(Duration::from_secs(20)).await;
        dripping.iter().for_each(|permit| _ = permit.goes_on(8 * 1024 * 20));
        dripping[2].goes_on(100 << 20);
        let other = permits.take(node(9), soon()).await;
        assert!(other.is_some());
        let cut: Vec<bool> = dripping.iter().map(|permit| permit.goes_on(0)).collect();
        assert_eq!(cut.iter().filter(|goes_on| !**goes_on).count(), 1);
        assert!(cut[2], "the fast one goes on");
    }
}
