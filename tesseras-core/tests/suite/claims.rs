//! For how much the claims of one holder, and of one neighbourhood, can count.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tesseras_core::code::{CODED_FROM_BYTES, CodedForm, Piece, WIDE_FROM_BYTES};
use tesseras_core::contact::Subnet;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::placement::{
    Assignment, Candidate, PARTS, Placement, distinct_fragments, survives, whole_copies,
};

const KEY: DhtKey = DhtKey::new([9; 20]);
const PACKS: [u64; 3] = [1000, CODED_FROM_BYTES, WIDE_FROM_BYTES];

fn node(number: u8) -> NodeId {
    let mut id = [number; 20];
    id[0] = number.wrapping_mul(151);
    NodeId::new(id)
}

fn holder(number: u8, net: u8, pieces: impl IntoIterator<Item = Piece>) -> Candidate {
    let subnet = Subnet::V4([8, 8, net]);
    Candidate { id: node(number), subnet, pieces: pieces.into_iter().collect(), room: 0 }
}

fn fragments(indices: std::ops::Range<u8>) -> impl Iterator<Item = Piece> {
    indices.map(Piece::Index)
}

fn with_room(candidate: Candidate) -> Candidate {
    Candidate { room: u64::MAX, ..candidate }
}

#[test]
fn one_liar_that_claims_every_fragment_hides_no_loss_and_adds_little() {
    let honest = || (0..18).map(|i| holder(i, i, fragments(i..i + 1)));
    let free = || (30..40).map(|i| with_room(holder(i, i, [])));
    let liar = holder(99, 99, fragments(0..24));
    let without = Assignment::new(KEY, CODED_FROM_BYTES, honest().chain(free()));
    assert_eq!((without.survives(), without.lack().pieces.len()), (2, 6));
    let with = Assignment::new(KEY, CODED_FROM_BYTES, honest().chain(free()).chain([liar]));
    // Of the 24 pieces that it claims, 4 count.
    assert_eq!((with.survives(), distinct_fragments(&with.accepted()).len()), (3, 22));
    // It is the fullest, so that most of what it claims is given to others as well.
    let mut after = with.lack().after;
    assert!(with.lack().pieces.len() >= 4, "{:?}", with.lack());
    after.remove(&node(99));
    assert_eq!(survives(&after, Some(16)), 7, "of eight when nothing is missing: {after:?}");
}

#[test]
fn many_names_of_one_machine_count_for_as_much_as_one() {
    let copies = || (0..5).map(|i| with_room(holder(i, i, [Piece::Whole])));
    let names = |net: fn(u8) -> u8| {
        let of = move |i: u8| holder(50 + i, net(i), fragments(2 * i..2 * i + 2));
        (0..12).map(of)
    };
    let one_machine = Assignment::new(KEY, CODED_FROM_BYTES, copies().chain(names(|_| 77)));
    assert_eq!(one_machine.survives(), 4, "the five copies, and nothing else");
    let independent = Assignment::new(KEY, CODED_FROM_BYTES, copies().chain(names(|i| 77 + i)));
    assert_eq!(independent.survives(), 9);

    // Nor do seven copies of one machine make a small tessera safe.
    let seven = (0..7).map(|i| holder(i, 77, [Piece::Whole]));
    let free = (30..40).map(|i| with_room(holder(i, i, [])));
    let small = Assignment::new(KEY, 1000, seven.chain(free));
    assert_eq!((small.survives(), small.lack().pieces.len()), (0, 6));
}

#[test]
fn where_there_are_too_few_others_all_is_accepted_and_the_figure_is_honest() {
    let home = Assignment::new(KEY, 1000, (0..7).map(|i| holder(i, 77, [Piece::Whole])));
    assert_eq!((home.survives(), home.counted().len(), home.accepted().len()), (0, 1, 7));
    assert!(home.lack().pieces.is_empty() && home.lack().without_room == 0);
    // On a network of one's own every machine counts.
    let own = Subnet::V4([192, 168, 1]);
    let local = (0..7).map(|i| Candidate { subnet: own, ..holder(i, 0, [Piece::Whole]) });
    assert_eq!(Assignment::new(KEY, 1000, local).survives(), 6);
    // Three small disks, none of which has room for a whole copy.
    let three = (0..3).map(|i| holder(i, i, fragments(8 * i..8 * i + 8)));
    let three = Assignment::new(KEY, CODED_FROM_BYTES, three);
    assert_eq!(three.counted(), three.placement());
    assert_eq!(three.survives(), 1);
}

