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
    running: Running<K>,
    /// Durations of the finished transfers, sorted.
    done: Vec<Duration>,
    /// When the last one ended well; 0 if none has.
    succeeded: Duration,
    /// How many were given up because they were slower than the finished ones.
    given_up: usize,
    /// Whether the next one to begin is a trial: nothing has ended for long.
    wants_trial: bool,
}

/// The transfers in progress, each with one node.
pub(crate) struct Running<K>(BTreeMap<(K, NodeId), Pace>);

#[derive(Clone, Copy)]
struct Pace {
    begun: Duration,
    /// The time of its last progress.
    heard: Duration,
    bytes: u64,
    has_answered: bool,
    /// Whether it waits for its permit on this node: its peer has not been asked yet.
    is_queued: bool,
    is_late: bool,
    /// Whether it was begun to try another peer, and has not proven to be quicker yet.
    is_trial: bool,
}

impl Pace {
    /// In bytes per second.
    fn speed(&self, now: Duration) -> u64 {
        let ms = u64::try_from(now.saturating_sub(self.begun).as_millis()).unwrap_or(u64::MAX);
        self.bytes.saturating_mul(1000) / ms.max(1)
    }
}

impl<K: Copy + Ord> Running<K> {
    /// How many are not known to be late.
    pub(crate) fn in_time(&self) -> usize {
        self.0.values().filter(|pace| !pace.is_late).count()
    }

    /// How many are known to be late.
    pub(crate) fn late(&self) -> usize {
        self.0.len() - self.in_time()
    }

    /// Whether this is being transferred.
    pub(crate) fn has(&self, key: K) -> bool {
        self.of(key).next().is_some()
    }

    /// Whether this is being transferred and not late.
    pub(crate) fn has_in_time(&self, key: K) -> bool {
        self.of(key).any(|(_, pace)| !pace.is_late)
    }

    /// Whether this is being transferred with this node.
    pub(crate) fn has_with(&self, key: K, node: NodeId) -> bool {
        self.0.contains_key(&(key, node))
    }

    /// Whether this is being transferred with this node, and late.
    pub(crate) fn is_late(&self, key: K, node: NodeId) -> bool {
        self.0.get(&(key, node)).is_some_and(|pace| pace.is_late)
    }

    /// How many late transfers and how many in all there are with this node.
    pub(crate) fn with(&self, node: NodeId) -> (usize, usize) {
        let of = || self.0.iter().filter(move |((_, id), _)| *id == node);
        (of().filter(|(_, pace)| pace.is_late).count(), of().count())
    }

    fn of(&self, key: K) -> impl Iterator<Item = (&(K, NodeId), &Pace)> {
        self.0.iter().filter(move |((running, _), _)| *running == key)
    }
}

