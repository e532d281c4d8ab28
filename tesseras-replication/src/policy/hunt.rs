//! Which piece to fetch next and from which holder, until the pack can be read.

use std::collections::{BTreeMap, BTreeSet};

use tesseras_core::code::{CodedForm, Piece};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::plan::Plan;

use super::pace::Running;
use super::survey::LiveHolder;

/// After this many failures a holder is not asked again.
const MAX_FAILURES: u32 = 2;

/// The pieces at hand, and the holders of the rest. Holders may be added at any time.
pub(crate) struct Hunt {
    plan: Plan,
    needed: usize,
    have: BTreeSet<Piece>,
    /// For each piece, the nodes that may have it.
    sources: BTreeMap<Piece, Vec<Contact>>,
    failures: BTreeMap<NodeId, u32>,
    /// Holders that were given up for their slowness: they are asked once nobody else is left.
    slow: BTreeSet<NodeId>,
    /// The nodes that delivered something.
    holders: BTreeSet<NodeId>,
}

impl Hunt {
    /// Starts with the pieces at hand.
    pub(crate) fn new(plan: Plan, have: BTreeSet<Piece>) -> Self {
        let needed = plan.coded().map_or(1, |form| form.shape.k.into());
        Self {
            plan,
            needed,
            have,
            sources: BTreeMap::new(),
            failures: BTreeMap::new(),
            slow: BTreeSet::new(),
            holders: BTreeSet::new(),
        }
    }

    /// A holder attested; its pieces count only under the checksums of the plan.
    pub(crate) fn found(&mut self, holder: &LiveHolder) {
        let contact = &holder.contact;
        for held in &holder.pieces {
            if self.plan.checksum(held.piece) != Some(held.checksum) {
                continue;
            }
            match (held.piece, self.plan.coded()) {
                // A holder of the whole pack can serve each of its data fragments.
                (Piece::Whole, Some(CodedForm { shape, .. })) => {
                    (0..shape.k).for_each(|index| self.add(Piece::Index(index), contact));
                }
                (piece, _) => self.add(piece, contact),
            }
        }
    }

    fn add(&mut self, piece: Piece, contact: &Contact) {
        let known = self.sources.entry(piece).or_default();
        if known.iter().all(|other| other.id != contact.id) {
            known.push(contact.clone());
        }
    }

    /// How many pieces are needed in total.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// How many are still needed.
    pub(crate) fn missing(&self) -> usize {
        match self.have.contains(&Piece::Whole) {
            true => 0,
            false => self.needed.saturating_sub(self.have.len()),
        }
    }

    /// How many data fragments are at hand from the first on, without a gap.
    pub(crate) fn leading(&self) -> u8 {
        let fragments = 0..self.plan.coded().map_or(0, |form| form.shape.k);
        fragments.take_while(|index| self.have.contains(&Piece::Index(*index))).count() as u8
    }

    /// The length of the pieces that are fetched, in bytes.
    pub(crate) fn piece_bytes(&self) -> u64 {
        let kind = if self.plan.coded().is_some() { Piece::Index(0) } else { Piece::Whole };
        self.plan.piece_bytes(kind).unwrap_or(0)
    }

    /// The next piece and its source, if more pieces are needed than are in progress and not late:
    /// data before parity; of its holders one that is not late, and the least busy of these. A late
    /// piece is fetched from another holder if no other piece is left.
    ///
    /// While more holders are expected, the data may still turn up: as decoding costs more than
    /// waiting for it, parity is then only used in place of what is late, or when nothing else is in
    /// progress.
    pub(crate) fn next(
        &self,
        running: &Running<Piece>,
        expects_more: bool,
    ) -> Option<(Piece, Contact)> {
        if self.missing() <= running.in_time() {
            return None;
        }
        let k = self.plan.coded().map_or(0, |form| form.shape.k);
        let data_only = expects_more && running.in_time() > 0 && running.late() == 0;
        let is_parity = |piece: &Piece| matches!(piece, Piece::Index(index) if *index >= k);
        let open = |piece: &Piece| !(self.have.contains(piece) || data_only && is_parity(piece));
        let fresh = |piece: &Piece| open(piece) && !running.has(*piece);
        let once_more =
            |piece: &Piece| open(piece) && running.has(*piece) && !running.has_in_time(*piece);
        let is_quick = |holder: &NodeId| !self.slow.contains(holder);
        let any = |_: &NodeId| true;
        self.pick(running, fresh, is_quick)
            .or_else(|| self.pick(running, once_more, is_quick))
            .or_else(|| self.pick(running, fresh, any))
            .or_else(|| self.pick(running, once_more, any))
    }

