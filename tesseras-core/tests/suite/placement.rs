//! Placement: who gets which piece, and how many may die.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::placement::{
    Assignment, Candidate, HOLDERS_PER_SUBNET, Placement, distinct_fragments, is_readable,
    survives, whole_copies,
};

fn node(number: u8) -> NodeId {
    let mut id = [number; 20];
    id[0] = number.wrapping_mul(151);
    NodeId::new(id)
}

fn candidate(number: u8, subnet: Subnet) -> Candidate {
    Candidate { id: node(number), subnet, pieces: BTreeSet::new(), open: true }
}

fn public(net: u8) -> Subnet {
    Subnet::V4([8, 8, net])
}

fn assignment(nets: &[u8]) -> (Assignment, BTreeMap<NodeId, Subnet>) {
    let candidates: Vec<Candidate> =
        nets.iter().zip(0..).map(|(net, i)| candidate(i, public(*net))).collect();
    let subnets = candidates.iter().map(|c| (c.id, c.subnet)).collect();
    (Assignment::new(DhtKey::new([9; 20]), candidates), subnets)
}

fn per_subnet(given: &Placement, subnets: &BTreeMap<NodeId, Subnet>) -> BTreeMap<Subnet, usize> {
    let mut counts = BTreeMap::new();
    for id in given.keys() {
        *counts.entry(subnets[id]).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn loads_differ_by_one_and_neighbourhoods_are_spared(
        nets in prop::collection::vec(0..12u8, 1..40),
        pieces in 1..72u8,
    ) {
        let (mut assignment, subnets) = assignment(&nets);
        let mut given = Placement::new();
        for index in 0..pieces {
            let id = assignment.give(Piece::Index(index)).expect("there is a candidate");
            prop_assert!(given.entry(id).or_default().insert(Piece::Index(index)), "twice");
        }
        let counts = per_subnet(&given, &subnets);
        prop_assert!(counts.values().all(|n| *n <= HOLDERS_PER_SUBNET), "{counts:?}");
        prop_assert!(!assignment.is_crowded());
        let most = given.values().map(BTreeSet::len).max().unwrap_or(0);
        let least = given.values().map(BTreeSet::len).min().unwrap_or(0);
        prop_assert!(most - least <= 1, "{most} {least}");
        if most > 1 {
            // Somebody got a second piece: then nobody is idle but in a full neighbourhood.
            for (id, subnet) in &subnets {
                prop_assert!(given.contains_key(id) || counts[subnet] == HOLDERS_PER_SUBNET);
            }
        }
    }

    #[test]
    fn copies_go_to_different_nodes_and_the_limit_gives_way_last(
        nets in prop::collection::vec(0..6u8, 1..20),
        copies in 1..24usize,
    ) {
        let (mut assignment, subnets) = assignment(&nets);
        let mut given = Placement::new();
        for _ in 0..copies {
            let Some(id) = assignment.give(Piece::Whole) else { break };
            prop_assert!(given.entry(id).or_default().insert(Piece::Whole), "twice");
        }
        prop_assert_eq!(given.len(), copies.min(nets.len()), "as many as there are nodes");
        let room: usize = per_subnet(&subnets.keys().map(|id| (*id, BTreeSet::new())).collect(), &subnets)
            .values().map(|n| (*n).min(HOLDERS_PER_SUBNET)).sum();
        prop_assert_eq!(assignment.is_crowded(), given.len() > room);
    }

    #[test]
    fn whoever_refuses_gets_no_more(
        nets in prop::collection::vec(0..12u8, 2..20),
        refusals in prop::collection::vec(any::<bool>(), 60),
    ) {
        let (mut assignment, _) = assignment(&nets);
        let mut gone = BTreeSet::new();
        let mut held = Placement::new();
        for (index, refuses) in (0..).zip(refusals) {
            let Some(id) = assignment.give(Piece::Index(index)) else {
                prop_assert_eq!(gone.len(), nets.len(), "nobody, though some are open");
                break;
            };
            prop_assert!(!gone.contains(&id), "asked again");
            if refuses {
                assignment.refused(id, Piece::Index(index));
                gone.insert(id);
                if let Some(next) = assignment.give(Piece::Index(index)) {
                    prop_assert_ne!(next, id);
                    prop_assert!(!gone.contains(&next));
                    held.entry(next).or_default().insert(Piece::Index(index));
                }
            } else {
                held.entry(id).or_default().insert(Piece::Index(index));
            }
        }
        let holding: usize = held.values().map(BTreeSet::len).sum();
        prop_assert_eq!(distinct_fragments(&held).len(), holding, "each fragment once");
    }
}

#[test]
fn one_neighbourhood_of_ones_own_machines_takes_all() {
    let home = Subnet::V4([127, 0, 0]);
    let mut all = Assignment::new(DhtKey::new([0; 20]), (0..7).map(|i| candidate(i, home)));
    let given: BTreeSet<NodeId> = (0..7).filter_map(|_| all.give(Piece::Whole)).collect();
    assert_eq!(given.len(), 7);
    assert!(!all.is_crowded());
    assert_eq!(all.give(Piece::Whole), None);
}

#[test]
fn what_candidates_already_hold_counts() {
    let mut old = candidate(1, public(1));
    old.pieces = (0..5).map(Piece::Index).collect();
    let new = candidate(2, public(2));
    let mut all = Assignment::new(DhtKey::new([0; 20]), [old.clone(), new.clone()]);
    for index in 5..10 {
        assert_eq!(all.give(Piece::Index(index)), Some(new.id), "the emptier one first");
    }
    assert_eq!(all.give(Piece::Index(0)), Some(new.id), "the other has it");
    assert_eq!(all.give(Piece::Index(0)), None);
}

fn placements() -> impl Strategy<Value = (Placement, u8)> {
    let pieces = prop::collection::btree_set(
        prop_oneof![1 => Just(Piece::Whole), 9 => (0..9u8).prop_map(Piece::Index)],
        0..5,
    );
    (prop::collection::vec(pieces, 0..9), 1..7u8).prop_map(|(holders, k)| {
        (holders.into_iter().enumerate().map(|(i, p)| (node(i as u8), p)).collect(), k)
    })
}

/// The size of the smallest set of holders without which it cannot be read, less one.
fn truth(placement: &Placement, k: Option<u8>) -> usize {
    let ids: Vec<NodeId> = placement.keys().copied().collect();
    let mut least = usize::MAX;
    for gone in 0..1u32 << ids.len() {
        let left: Placement = (0..ids.len())
            .filter(|i| gone >> i & 1 == 0)
            .map(|i| (ids[i], placement[&ids[i]].clone()))
            .collect();
        if !is_readable(&left, k) {
            least = least.min(gone.count_ones() as usize);
        }
    }
    least.saturating_sub(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn survives_never_says_too_much((placement, k) in placements()) {
        for k in [None, Some(k)] {
            let said = survives(&placement, k);
            prop_assert!(said <= truth(&placement, k), "{said} {placement:?}");
        }
    }

    #[test]
    fn survives_is_the_truth_where_nothing_is_held_twice((mut placement, k) in placements()) {
        let mut seen = BTreeSet::new();
        for pieces in placement.values_mut() {
            pieces.retain(|piece| *piece == Piece::Whole || seen.insert(*piece));
        }
        // A fragment beside a whole copy dies with it, so it makes no difference either.
        for k in [None, Some(k)] {
            prop_assert_eq!(survives(&placement, k), truth(&placement, k), "{:?}", placement);
        }
    }

    #[test]
    fn one_piece_more_never_makes_it_less(
        (placement, k) in placements(),
        to in 0..10u8,
        index in 0..10u8,
    ) {
        for piece in [Piece::Whole, Piece::Index(index)] {
            let mut more = placement.clone();
            more.entry(node(to)).or_default().insert(piece);
            prop_assert!(survives(&more, Some(k)) >= survives(&placement, Some(k)), "{piece} {to}");
        }
        let mut fewer = placement.clone();
        fewer.remove(&node(to));
        prop_assert!(survives(&fewer, Some(k)) <= survives(&placement, Some(k)));
    }

    #[test]
    fn readable_is_a_copy_or_k_fragments((placement, k) in placements()) {
        let fragments: BTreeSet<Piece> =
            placement.values().flatten().filter(|p| **p != Piece::Whole).copied().collect();
        let copies = placement.values().filter(|p| p.contains(&Piece::Whole)).count();
        prop_assert_eq!(whole_copies(&placement), copies);
        prop_assert_eq!(distinct_fragments(&placement).len(), fragments.len());
        prop_assert_eq!(is_readable(&placement, None), copies > 0);
        let enough = fragments.len() >= usize::from(k);
        prop_assert_eq!(is_readable(&placement, Some(k)), copies > 0 || enough);
    }
}

#[test]
fn the_formula_of_copies_and_fragments() {
    // 24 fragments on 24 holders, any 16 of which suffice: eight may die.
    let mut placement: Placement =
        (0..24).map(|i| (node(i), BTreeSet::from([Piece::Index(i)]))).collect();
    assert_eq!(survives(&placement, Some(16)), 8);
    // Three whole copies elsewhere: W + f.
    for i in 24..27 {
        placement.insert(node(i), BTreeSet::from([Piece::Whole]));
    }
    assert_eq!(survives(&placement, Some(16)), 11);
    // Fewer than k fragments: f is -1.
    placement.retain(|_, pieces| pieces.iter().all(|p| !matches!(p, Piece::Index(15..))));
    assert_eq!(survives(&placement, Some(16)), 2);
    placement.retain(|_, pieces| !pieces.contains(&Piece::Whole));
    assert_eq!(survives(&placement, Some(16)), 0);
    assert_eq!(survives(&Placement::new(), None), 0);
}
