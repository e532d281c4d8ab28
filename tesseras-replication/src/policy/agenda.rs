//! The tesserae whose repair waits for its turn.

use std::collections::BTreeMap;

use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;

use super::steward::Turn;

/// The most that wait. Each costs about 100 bytes of memory; the next round finds the rest again.
const MAX_WAITING: usize = 65_536;

/// Which tesserae wait, and until when. Kept in memory only: the next round finds what a restart
/// forgets.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    waiting: BTreeMap<TesseraHash, Turn>,
    /// Those that are being repaired, and since when this node knows that they are due.
    running: BTreeMap<TesseraHash, Timestamp>,
}

impl Agenda {
    /// A tessera waits. An earlier entry of it is replaced.
    pub(crate) fn put(&mut self, tessera: TesseraHash, turn: Turn) {
        if self.waiting.len() < MAX_WAITING || self.waiting.contains_key(&tessera) {
            self.waiting.insert(tessera, turn);
        }
    }

    /// A tessera does not wait any more.
    pub(crate) fn remove(&mut self, tessera: &TesseraHash) {
        self.waiting.remove(tessera);
    }

    /// What is known of a tessera that waits.
    pub(crate) fn waiting(&self, tessera: &TesseraHash) -> Option<Turn> {
        self.waiting.get(tessera).copied()
    }

    /// Since when this node knows that a repair is due.
    pub(crate) fn due_since(&self, tessera: &TesseraHash) -> Option<Timestamp> {
        let waiting = self.waiting.get(tessera).map(|turn| turn.since);
        waiting.into_iter().chain(self.running.get(tessera).copied()).min()
    }

    /// The tessera that is to be repaired now, of several the one for which `key` is smallest. It
    /// is not given again until [`Agenda::ended`].
    pub(crate) fn begin_next<K: Ord>(
        &mut self,
        now: Timestamp,
        key: impl Fn(&TesseraHash) -> K,
    ) -> Option<TesseraHash> {
        let due = self.waiting.iter().filter(|(_, turn)| turn.at <= now);
        let due = due.map(|(tessera, _)| *tessera);
        let next = due.filter(|tessera| !self.running.contains_key(tessera)).min_by_key(key)?;
        let since = self.waiting.remove(&next)?.since;
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
        agenda.put(hash(1), at(10));
        agenda.put(hash(2), at(20));
        agenda.put(hash(3), at(30));
        let next = |agenda: &mut Agenda, now| {
            agenda.begin_next(Timestamp(now), |tessera| std::cmp::Reverse(*tessera))
        };
        assert_eq!(next(&mut agenda, 9), None);
        assert_eq!(next(&mut agenda, 20), Some(hash(2)));
        agenda.put(hash(2), at(20));
        assert_eq!(next(&mut agenda, 20), Some(hash(1)), "the other one is being repaired");
        assert_eq!(next(&mut agenda, 20), None);
        agenda.ended(&hash(2));
        assert_eq!(next(&mut agenda, 20), Some(hash(2)), "it was put again in the meantime");
        agenda.put(hash(3), at(40));
        assert_eq!(next(&mut agenda, 30), None, "it waits for longer");
        assert_eq!(agenda.due_since(&hash(3)), Some(Timestamp(20)));
        assert_eq!(next(&mut agenda, 40), Some(hash(3)));
        assert_eq!(agenda.due_since(&hash(3)), Some(Timestamp(20)), "while it is repaired, too");
        agenda.put(hash(4), at(50));
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
        (0..=MAX_WAITING).for_each(|n| agenda.put(hash(n), at(1)));
        agenda.put(hash(0), at(2));
        assert_eq!(agenda.waiting.len(), MAX_WAITING);
        assert_eq!(agenda.waiting[&hash(0)], at(2), "it was there");
    }
}
