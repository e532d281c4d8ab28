//! When what is missing is replaced: at once where a tessera is endangered, otherwise only after
//! its holders have had time to come back.
//!
//! Most nodes that do not answer come back, and each repair reads k pieces. So repair is lazy, as
//! in Total Recall (Bhagwan et al., NSDI 2004): it waits, and then replaces several pieces at once.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::placement::{Lack, Placement};
use tesseras_core::plan::Plan;
use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};

use super::survey::Survey;

/// When what a tessera lacks is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Now: the tessera is endangered, or someone asked for it.
    Now,
    /// In its turn, with the bandwidth that there is for repairs.
    InTurn,
    /// Not yet: what is missing may come back, or is little.
    Later,
}

/// Few missing pieces are replaced when the first of their holders has been silent for this many
/// grace periods.
const GRACES_FOR_FEW: u32 = 7;
/// Missing fragments are few if they are fewer than one in this many of the redundant ones.
const FEW: usize = 4;

/// What a tessera lacks, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    /// How many pieces are missing.
    missing: usize,
    /// How many of them are with holders that have been silent for less than the grace period, and
    /// may return.
    may_return: usize,
    /// As many missing pieces as this are replaced without further delay.
    many: usize,
    /// How many holders may be lost now.
    survives: usize,
    /// How many might be, if nothing were missing. Where neighbourhoods are shared, it is fewer than
    /// the target form says.
    promised: usize,
    /// For how long the first of the silent holders has been silent; `None` if all answered.
    silent_for: Option<Duration>,
}

impl Loss {
    fn urgency(&self, grace: Duration) -> Urgency {
        let gone = self.missing.saturating_sub(self.may_return);
        let is_old = self.silent_for.is_none_or(|silent| silent >= grace * GRACES_FOR_FEW);
        if 2 * self.survives < self.promised {
            Urgency::Now
        } else if gone >= self.many || (gone > 0 && is_old) {
            Urgency::InTurn
        } else {
            Urgency::Later
        }
    }
}

/// When what is missing is to be replaced by a routine repair. A holder that does not answer may come
/// back within `grace` after it was last seen.
pub(crate) fn urgency(
    grace: Duration,
    plan: &Plan,
    lack: &Lack,
    survey: &Survey,
    now: Timestamp,
) -> Urgency {
    // A date in the future says only that a clock was wrong.
    let silent_for = |id| {
        let seen: &Timestamp = survey.last_seen.get(id)?;
        (*seen <= now.plus(CLOCK_TOLERANCE)).then(|| now.since(*seen))
    };
    let silent: Vec<Duration> =
        survey.silent.iter().filter_map(|contact| silent_for(&contact.id)).collect();
    let attested = survey.attested(plan);
    let each = average_load(&attested.counted());
    let lacks_copies = lack.pieces.contains(&Piece::Whole);
    let redundant = plan.coded().map_or(0, |form| usize::from(form.shape.m));
    let loss = Loss {
        missing: lack.pieces.len(),
        may_return: each * silent.iter().filter(|silent| **silent < grace).count(),
        many: if lacks_copies { 1 } else { (redundant / FEW).max(1) },
        survives: attested.survives(),
        promised: promised(lack),
        silent_for: silent.into_iter().max(),
    };
    loss.urgency(grace)
}

/// How many pieces a holder has on average, rounded up, at least one: by what counts, so that holders
/// that attest more than they may be trusted with do not put repair off for the others.
fn average_load(counted: &Placement) -> usize {
    let loads = counted.values().map(|held| held.len()).filter(|load| *load > 0);
    let (holders, pieces) =
        loads.fold((0, 0), |(holders, pieces), load| (holders + 1, pieces + load));
    usize::div_ceil(pieces, holders.max(1)).max(1)
}

/// How many holders might be lost if nothing were missing: as the target form says, or, if all of it
/// can be placed, as it would be then. At least one if the form says so: what survives no loss is
/// endangered.
fn promised(lack: &Lack) -> usize {
    match lack.without_room {
        0 => lack.form.survives.min(lack.survives.max(1)),
        _ => lack.form.survives,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(100);

    /// Of 24 fragments on holders of their own.
    fn loss(missing: usize) -> Loss {
        let survives = 8_usize.saturating_sub(missing);
        let silent_for = Some(Duration::from_secs(200));
        Loss { missing, may_return: 0, many: 2, survives, promised: 8, silent_for }
    }

    impl Loss {
        fn is_due(&self, grace: Duration) -> bool {
            self.urgency(grace) != Urgency::Later
        }
    }

    #[test]
    fn what_may_come_back_is_waited_for_and_few_pieces_wait_for_more() {
        assert!(!loss(1).is_due(GRACE) && loss(2).is_due(GRACE));
        let old = Some(7 * GRACE);
        assert!(Loss { silent_for: old, ..loss(1) }.is_due(GRACE));
        for missing in 1..=4 {
            let may_return = Loss { may_return: missing, silent_for: old, ..loss(missing) };
            assert!(!may_return.is_due(GRACE), "{missing} may come back");
        }
        assert!(Loss { may_return: 2, ..loss(4) }.is_due(GRACE), "two are gone");
    }

    #[test]
    fn where_neighbourhoods_are_shared_less_is_promised_and_little_is_not_urgent() {
        use std::collections::BTreeSet;

        use tesseras_core::code::CODED_FROM_BYTES;
        use tesseras_core::contact::Subnet;
        use tesseras_core::ids::{DhtKey, NodeId};
        use tesseras_core::placement::{Assignment, Candidate};

        // 24 fragments, two in a neighbourhood, of which the first ones are missing.
        let promised = |missing: u8, room: u64| {
            let holder = |i: u8| Candidate {
                id: NodeId::new([i + 1; 20]),
                subnet: Subnet::V4([8, 8, i / 2]),
                pieces: BTreeSet::from_iter((i >= missing).then_some(Piece::Index(i))),
                room,
            };
            let all = (0..24).map(holder);
            super::promised(&Assignment::new(DhtKey::new([9; 20]), CODED_FROM_BYTES, all).lack())
        };
        assert_eq!(promised(1, u64::MAX), 4, "eight fragments in four neighbourhoods");
        assert!(promised(1, 0) > 4, "there is no room for what is missing");
        let shared = |survives, missing| Loss { survives, promised: 4, ..loss(missing) };
        assert_ne!(shared(3, 1).urgency(GRACE), Urgency::Now);
        assert_eq!(shared(1, 5).urgency(GRACE), Urgency::Now);
    }

    #[test]
    fn what_is_endangered_or_missing_for_another_reason_is_replaced_without_waiting() {
        let endangered = Loss { may_return: 5, ..loss(5) };
        assert_eq!(endangered.urgency(GRACE), Urgency::Now, "three more may be lost");
        assert_eq!(loss(4).urgency(GRACE), Urgency::InTurn, "four more");
        assert!(Loss { silent_for: None, ..loss(1) }.is_due(GRACE), "no holder is silent");
        let copies = Loss { many: 1, survives: 4, promised: 6, ..loss(1) };
        assert!(copies.is_due(GRACE), "a copy is only read, and not rebuilt");
        assert!(!Loss { may_return: 1, ..copies }.is_due(GRACE));
    }
}
