//! Detecting late transfers, which are then hedged, and those that are so late that they are given
//! up.
//!
//! A peer that sends barely fast enough looks like any peer behind a slow line of this node's own.
//! Only a comparison tells them apart. So a transfer is given up only after others have proven to be
//! quicker; and if none has ended for a while, one more is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use tesseras_core::ids::NodeId;

use super::patience::Patience;

/// A transfer is late when it takes this many times the median of the finished ones.
const SLOWER: u32 = 3;
/// A transfer is never late for its total duration before this.
const SLOW_FROM: Duration = Duration::from_secs(1);
/// A transfer is given up when it takes this many times the median of the finished ones.
const MUCH_SLOWER: u32 = 4;
/// A transfer is never given up for its total duration before this; and when nothing has ended or
/// begun for as long, and for twice that median, another peer is tried.
const TOO_LONG: Duration = Duration::from_secs(10);
/// How long a peer has that is tried, to be faster than those that are waited for. Behind a slow
/// line this is lost once for each peer.
const TRIAL: Duration = Duration::from_secs(3);
/// How many times as fast it has to be.
const FASTER: u64 = 2;

/// The transfers of one task, each of what is named `K`. Points in time are given as the time since
/// the task began.
pub(crate) struct Paces<K> {
    /// How long the first byte may take, and the longest pause after that.
    patience: Patience,
    running: BTreeMap<(K, NodeId), Pace>,
    /// Durations of the finished transfers, sorted.
    done: Vec<Duration>,
    /// When the last one ended well; 0 if none has.
    succeeded: Duration,
    /// How many were given up because they were slower than the finished ones.
    given_up: usize,
    /// Whether another peer was tried because nothing ended, and nothing has ended since.
    is_stuck: bool,
}

/// A transfer that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenUp<K> {
    pub(crate) key: K,
    pub(crate) node: NodeId,
    /// Whether all others were tried and none was faster: then no transfer counts as late any more.
    pub(crate) all_are_slow: bool,
}

#[derive(Clone, Copy)]
struct Pace {
    begun: Duration,
    /// The time of its last progress.
    heard: Duration,
    bytes: u64,
    has_answered: bool,
    is_late: bool,
    /// Whether it was begun to try another peer.
    is_trial: bool,
}

impl Pace {
    /// In bytes per second.
    fn speed(&self, now: Duration) -> u64 {
        let ms = u64::try_from(now.saturating_sub(self.begun).as_millis()).unwrap_or(u64::MAX);
        self.bytes.saturating_mul(1000) / ms.max(1)
    }
}

