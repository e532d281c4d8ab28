//! Which transfer is cut when others wait.

use std::time::Duration;

use tesseras_core::ids::NodeId;

/// A transfer slower than this, in bytes per second, may be cut for others after [`AT_LEAST`].
const SLOWEST: u64 = 64 * 1024;
/// Every transfer has this long to show its speed.
const AT_LEAST: Duration = Duration::from_secs(20);

/// A turn that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) number: u64,
    pub(crate) peer: NodeId,
    pub(crate) lasted: Duration,
    pub(crate) bytes: u64,
}

impl Holding {
    fn rate(&self) -> u64 {
        self.bytes.saturating_mul(1000)
            / u64::try_from(self.lasted.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// Which turn to cut for `waiting`, if it has none: of those that have lasted for [`AT_LEAST`] the
/// last of a peer that has several, else the slowest of those that are too slow. Most transfers end
/// before that, and the waiting peer is next.
pub(crate) fn to_cut(holding: &[Holding], waiting: &NodeId) -> Option<u64> {
    let turns_of = |peer: &NodeId| holding.iter().filter(|h| h.peer == *peer).count();
    if turns_of(waiting) > 0 {
        return None;
    }
    let old = || holding.iter().filter(|h| h.lasted >= AT_LEAST);
    let greedy = old().filter(|h| turns_of(&h.peer) > 1).map(|h| h.number).max();
    let slow = old().filter(|h| h.rate() < SLOWEST);
    greedy.or_else(|| slow.min_by_key(|h| (h.rate(), h.number)).map(|h| h.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_of_one_peer_come_before_the_slow_and_the_fast_are_never_cut() {
        let node = |seed: u8| NodeId::new([seed; 20]);
        let holding = |number, peer, seconds, bytes| Holding {
            number,
            peer: node(peer),
            lasted: Duration::from_secs(seconds),
            bytes,
        };
        let fast = holding(1, 1, 60, 100 << 20);
        let slow = holding(2, 2, 60, 60 * 8192);
        let slower = holding(3, 3, 60, 60);
        let new = holding(4, 4, 19, 0);
        assert_eq!(to_cut(&[fast, slow, slower, new], &node(9)), Some(3));
        assert_eq!(to_cut(&[fast, slow, slower, new], &node(4)), None, "it has one");
        assert_eq!(to_cut(&[fast, new], &node(9)), None);
        let again = Holding { number: 5, ..fast };
        assert_eq!(to_cut(&[fast, slow, slower, again], &node(9)), Some(5));
        let young =
            [1, 5].map(|number| Holding { number, lasted: Duration::from_secs(19), ..fast });
        assert_eq!(to_cut(&young, &node(9)), None, "they are soon done");
    }
}
