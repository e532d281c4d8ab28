//! Assigns pieces to nodes: evenly, within the room of each node, in as many neighbourhoods as
//! there are.

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::{Candidate, HOLDERS_PER_SUBNET};
use super::caps::{Caps, Pool};
use super::target::{SURVIVES_AT_LEAST, TargetForm, tolerates};
use super::{Placement, answering, distinct_fragments, is_readable, survives, whole_copies};
use crate::code::{CodedForm, Piece, WHOLE_COPIES};
use crate::contact::Subnet;
use crate::ids::{DhtKey, NodeId};

/// The fewest holders of fragments of which one may be lost. With fewer free nodes a tessera that
/// is safe in whole copies is not encoded.
const WORTH_CODING: usize = 3;

/// All candidates for the pieces of one tessera. Loads are kept within one of each other, and
/// neighbourhoods within [`HOLDERS_PER_SUBNET`], as far as the candidates allow.
#[derive(Debug, Clone)]
pub struct Assignment {
    key: DhtKey,
    pack_bytes: u64,
    coded: Option<CodedForm>,
    candidates: BTreeMap<NodeId, Candidate>,
    /// The limits for what is given: all pieces can be placed under them.
    caps: Caps,
}

/// What a tessera lacks compared with its target form.
#[derive(Debug, Clone)]
pub struct Lack {
    /// The target form.
    pub form: TargetForm,
    /// The pieces to be placed, in this order, for which some node has room.
    pub pieces: Vec<Piece>,
    /// How many more there should be, for which no node has room.
    pub without_room: usize,
    /// The placement once they are placed.
    pub after: Placement,
    /// How many holders may be lost then, as [`Assignment::survives`] counts.
    pub survives: usize,
}

impl Assignment {
    /// Starts from these candidates, for a pack of `pack_bytes` bytes. Of several candidates with
    /// one id the last counts.
    pub fn new(
        key: DhtKey,
        pack_bytes: u64,
        candidates: impl IntoIterator<Item = Candidate>,
    ) -> Self {
        let candidates = candidates.into_iter().map(|c| (c.id, c)).collect();
        let (coded, caps) = (CodedForm::of_pack(pack_bytes), Caps::default());
        let mut new = Self { key, pack_bytes, coded, candidates, caps };
        new.limit();
        new
    }

    /// Chooses a node for a piece, and records the piece as given. `None` if no node may have it.
    ///
    /// Among those with room that do not have the piece: whole copies go to holders without
    /// fragments and fragments to holders without a whole copy, if there are any; then a
    /// neighbourhood below its limit before a full one; then the smallest load; then the nearest to
    /// the key. No fragment goes where it would not count, if there is room enough elsewhere.
    pub fn give(&mut self, piece: Piece) -> Option<NodeId> {
        let id = self.taker(piece)?;
        self.put(id, piece);
        Some(id)
    }

    /// The node that would be given a piece.
    fn taker(&self, piece: Piece) -> Option<NodeId> {
        let (bytes, near) = (self.bytes(piece), self.pool().near());
        let nearby = |c: &Candidate| {
            let held = c.subnet.limited().and_then(|subnet| near.get(&subnet));
            held.copied().unwrap_or_default()
        };
        let crowded =
            |c: &Candidate| c.pieces.is_empty() && nearby(c).holders >= HOLDERS_PER_SUBNET;
        let is_whole = piece == Piece::Whole;
        let holds_other = |c: &Candidate| match is_whole {
            true => !c.pieces.is_empty(),
            false => c.pieces.contains(&Piece::Whole),
        };
        let copies_near = |c: &Candidate| if is_whole { nearby(c).whole } else { 0 };
        let counts = |c: &Candidate| is_whole || self.caps.admit_fragment(&near, c);
        let key = self.key;
        self.candidates
            .values()
            .filter(|c| c.has_room(bytes) && !c.pieces.contains(&piece) && counts(c))
            .min_by_key(|c| {
                let near = (crowded(c), copies_near(c));
                (holds_other(c), near, c.pieces.len(), c.id.distance(&key))
            })
            .map(|c| c.id)
    }

    /// Records a piece as given to a node that has room for it.
    fn put(&mut self, id: NodeId, piece: Piece) {
        let bytes = self.bytes(piece);
        let Some(candidate) = self.candidates.get_mut(&id) else { return };
        candidate.pieces.insert(piece);
        candidate.room -= bytes;
        // There is room for as many fragments as before, less what a whole copy takes.
        if piece == Piece::Whole {
            self.limit();
        }
    }

    /// Takes a piece back from a candidate that refused it, and gives that node no more.
    pub fn refused(&mut self, id: NodeId, piece: Piece) {
        if let Some(candidate) = self.candidates.get_mut(&id) {
            candidate.pieces.remove(&piece);
            candidate.room = 0;
            self.limit();
        }
    }

