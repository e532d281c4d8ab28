//! The limit on requests of one task that are in flight, so that slow nodes do not keep the others
//! from being asked.

use std::collections::BTreeMap;

use tesseras_core::ids::NodeId;
use tokio::time::{Duration, Instant};

/// How many nodes are asked at once, besides those that are slow.
const AT_ONCE: usize = 32;
/// How many requests are in flight at most, including those to slow nodes.
const IN_FLIGHT: usize = 128;
/// How long a request occupies a slot at most.
const LONGEST: Duration = Duration::from_secs(1);

const _: () = assert!(AT_ONCE < IN_FLIGHT, "slow nodes leave slots to others");

/// Which requests of a task occupy one of its [`AT_ONCE`] slots: each from when it is sent until it
/// ends, is overdue or has taken [`LONGEST`].
#[derive(Debug, Default)]
pub(crate) struct Slots {
    in_flight: usize,
    /// When the newest request to each node was sent, unless it has ended.
    sent: BTreeMap<NodeId, Instant>,
}

impl Slots {
    /// Whether a request may be sent now, if requests are overdue after `overdue`.
    pub(crate) fn is_free(&self, overdue: Duration, now: Instant) -> bool {
        self.in_flight < IN_FLIGHT && self.ends(overdue, now).count() < AT_ONCE
    }

    /// When a slot becomes free next although nothing ends; `None` if that frees none.
    pub(crate) fn next_free_at(&self, overdue: Duration, now: Instant) -> Option<Instant> {
        self.ends(overdue, now).min().filter(|_| self.in_flight < IN_FLIGHT)
    }

    /// When each occupied slot becomes free at the latest.
    fn ends(&self, overdue: Duration, now: Instant) -> impl Iterator<Item = Instant> {
        let longest = overdue.min(LONGEST);
        self.sent.values().map(move |sent| *sent + longest).filter(move |end| *end > now)
    }

    /// A request is sent.
    pub(crate) fn begin(&mut self, node: NodeId, now: Instant) {
        self.in_flight += 1;
        self.sent.insert(node, now);
    }

    /// The request to this node that was sent at `sent` has ended. Another one to the same node, at
    /// another address, keeps its slot.
    pub(crate) fn end(&mut self, node: NodeId, sent: Instant) {
        self.in_flight -= 1;
        if self.sent.get(&node) == Some(&sent) {
            self.sent.remove(&node);
        }
    }

    /// What is still in flight to this node is not waited for any more, and occupies no slot.
    pub(crate) fn release(&mut self, node: NodeId) {
        self.sent.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERDUE: Duration = Duration::from_millis(300);

    fn node(number: usize) -> NodeId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::new(id)
    }

    /// `AT_ONCE` requests that were sent at this time.
    fn full(now: Instant) -> Slots {
        let mut slots = Slots::default();
        for number in 0..AT_ONCE {
            assert!(slots.is_free(OVERDUE, now));
            slots.begin(node(number), now);
        }
        slots
    }

    #[test]
    fn a_slot_is_free_once_a_request_has_ended_or_is_overdue() {
        let begun = Instant::now();
        let mut slots = full(begun);
        assert!(!slots.is_free(OVERDUE, begun));
        assert_eq!(slots.next_free_at(OVERDUE, begun), Some(begun + OVERDUE));
        slots.end(node(0), begun);
        assert!(slots.is_free(OVERDUE, begun));
        let slots = full(begun);
        assert!(slots.is_free(OVERDUE, begun + OVERDUE));
        assert_eq!(slots.next_free_at(OVERDUE, begun + OVERDUE), None, "all are free");
    }

    #[test]
    fn no_request_occupies_a_slot_for_longer_than_a_second() {
        let (begun, patient) = (Instant::now(), Duration::from_secs(10));
        let slots = full(begun);
        assert!(!slots.is_free(patient, begun + LONGEST - Duration::from_millis(1)));
        assert!(slots.is_free(patient, begun + LONGEST));
    }

    #[test]
    fn slow_nodes_leave_slots_to_others_until_too_many_requests_are_in_flight() {
        let begun = Instant::now();
        let mut slots = Slots::default();
        for number in 0..IN_FLIGHT {
            let round = u32::try_from(number / AT_ONCE).unwrap();
            assert!(slots.is_free(OVERDUE, begun + round * OVERDUE), "request {number}");
            slots.begin(node(number), begun + round * OVERDUE);
        }
        let late = begun + 100 * OVERDUE;
        assert!(!slots.is_free(OVERDUE, late));
        assert_eq!(slots.next_free_at(OVERDUE, begun), None, "only an end frees one now");
        slots.end(node(0), begun);
        assert!(slots.is_free(OVERDUE, late));
    }

    #[test]
    fn a_node_that_is_asked_at_a_new_address_occupies_one_slot() {
        let begun = Instant::now();
        let mut slots = full(begun);
        slots.release(node(0));
        assert!(slots.is_free(OVERDUE, begun));
        let later = begun + Duration::from_millis(1);
        slots.begin(node(0), later);
        assert!(!slots.is_free(OVERDUE, later));
        slots.end(node(0), begun);
        assert!(!slots.is_free(OVERDUE, later), "the request to the new address goes on");
        slots.end(node(0), later);
        assert!(slots.is_free(OVERDUE, later));
    }
}
