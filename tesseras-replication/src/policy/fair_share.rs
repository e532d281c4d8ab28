//! Who gets the next permit, who may wait for one, and which transfer is cut when others wait.

use std::cmp::Reverse;
use std::time::Duration;

use tesseras_core::ids::NodeId;
use tesseras_core::ports::PeerAt;

/// A transfer slower than this, in bytes per second, may be cut for others after [`AT_LEAST`].
const SLOWEST: u64 = 64 * 1024;
/// Every transfer that moves has this long to show its speed.
const AT_LEAST: Duration = Duration::from_secs(20);
/// A transfer whose peer has moved less than [`A_STEP`] for this long has stalled, and may be cut for
/// others.
pub(crate) const STALLED: Duration = Duration::from_millis(2500);
/// How many bytes a peer has to move within [`STALLED`].
pub(crate) const A_STEP: u64 = 16 * 1024;
/// The most requests that wait for a permit in one direction.
const MAX_WAITING: usize = 64;
/// The most of them from one neighbourhood, local networks excepted.
const MAX_WAITING_NEAR: usize = 16;

/// A permit that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) number: u64,
    pub(crate) peer: PeerAt,
    pub(crate) lasted: Duration,
    pub(crate) bytes: u64,
    /// For how long its peer has moved less than [`A_STEP`].
    pub(crate) stalled: Duration,
}

impl Holding {
    fn rate(&self) -> u64 {
        self.bytes.saturating_mul(1000)
            / u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// A request that waits for a permit. Numbers grow in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) number: u64,
    pub(crate) peer: PeerAt,
}

/// How many of these are of a peer's neighbourhood, and how many of the peer itself.
fn share(of: &PeerAt, all: &[PeerAt]) -> (usize, usize) {
    let near = all.iter().filter(|other| other.subnet == of.subnet);
    (near.count(), all.iter().filter(|other| other.id == of.id).count())
}

/// The waiting requests that get the free permits, best first: of the neighbourhood with the fewest
/// permits, of its peers the one with the fewest, and of its requests the first.
pub(crate) fn next(taken: &[PeerAt], waiting: &[Waiting], free: usize) -> Vec<u64> {
    let (mut taken, mut waiting) = (taken.to_vec(), waiting.to_vec());
    let mut served = Vec::new();
    while served.len() < free
        && let Some(best) = (0..waiting.len())
            .min_by_key(|at| (share(&waiting[*at].peer, &taken), waiting[*at].number))
    {
        let best = waiting.remove(best);
        taken.push(best.peer);
        served.push(best.number);
    }
    served
}

/// Whether one more request may wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may.
    Granted,
    /// It may, instead of the request with this number, which is one of many of its peer or
    /// neighbourhood.
    InsteadOf(u64),
    /// It may not.
    Refused,
}

/// Decides whether one more request may wait. When the list is full, the peers and neighbourhoods with
/// the most requests in it make room for others.
pub(crate) fn entry(waiting: &[Waiting], newcomer: &PeerAt) -> Entry {
    let peers: Vec<PeerAt> = waiting.iter().map(|one| one.peer).collect();
    let (near, own) = share(newcomer, &peers);
    let near_is_full = newcomer.subnet.limited().is_some() && near >= MAX_WAITING_NEAR;
    if waiting.len() < MAX_WAITING && !near_is_full {
        return Entry::Granted;
    }
    let is_near = |one: &&Waiting| one.peer.subnet == newcomer.subnet;
    let may_go = waiting.iter().filter(|one| !near_is_full || is_near(one));
    let most = may_go.max_by_key(|one| (share(&one.peer, &peers), one.number));
    match most {
        Some(most) if is_near(&most) && share(&most.peer, &peers).1 > own + 1 => {
            Entry::InsteadOf(most.number)
        }
        Some(most) if !is_near(&most) && share(&most.peer, &peers).0 > near + 1 => {
            Entry::InsteadOf(most.number)
        }
        _ => Entry::Refused,
    }
}

