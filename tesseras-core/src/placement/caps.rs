//! For how many pieces one holder, and one neighbourhood, can count.
//!
//! An attestation is a claim: names cost nothing, and one machine can claim every checksum of a
//! plan. So what it can add to a tessera's safety is bounded, whatever it claims.

use std::collections::{BTreeMap, BTreeSet};

use super::Placement;
use super::candidate::{Candidate, HOLDERS_PER_SUBNET};
use crate::code::{CodedForm, Piece, WHOLE_COPIES};
use crate::contact::Subnet;
use crate::ids::NodeId;

/// One holder, and one neighbourhood, counts for at most ⌈pieces / `PARTS`⌉ pieces of a form.
pub const PARTS: usize = 7;

/// The limits for one tessera. Those per neighbourhood do not apply to local networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Caps {
    /// Whole copies in one neighbourhood.
    whole: usize,
    /// Fragments of one holder.
    per_holder: usize,
    /// Fragments in one neighbourhood, if it has several holders.
    per_subnet: usize,
}

impl Caps {
    /// The limits of a full form: each fragment on a holder of its own, and in a neighbourhood as
    /// many holders as placing would put there.
    pub(super) const WHEN_FULL: Self =
        Self { whole: 1, per_holder: 1, per_subnet: HOLDERS_PER_SUBNET };

    /// The limits by which a tessera's safety is counted: one piece in [`PARTS`], or, if the
    /// fragments have fewer independent holders, what each of these must hold. Of a neighbourhood
    /// no more than that, and no more than [`HOLDERS_PER_SUBNET`] even shares.
    pub(super) fn of_safety(pool: &Pool<'_>) -> Self {
        let whole = WHOLE_COPIES.div_ceil(PARTS);
        let Some(form) = pool.coded else { return Self { whole, ..Self::default() } };
        let n = usize::from(form.shape.n());
        let holders = pool.independent();
        let per_holder = n.div_ceil(PARTS.min(holders));
        let shares = (HOLDERS_PER_SUBNET * n).div_ceil(holders);
        Self { whole, per_holder, per_subnet: per_holder.min(shares) }
    }

    /// The lowest limits, not below those of safety, under which the candidates could hold `copies`
    /// whole copies, and all fragments with even loads, if each had room enough.
    pub(super) fn of_placing(pool: &Pool<'_>, copies: usize) -> Self {
        let mut caps = Self::of_safety(pool);
        let takes_whole = |c: &Candidate| usize::from(pool.may_hold_whole(c));
        while caps.whole < copies && pool.sum(takes_whole, caps.whole) < copies {
            caps.whole += 1;
        }
        let Some(form) = pool.coded else { return caps };
        let n = usize::from(form.shape.n());
        let even_load = n.div_ceil(pool.independent());
        caps.per_subnet = caps.per_subnet.max(HOLDERS_PER_SUBNET * even_load);
        caps
    }

    /// The lowest limits, not below these, for which the candidates have room; without any limit if
    /// they have too little.
    pub(super) fn with_room(mut self, pool: &Pool<'_>) -> Self {
        let n = pool.coded.map_or(0, |form| usize::from(form.shape.n()));
        while self.per_holder < n && pool.capacity(&self) < n {
            self.per_holder += 1;
            self.per_subnet += 1;
        }
        self
    }

    /// Whether a further fragment at this candidate would count.
    pub(super) fn admit_fragment(&self, near: &Near, candidate: &Candidate) -> bool {
        fragments_in(candidate) < self.per_holder
            && candidate
                .subnet
                .limited()
                .and_then(|subnet| near.get(&subnet))
                .is_none_or(|held| held.is_only(candidate) || held.fragments < self.per_subnet)
    }
}

/// What each neighbourhood holds, local ones included.
pub(super) type Near = BTreeMap<Subnet, HeldNear>;

/// What the candidates of one neighbourhood hold together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeldNear {
    pub(super) holders: usize,
    pub(super) whole: usize,
    pub(super) fragments: usize,
}

