//! The tesserae whose repair waits for its turn.

use std::collections::{BTreeMap, BTreeSet};

use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;

/// The most that wait. Each costs about 50 bytes of memory; the next round finds the rest again.
const MAX_WAITING: usize = 65_536;

/// Which tesserae wait, and until when. Kept in memory only: the next round finds what a restart
/// forgets.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// From when on each may be repaired.
    waiting: BTreeMap<TesseraHash, Timestamp>,
    /// Those that are being repaired.
    running: BTreeSet<TesseraHash>,
}

impl Agenda {
    /// From this time on, a tessera may be repaired. An earlier entry of it is replaced.
    pub(crate) fn put(&mut self, tessera: TesseraHash, at: Timestamp) {
        if self.waiting.len() < MAX_WAITING || self.waiting.contains_key(&tessera) {
            self.waiting.insert(tessera, at);
        }
    }

    /// The tessera that is to be repaired now, of several the one for which `key` is smallest. It
    /// is not given again until [`Agenda::ended`].
    pub(crate) fn begin_next<K: Ord>(
        &mut self,
        now: Timestamp,
        key: impl Fn(&TesseraHash) -> K,
    ) -> Option<TesseraHash> {
        let due = self.waiting.iter().filter(|(_, at)| **at <= now).map(|(tessera, _)| *tessera);
        let next = due.filter(|tessera| !self.running.contains(tessera)).min_by_key(key)?;
        self.waiting.remove(&next);
        self.running.insert(next);
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

    #[test]
    fn what_is_due_is_given_once_the_most_urgent_first() {
        let mut agenda = Agenda::default();
        agenda.put(hash(1), Timestamp(10));
        agenda.put(hash(2), Timestamp(20));
        agenda.put(hash(3), Timestamp(30));
        let next = |agenda: &mut Agenda, now| {
            agenda.begin_next(Timestamp(now), |tessera| std::cmp::Reverse(*tessera))
        };
        assert_eq!(next(&mut agenda, 9), None);
        assert_eq!(next(&mut agenda, 20), Some(hash(2)));
        agenda.put(hash(2), Timestamp(20));
        assert_eq!(next(&mut agenda, 20), Some(hash(1)), "the other one is being repaired");
        assert_eq!(next(&mut agenda, 20), None);
        agenda.ended(&hash(2));
        assert_eq!(next(&mut agenda, 20), Some(hash(2)), "it was put again in the meantime");
        agenda.put(hash(3), Timestamp(40));
        assert_eq!(next(&mut agenda, 30), None, "it waits for longer");
        assert_eq!(next(&mut agenda, 40), Some(hash(3)));
    }

    #[test]
    fn a_full_agenda_takes_no_more() {
        let mut agenda = Agenda::default();
        let hash = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            TesseraHash::new(bytes)
        };
        (0..=MAX_WAITING).for_each(|n| agenda.put(hash(n), Timestamp(1)));
        agenda.put(hash(0), Timestamp(2));
        assert_eq!(agenda.waiting.len(), MAX_WAITING);
        assert_eq!(agenda.waiting[&hash(0)], Timestamp(2), "it was there");
    }
}
