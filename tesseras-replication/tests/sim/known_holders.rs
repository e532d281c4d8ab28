//! The recorded holders of one tessera in memory, as [`crate::memory`] keeps them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{
    HintBy, KnownHolder, MAX_HINTS, MAX_HINTS_OF_STRANGERS, MAX_KNOWN_HOLDERS,
};
use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};

/// How long holders are recorded, in seconds.
const LIFETIME: u64 = 30 * 86_400;

/// How well a holder is known, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Seen,
    Placer,
    Stranger,
}

#[derive(Default)]
pub struct KnownHolders(BTreeMap<NodeId, (By, Timestamp, Contact)>);

impl KnownHolders {
    pub fn remember(&mut self, seen: &[Contact], now: Timestamp) {
        if seen.is_empty() {
            return;
        }
        for (by, date, _) in self.0.values_mut() {
            if *date > now.plus(CLOCK_TOLERANCE) {
                (*by, *date) = ((*by).max(By::Placer), now);
            }
        }
        self.write(seen, By::Seen, now);
        self.0.retain(|_, (_, date, _)| date.0 >= now.0.saturating_sub(LIFETIME));
        self.trim();
    }

    pub fn hint(&mut self, hints: &[Contact], by: HintBy, now: Timestamp) {
        match by {
            HintBy::Placer => self.write(hints, By::Placer, now),
            HintBy::Stranger => {
                let room = MAX_HINTS_OF_STRANGERS
                    .saturating_sub(self.count(By::Stranger))
                    .min(MAX_HINTS.saturating_sub(self.count(By::Placer)))
                    .min(MAX_KNOWN_HOLDERS.saturating_sub(self.0.len()));
                let new = hints.iter().filter(|hint| !self.0.contains_key(&hint.id));
                let new: Vec<Contact> = new.take(room).cloned().collect();
                self.write(&new, By::Stranger, now);
            }
        }
        self.trim();
    }

    /// How many are known like this, or less well.
    fn count(&self, least: By) -> usize {
        self.0.values().filter(|(by, ..)| *by >= least).count()
    }

    fn write(&mut self, holders: &[Contact], by: By, now: Timestamp) {
        for contact in holders {
            let is_better = self.0.get(&contact.id).is_none_or(|(was, date, _)| {
                by < *was || (by == By::Seen && *was == By::Seen && now >= *date)
            });
            if is_better {
                self.0.insert(contact.id, (by, now, contact.clone()));
            }
        }
    }

    fn trim(&mut self) {
        for (least, limit) in [(By::Placer, MAX_HINTS), (By::Seen, MAX_KNOWN_HOLDERS)] {
            for (_, _, id) in self.in_order(least).into_iter().skip(limit) {
                self.0.remove(&id);
            }
        }
    }

    fn in_order(&self, least: By) -> Vec<(By, Reverse<Timestamp>, NodeId)> {
        let all = self.0.iter().filter(|(_, (by, ..))| *by >= least);
        let mut all: Vec<_> = all.map(|(id, (by, date, _))| (*by, Reverse(*date), *id)).collect();
        all.sort_unstable();
        all
    }

    pub fn all(&self) -> Vec<KnownHolder> {
        let known = |(by, Reverse(date), id): (By, Reverse<Timestamp>, NodeId)| KnownHolder {
            contact: self.0[&id].2.clone(),
            seen: (by == By::Seen).then_some(date),
        };
        self.in_order(By::Seen).into_iter().map(known).collect()
    }
}