    /// Whether more than [`HOLDERS_PER_SUBNET`] holders share a neighbourhood that is not local.
    pub fn is_crowded(&self) -> bool {
        let near = self.pool().near();
        near.iter()
            .any(|(subnet, held)| subnet.limited().is_some() && held.holders > HOLDERS_PER_SUBNET)
    }

    /// How many holders there are when the form is complete: one for each whole copy of a small
    /// pack, or for each fragment.
    pub fn holders_when_full(&self) -> usize {
        self.coded.map_or(WHOLE_COPIES, |form| form.shape.n().into())
    }

    /// Whether further candidates would get nothing: each piece is on a holder that has nothing
    /// else, and in no neighbourhood that is not local are there more of these than placing would
    /// put there ([`HOLDERS_PER_SUBNET`], or one for a whole copy of a small pack).
    pub fn is_full(&self) -> bool {
        let alone = self.candidates.iter().filter(|(_, c)| c.pieces.len() == 1);
        let candidates = &alone.map(|(id, c)| (*id, c.clone())).collect();
        let placement = Pool { candidates, ..self.pool() }.counted(&Caps::WHEN_FULL);
        let placed = match self.coded {
            Some(_) => distinct_fragments(&placement).len(),
            None => whole_copies(&placement),
        };
        placed >= self.holders_when_full()
    }

    /// The current placement, including pieces just given.
    pub fn placement(&self) -> Placement {
        let holding = self.candidates.values().filter(|c| !c.pieces.is_empty());
        holding.map(|c| (c.id, c.pieces.clone())).collect()
    }

    /// The placement as far as it counts for the tessera's safety: of one holder, and of one
    /// neighbourhood that is not local, no more than one piece in [`super::PARTS`], or what an even
    /// placement would put there if that is less. With few candidates, an even share is more.
    pub fn counted(&self) -> Placement {
        self.pool().counted(&Caps::of_safety(&self.pool()))
    }

    /// The placement as far as it need not be placed again: as [`Self::counted`], but where the
    /// candidates are too few to hold everything under these limits, under the lowest possible ones.
    pub fn accepted(&self) -> Placement {
        self.pool().counted(&Caps::of_placing(&self.pool(), self.target().whole))
    }

    /// How many holders, the worst ones, may be lost, by the pieces that count. The holders of one
    /// neighbourhood that is not local are one: names cost nothing, so all of them together add at
    /// most one to what the others survive, whatever they claim.
    pub fn survives(&self) -> usize {
        self.survives_with(&self.counted())
    }

    fn survives_with(&self, counted: &Placement) -> usize {
        let independent = self.pool().by_neighbourhood(counted);
        survives(&independent, self.coded.map(|form| form.shape.k))
    }

    /// How many nodes count as holders: those that hold something or have room for a piece, two per
    /// neighbourhood, and more only if there are too few others.
    pub fn holders(&self) -> usize {
        let least = self.coded.map_or(self.pack_bytes, |form| form.fragment_bytes);
        let mut per_subnet: BTreeMap<Subnet, usize> = BTreeMap::new();
        for c in self.candidates.values() {
            if !c.pieces.is_empty() || c.has_room(least) {
                *per_subnet.entry(c.subnet).or_default() += 1;
            }
        }
        let all: usize = per_subnet.values().sum();
        let independent = |(subnet, n): (&Subnet, &usize)| match subnet.limited() {
            None => *n,
            Some(_) => (*n).min(HOLDERS_PER_SUBNET),
        };
        let few = if self.coded.is_some() { SURVIVES_AT_LEAST + 1 } else { WHOLE_COPIES };
        per_subnet.iter().map(independent).sum::<usize>().max(all.min(few))
    }

    /// The target form for these candidates: [`TargetForm::of`] their number; if too few of them
    /// have room for a whole copy, the coded form beside as many copies as fit.
    pub fn target(&self) -> TargetForm {
        let form = TargetForm::of(self.pack_bytes, self.holders());
        let pool = self.pool();
        let possible = self.candidates.values().filter(|c| pool.may_hold_whole(c)).count();
        match form.coded {
            None if possible < form.whole && self.coded.is_some() => {
                TargetForm { whole: possible, coded: self.coded, ..form }
            }
            _ => form,
        }
    }

    /// What is missing compared with the target form, and where it would go.
    ///
    /// Whole copies below their number. Of the coded form: fragments that no node holds, or only
    /// holders of a whole copy, which would be lost together with it; and, if the fragments are
    /// on fewer holders than are available, copies of some on the others, as long as each increases
    /// the number of losses that it survives. The coded form is started only where it helps.
    pub fn lack(&self) -> Lack {
        let form = self.target();
        let mut trial = Trial { all: self.clone(), pieces: Vec::new(), without_room: 0 };
        for _ in whole_copies(&self.accepted())..form.whole {
            trial.want(Piece::Whole);
        }
        if let Some(coded) = form.coded {
            let mut with_code = trial.clone();
            with_code.complete(coded);
            with_code.spread(coded);
            let is_begun = !distinct_fragments(&self.placement()).is_empty();
            let needed =
                trial.all.survives() < form.survives || trial.free_for_fragments() >= WORTH_CODING;
            if is_begun || (needed && with_code.worth() > trial.worth()) {
                trial = with_code;
            }
        }
        let Trial { all, pieces, without_room } = trial;
        let (after, survives) = (all.placement(), all.survives());
        Lack { form, pieces, without_room, after, survives }
    }