impl<K: Copy + Ord> Paces<K> {
    /// `patience` has the response times of these nodes.
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            running: BTreeMap::new(),
            done: Vec::new(),
            succeeded: Duration::ZERO,
            given_up: 0,
            is_stuck: false,
        }
    }

    /// A transfer starts.
    pub(crate) fn begin(&mut self, key: K, node: NodeId, now: Duration) {
        let pace = Pace {
            begun: now,
            heard: now,
            bytes: 0,
            has_answered: false,
            is_late: false,
            is_trial: self.is_stuck,
        };
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

    /// Bytes were received, so many in total, last at `at`.
    pub(crate) fn heard(&mut self, key: K, node: NodeId, bytes: u64, at: Duration) {
        let Some(pace) = self.running.get_mut(&(key, node)) else { return };
        if !pace.has_answered {
            pace.has_answered = true;
            self.patience.answered_after(at.saturating_sub(pace.begun));
        }
        pace.heard = pace.heard.max(at);
        pace.bytes = bytes;
    }

    /// A transfer ended.
    pub(crate) fn end(&mut self, key: K, node: NodeId, succeeded: bool, now: Duration) {
        if let Some(pace) = self.running.remove(&(key, node))
            && succeeded
        {
            let took = now.saturating_sub(pace.begun);
            self.done.insert(self.done.partition_point(|known| *known < took), took);
            self.succeeded = now;
            self.is_stuck = false;
            self.running.values_mut().for_each(|pace| pace.is_trial = false);
        }
    }

    /// How many are in progress and not known to be late.
    pub(crate) fn in_time(&self) -> usize {
        self.running.values().filter(|pace| !pace.is_late).count()
    }

    /// The transfers that are now late and may be hedged, each returned once. `has_other` says
    /// whether another peer could be tried instead.
    pub(crate) fn late(
        &mut self,
        now: Duration,
        mut may_hedge: impl FnMut() -> bool,
        has_other: impl Fn(K, NodeId) -> bool,
    ) -> Vec<(K, NodeId)> {
        let silent = self.patience.overdue_after();
        let slow =
            self.done.get(self.done.len() / 2).map(|median| (*median * SLOWER).max(SLOW_FROM));
        let is_late = |pace: &Pace| {
            let is_silent = now.saturating_sub(pace.heard) >= silent;
            let is_slow = slow.is_some_and(|slow| now.saturating_sub(pace.begun) >= slow);
            !pace.is_late && (is_silent || is_slow)
        };
        let late = self.running.iter().filter(|(_, pace)| is_late(pace));
        let mut late: Vec<_> = late.map(|(key, _)| *key).take_while(|_| may_hedge()).collect();
        late.extend(self.stuck(now, has_other).filter(|stuck| !late.contains(stuck)));
        for key in &late {
            self.running.entry(*key).and_modify(|pace| pace.is_late = true);
        }
        late
    }

    /// The slowest, if nothing has ended or begun for so long that another peer should be tried.
    fn stuck(
        &mut self,
        now: Duration,
        has_other: impl Fn(K, NodeId) -> bool,
    ) -> Option<(K, NodeId)> {
        let begun = self.running.values().map(|pace| pace.begun).max()?;
        let expected = self.median().map_or(TOO_LONG, |median| (2 * median).max(TOO_LONG));
        if now.saturating_sub(begun.max(self.succeeded)) < expected {
            return None;
        }
        let in_time = self.running.iter().filter(|(_, pace)| !pace.is_late);
        let open = in_time.filter(|((key, node), _)| has_other(*key, *node));
        let (slowest, _) = open.min_by_key(|(_, pace)| pace.speed(now))?;
        self.is_stuck = true;
        Some(*slowest)
    }

    /// A transfer that is to be given up now, if any, and is no longer counted. Except for a trial
    /// that has failed, not one that nobody else could stand in for.
    pub(crate) fn give_up(
        &mut self,
        now: Duration,
        has_other: impl Fn(K, NodeId) -> bool,
    ) -> Option<GivenUp<K>> {
        if let Some((key, node)) = self.failed_trial(now) {
            self.running.remove(&(key, node));
            let all_are_slow = !has_other(key, node);
            if all_are_slow {
                self.is_stuck = false;
                self.running.values_mut().for_each(|pace| pace.is_late = false);
            }
            return Some(GivenUp { key, node, all_are_slow });
        }
        let most = self.too_long()?;
        let too_slow =
            self.running.iter().filter(|(_, pace)| now.saturating_sub(pace.begun) >= most);
        let (key, node) =
            too_slow.map(|(key, _)| *key).find(|(key, node)| has_other(*key, *node))?;
        self.given_up += 1;
        self.running.remove(&(key, node));
        Some(GivenUp { key, node, all_are_slow: false })
    }

    fn failed_trial(&self, now: Duration) -> Option<(K, NodeId)> {
        let awaited = self.running.values().filter(|pace| !pace.is_trial);
        let fastest = awaited.map(|pace| pace.speed(now)).max().unwrap_or(0);
        let enough = fastest.saturating_mul(FASTER);
        let has_failed = |pace: &Pace| {
            let is_over = now.saturating_sub(pace.begun) >= TRIAL;
            self.is_stuck && pace.is_trial && is_over && pace.speed(now) < enough
        };
        self.running.iter().find(|(_, pace)| has_failed(pace)).map(|(key, _)| *key)
    }

    /// How long is too long, compared with the finished ones. What is given up is lost: so that a
    /// few very near peers do not make all others look slow, no more is given up than has arrived.
    fn too_long(&self) -> Option<Duration> {
        let median = self.median()?;
        (self.given_up < self.done.len()).then(|| (median * MUCH_SLOWER).max(TOO_LONG))
    }

    /// The lower median of the finished ones.
    fn median(&self) -> Option<Duration> {
        self.done.get(self.done.len().saturating_sub(1) / 2).copied()
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

    fn late(paces: &mut Paces<Piece>, at: u64) -> Vec<(Piece, NodeId)> {
        paces.late(ms(at), || true, |_, _| true)
    }

    #[test]
    fn a_silent_and_a_slow_transfer_are_late_once_and_a_steady_one_is_not() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        paces.begin(piece, one, ms(0));
        paces.begin(piece, two, ms(0));
        assert!(late(&mut paces, 299).is_empty());
        paces.heard(piece, two, 1, ms(290));
        assert!(
            paces.late(ms(300), || false, |_, _| true).is_empty(),
            "too much is asked twice already"
        );
        assert_eq!(late(&mut paces, 300), [(piece, one)]);
        assert!(late(&mut paces, 301).is_empty(), "it was told");
        paces.begin(piece, three, ms(300));
        paces.end(piece, three, true, ms(600));
        for at in (300..1000).step_by(100) {
            paces.heard(piece, two, 1, ms(at));
        }
        assert!(late(&mut paces, 999).is_empty(), "it is slow, and bytes come");
        paces.heard(piece, two, 1, ms(7000));
        assert_eq!(late(&mut paces, 7001), [(piece, two)], "three times as long as another");
    }

    #[test]
    fn what_is_slower_than_others_is_given_up_and_never_more_than_has_arrived() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        [one, two, three].iter().for_each(|node| paces.begin(piece, *node, ms(0)));
        let give_up = |paces: &mut Paces<_>, at, has_other: bool| {
            paces.give_up(ms(at), |_, _| has_other).map(|given_up| given_up.node)
        };
        assert_eq!(give_up(&mut paces, 60_000, true), None, "all are as slow");
        paces.end(piece, three, true, ms(2000));
        assert_eq!(give_up(&mut paces, 9999, true), None);
        assert_eq!(give_up(&mut paces, 10_000, false), None, "nobody else has it");
        assert_eq!(give_up(&mut paces, 10_000, true), Some(one));
        assert_eq!(give_up(&mut paces, 20_000, true), None, "one has arrived");
    }

    #[test]
    fn where_nothing_ends_one_more_is_tried_at_a_time_and_has_to_be_faster() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        paces.begin(piece, one, ms(0));
        paces.heard(piece, one, 10_000, ms(10_000));
        assert!(late(&mut paces, 9999).is_empty());
        assert!(paces.late(ms(10_000), || true, |_, _| false).is_empty(), "nobody else has it");
        assert_eq!(late(&mut paces, 10_000), [(piece, one)]);
        paces.begin(piece, two, ms(10_000));
        paces.heard(piece, one, 13_000, ms(13_000));
        paces.heard(piece, two, 4500, ms(13_000));
        assert!(late(&mut paces, 13_000).is_empty(), "one at a time");
        assert_eq!(paces.give_up(ms(12_999), |_, _| true), None);
        let given_up = paces.give_up(ms(13_000), |_, _| true);
        let (key, all_are_slow) = (piece, false);
        assert_eq!(given_up, Some(GivenUp { key, node: two, all_are_slow }), "barely faster");
        paces.begin(piece, three, ms(13_000));
        paces.heard(piece, three, 9000, ms(16_000));
        assert_eq!(paces.give_up(ms(16_000), |_, _| true), None, "three times as fast");
        assert_eq!(paces.in_time(), 1);
        paces.heard(piece, one, 30_000, ms(17_000));
        let given_up = paces.give_up(ms(17_000), |_, _| false);
        assert_eq!(given_up, Some(GivenUp { key, node: three, all_are_slow: true }));
        assert_eq!(paces.in_time(), 1, "the first is waited for again");
    }
}