/// Which permit to revoke for `waiting`, if it has none: one that has stalled; of those that have lasted
/// for [`AT_LEAST`] the last of a peer that has several, or of a neighbourhood that has more permits
/// than that of `waiting` would have; else the slowest of those that are too slow. Most transfers
/// end before that, and the waiting peer is next.
///
/// A transfer that was cut may hold its buffers until the network gives it up. With `ending` of
/// them and `most` permits, a stalled one is cut for its own neighbourhood only while `ending < most`
/// and for others while `ending < 2 * most`, so that these buffers are bounded.
pub(crate) fn to_cut(
    holding: &[Holding],
    ending: usize,
    most: usize,
    waiting: &PeerAt,
) -> Option<u64> {
    let taken: Vec<PeerAt> = holding.iter().map(|held| held.peer).collect();
    let permits_of = |id: &NodeId| taken.iter().filter(|peer| peer.id == *id).count();
    let (near, own) = share(waiting, &taken);
    if own > 0 {
        return None;
    }
    let crowd = |held: &Holding| share(&held.peer, &taken).0;
    let may_leave_behind = |held: &Holding| {
        let is_crowded = held.peer.subnet != waiting.subnet && crowd(held) > near;
        ending < if is_crowded { 2 * most } else { most }
    };
    let stalled = holding.iter().filter(|held| held.stalled >= STALLED && may_leave_behind(held));
    let stalled = stalled.max_by_key(|held| (crowd(held), held.stalled, Reverse(held.number)));
    let old = || holding.iter().filter(|held| held.lasted >= AT_LEAST);
    let greedy = old().filter(|held| permits_of(&held.peer.id) > 1).map(|held| held.number).max();
    let crowded = || {
        let crowded = old().filter(|held| crowd(held) > near + 1);
        crowded.max_by_key(|held| (crowd(held), held.number)).map(|held| held.number)
    };
    let slow = || {
        let slow = old().filter(|held| held.rate() < SLOWEST);
        slow.min_by_key(|held| (held.rate(), held.number)).map(|held| held.number)
    };
    stalled.map(|held| held.number).or(greedy).or_else(crowded).or_else(slow)
}

#[cfg(test)]
mod tests {
    use tesseras_core::contact::Subnet;

    use super::*;

    fn peer(near: u8, id: u8) -> PeerAt {
        PeerAt { id: NodeId::new([id; 20]), subnet: Subnet::V4([8, 8, near]) }
    }

    fn holding(number: u64, id: u8, seconds: u64, bytes: u64) -> Holding {
        let lasted = Duration::from_secs(seconds);
        Holding { number, peer: peer(id, id), lasted, bytes, stalled: Duration::ZERO }
    }

    fn cut(holding: &[Holding], waiting: &PeerAt) -> Option<u64> {
        to_cut(holding, 0, 4, waiting)
    }

    #[test]
    fn several_of_one_peer_come_before_the_slow_and_the_fast_are_never_cut() {
        let fast = holding(1, 1, 60, 100 << 20);
        let slow = holding(2, 2, 60, 60 * 8192);
        let slower = holding(3, 3, 60, 60);
        let new = holding(4, 4, 19, 0);
        assert_eq!(cut(&[fast, slow, slower, new], &peer(9, 9)), Some(3));
        assert_eq!(cut(&[fast, slow, slower, new], &peer(4, 4)), None, "it has one");
        assert_eq!(cut(&[fast, new], &peer(9, 9)), None);
        let again = Holding { number: 5, ..fast };
        assert_eq!(cut(&[fast, slow, slower, again], &peer(9, 9)), Some(5));
        let young =
            [1, 5].map(|number| Holding { number, lasted: Duration::from_secs(19), ..fast });
        assert_eq!(cut(&young, &peer(9, 9)), None, "they are soon done");
    }

