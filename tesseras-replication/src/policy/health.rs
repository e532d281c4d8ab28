//! The state of a tessera, counted conservatively from what its holders attest.

use std::collections::BTreeSet;

use tesseras_core::code::Shape;
use tesseras_core::placement::{self, Assignment, Placement, TargetForm};
use tesseras_core::plan::Plan;

use super::survey::Survey;

/// The state of a tessera in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Created here, and not published.
    Local,
    /// Being published from here, possibly in the background.
    Publishing,
    /// All pieces are live.
    Healthy,
    /// Readable, but pieces are missing.
    Degraded,
    /// Not readable from its holders now.
    Unreachable,
}

/// The figures of a tessera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TesseraHealth {
    /// The state in one word.
    pub state: HealthState,
    /// n for a coded form, or the target number of whole copies.
    pub total: usize,
    /// How many of them were attested.
    pub live: usize,
    /// How many are needed to read it.
    pub needed: usize,
    /// The whole copies, including those beside a coded form.
    pub copies: Copies,
    /// How many of the holders, the worst ones, may be lost, those of one neighbourhood together.
    pub survives: usize,
    /// Which node attested which pieces.
    pub placement: Placement,
    /// How many of the attested pieces do not count in `survives`: one holder, or the holders of
    /// one neighbourhood, claim more than their share ([`Assignment::counted`]).
    pub uncounted: usize,
    /// How many holders do not answer, if the other nodes lack nothing: repair can do nothing then.
    /// Otherwise 0.
    pub only_silent: usize,
    /// Whether the capsule is in the library of the node that was asked. It does not count in the
    /// figures above: it is lost with that node.
    pub in_library: bool,
}

/// Whole copies of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies {
    /// How many there should be.
    pub total: usize,
    /// How many of these were attested.
    pub live: usize,
}

/// The counts of a tessera's pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) live: usize,
    pub(crate) needed: usize,
    pub(crate) copies: Copies,
}

impl Counts {
    /// Counts fragments, if the coded form is readable or there is nothing else, and the copies
    /// beside them; otherwise whole copies, as many as are equivalent to the target form. `all` are
    /// the holders and the other eligible nodes, `attested` the holders alone.
    pub(crate) fn of(all: &Assignment, attested: &Assignment, plan: &Plan) -> Self {
        let form = all.target();
        let whole = placement::whole_copies(&all.accepted());
        let copies = Copies { total: form.whole, live: whole.min(form.whole) };
        let distinct = placement::distinct_fragments(&attested.accepted()).len();
        let fragments_count = |shape: &Shape| match form.coded {
            Some(_) => whole == 0 || distinct >= shape.k.into(),
            None => whole == 0 && distinct > 0,
        };
        match plan.coded().map(|coded| coded.shape).filter(fragments_count) {
            Some(shape) => {
                Self { total: shape.n().into(), live: distinct, needed: shape.k.into(), copies }
            }
            None => {
                let total = form.coded.map_or(form.whole, |_| form.survives + 1);
                Self { total, live: whole.min(total), needed: 1, copies }
            }
        }
    }

    /// Whether the target is met.
    pub(crate) fn are_complete(&self) -> bool {
        self.live == self.total && self.copies.live == self.copies.total
    }
}

impl TesseraHealth {
    /// The state of a tessera of which no answer is known.
    pub(crate) fn nothing(in_library: bool) -> Self {
        Self {
            state: HealthState::Unreachable,
            total: 0,
            live: 0,
            needed: 1,
            copies: Copies::default(),
            survives: 0,
            placement: Placement::new(),
            uncounted: 0,
            only_silent: 0,
            in_library,
        }
    }

    /// Counts the result of a survey. `assignment` has the holders with their pieces and the other
    /// eligible nodes; `eligible` is the number of nodes.
    pub(crate) fn of(
        plan: &Plan,
        survey: &Survey,
        assignment: &Assignment,
        eligible: usize,
        in_library: bool,
    ) -> Self {
        let (placement, attested) = (survey.placement(plan), survey.attested(plan));
        let mut counts = Counts::of(assignment, &attested, plan);
        let k = plan.coded().map(|coded| coded.shape.k);
        let survives = attested.survives();
        // Nodes that were seen recently and are silent still count towards the target: losing them
        // does not lower it.
        let expected = TargetForm::of(plan.pack_bytes(), eligible + survey.silent.len());
        if counts.needed == 1 {
            let copies = expected.coded.map_or(expected.whole, |_| expected.survives + 1);
            counts.total = counts.total.max(copies);
        }
        let state = if !placement::is_readable(&placement, k) {
            HealthState::Unreachable
        } else if counts.are_complete() {
            HealthState::Healthy
        } else {
            HealthState::Degraded
        };
        let only_silent = match state {
            HealthState::Degraded if lacks_nothing(assignment) => survey.silent.len(),
            _ => 0,
        };
        Self {
            state,
            total: counts.total,
            live: counts.live,
            needed: counts.needed,
            copies: counts.copies,
            survives,
            uncounted: pieces_in(&placement) - pieces_in(&attested.counted()),
            placement,
            only_silent,
            in_library,
        }
    }
}

/// Whether repair would place nothing with these nodes.
fn lacks_nothing(assignment: &Assignment) -> bool {
    let lack = assignment.lack();
    lack.pieces.is_empty() && lack.without_room == 0
}

fn pieces_in(placement: &Placement) -> usize {
    placement.values().map(BTreeSet::len).sum()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tesseras_core::code::{CODED_FROM_BYTES, Piece};
    use tesseras_core::contact::Contact;
    use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};

    use super::*;
    use crate::messages::AttestedPiece;
    use crate::policy::survey::LiveHolder;

    const SUM: ContentHash = ContentHash::new([1; 32]);

    fn contact(id: u8) -> Contact {
        let address = SocketAddr::from(([8, 8, id, 1], 7));
        Contact { id: NodeId::new([id; 20]), addresses: vec![address] }
    }

    /// Of 24 fragments, those that so many holders, each of its own neighbourhood, have in turn.
    fn spread(fragments: u8, holders: u8, silent: u8) -> TesseraHealth {
        let plan = Plan::new(TesseraHash::new([2; 32]), CODED_FROM_BYTES, SUM, vec![SUM; 24]);
        let plan = plan.expect("a plan");
        let attested = |index| AttestedPiece { piece: Piece::Index(index), checksum: SUM };
        let live = (0..holders).map(|id| {
            let pieces = (0..fragments).filter(|index| index % holders == id).map(attested);
            let contact = contact(id);
            (contact.id, LiveHolder { contact, plan: None, pieces: pieces.collect() })
        });
        let survey = Survey {
            live: live.collect(),
            silent: (0..silent).map(|id| contact(100 + id)).collect(),
            ..Survey::default()
        };
        let all = survey.attested(&plan);
        TesseraHealth::of(&plan, &survey, &all, holders.into(), false)
    }

    #[test]
    fn what_is_all_live_is_healthy_whoever_is_silent() {
        for silent in [0, 1, 5] {
            let health = spread(24, 23, silent);
            let figures = (health.live, health.total, health.only_silent);
            assert_eq!((health.state, figures), (HealthState::Healthy, (24, 24, 0)), "{silent}");
        }
        let health = spread(23, 23, 1);
        assert_eq!((health.state, health.live, health.total), (HealthState::Degraded, 23, 24));
    }
}