impl<K: Copy + Ord> Paces<K> {
    /// `patience` has the response times of these nodes.
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            running: Running(BTreeMap::new()),
            done: Vec::new(),
            succeeded: Duration::ZERO,
            given_up: 0,
            wants_trial: false,
        }
    }

    /// The transfers in progress.
    pub(crate) fn running(&self) -> &Running<K> {
        &self.running
    }

    /// Whether another transfer may begin, of which `limit` are to be in time: late ones are waited
    /// for, up to twice as many, and one more may be tried where nothing ends.
    pub(crate) fn may_begin(&self, limit: usize) -> bool {
        let has_slot = self.running.0.len() < 2 * limit && self.running.in_time() < limit;
        has_slot || self.wants_trial
    }

    /// A transfer starts.
    pub(crate) fn begin(&mut self, key: K, node: NodeId, now: Duration) {
        let pace = Pace {
            begun: now,
            heard: now,
            bytes: 0,
            has_answered: false,
            is_queued: false,
            is_late: false,
            is_trial: std::mem::take(&mut self.wants_trial),
        };
        self.running.0.insert((key, node), pace);
    }

    /// Whether a transfer waits for its permit on this node now.
    pub(crate) fn set_queued(&mut self, key: K, node: NodeId, is_queued: bool, now: Duration) {
        let Some(pace) = self.running.0.get_mut(&(key, node)) else { return };
        pace.is_queued = is_queued;
        if is_queued {
            pace.heard = now;
            if !pace.has_answered {
                pace.begun = now;
            }
        }
    }

    /// Bytes were received, so many in total, last at `at`.
    pub(crate) fn heard(&mut self, key: K, node: NodeId, bytes: u64, at: Duration) {
        let Some(pace) = self.running.0.get_mut(&(key, node)) else { return };
        if !pace.has_answered {
            pace.has_answered = true;
            self.patience.answered_after(at.saturating_sub(pace.begun));
        }
        pace.heard = pace.heard.max(at);
        pace.bytes = bytes;
    }

    /// A transfer ended, with success or not.
    pub(crate) fn end(&mut self, key: K, node: NodeId, succeeded: bool, now: Duration) {
        if let Some(pace) = self.running.0.remove(&(key, node))
            && succeeded
        {
            let took = now.saturating_sub(pace.begun);
            self.done.insert(self.done.partition_point(|known| *known < took), took);
            self.succeeded = now;
            self.wants_trial = false;
            self.running.0.values_mut().for_each(|pace| pace.is_trial = false);
        }
    }

    /// Marks the transfers that are late from now on and may be hedged, and returns them. `has_other`
    /// says whether another peer could be tried instead.
    pub(crate) fn mark_late(
        &mut self,
        now: Duration,
        mut may_hedge: impl FnMut() -> bool,
        has_other: impl Fn(&Running<K>, K, NodeId) -> bool,
    ) -> Vec<(K, NodeId)> {
        let silent = self.patience.overdue_after();
        let slow =
            self.done.get(self.done.len() / 2).map(|median| (*median * SLOWER).max(SLOW_FROM));
        let is_late = |pace: &Pace| {
            let is_silent = now.saturating_sub(pace.heard) >= silent;
            let is_slow = slow.is_some_and(|slow| now.saturating_sub(pace.begun) >= slow);
            !pace.is_late && !pace.is_queued && (is_silent || is_slow)
        };
        let late = self.running.0.iter().filter(|(_, pace)| is_late(pace));
        let mut late: Vec<_> = late.map(|(key, _)| *key).take_while(|_| may_hedge()).collect();
        late.extend(self.want_trial_if_stuck(now, has_other).filter(|stuck| !late.contains(stuck)));
        for key in &late {
            self.running.0.entry(*key).and_modify(|pace| pace.is_late = true);
        }
        late
    }

    /// If nothing has ended or begun for so long that another peer should be tried, the next one to
    /// begin is a trial. Returns the slowest that is not known to be late, if any.
    fn want_trial_if_stuck(
        &mut self,
        now: Duration,
        has_other: impl Fn(&Running<K>, K, NodeId) -> bool,
    ) -> Option<(K, NodeId)> {
        let asked = self.running.0.values().filter(|pace| !pace.is_queued);
        let begun = asked.map(|pace| pace.begun).max()?;
        let expected = self.median().map_or(TOO_LONG, |median| (2 * median).max(TOO_LONG));
        let is_tried = self.running.0.values().any(|pace| pace.is_trial);
        if self.wants_trial || is_tried || now.saturating_sub(begun.max(self.succeeded)) < expected
        {
            return None;
        }
        let open = |((key, node), _): &(&(K, NodeId), &Pace)| has_other(&self.running, *key, *node);
        let open: Vec<_> = self.running.0.iter().filter(open).collect();
        self.wants_trial = !open.is_empty();
        let in_time = open.into_iter().filter(|(_, pace)| !pace.is_late && !pace.is_queued);
        in_time.min_by_key(|(_, pace)| pace.speed(now)).map(|(slowest, _)| *slowest)
    }

    /// A transfer that is to be given up now, if any, and is no longer counted. Except for a trial
    /// that has failed, not one that nobody else could stand in for.
    pub(crate) fn give_up(
        &mut self,
        now: Duration,
        has_other: impl Fn(&Running<K>, K, NodeId) -> bool,
    ) -> Option<(K, NodeId)> {
        if let Some((key, node)) = self.end_trials(now) {
            self.running.0.remove(&(key, node));
            self.wants_trial = has_other(&self.running, key, node);
            if !self.wants_trial {
                // All were tried and none was faster: it is this node's line that is slow.
                self.running.0.values_mut().for_each(|pace| pace.is_late = false);
            }
            return Some((key, node));
        }
        let most = self.too_long()?;
        let too_slow =
            self.running.0.iter().filter(|(_, pace)| now.saturating_sub(pace.begun) >= most);
        let (key, node) = too_slow
            .map(|(key, _)| *key)
            .find(|(key, node)| has_other(&self.running, *key, *node))?;
        self.given_up += 1;
        self.running.0.remove(&(key, node));
        Some((key, node))
    }

    /// Ends the trials that had their time, until one was not faster: returns it.
    fn end_trials(&mut self, now: Duration) -> Option<(K, NodeId)> {
        let awaited = self.running.0.values().filter(|pace| !pace.is_trial);
        let fastest = awaited.map(|pace| pace.speed(now)).max().unwrap_or(0);
        let is_over = |pace: &Pace| !pace.is_queued && now.saturating_sub(pace.begun) >= TRIAL;
        let mut over = self.running.0.iter_mut().filter(|(_, p)| p.is_trial && is_over(p));
        over.find_map(|(key, pace)| {
            pace.is_trial = pace.speed(now) < fastest.saturating_mul(FASTER);
            pace.is_trial.then_some(*key)
        })
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
        paces.mark_late(ms(at), || true, |_, _, _| true)
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
            paces.mark_late(ms(300), || false, |_, _, _| true).is_empty(),
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
            paces.give_up(ms(at), |_, _, _| has_other).map(|(_, node)| node)
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
        let give_up = |paces: &mut Paces<_>, at, has_other: bool| {
            paces.give_up(ms(at), |_, _, _| has_other).map(|(_, node)| node)
        };
        paces.begin(piece, one, ms(0));
        paces.heard(piece, one, 10_000, ms(10_000));
        assert!(late(&mut paces, 9999).is_empty());
        assert!(
            paces.mark_late(ms(10_000), || true, |_, _, _| false).is_empty(),
            "nobody else has it"
        );
        assert_eq!(late(&mut paces, 10_000), [(piece, one)]);
        paces.begin(piece, two, ms(10_000));
        paces.heard(piece, one, 13_000, ms(13_000));
        paces.heard(piece, two, 4500, ms(13_000));
        assert!(late(&mut paces, 13_000).is_empty(), "one at a time");
        assert_eq!(give_up(&mut paces, 12_999, true), None);
        assert_eq!(give_up(&mut paces, 13_000, true), Some(two), "barely faster");
        paces.begin(piece, three, ms(13_000));
        paces.heard(piece, three, 2000, ms(16_000));
        assert_eq!(give_up(&mut paces, 16_000, false), Some(three));
        assert_eq!(paces.running().in_time(), 1, "the first is waited for again");
    }

    #[test]
    fn who_was_faster_when_it_was_tried_is_compared_with_the_next() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        paces.begin(piece, one, ms(0));
        paces.heard(piece, one, 10_000, ms(10_000));
        assert_eq!(late(&mut paces, 10_000), [(piece, one)]);
        paces.begin(piece, two, ms(10_000));
        paces.heard(piece, two, 9000, ms(13_000));
        assert_eq!(paces.give_up(ms(13_000), |_, _, _| true), None, "three times as fast");
        paces.heard(piece, two, 30_000, ms(20_000));
        assert_eq!(late(&mut paces, 20_000), [(piece, two)], "nothing has ended since");
        paces.begin(piece, three, ms(20_000));
        paces.heard(piece, two, 39_000, ms(23_000));
        paces.heard(piece, three, 15_000, ms(23_000));
        assert_eq!(paces.give_up(ms(23_000), |_, _, _| true), Some((piece, three)));
    }

    #[test]
    fn where_all_are_late_one_more_is_tried_and_what_waits_for_its_turn_does_not_put_it_off() {
        let [one, two, three] = [1, 2, 3].map(|seed| NodeId::new([seed; 20]));
        let piece = Piece::Index(0);
        let mut paces = paces();
        paces.begin(piece, one, ms(0));
        assert_eq!(late(&mut paces, 300), [(piece, one)], "it is silent");
        paces.begin(piece, two, ms(300));
        assert!(!paces.may_begin(1), "one that is late, and one");
        for at in (350..10_300).step_by(50) {
            paces.heard(piece, one, 1, ms(at));
            paces.set_queued(piece, two, true, ms(at));
            assert_eq!((late(&mut paces, at), paces.may_begin(1)), (vec![], at >= 10_000));
        }
        paces.begin(piece, three, ms(10_300));
        [two, three].iter().for_each(|node| paces.set_queued(piece, *node, true, ms(30_000)));
        assert!(!paces.may_begin(1) && late(&mut paces, 30_000).is_empty(), "one at a time");
        assert_eq!(paces.give_up(ms(30_000), |_, _, _| true), None, "it was not asked yet");
    }
}