    /// Whether a holder that was not given up could deliver this piece, or another in its place,
    /// instead of this holder.
    pub(crate) fn has_other(&self, running: &Running<Piece>, piece: Piece, holder: NodeId) -> bool {
        let suits =
            |other: &Piece| !self.have.contains(other) && (*other == piece || !running.has(*other));
        let is_other = |id: &NodeId| *id != holder && !self.slow.contains(id);
        self.pick(running, suits, is_other).is_some()
    }

    fn pick(
        &self,
        running: &Running<Piece>,
        suits: impl Fn(&Piece) -> bool,
        may_give: impl Fn(&NodeId) -> bool,
    ) -> Option<(Piece, Contact)> {
        self.sources.iter().filter(|(piece, _)| suits(piece)).find_map(|(piece, contacts)| {
            let usable = contacts.iter().filter(|contact| {
                self.failures.get(&contact.id).is_none_or(|failed| *failed < MAX_FAILURES)
                    && may_give(&contact.id)
                    && !running.has_with(*piece, contact.id)
            });
            // One with fewer late transfers, then with fewer in all.
            let best = usable.min_by_key(|contact| running.with(contact.id))?;
            Some((*piece, best.clone()))
        })
    }

    /// A transfer was given up: its holder is asked again only when nobody else is left.
    pub(crate) fn given_up(&mut self, holder: NodeId) {
        self.slow.insert(holder);
    }

    /// A piece was received.
    pub(crate) fn succeeded(&mut self, piece: Piece, holder: NodeId) {
        self.failures.remove(&holder);
        self.have.insert(piece);
        self.holders.insert(holder);
    }

    /// A transfer failed.
    pub(crate) fn failed(&mut self, piece: Piece, holder: NodeId) {
        *self.failures.entry(holder).or_default() += 1;
        if let Some(contacts) = self.sources.get_mut(&piece) {
            contacts.retain(|contact| contact.id != holder);
        }
    }

