//! The tesserae whose repair waits for its turn.

use std::collections::{BTreeMap, BTreeSet};

use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;

use super::steward::Turn;

/// The most that wait. Each costs about 200 bytes of memory; the next round finds the rest again.
const MAX_WAITING: usize = 65_536;

/// Which tesserae wait, and until when. Kept in memory only: the next round finds what a restart
/// forgets.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    waiting: BTreeMap<TesseraHash, Postponed>,
    /// Of these, those whose turn has not come, the next first.
    later: BTreeSet<(Timestamp, TesseraHash)>,
    /// And those whose turn has come, the most endangered first.
    due: BTreeSet<(usize, TesseraHash)>,
    /// Those that are being repaired, and since when this node knows that they are due.
    running: BTreeMap<TesseraHash, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Postponed {
    turn: Turn,
    /// How many losses it survived when it was looked at last.
    survives: usize,
}

impl Agenda {
    /// A tessera that would survive so many losses waits for its turn. An earlier entry of it is
    /// replaced.
    pub(crate) fn put(&mut self, tessera: TesseraHash, turn: Turn, survives: usize) {
        self.remove(&tessera);
        if self.waiting.len() < MAX_WAITING {
            self.waiting.insert(tessera, Postponed { turn, survives });
            self.later.insert((turn.at, tessera));
        }
    }

    /// A tessera does not wait any more.
    pub(crate) fn remove(&mut self, tessera: &TesseraHash) -> Option<Turn> {
        let Postponed { turn, survives } = self.waiting.remove(tessera)?;
        if !self.due.remove(&(survives, *tessera)) {
            self.later.remove(&(turn.at, *tessera));
        }
        Some(turn)
    }

    /// The turn that a tessera waits for, if it does.
    pub(crate) fn waiting(&self, tessera: &TesseraHash) -> Option<Turn> {
        self.waiting.get(tessera).map(|waiting| waiting.turn)
    }

    /// Since when this node knows that a repair is due.
    pub(crate) fn due_since(&self, tessera: &TesseraHash) -> Option<Timestamp> {
        let waiting = self.waiting(tessera).map(|turn| turn.since);
        waiting.into_iter().chain(self.running.get(tessera).copied()).min()
    }

    /// The tessera whose repair is to begin now, of several the most endangered one. It is not given
    /// again until [`Agenda::ended`]. Takes time in proportion to the number of those that are being
    /// repaired.
    pub(crate) fn begin_next(&mut self, now: Timestamp) -> Option<TesseraHash> {
        while let Some((at, tessera)) = self.later.first().copied()
            && at <= now
        {
            self.later.pop_first();
            let survives = self.waiting.get(&tessera).map_or(0, |waiting| waiting.survives);
            self.due.insert((survives, tessera));
        }
        let next = self.due.iter().find(|(_, tessera)| !self.running.contains_key(tessera));
        let (_, next) = *next?;
        let since = self.remove(&next)?.since;
        self.running.insert(next, since);
        Some(next)
    }

    /// The repair of a tessera has ended, however it did.
    pub(crate) fn ended(&mut self, tessera: &TesseraHash) {
        self.running.remove(tessera);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(seed: u8) -> TesseraHash {
        TesseraHash::new([seed; 32])
    }

    fn at(at: u64) -> Turn {
        Turn::first(Timestamp(at / 2), Timestamp(at))
    }

    #[test]
    fn what_is_due_is_given_once_the_most_urgent_first() {
        let mut agenda = Agenda::default();
        agenda.put(hash(1), at(10), 3);
        agenda.put(hash(2), at(20), 2);
        agenda.put(hash(3), at(30), 1);
        let next = |agenda: &mut Agenda, now| agenda.begin_next(Timestamp(now));
        assert_eq!(next(&mut agenda, 9), None);
        assert_eq!(next(&mut agenda, 20), Some(hash(2)));
        agenda.put(hash(2), at(20), 2);
        assert_eq!(next(&mut agenda, 20), Some(hash(1)), "the other one is being repaired");
        assert_eq!(next(&mut agenda, 20), None);
        agenda.ended(&hash(2));
        assert_eq!(next(&mut agenda, 20), Some(hash(2)), "it was put again in the meantime");
        agenda.put(hash(3), at(40), 1);
        assert_eq!(next(&mut agenda, 30), None, "it waits for longer");
        assert_eq!(agenda.due_since(&hash(3)), Some(Timestamp(20)));
        assert_eq!(next(&mut agenda, 40), Some(hash(3)));
        assert_eq!(agenda.due_since(&hash(3)), Some(Timestamp(20)), "while it is repaired, too");
        agenda.put(hash(4), at(50), 1);
        agenda.remove(&hash(4));
        assert_eq!((next(&mut agenda, 50), agenda.due_since(&hash(4))), (None, None));
    }

    #[test]
    fn a_full_agenda_takes_no_more() {
        let mut agenda = Agenda::default();
        let hash = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            TesseraHash::new(bytes)
        };
        (0..=MAX_WAITING).for_each(|n| agenda.put(hash(n), at(1), 1));
        agenda.put(hash(0), at(2), 1);
        assert_eq!(agenda.waiting.len(), MAX_WAITING);
        assert_eq!(agenda.waiting(&hash(0)), Some(at(2)), "it was there");
        assert_eq!(agenda.later.len(), MAX_WAITING);
    }

    /// What happens to an agenda.
    #[derive(Debug, Clone)]
    enum Step {
        Put(u8, u64, usize),
        Remove(u8),
        Begin,
        Ended(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u8..6, 0_u64..60, 0_usize..3).prop_map(|(n, at, left)| Step::Put(n, at, left)),
            (0_u8..6).prop_map(Step::Remove),
            Just(Step::Begin),
            (0_u8..6).prop_map(Step::Ended),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn the_next_is_the_one_that_a_look_at_all_finds(steps in steps()) {
            let mut agenda = Agenda::default();
            for (now, step) in (0..).zip(steps) {
                match step {
                    Step::Put(n, when, survives) => agenda.put(hash(n), at(when), survives),
                    Step::Remove(n) => _ = agenda.remove(&hash(n)),
                    Step::Ended(n) => agenda.ended(&hash(n)),
                    Step::Begin => {
                        let is_due = |(tessera, waiting): &(&TesseraHash, &Postponed)| {
                            waiting.turn.at.0 <= now && !agenda.running.contains_key(tessera)
                        };
                        let due = agenda.waiting.iter().filter(is_due);
                        let expected = due.min_by_key(|(_, waiting)| waiting.survives);
                        let expected = expected.map(|(tessera, _)| *tessera);
                        prop_assert_eq!(agenda.begin_next(Timestamp(now)), expected);
                    }
                }
                prop_assert_eq!(agenda.waiting.len(), agenda.later.len() + agenda.due.len());
            }
        }
    }
}