impl HeldNear {
    /// Whether a candidate is the only holder.
    fn is_only(&self, candidate: &Candidate) -> bool {
        self.holders == 1 && !candidate.pieces.is_empty()
    }
}

/// All candidates for the pieces of a pack.
pub(super) struct Pool<'a> {
    pub(super) pack_bytes: u64,
    pub(super) coded: Option<CodedForm>,
    pub(super) candidates: &'a BTreeMap<NodeId, Candidate>,
}

impl Pool<'_> {
    /// The pieces that count: those that the candidates hold, without what exceeds a limit. Of
    /// these, fragments that others hold as well are left out first. Takes time in proportion to the
    /// number of pieces held.
    pub(super) fn counted(&self, caps: &Caps) -> Placement {
        let holding = self.candidates.values().filter(|c| !c.pieces.is_empty());
        let mut placement: Placement = holding.map(|c| (c.id, c.pieces.clone())).collect();
        let mut near: BTreeMap<Subnet, Vec<NodeId>> = BTreeMap::new();
        for c in self.candidates.values() {
            if let Some(subnet) = c.subnet.limited() {
                near.entry(subnet).or_default().push(c.id);
            }
        }
        for ids in near.values() {
            leave_out_copies(&mut placement, ids, caps.whole);
        }
        let mut fullest: Vec<NodeId> = placement.keys().copied().collect();
        fullest.sort_by_cached_key(|id| std::cmp::Reverse(fragments_of(&placement, id).count()));
        let mut copies = copies_of(&placement);
        for id in fullest {
            leave_out_fragments(&mut placement, &mut copies, &[id], caps.per_holder);
        }
        let holds = |id: &&NodeId| fragments_of(&placement, id).next().is_some();
        near.retain(|_, ids| ids.iter().filter(holds).count() > 1);
        for ids in near.values() {
            leave_out_fragments(&mut placement, &mut copies, ids, caps.per_subnet);
        }
        placement.retain(|_, pieces| !pieces.is_empty());
        placement
    }

    /// The same placement with all holders of a neighbourhood that is not local as one: its first
    /// candidate. They are lost together.
    pub(super) fn by_neighbourhood(&self, placement: &Placement) -> Placement {
        let mut first: BTreeMap<Subnet, NodeId> = BTreeMap::new();
        let mut merged = Placement::new();
        for c in self.candidates.values() {
            let Some(pieces) = placement.get(&c.id) else { continue };
            let one = match c.subnet.limited() {
                None => c.id,
                Some(subnet) => *first.entry(subnet).or_insert(c.id),
            };
            merged.entry(one).or_default().extend(pieces);
        }
        merged
    }

    /// What each neighbourhood holds.
    pub(super) fn near(&self) -> Near {
        let mut near = Near::new();
        for c in self.candidates.values().filter(|c| !c.pieces.is_empty()) {
            let held = near.entry(c.subnet).or_default();
            held.holders += 1;
            held.whole += usize::from(c.pieces.contains(&Piece::Whole));
            held.fragments += fragments_in(c);
        }
        near
    }

    /// Whether a candidate holds a whole copy or has room for one.
    pub(super) fn may_hold_whole(&self, c: &Candidate) -> bool {
        c.pieces.contains(&Piece::Whole) || c.has_room(self.pack_bytes)
    }

    /// How many fragments a candidate holds or has room for.
    fn fragments_of(&self, c: &Candidate) -> usize {
        let bytes = self.coded.map_or(0, |form| form.fragment_bytes);
        let more = c.room.checked_div(bytes).unwrap_or(0);
        fragments_in(c).saturating_add(usize::try_from(more).unwrap_or(usize::MAX))
    }

    /// How many candidates without a whole copy hold fragments or have room for one, at most
    /// [`HOLDERS_PER_SUBNET`] in a neighbourhood; at least 1.
    fn independent(&self) -> usize {
        let is_free = |c: &Candidate| {
            usize::from(!c.pieces.contains(&Piece::Whole) && self.fragments_of(c) > 0)
        };
        self.sum(is_free, HOLDERS_PER_SUBNET).max(1)
    }

    /// How many fragments can be held under these limits.
    fn capacity(&self, caps: &Caps) -> usize {
        self.sum(|c| self.fragments_of(c).min(caps.per_holder), caps.per_subnet)
    }

    /// The sum over all candidates, of which several in one neighbourhood add at most `cap`.
    fn sum(&self, count: impl Fn(&Candidate) -> usize, cap: usize) -> usize {
        let mut near: BTreeMap<Subnet, Vec<usize>> = BTreeMap::new();
        let mut local = 0;
        for c in self.candidates.values() {
            match c.subnet.limited() {
                None => local += count(c),
                Some(subnet) => near.entry(subnet).or_default().push(count(c)),
            }
        }
        let limited = |counts: Vec<usize>| {
            let several = counts.iter().filter(|n| **n > 0).count() > 1;
            let all = counts.into_iter().sum();
            if several { cap.min(all) } else { all }
        };
        local + near.into_values().map(limited).sum::<usize>()
    }
}