    /// Returns the pieces at hand and the nodes that delivered them.
    pub(crate) fn end(self) -> (BTreeSet<Piece>, BTreeSet<NodeId>) {
        (self.have, self.holders)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tesseras_core::code::CODED_FROM_BYTES;
    use tesseras_core::ids::{ContentHash, TesseraHash};

    use super::*;
    use crate::messages::AttestedPiece;
    use crate::policy::pace::Paces;
    use crate::policy::patience::{Manner, Patience};

    const SUM: ContentHash = ContentHash::new([1; 32]);

    /// A hunt, and the transfers that are in progress for it.
    struct Task {
        hunt: Hunt,
        paces: Paces<Piece>,
    }

    impl Task {
        fn new(pack_bytes: u64, checksums: usize) -> Self {
            let tessera = TesseraHash::new([2; 32]);
            let plan = Plan::new(tessera, pack_bytes, SUM, vec![SUM; checksums]).expect("a plan");
            let paces = Paces::new(Patience::new(Manner::Quick, Duration::from_secs(1)));
            Self { hunt: Hunt::new(plan, BTreeSet::new()), paces }
        }

        /// Begins the next transfer.
        fn next(&mut self, expects_more: bool) -> Option<(Piece, NodeId)> {
            let (piece, contact) = self.hunt.next(self.paces.running(), expects_more)?;
            self.paces.begin(piece, contact.id, Duration::ZERO);
            Some((piece, contact.id))
        }

        /// All that are in progress are late now.
        fn all_are_late(&mut self) {
            self.paces.mark_late(Duration::from_secs(1), || true, |_, _, _| false);
        }

        fn succeeded(&mut self, piece: Piece, node: NodeId) {
            self.paces.end(piece, node, true, Duration::ZERO);
            self.hunt.succeeded(piece, node);
        }

        fn failed(&mut self, piece: Piece, node: NodeId) {
            self.paces.end(piece, node, false, Duration::ZERO);
            self.hunt.failed(piece, node);
        }

        fn has_other(&self, piece: Piece, node: NodeId) -> bool {
            self.hunt.has_other(self.paces.running(), piece, node)
        }
    }

    fn node(seed: u8) -> NodeId {
        NodeId::new([seed; 20])
    }

    fn holder(seed: u8, pieces: &[Piece], checksum: ContentHash) -> LiveHolder {
        let contact = Contact { id: node(seed), addresses: Vec::new() };
        let pieces = pieces.iter().map(|piece| AttestedPiece { piece: *piece, checksum });
        LiveHolder { contact, plan: None, pieces: pieces.collect() }
    }

    #[test]
    fn parity_is_not_fetched_while_the_holders_of_the_data_may_still_answer() {
        let mut task = Task::new(CODED_FROM_BYTES, 24);
        let early = |task: &mut Task| task.next(true).map(|(piece, _)| piece);
        task.hunt.found(&holder(1, &[Piece::Index(0), Piece::Index(16)], SUM));
        assert_eq!(early(&mut task), Some(Piece::Index(0)));
        assert_eq!(early(&mut task), None, "the others may still come");
        task.hunt.found(&holder(2, &[Piece::Index(1), Piece::Index(17)], SUM));
        assert_eq!(early(&mut task), Some(Piece::Index(1)));
        task.succeeded(Piece::Index(0), node(1));
        task.all_are_late();
        assert_eq!(early(&mut task), Some(Piece::Index(16)), "in place of the late one");
        task.succeeded(Piece::Index(1), node(2));
        assert_eq!(early(&mut task), None);
        task.succeeded(Piece::Index(16), node(1));
        assert_eq!(early(&mut task), Some(Piece::Index(17)), "rather than nothing");
        assert_eq!(early(&mut task), None);
        task.hunt.found(&holder(3, &[Piece::Index(18)], SUM));
        assert_eq!(task.next(false), Some((Piece::Index(18), node(3))), "all are known");
    }

    #[test]
    fn a_late_copy_is_requested_from_the_next_holder_too_and_the_first_wins() {
        let mut task = Task::new(1000, 0);
        for seed in [1, 2, 3] {
            task.hunt.found(&holder(seed, &[Piece::Whole], SUM));
        }
        assert_eq!(task.next(false), Some((Piece::Whole, node(1))));
        assert_eq!(task.next(false), None, "one is enough");
        task.all_are_late();
        assert_eq!(task.next(false), Some((Piece::Whole, node(2))));
        assert_eq!(task.next(false), None, "one more, and not two");
        task.failed(Piece::Whole, node(2));
        assert_eq!(task.next(false), Some((Piece::Whole, node(3))));
        task.succeeded(Piece::Whole, node(1));
        assert_eq!((task.hunt.missing(), task.next(false)), (0, None), "it came after all");
    }

    #[test]
    fn another_fragment_makes_up_for_a_late_one() {
        let mut task = Task::new(CODED_FROM_BYTES, 24);
        for index in 0..20 {
            task.hunt.found(&holder(index, &[Piece::Index(index)], SUM));
        }
        let first: Vec<_> = (0..16).map(|index| (Piece::Index(index), node(index))).collect();
        let begun: Vec<_> = std::iter::from_fn(|| task.next(false)).collect();
        assert_eq!(begun, first, "data first, and no more than are needed");
        for (piece, id) in first.into_iter().filter(|(piece, _)| *piece != Piece::Index(3)) {
            task.succeeded(piece, id);
        }
        task.all_are_late();
        assert_eq!(task.next(false), Some((Piece::Index(16), node(16))));
        assert_eq!(task.next(false), None);
        task.failed(Piece::Index(3), node(3));
        assert_eq!(task.next(false), None, "another one is on its way instead");
        task.failed(Piece::Index(16), node(16));
        assert_eq!(task.next(false), Some((Piece::Index(17), node(17))));
    }

    #[test]
    fn a_holder_that_was_given_up_is_asked_again_when_nobody_else_is_left() {
        let mut task = Task::new(1000, 0);
        task.hunt.found(&holder(1, &[Piece::Whole], SUM));
        assert_eq!(task.next(false), Some((Piece::Whole, node(1))));
        assert!(!task.has_other(Piece::Whole, node(1)));
        task.hunt.found(&holder(2, &[Piece::Whole], SUM));
        assert!(task.has_other(Piece::Whole, node(1)));
        task.paces.end(Piece::Whole, node(1), false, Duration::ZERO);
        task.hunt.given_up(node(1));
        assert_eq!(task.next(false), Some((Piece::Whole, node(2))));
        assert!(!task.has_other(Piece::Whole, node(2)), "the other one was given up");
        task.failed(Piece::Whole, node(2));
        assert_eq!(task.next(false), Some((Piece::Whole, node(1))));
    }

    #[test]
    fn a_whole_copy_gives_data_and_a_false_checksum_gives_nothing() {
        let mut task = Task::new(CODED_FROM_BYTES, 24);
        task.hunt.found(&holder(1, &[Piece::Index(0)], ContentHash::new([9; 32])));
        assert_eq!(task.next(false), None);
        task.hunt.found(&holder(2, &[Piece::Whole], SUM));
        task.hunt.found(&holder(3, &[Piece::Index(0)], SUM));
        let begun: Vec<_> = std::iter::from_fn(|| task.next(false)).collect();
        assert_eq!(begun.len(), 16);
        task.failed(Piece::Index(0), begun[0].1);
        task.failed(Piece::Index(1), node(2));
        task.failed(Piece::Index(2), node(2));
        let again = task.next(false);
        assert!(again.is_none_or(|(_, id)| id == node(3)), "two failures are enough: {again:?}");
    }
}
