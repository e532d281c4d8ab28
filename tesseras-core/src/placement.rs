//! Placement arithmetic: the form of a pack for a number of holders, which holder gets which piece,
//! and how many holders may be lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::code::Piece;
use crate::ids::NodeId;

mod assignment;
mod candidate;
mod caps;
mod target;

pub use assignment::{Assignment, Lack};
pub use candidate::{Candidate, HOLDERS_PER_SUBNET};
pub use caps::PARTS;
pub use target::{SURVIVES_AT_LEAST, TargetForm};

/// The pieces of each holder, as far as known.
pub type Placement = BTreeMap<NodeId, BTreeSet<Piece>>;

/// The distinct fragments in a placement, without whole copies.
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

/// How many holders, the worst ones, may be lost at once with the tessera still readable. 0 if it
/// is not readable even now.
///
/// Never more than the true number, and equal to it if no fragment is held twice. A fragment with
/// several holders is counted for only one of them, so it may count as lost while a copy is live;
/// that holder is chosen so that the loads are as even as possible. So an additional piece never
/// lowers the number.
pub fn survives(placement: &Placement, k: Option<u8>) -> usize {
    let whole = whole_copies(placement);
    // The cheapest way to make it unreadable: remove every whole copy (with everything else on
    // those holders), then the fullest of the other holders until fewer than k fragments are left.
    let mut loads: Vec<usize> = answering(placement).values().map(BTreeSet::len).collect();
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

/// The fragments that each holder without a whole copy is responsible for, when each fragment
/// counts for one of its holders and the loads are as even as possible: an optimal semi-matching
/// (Harvey, Ladner, Lovász and Tamir, 2003), reached when no chain of fragments leads from a holder
/// to one with two fewer.
fn answering(placement: &Placement) -> BTreeMap<NodeId, BTreeSet<u8>> {
    let others: Vec<(&NodeId, &BTreeSet<Piece>)> =
        placement.iter().filter(|(_, pieces)| !pieces.contains(&Piece::Whole)).collect();
    let mut holders: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (holder, (_, pieces)) in others.iter().enumerate() {
        for piece in *pieces {
            if let Piece::Index(index) = piece {
                holders.entry(*index).or_default().push(holder);
            }
        }
    }
    let mut loads = vec![0; others.len()];
    let mut owners: BTreeMap<u8, usize> = BTreeMap::new();
    for (index, choice) in &holders {
        let owner = *choice.iter().min_by_key(|h| loads[**h]).expect("who holds it was pushed");
        loads[owner] += 1;
        owners.insert(*index, owner);
    }
    let can_give = |holder: usize, loads: &[usize]| loads[holder] >= 2;
    while (0..loads.len()).any(|holder| {
        can_give(holder, &loads) && relieve(holder, &holders, &mut owners, &mut loads)
    }) {}
    let mut answering: BTreeMap<NodeId, BTreeSet<u8>> =
        others.iter().map(|(id, _)| (**id, BTreeSet::new())).collect();
    for (index, owner) in owners {
        answering.entry(*others[owner].0).or_default().insert(index);
    }
    answering
}

/// Moves one fragment from a holder, along a chain of holders, to one with at least two fewer.
/// `false` if there is no such chain.
fn relieve(
    from: usize,
    holders: &BTreeMap<u8, Vec<usize>>,
    owners: &mut BTreeMap<u8, usize>,
    loads: &mut [usize],
) -> bool {
    let mut owned: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for (index, owner) in owners.iter() {
        owned.entry(*owner).or_default().push(*index);
    }
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
        for index in owned.get(&here).into_iter().flatten() {
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