fn fragments_in(candidate: &Candidate) -> usize {
    candidate.pieces.len() - usize::from(candidate.pieces.contains(&Piece::Whole))
}

fn fragments_of<'a>(placement: &'a Placement, id: &NodeId) -> impl Iterator<Item = u8> + 'a {
    let pieces = placement.get(id).into_iter().flatten();
    pieces.filter_map(|piece| match piece {
        Piece::Index(index) => Some(*index),
        Piece::Whole => None,
    })
}

/// Leaves out whole copies of these holders until at most `most` are left.
fn leave_out_copies(placement: &mut Placement, ids: &[NodeId], most: usize) {
    let has_whole =
        |id: &&NodeId| placement.get(*id).is_some_and(|pieces| pieces.contains(&Piece::Whole));
    let more: Vec<NodeId> = ids.iter().filter(has_whole).skip(most).copied().collect();
    for id in more {
        placement.entry(id).or_default().remove(&Piece::Whole);
    }
}

/// How many holders keep each fragment.
type Copies = BTreeMap<u8, usize>;

fn copies_of(placement: &Placement) -> Copies {
    let mut copies = Copies::new();
    for id in placement.keys() {
        for index in fragments_of(placement, id) {
            *copies.entry(index).or_default() += 1;
        }
    }
    copies
}

/// If these holders have more than `most` fragments, leaves out so many that at most `most` are left,
/// each index once: those of which the fewest copies are elsewhere, each at the holder with the
/// fewest. The claims are a stranger's choice, so each is looked at only once.
fn leave_out_fragments(
    placement: &mut Placement,
    copies: &mut Copies,
    ids: &[NodeId],
    most: usize,
) {
    let mut here: BTreeMap<u8, Vec<NodeId>> = BTreeMap::new();
    for id in ids {
        for index in fragments_of(placement, id) {
            here.entry(index).or_default().push(*id);
        }
    }
    if here.values().map(Vec::len).sum::<usize>() <= most {
        return;
    }
    let elsewhere = |(index, holders): (&u8, &Vec<NodeId>)| {
        (copies.get(index).map_or(0, |all| all - holders.len()), *index)
    };
    let mut rarest: Vec<(usize, u8)> = here.iter().map(elsewhere).collect();
    rarest.sort_unstable();
    let mut kept: BTreeMap<NodeId, BTreeSet<Piece>> = BTreeMap::new();
    for (_, index) in rarest.iter().take(most) {
        let load = |id: &&NodeId| kept.get(*id).map_or(0, BTreeSet::len);
        if let Some(id) = here[index].iter().min_by_key(load) {
            kept.entry(*id).or_default().insert(Piece::Index(*index));
        }
    }
    for (index, all) in copies.iter_mut() {
        *all -= here.get(index).map_or(0, Vec::len);
    }
    for (_, index) in rarest.into_iter().take(most) {
        *copies.entry(index).or_default() += 1;
    }
    for id in ids {
        if let Some(pieces) = placement.get_mut(id) {
            let is_kept = |piece: &Piece| kept.get(id).is_some_and(|kept| kept.contains(piece));
            pieces.retain(|piece| *piece == Piece::Whole || is_kept(piece));
        }
    }
}
