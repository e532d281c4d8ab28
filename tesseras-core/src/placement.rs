//! Placement arithmetic: which holder gets which piece, and how many holders may die.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::code::Piece;
use crate::contact::Subnet;
use crate::ids::{DhtKey, NodeId};

/// The most holders of one tessera that share a /24 or /48, where there are enough others.
pub const HOLDERS_PER_SUBNET: usize = 2;

/// A node that may be given pieces, and what it already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub id: NodeId,
    /// Its neighbourhood.
    pub subnet: Subnet,
    /// The pieces it holds, or was just given.
    pub pieces: BTreeSet<Piece>,
    /// Whether it may be given more.
    pub open: bool,
}

/// All candidates for the pieces of one tessera. Loads are kept within one of each other, and
/// neighbourhoods within [`HOLDERS_PER_SUBNET`], as far as the candidates allow.
#[derive(Debug, Clone)]
pub struct Assignment {
    key: DhtKey,
    candidates: BTreeMap<NodeId, Candidate>,
}

impl Assignment {
    /// Starts from who there is. Of several candidates of one id the last counts.
    pub fn new(key: DhtKey, candidates: impl IntoIterator<Item = Candidate>) -> Self {
        Self { key, candidates: candidates.into_iter().map(|c| (c.id, c)).collect() }
    }

    /// Chooses who gets a piece, and notes it as given. `None` when nobody may have it.
    ///
    /// Among those that do not have the piece: a neighbourhood with room before a full one, then
    /// the smallest load, then the nearest to the key.
    pub fn give(&mut self, piece: Piece) -> Option<NodeId> {
        let mut holders: BTreeMap<Subnet, usize> = BTreeMap::new();
        for candidate in self.candidates.values().filter(|c| !c.pieces.is_empty()) {
            *holders.entry(candidate.subnet).or_default() += 1;
        }
        let crowded = |c: &Candidate| {
            c.pieces.is_empty()
                && !c.subnet.is_local()
                && holders.get(&c.subnet).is_some_and(|n| *n >= HOLDERS_PER_SUBNET)
        };
        let key = self.key;
        let id = self
            .candidates
            .values()
            .filter(|c| c.open && !c.pieces.contains(&piece))
            .min_by_key(|c| (crowded(c), c.pieces.len(), c.id.distance(&key)))?
            .id;
        self.candidates.get_mut(&id)?.pieces.insert(piece);
        Some(id)
    }

    /// Takes a piece back from a candidate that did not accept it, and gives it no more.
    pub fn refused(&mut self, id: NodeId, piece: Piece) {
        if let Some(candidate) = self.candidates.get_mut(&id) {
            candidate.pieces.remove(&piece);
            candidate.open = false;
        }
    }

    /// Whether more than [`HOLDERS_PER_SUBNET`] holders share a neighbourhood that is not local.
    pub fn is_crowded(&self) -> bool {
        let mut holders: BTreeMap<Subnet, usize> = BTreeMap::new();
        for c in self.candidates.values().filter(|c| !c.pieces.is_empty() && !c.subnet.is_local()) {
            *holders.entry(c.subnet).or_default() += 1;
        }
        holders.values().any(|n| *n > HOLDERS_PER_SUBNET)
    }
}

/// What is known to be held: per holder its pieces.
pub type Placement = BTreeMap<NodeId, BTreeSet<Piece>>;

/// The distinct fragments in a placement, whole copies left aside.
pub fn distinct_fragments(placement: &Placement) -> BTreeSet<u8> {
    placement
        .values()
        .flatten()
        .filter_map(|piece| match piece {
            Piece::Index(index) => Some(*index),
            Piece::Whole => None,
        })
        .collect()
}

/// How many holders keep a whole copy.
pub fn whole_copies(placement: &Placement) -> usize {
    placement.values().filter(|pieces| pieces.contains(&Piece::Whole)).count()
}

/// Whether the tessera can be rebuilt from a placement; `k` is that of its coded form, if any.
pub fn is_readable(placement: &Placement, k: Option<u8>) -> bool {
    whole_copies(placement) > 0
        || k.is_some_and(|k| distinct_fragments(placement).len() >= usize::from(k))
}

/// How many holders, the worst ones, may vanish at once and the tessera still be read. 0 when it
/// cannot be read even now.
///
/// Never more than the truth, and the truth where no fragment is held twice. A fragment that
/// several holders have counts for one of them only, so that it may count as lost while a copy
/// lives; whose it is, is chosen so that the loads are as even as they can be. So one piece more
/// never makes the number smaller.
pub fn survives(placement: &Placement, k: Option<u8>) -> usize {
    let whole = whole_copies(placement);
    // The cheapest way to make it unreadable: take every whole copy (with whatever else those
    // holders have), then the fullest of the other holders until fewer than k fragments are left.
    let others: Placement = placement
        .iter()
        .filter(|(_, pieces)| !pieces.contains(&Piece::Whole))
        .map(|(id, pieces)| (*id, pieces.clone()))
        .collect();
    let mut loads = even_loads(&others);
    loads.sort_unstable();
    let mut left: usize = loads.iter().sum();
    let mut fatal = whole;
    if let Some(k) = k {
        while left >= usize::from(k) {
            let Some(load) = loads.pop() else { break };
            left -= load;
            fatal += 1;
        }
    }
    fatal.saturating_sub(1)
}

/// How many fragments each holder answers for, when each fragment counts for one of its holders
/// and the loads are as even as possible: an optimal semi-matching (Harvey, Ladner, Lovász and
/// Tamir, 2003), reached when no chain of fragments leads from a holder to one with two fewer.
fn even_loads(placement: &Placement) -> Vec<usize> {
    let mut holders: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (holder, pieces) in placement.values().enumerate() {
        for piece in pieces {
            if let Piece::Index(index) = piece {
                holders.entry(*index).or_default().push(holder);
            }
        }
    }
    let mut loads = vec![0; placement.len()];
    let mut owners: BTreeMap<u8, usize> = BTreeMap::new();
    for (index, choice) in &holders {
        let owner = *choice.iter().min_by_key(|h| loads[**h]).expect("who holds it was pushed");
        loads[owner] += 1;
        owners.insert(*index, owner);
    }
    while (0..loads.len()).any(|holder| relieve(holder, &holders, &mut owners, &mut loads)) {}
    loads
}

/// Hands one fragment on from a holder, along a chain of holders, to one with at least two fewer.
/// False when there is no such chain.
fn relieve(
    from: usize,
    holders: &BTreeMap<u8, Vec<usize>>,
    owners: &mut BTreeMap<u8, usize>,
    loads: &mut [usize],
) -> bool {
    let mut reached: BTreeMap<usize, (u8, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(here) = queue.pop_front() {
        if loads[here] + 2 <= loads[from] {
            loads[from] -= 1;
            loads[here] += 1;
            let mut to = here;
            while to != from {
                let (index, giver) = reached[&to];
                owners.insert(index, to);
                to = giver;
            }
            return true;
        }
        for index in owners.iter().filter(|(_, owner)| **owner == here).map(|(index, _)| index) {
            for next in holders[index].iter().filter(|next| **next != from) {
                if !reached.contains_key(next) {
                    reached.insert(*next, (*index, here));
                    queue.push_back(*next);
                }
            }
        }
    }
    false
}
