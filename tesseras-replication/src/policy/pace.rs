//! Detecting late transfers, which are then hedged.

use std::collections::BTreeMap;
use std::time::Duration;

use tesseras_core::ids::NodeId;

use super::patience::Patience;

/// A transfer is late when it takes this many times the median of the finished ones.
const SLOWER: u32 = 3;
/// A transfer is never late for its total duration before this.
const SLOW_FROM: Duration = Duration::from_secs(1);

/// The transfers of one task, each of what is named `K`. Points in time are given as the time since
/// the task began.
pub(crate) struct Paces<K> {
    /// How long the first byte may take, and the longest pause after that.
    patience: Patience,
    running: BTreeMap<(K, NodeId), Pace>,
    /// Durations of the finished transfers, sorted.
    done: Vec<Duration>,
}

#[derive(Clone, Copy)]
struct Pace {
    begun: Duration,
    /// The time of its last progress.
    heard: Duration,
    has_answered: bool,
}

impl<K: Copy + Ord> Paces<K> {
    /// `patience` has the response times of these nodes.
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, running: BTreeMap::new(), done: Vec::new() }
    }

    /// A transfer starts.
    pub(crate) fn begin(&mut self, key: K, node: NodeId, now: Duration) {
        let pace = Pace { begun: now, heard: now, has_answered: false };
        self.running.insert((key, node), pace);
    }

    /// A transfer waits for its turn on this node: its peer has not been asked yet.
    pub(crate) fn queued(&mut self, key: K, node: NodeId, now: Duration) {
        let Some(pace) = self.running.get_mut(&(key, node)) else { return };
        pace.heard = now;
        if !pace.has_answered {
            pace.begun = now;
        }
    }

    /// Bytes were received, last at `at`.
    pub(crate) fn heard(&mut self, key: K, node: NodeId, at: Duration) {
        let Some(pace) = self.running.get_mut(&(key, node)) else { return };
        if !pace.has_answered {
            pace.has_answered = true;
            self.patience.answered_after(at.saturating_sub(pace.begun));
        }
        pace.heard = pace.heard.max(at);
    }

    /// A transfer ended, with success or not.
    pub(crate) fn end(&mut self, key: K, node: NodeId, is_whole: bool, now: Duration) {
        if let Some(pace) = self.running.remove(&(key, node))
            && is_whole
        {
            let took = now.saturating_sub(pace.begun);
            self.done.insert(self.done.partition_point(|known| *known < took), took);
        }
    }

    /// How many are in progress and not known to be late.
    pub(crate) fn in_time(&self) -> usize {
        self.running.len()
    }

    /// The transfers that are now late and may be hedged, each returned once.
    pub(crate) fn late(
        &mut self,
        now: Duration,
        mut may_hedge: impl FnMut() -> bool,
    ) -> Vec<(K, NodeId)> {
        let silent = self.patience.overdue_after();
        let slow =
            self.done.get(self.done.len() / 2).map(|median| (*median * SLOWER).max(SLOW_FROM));
        let is_late = |pace: &Pace| {
            now.saturating_sub(pace.heard) >= silent
                || slow.is_some_and(|slow| now.saturating_sub(pace.begun) >= slow)
        };
        let late = self.running.iter().filter(|(_, pace)| is_late(pace));
        let late: Vec<_> = late.map(|(key, _)| *key).take_while(|_| may_hedge()).collect();
        self.running.retain(|key, _| !late.contains(key));
        late
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::code::Piece;

    use super::*;
    use crate::policy::patience::Manner;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn paces() -> Paces<Piece> {
        let mut patience = Patience::new(Manner::Quick, ms(10_000));
        patience.answered_after(ms(5));
        Paces::new(patience)
    }

    #[test]
    fn a_silent_and_a_slow_transfer_are_late_once_and_a_steady_one_is_not() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        paces.begin(piece, one, ms(0));
        paces.begin(piece, two, ms(0));
        assert!(paces.late(ms(299), || true).is_empty());
        paces.heard(piece, two, ms(290));
        assert!(paces.late(ms(300), || false).is_empty(), "too much is asked twice already");
        assert_eq!(paces.late(ms(300), || true), [(piece, one)]);
        assert!(paces.late(ms(301), || true).is_empty(), "it was told");
        paces.begin(piece, three, ms(300));
        paces.end(piece, three, true, ms(600));
        for at in (300..1000).step_by(100) {
            paces.heard(piece, two, ms(at));
        }
        assert!(paces.late(ms(999), || true).is_empty(), "it is slow, and bytes come");
        paces.heard(piece, two, ms(7000));
        assert_eq!(paces.late(ms(7001), || true), [(piece, two)], "three times as long as another");
    }
}