    fn pool(&self) -> Pool<'_> {
        Pool { pack_bytes: self.pack_bytes, coded: self.coded, candidates: &self.candidates }
    }

    /// Adapts the limits to the room that there is.
    fn limit(&mut self) {
        let pool = self.pool();
        self.caps = Caps::of_placing(&pool, self.target().whole).with_room(&pool);
    }

    fn bytes(&self, piece: Piece) -> u64 {
        match piece {
            Piece::Whole => self.pack_bytes,
            Piece::Index(_) => self.coded.map_or(0, |form| form.fragment_bytes),
        }
    }
}

/// The result if pieces were given.
#[derive(Clone)]
struct Trial {
    all: Assignment,
    pieces: Vec<Piece>,
    without_room: usize,
}

impl Trial {
    fn want(&mut self, piece: Piece) {
        match self.all.give(piece) {
            Some(_) => self.pieces.push(piece),
            None => self.without_room += 1,
        }
    }

    /// Whether it is readable, and how many holders may be lost.
    fn worth(&self) -> (bool, usize) {
        let k = self.all.coded.map(|form| form.shape.k);
        (is_readable(&self.all.placement(), k), self.all.survives())
    }

    /// How many nodes have no whole copy, and hold fragments or have room for one.
    fn free_for_fragments(&self) -> usize {
        let bytes = self.all.bytes(Piece::Index(0));
        let is_free = |c: &&Candidate| {
            !c.pieces.contains(&Piece::Whole) && (!c.pieces.is_empty() || c.has_room(bytes))
        };
        self.all.candidates.values().filter(is_free).count()
    }

    /// Gives the fragments that no node holds, then those that only holders of whole copies have.
    fn complete(&mut self, form: CodedForm) {
        let held = distinct_fragments(&self.all.accepted());
        for index in (0..form.shape.n()).filter(|index| !held.contains(index)) {
            self.want(Piece::Index(index));
        }
        let mut elsewhere = self.all.accepted();
        elsewhere.retain(|_, pieces| !pieces.contains(&Piece::Whole));
        let elsewhere = distinct_fragments(&elsewhere);
        for index in (0..form.shape.n()).filter(|index| !elsewhere.contains(index)) {
            if !self.give_beside_whole(Piece::Index(index)) {
                break;
            }
        }
    }

    /// Gives copies of fragments from the fullest holders to others, until as many holders may be
    /// lost as if the fragments were spread evenly over all nodes without a whole copy, each in a
    /// neighbourhood of its own. Only copies that make a difference are kept.
    fn spread(&mut self, form: CodedForm) {
        let mut counted = self.all.counted();
        let copies = whole_copies(&counted);
        let others = self.all.holders().saturating_sub(copies);
        let Some(goal) = tolerates(form.shape, others).map(|f| copies + f) else { return };
        let (mut more, before) = (self.clone(), self.pieces.len());
        let (mut best, mut worthwhile) = (self.all.survives_with(&counted), before);
        for _ in 0..form.shape.n() {
            if best >= goal || !more.relieve_the_fullest(&counted) {
                break;
            }
            counted = more.all.counted();
            let now = more.all.survives_with(&counted);
            if now > best {
                (best, worthwhile) = (now, more.pieces.len());
            }
        }
        // What was given first goes to the same nodes again.
        for piece in &more.pieces[before..worthwhile] {
            self.want(*piece);
        }
    }

    /// Gives a copy of one fragment of the holder that is responsible for most of what counts to one
    /// that is responsible for at least two fewer.
    fn relieve_the_fullest(&mut self, counted: &Placement) -> bool {
        let loads = answering(counted);
        let Some(fullest) = loads.values().max_by_key(|pieces| pieces.len()) else { return false };
        for index in fullest {
            let piece = Piece::Index(*index);
            let Some(to) = self.taker_beside_whole(piece) else { continue };
            if loads.get(&to).map_or(0, BTreeSet::len) + 2 <= fullest.len() {
                self.all.put(to, piece);
                self.pieces.push(piece);
                return true;
            }
        }
        false
    }

    /// Gives a fragment to a holder without a whole copy; `false` if none has room.
    fn give_beside_whole(&mut self, piece: Piece) -> bool {
        let Some(to) = self.taker_beside_whole(piece) else { return false };
        self.all.put(to, piece);
        self.pieces.push(piece);
        true
    }

    /// The node that would be given a fragment, if that has no whole copy.
    fn taker_beside_whole(&self, piece: Piece) -> Option<NodeId> {
        let has_whole = |id: &NodeId| self.all.candidates[id].pieces.contains(&Piece::Whole);
        self.all.taker(piece).filter(|id| !has_whole(id))
    }
}