#[test]
fn names_in_two_networks_do_not_hide_that_all_redundancy_is_lost() {
    let honest = || (8..24).map(|i| holder(i, i, fragments(i..i + 1)));
    let truth: Placement = honest().map(|c| (c.id, c.pieces)).collect();
    assert_eq!(survives(&truth, Some(16)), 0);
    // Eight names claim what has just been lost.
    let names = || (0..8).map(|i| holder(100 + i, 100 + i % 2, fragments(i..i + 1)));
    let attested = Assignment::new(KEY, CODED_FROM_BYTES, honest().chain(names()));
    assert!(!attested.is_full(), "a repair would end with the check of recorded holders");
    assert!(attested.survives() <= 2, "{}", attested.survives());
    let free = (30..60).map(|i| with_room(holder(i, i, [])));
    let all = Assignment::new(KEY, CODED_FROM_BYTES, honest().chain(names()).chain(free));
    // Placing itself would put two fragments into each of the networks.
    assert_eq!(all.lack().pieces.len(), 4);
    assert!(all.survives() <= 2, "{}", all.survives());
}

#[test]
fn holders_that_share_a_network_are_lost_together_except_at_home() {
    let pairs = || (0..24).map(|i| holder(i, i / 2, fragments(i..i + 1)));
    let shared = Assignment::new(KEY, CODED_FROM_BYTES, pairs());
    assert_eq!(shared.counted(), shared.placement(), "two are allowed, and all count");
    assert_eq!(
        (shared.survives(), shared.is_full()),
        (4, true),
        "eight fragments in four networks"
    );
    let own = Subnet::V4([192, 168, 1]);
    let home = pairs().map(|c| Candidate { subnet: own, ..c });
    let home = Assignment::new(KEY, CODED_FROM_BYTES, home);
    assert_eq!((home.survives(), home.is_full()), (8, true));
}

fn shapes() -> impl Strategy<Value = (u64, Vec<(u8, BTreeSet<Piece>, bool)>)> {
    let pack = prop::sample::select(&PACKS[..]);
    pack.prop_flat_map(|pack| {
        let n = CodedForm::of_pack(pack).map_or(1, |form| form.shape.n());
        let index = (0..n).prop_map(Piece::Index);
        let some = prop::collection::btree_set(
            prop_oneof![1 => Just(Piece::Whole), 5 => index],
            0..usize::from(n),
        );
        let none = Just(BTreeSet::new());
        let pieces = prop_oneof![1 => none, 2 => some].prop_map(move |mut pieces| {
            if CodedForm::of_pack(pack).is_none() {
                pieces.retain(|piece| *piece == Piece::Whole);
            }
            pieces
        });
        (Just(pack), prop::collection::vec((0..9u8, pieces, any::<bool>()), 1..24))
    })
}

fn candidates(of: &[(u8, BTreeSet<Piece>, bool)]) -> Vec<Candidate> {
    let one = |((net, pieces, has_room), number): (&(u8, BTreeSet<Piece>, bool), u8)| Candidate {
        room: if *has_room { u64::MAX } else { 0 },
        ..holder(number, *net, pieces.iter().copied())
    };
    of.iter().zip(0..).map(one).collect()
}

