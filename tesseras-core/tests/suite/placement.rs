//! Placement: who gets which piece, and how many may die.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tesseras_core::code::{CODED_FROM_BYTES, CodedForm, Piece, WIDE_FROM_BYTES};
use tesseras_core::contact::Subnet;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::placement::{
    Assignment, Candidate, HOLDERS_PER_SUBNET, Placement, TargetForm, distinct_fragments,
    is_readable, survives, whole_copies,
};

const KEY: DhtKey = DhtKey::new([9; 20]);

fn node(number: u8) -> NodeId {
    let mut id = [number; 20];
    id[0] = number.wrapping_mul(151);
    NodeId::new(id)
}

fn candidate(number: u8, subnet: Subnet) -> Candidate {
    Candidate { id: node(number), subnet, pieces: BTreeSet::new(), room: u64::MAX }
}

fn public(net: u8) -> Subnet {
    Subnet::V4([8, 8, net])
}

fn assignment(nets: &[u8]) -> (Assignment, BTreeMap<NodeId, Subnet>) {
    let candidates: Vec<Candidate> =
        nets.iter().zip(0..).map(|(net, i)| candidate(i, public(*net))).collect();
    let subnets = candidates.iter().map(|c| (c.id, c.subnet)).collect();
    (Assignment::new(KEY, WIDE_FROM_BYTES, candidates), subnets)
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
    let mut all = Assignment::new(KEY, 1000, (0..7).map(|i| candidate(i, home)));
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
    let mut all = Assignment::new(KEY, CODED_FROM_BYTES, [old.clone(), new.clone()]);
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

/// Nodes, each on a network of its own.
fn nodes(count: u8) -> impl Iterator<Item = Candidate> {
    (0..count).map(|i| candidate(i, public(i)))
}

/// The pack lengths of each kind: copied only, 16 + 8, 48 + 24.
const PACKS: [u64; 3] = [1000, CODED_FROM_BYTES, WIDE_FROM_BYTES];

fn k_of(pack: u64) -> Option<u8> {
    CodedForm::of_pack(pack).map(|form| form.shape.k)
}

/// Gives all that is lacking, piece by piece.
fn give_all(assignment: &mut Assignment) -> usize {
    let lack = assignment.lack();
    for piece in &lack.pieces {
        assert!(assignment.give(*piece).is_some(), "{piece} has no taker");
    }
    assert_eq!(assignment.placement(), lack.after, "it comes as it was planned");
    assert_eq!(lack.without_room, 0);
    lack.pieces.len()
}

#[test]
fn a_larger_network_never_makes_it_less_safe() {
    for pack in PACKS {
        let mut last = 0;
        for holders in 1..=200_u8 {
            let mut assignment = Assignment::new(KEY, pack, nodes(holders));
            let form = assignment.target();
            assert_eq!(form, TargetForm::of(pack, holders.into()));
            give_all(&mut assignment);
            let placement = assignment.placement();
            let counted = survives(&placement, k_of(pack));
            assert_eq!(counted, form.survives, "{pack} on {holders}: {form:?}");
            assert!(counted >= last, "{pack} on {holders}: {counted} after {last}");
            assert!(counted >= usize::from(holders - 1).min(5), "{pack} on {holders}: {counted}");
            assert_eq!(whole_copies(&placement), form.whole);
            assert!(placement.values().all(|p| p.len() == 1 || !p.contains(&Piece::Whole)));
            let loads =
                placement.values().filter(|p| !p.contains(&Piece::Whole)).map(BTreeSet::len);
            let (least, most) = (loads.clone().min().unwrap_or(0), loads.max().unwrap_or(0));
            assert!(most - least <= 1, "{pack} on {holders}: {least} to {most}");
            assert!(assignment.lack().pieces.is_empty(), "nothing is lacking then");
            last = counted;
        }
        let full = CodedForm::of_pack(pack).map_or(6, |form| form.shape.m.into());
        assert_eq!(last, full, "the full form's figure in the end");
    }
}

#[test]
fn the_upload_is_the_copies_and_the_fragments() {
    let upload =
        |pack, holders| TargetForm::of(pack, holders).upload_bytes(pack) as f64 / pack as f64;
    assert_eq!(upload(1000, 100), 7.0);
    for pack in [CODED_FROM_BYTES, WIDE_FROM_BYTES] {
        let of: Vec<f64> = (1..=200).map(|holders| upload(pack, holders)).collect();
        assert_eq!(of[..6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(of.iter().all(|packs| *packs <= 6.0), "{of:?}");
        assert!(of[6..].windows(2).all(|pair| pair[1] <= pair[0]), "{of:?}");
        assert!((of[199] - 1.5).abs() < 0.01, "{of:?}");
    }
    assert_eq!(TargetForm::of(u64::MAX, 7).upload_bytes(u64::MAX), u64::MAX, "no overflow");
}

/// Adds nodes to an assignment that hold nothing yet.
fn grown(assignment: &Assignment, pack: u64, to: u8) -> Assignment {
    let held = assignment.placement();
    Assignment::new(
        KEY,
        pack,
        nodes(to).map(|c| Candidate { pieces: held.get(&c.id).cloned().unwrap_or_default(), ..c }),
    )
}

/// Adds nodes, and repairs until nothing is lacking; after each round it is as safe as promised.
fn grow(assignment: &mut Assignment, pack: u64, holders: u8) {
    let promised = TargetForm::of(pack, holders.into()).survives;
    for round in 0.. {
        assert!(round < 100, "no end with {holders} holders");
        *assignment = grown(assignment, pack, holders);
        let given = give_all(assignment);
        let survived = survives(&assignment.placement(), k_of(pack));
        assert!(survived >= promised, "{pack} on {holders}: {survived} < {promised}");
        if given == 0 {
            break;
        }
    }
}

#[test]
fn holders_that_have_more_than_their_share_from_a_small_network_are_relieved() {
    let (mut assignment, mut holders) = (Assignment::new(KEY, WIDE_FROM_BYTES, nodes(0)), 0);
    for step in [3, 8, 2, 8, 2, 2, 8, 8, 5, 6, 7, 5] {
        holders += step;
        grow(&mut assignment, WIDE_FROM_BYTES, holders);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_network_that_grows_under_a_tessera_keeps_it_as_safe_as_a_new_one(
        steps in prop::collection::vec(1..9u8, 1..25),
        pack in prop::sample::select(&PACKS[..]),
    ) {
        let mut holders = 0;
        let mut assignment = Assignment::new(KEY, pack, nodes(0));
        for step in steps {
            holders += step;
            grow(&mut assignment, pack, holders);
        }
    }

    #[test]
    fn what_the_dead_held_is_lacking_until_it_is_as_safe_as_the_rest_allows(
        before in 7..40u8,
        dead in prop::collection::btree_set(0..40u8, 0..12),
        pack in prop::sample::select(&PACKS[..]),
    ) {
        let mut assignment = Assignment::new(KEY, pack, nodes(before));
        give_all(&mut assignment);
        let held = assignment.placement();
        let left = nodes(before).zip(0..).filter(|(_, number)| !dead.contains(number));
        let left: Vec<Candidate> = left
            .map(|(c, _)| Candidate { pieces: held.get(&c.id).cloned().unwrap_or_default(), ..c })
            .collect();
        prop_assume!(!left.is_empty());
        let count = left.len();
        let mut assignment = Assignment::new(KEY, pack, left);
        give_all(&mut assignment);
        let counted = survives(&assignment.placement(), k_of(pack));
        prop_assert!(counted >= TargetForm::of(pack, count).survives, "{} of {}", counted, count);
    }

    #[test]
    fn nobody_is_given_more_than_it_has_room_for(
        rooms in prop::collection::vec(0..3 * CODED_FROM_BYTES, 1..30),
        pack in prop::sample::select(&[1_000_000, CODED_FROM_BYTES][..]),
    ) {
        let at = |number: u8| rooms[usize::from(number)];
        let candidates = nodes(rooms.len() as u8).map(|c| Candidate { room: at(c.id.as_bytes()[1]), ..c });
        let assignment = Assignment::new(KEY, pack, candidates);
        let lack = assignment.lack();
        let fragment = CodedForm::of_pack(pack).map_or(0, |form| form.fragment_bytes);
        for (id, pieces) in &lack.after {
            let bytes: u64 = pieces.iter().map(|p| match p {
                Piece::Whole => pack,
                Piece::Index(_) => fragment,
            }).sum();
            prop_assert!(bytes <= at(id.as_bytes()[1]), "{bytes} in {rooms:?}");
        }
        // One whole copy, or the fragments that there is room for, can always be placed.
        let k = k_of(pack);
        let fragments: u64 = rooms.iter().map(|room| room.checked_div(fragment).unwrap_or(0)).sum();
        let possible = rooms.iter().any(|room| *room >= pack)
            || k.is_some_and(|k| fragments >= u64::from(k));
        prop_assert_eq!(is_readable(&lack.after, k), possible, "{:?} {:?}", rooms, lack);
    }
}

#[test]
fn holders_of_one_neighbourhood_count_twice_at_the_most_where_there_are_others() {
    let crowd = |nets: &[u8], pack| {
        let candidates = nets.iter().zip(0..).map(|(net, i)| candidate(i, public(*net)));
        Assignment::new(KEY, pack, candidates.collect::<Vec<_>>())
    };
    assert_eq!(crowd(&[1; 30], CODED_FROM_BYTES).holders(), 6, "as many as whole copies need");
    assert_eq!(crowd(&[1; 30], 1000).holders(), 7);
    assert_eq!(crowd(&[1; 3], 1000).holders(), 3);
    assert_eq!(crowd(&[1, 1, 1, 1, 2, 3, 4, 5, 6, 7], CODED_FROM_BYTES).holders(), 8);
    let mut six = crowd(&[1; 30], CODED_FROM_BYTES);
    give_all(&mut six);
    assert_eq!((six.placement().len(), six.is_crowded()), (6, true));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_full_lacks_nothing_however_large_the_network_is(
        holders in 1..90u8,
        others in 0..60u8,
        moved in prop::collection::vec((0..90u8, 0..90u8), 0..6),
        pack in prop::sample::select(&PACKS[..]),
    ) {
        let mut assignment = Assignment::new(KEY, pack, nodes(holders));
        give_all(&mut assignment);
        let mut held = assignment.placement();
        for (from, to) in moved {
            let pieces = held.get(&node(from)).cloned().unwrap_or_default();
            held.entry(node(to)).or_default().extend(pieces);
        }
        let candidates: Vec<Candidate> = nodes(90 + others / 2).collect();
        let with = |c: Candidate| Candidate { pieces: held.get(&c.id).cloned().unwrap_or_default(), ..c };
        let here: Vec<Candidate> =
            candidates.iter().cloned().map(with).filter(|c| !c.pieces.is_empty()).collect();
        let is_full = Assignment::new(KEY, pack, here).is_full();
        let lack = Assignment::new(KEY, pack, candidates.into_iter().map(with)).lack();
        if is_full {
            prop_assert!(lack.pieces.is_empty() && lack.without_room == 0, "{lack:?}");
        }
    }
}

#[test]
fn what_was_placed_on_enough_holders_is_full() {
    for pack in PACKS {
        let mut assignment = Assignment::new(KEY, pack, nodes(80));
        assert!(!assignment.is_full());
        give_all(&mut assignment);
        assert!(assignment.is_full());
        let held = assignment.placement();
        assert_eq!(held.len(), assignment.holders_when_full());
        let one_less = held.into_iter().skip(1).map(|(id, pieces)| Candidate {
            pieces,
            ..candidate(id.as_bytes()[1], public(id.as_bytes()[1]))
        });
        assert!(!Assignment::new(KEY, pack, one_less).is_full());
    }
}