    #[test]
    fn a_stalled_transfer_is_cut_early_and_those_that_still_end_are_bounded() {
        let young = |number, near, id, stalled| Holding {
            peer: peer(near, id),
            stalled,
            ..holding(number, id, 3, 1000)
        };
        let moving = young(1, 1, 1, STALLED / 2);
        let stalled = young(2, 1, 2, STALLED);
        assert_eq!(cut(&[moving, moving], &peer(9, 9)), None);
        assert_eq!(cut(&[moving, stalled], &peer(9, 9)), Some(2));
        assert_eq!(cut(&[moving, stalled], &peer(1, 9)), Some(2), "for neighbours, too");
        let ending = |ending, waiting| to_cut(&[moving, stalled], ending, 4, &waiting);
        assert_eq!((ending(3, peer(1, 9)), ending(4, peer(1, 9))), (Some(2), None));
        assert_eq!((ending(7, peer(9, 9)), ending(8, peer(9, 9))), (Some(2), None));
    }

    #[test]
    fn a_neighbourhood_with_several_permits_gives_one_up_for_another_neighbourhood() {
        let fast = |number, id| Holding { peer: peer(1, id), ..holding(number, id, 20, 100 << 20) };
        let all = [fast(1, 1), fast(2, 2), fast(3, 3), fast(4, 4)];
        assert_eq!(cut(&all, &peer(9, 9)), Some(4));
        assert_eq!(cut(&all, &peer(1, 9)), None, "neighbours wait for each other");
        assert_eq!(cut(&all[..1], &peer(9, 9)), None);
        let even = [fast(1, 1), fast(2, 2), Holding { peer: peer(9, 8), ..fast(3, 8) }];
        assert_eq!(cut(&even, &peer(9, 9)), None, "then both have as many");
    }

    fn queue(peers: impl IntoIterator<Item = PeerAt>) -> Vec<Waiting> {
        (1..).zip(peers).map(|(number, peer)| Waiting { number, peer }).collect()
    }

    #[test]
    fn free_permits_go_to_neighbourhoods_and_then_to_peers_with_few() {
        let waiting = queue([peer(1, 1), peer(1, 2), peer(1, 2), peer(2, 3), peer(2, 4)]);
        assert_eq!(next(&[], &waiting, 2), [1, 4]);
        assert_eq!(next(&[peer(1, 7)], &waiting, 2), [4, 1]);
        assert_eq!(next(&[peer(2, 3)], &waiting, 3), [1, 2, 5], "each its own neighbour first");
        assert_eq!(next(&[peer(1, 1), peer(2, 8)], &waiting, 5), [2, 4, 5, 1, 3]);
        assert_eq!(next(&[], &[], 4), []);
    }

    #[test]
    fn the_list_is_bounded_and_one_of_many_that_wait_makes_room() {
        let near = |count: usize| (0..count).map(|id| peer(1, id as u8));
        let full = queue(near(MAX_WAITING_NEAR));
        assert_eq!(entry(&full[1..], &peer(1, 99)), Entry::Granted);
        assert_eq!(entry(&full, &peer(1, 99)), Entry::Refused);
        assert_eq!(entry(&full, &peer(2, 99)), Entry::Granted);
        let of_one = queue(vec![peer(1, 1); MAX_WAITING_NEAR]);
        assert_eq!(entry(&of_one, &peer(1, 99)), Entry::InsteadOf(16));
        assert_eq!(entry(&of_one, &peer(1, 1)), Entry::Refused);

        let crowds = (0..MAX_WAITING).map(|at| peer((at / MAX_WAITING_NEAR) as u8, at as u8));
        let full = queue(crowds);
        assert_eq!(entry(&full, &peer(9, 99)), Entry::InsteadOf(64));
        assert_eq!(entry(&full, &peer(0, 99)), Entry::Refused);
        let all_different = queue((0..MAX_WAITING).map(|at| peer(at as u8, at as u8)));
        assert_eq!(entry(&all_different, &peer(99, 99)), Entry::Refused);

        let home = |id: usize| PeerAt {
            id: NodeId::new([id as u8; 20]),
            subnet: Subnet::V4([192, 168, 1]),
        };
        let local = queue((0..MAX_WAITING_NEAR).map(home));
        assert_eq!(entry(&local, &home(99)), Entry::Granted, "no limit at home");
        let local = queue((0..MAX_WAITING).map(home));
        assert_eq!(entry(&local, &home(99)), Entry::Refused);
        assert_eq!(entry(&local, &peer(1, 99)), Entry::InsteadOf(64));
    }
}