fn per_net(placement: &Placement, all: &[Candidate]) -> BTreeMap<Subnet, (usize, usize)> {
    let mut sums: BTreeMap<Subnet, (usize, usize)> = BTreeMap::new();
    for c in all {
        let Some(pieces) = placement.get(&c.id) else { continue };
        let whole = usize::from(pieces.contains(&Piece::Whole));
        let sum = sums.entry(c.subnet).or_default();
        *sum = (sum.0 + whole, sum.1 + pieces.len() - whole);
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_counts_keeps_the_limits_and_is_part_of_what_is_accepted((pack, of) in shapes()) {
        let all = candidates(&of);
        let assignment = Assignment::new(KEY, pack, all.clone());
        let (counted, accepted, held) =
            (assignment.counted(), assignment.accepted(), assignment.placement());
        let n = CodedForm::of_pack(pack).map_or(0, |form| usize::from(form.shape.n()));
        let is_free = |c: &&Candidate| c.room > 0 && !c.pieces.contains(&Piece::Whole);
        let free: BTreeSet<Subnet> = all.iter().filter(is_free).map(|c| c.subnet).collect();
        let is_large = free.len() >= PARTS;
        for (net, (whole, coded)) in per_net(&counted, &all) {
            prop_assert!(whole <= 1, "{net}: {whole}");
            prop_assert!(coded <= n.div_ceil(PARTS) || !is_large, "{net}: {coded}");
        }
        let within = |less: &Placement, more: &Placement| {
            less.iter().all(|(id, pieces)| more.get(id).is_some_and(|m| pieces.is_subset(m)))
        };
        prop_assert!(within(&counted, &held) && within(&accepted, &held));
        prop_assert!(whole_copies(&counted) <= whole_copies(&accepted));
        let k = CodedForm::of_pack(pack).map(|form| form.shape.k);
        prop_assert!(survives(&counted, k) <= survives(&held, k));
    }

    #[test]
    fn repairs_come_to_an_end_wherever_the_pieces_and_the_room_are((pack, of) in shapes()) {
        let mut assignment = Assignment::new(KEY, pack, candidates(&of));
        let mut given = 0;
        for round in 0.. {
            let lack = assignment.lack();
            if lack.pieces.is_empty() {
                break;
            }
            prop_assert!(round < 20, "round {}: {:?}", round, lack);
            for piece in lack.pieces {
                prop_assert!(assignment.give(piece).is_some(), "{} has no taker", piece);
                given += 1;
            }
        }
        let form = assignment.target();
        let n = form.coded.map_or(0, |form| usize::from(form.shape.n()));
        prop_assert!(given <= form.whole + 2 * n, "{} pieces for {:?}", given, form);
    }

    #[test]
    fn each_network_adds_one_loss_at_most(
        live in prop::collection::btree_set(0..24u8, 0..24),
        names in prop::collection::vec(
            (0..4u8, prop::collection::btree_set((0..24u8).prop_map(Piece::Index), 1..24)),
            0..16,
        ),
    ) {
        let honest = || live.iter().map(|i| holder(*i, *i, fragments(*i..*i + 1)));
        let truth: Placement = honest().map(|c| (c.id, c.pieces)).collect();
        let claimed = names.iter().zip(100..).map(|((net, p), i)| holder(i, 100 + net, p.clone()));
        let nets: BTreeSet<u8> = names.iter().map(|(net, _)| *net).collect();
        let said = Assignment::new(KEY, CODED_FROM_BYTES, honest().chain(claimed)).survives();
        let truth = survives(&truth, Some(16));
        prop_assert!(said <= truth + nets.len(), "{} for {} and {:?}", said, truth, nets);
    }

    #[test]
    fn what_is_placed_on_enough_networks_is_full_and_stays_so_as_more_join(
        nets in prop::collection::vec(0..60u8, 24..120),
        more in prop::collection::vec(0..90u8, 0..60),
        pack in prop::sample::select(&PACKS[..]),
    ) {
        let free = |(net, i): (&u8, u8)| with_room(holder(i, *net, []));
        let all: Vec<Candidate> = nets.iter().zip(0..).map(free).collect();
        let mut assignment = Assignment::new(KEY, pack, all.clone());
        prop_assume!(assignment.holders() >= assignment.holders_when_full());
        if CodedForm::of_pack(pack).is_none() {
            // Of the holders of one network, one whole copy counts.
            prop_assume!(nets.iter().collect::<BTreeSet<_>>().len() >= 7);
        }
        for piece in assignment.lack().pieces {
            prop_assert!(assignment.give(piece).is_some(), "{} has no taker", piece);
        }
        let held = assignment.placement();
        let holding = |c: &Candidate| Some(Candidate { pieces: held.get(&c.id)?.clone(), ..*c });
        let attested = Assignment::new(KEY, pack, all.iter().filter_map(holding));
        prop_assert!(attested.is_full(), "{:?}", held);
        let grown = all.iter().map(|c| holding(c).unwrap_or_else(|| c.clone()));
        let more = more.iter().zip(130..).map(free);
        let lack = Assignment::new(KEY, pack, grown.chain(more)).lack();
        prop_assert!(lack.pieces.is_empty() && lack.without_room == 0, "{:?}", lack);
    }
}
