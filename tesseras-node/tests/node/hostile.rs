//! Peers that bring what they should not: refused with the right word, and nothing is left.

use futures_util::stream;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{
    Charge, FragmentStore as _, HoldingRepository as _, PeerAt, ReciprocityLedger as _,
};
use tesseras_node::NodeConfig;
use tesseras_replication::dossier::MAX_DOSSIER_BYTES;
use tesseras_replication::messages::{Offered, Request, Stored, refusal};
use tesseras_wire::Body;
use tesseras_wire::codec::Refusal;

use crate::gate::Lie;
use crate::network::{MIB, Member, Net, assert_tidy, is_tidy, noise, until};
use crate::stranger::{Goods, Stranger, encode};

/// A node alone, with its settings changed.
async fn alone(net: &mut Net, change: impl FnOnce(&mut NodeConfig)) -> &Member {
    let mut config = net.config();
    change(&mut config);
    let at = net.join_with(config).await;
    &net.nodes[at]
}

async fn assert_empty(member: &Member) {
    assert_eq!(member.store.fragments().totals().unwrap(), (0, 0));
    assert_tidy(&member.store, &member.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_is_not_what_it_claims_to_be_is_refused_and_leaves_nothing() {
    let mut net = Net::new();
    let holder = alone(&mut net, |_| {}).await;
    let to = holder.contact();
    let stranger = Stranger::at("127.0.100.1");
    let goods = Goods::make(5 * MIB, 20);
    let other = Goods::make(100, 30);
    let good = goods.parcel(Piece::Index(3));
    let bytes = good.body.len() as u64;
    let dossier = good.head.len() as u64;

    let mut wrong_bytes = good.clone();
    wrong_bytes.body[1000] ^= 1;
    let mut longer = good.body.clone();
    longer.push(0);
    let by_another = {
        let mut dossier = goods.dossier.clone();
        dossier.plan_signatures = other.creator.sign(&dossier.plan);
        encode(&dossier)
    };
    let unsigned = {
        let mut dossier = goods.dossier.clone();
        dossier.plan_signatures.ml_dsa_65.clear();
        encode(&dossier)
    };
    let manifest_unsigned = {
        let mut dossier = goods.dossier.clone();
        dossier.manifest_signatures.ed25519[0] ^= 1;
        encode(&dossier)
    };
    let bad_plan = {
        let mut dossier = goods.dossier.clone();
        dossier.plan.truncate(dossier.plan.len() - 1);
        dossier.plan_signatures = goods.creator.sign(&dossier.plan);
        encode(&dossier)
    };
    let cases = [
        ("wrong bytes", wrong_bytes, refusal::INVALID),
        ("another piece's bytes", good.clone().called(Piece::Index(4)), refusal::INVALID),
        ("longer than the plan says", good.clone().with_body(longer.clone()), refusal::INVALID),
        (
            "shorter than the plan says",
            good.clone().with_body(good.body[1024..].to_vec()),
            refusal::INVALID,
        ),
        (
            "more than was announced",
            good.clone().with_body(longer).said_to_be(bytes, dossier),
            refusal::INVALID,
        ),
        (
            "less than was announced",
            good.clone().with_body(good.body[1..].to_vec()).said_to_be(bytes, dossier),
            refusal::INVALID,
        ),
        ("no dossier", good.clone().with_head(Vec::new()), refusal::NEED_DOSSIER),
        (
            "the dossier of another tessera",
            good.clone().with_head(encode(&other.dossier)),
            refusal::INVALID,
        ),
        ("a plan signed by another", good.clone().with_head(by_another), refusal::INVALID),
        ("a plan signed by half", good.clone().with_head(unsigned), refusal::INVALID),
        ("an unsigned MANIFEST", good.clone().with_head(manifest_unsigned), refusal::INVALID),
        ("a plan that is none", good.clone().with_head(bad_plan), refusal::INVALID),
        ("noise for a dossier", good.clone().with_head(noise(500, 1)), refusal::INVALID),
        ("no such piece", good.clone().called(Piece::Index(24)), refusal::INVALID),
        ("the whole, by its length", good.clone().called(Piece::Whole), refusal::INVALID),
        (
            "a dossier longer than any",
            good.clone().said_to_be(bytes, MAX_DOSSIER_BYTES + 1),
            Refusal::MALFORMED,
        ),
        ("a length beyond all", good.clone().said_to_be(u64::MAX, dossier), refusal::DECLINED),
        (
            "a fragment of what has none",
            other.parcel(Piece::Whole).called(Piece::Index(0)),
            refusal::INVALID,
        ),
    ];
    for (what, parcel, code) in cases {
        assert_eq!(stranger.put(&to, parcel).await.unwrap_err(), code, "{what}");
        assert_empty(holder).await;
        assert_eq!(holder.store.holdings().plan(&goods.tessera).unwrap(), None, "{what}");
    }
    stranger.put_half(&to, good.clone()).await;
    let tidy = async || is_tidy(&holder.store, &holder.dir);
    until("the half is cleared away", tidy).await;
    assert_empty(holder).await;

    stranger.put(&to, good.clone()).await.unwrap();
    stranger.put(&to, good.clone().with_head(Vec::new())).await.unwrap();
    let next = goods.parcel(Piece::Index(20)).with_head(Vec::new());
    stranger.put(&to, next).await.unwrap();
    assert_eq!(holder.held(goods.tessera).len(), 2);
    assert_tidy(&holder.store, &holder.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_refuses_with_its_word() {
    let mut net = Net::new();
    let stranger = Stranger::at("127.0.100.1");
    let goods = Goods::make(100, 20);
    let parcel = goods.parcel(Piece::Whole);
    let bytes = (parcel.head.len() + parcel.body.len()) as u64;

    type Change = fn(&mut NodeConfig, u64);
    let cases: [(&str, Change, &str); 5] = [
        (
            "the storage limit",
            |c, bytes| c.replication.limits.storage = bytes - 1,
            refusal::DECLINED,
        ),
        (
            "the disk's reserve",
            |c, _| c.replication.limits.min_free_space = 1 << 60,
            refusal::DECLINED,
        ),
        (
            "one peer's limit",
            |c, bytes| c.replication.limits.per_peer = bytes - 1,
            refusal::OVER_QUOTA,
        ),
        (
            "the deficit allowance",
            |c, bytes| c.replication.limits.deficit_allowance = bytes - 1,
            refusal::OVER_QUOTA,
        ),
        (
            "the quarter for newcomers",
            |c, bytes| c.replication.limits.storage = 4 * bytes - 1,
            refusal::OVER_QUOTA,
        ),
    ];
    for (what, change, code) in cases {
        let holder = alone(&mut net, |config| change(config, bytes)).await;
        let given = stranger.put(&holder.contact(), parcel.clone()).await;
        assert_eq!(given.unwrap_err(), code, "{what}");
        assert_empty(holder).await;
    }
    // Just enough is enough.
    let holder = alone(&mut net, |config| config.replication.limits.storage = 4 * bytes).await;
    stranger.put(&holder.contact(), parcel.clone()).await.unwrap();
    // The quarter is one for all newcomers: another one does not get his own.
    let second = Goods::make(100, 40).parcel(Piece::Whole);
    let another = Stranger::at("127.0.101.1");
    let given = another.put(&holder.contact(), second).await;
    assert_eq!(given.unwrap_err(), refusal::OVER_QUOTA);
    assert_eq!(holder.store.fragments().totals().unwrap().0, 1);
    assert_tidy(&holder.store, &holder.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_true_witness_turns_a_piece_into_a_repair() {
    let mut net = Net::new();
    let goods = Goods::make(100, 20);
    let parcel = goods.parcel(Piece::Whole);
    let bytes = parcel.body.len() as u64 + goods.dossier.stored_bytes();
    let stranger = Stranger::at("127.0.100.1");
    let first = alone(&mut net, |_| {}).await.contact();
    let second = alone(&mut net, |_| {}).await.contact();
    let third = alone(&mut net, |_| {}).await.contact();
    // It has no holder yet: those named do not attest it, and none can vouch for itself.
    let nobody = Contact { id: stranger.id, ..second.clone() };
    let false_witnesses = vec![second.clone(), nobody, first.clone()];
    let claimed = parcel.clone().witnessed_by(false_witnesses);
    stranger.put(&first, claimed).await.unwrap();
    // The first holds it now, and says so.
    let true_one = parcel.clone().witnessed_by(vec![third.clone(), first.clone()]);
    stranger.put(&second, true_one).await.unwrap();

    // One that it has never met may be another name of the sender.
    let hermit = alone(&mut net, |config| config.bootstrap.clear()).await.contact();
    stranger.put(&hermit, parcel.clone().witnessed_by(vec![first.clone()])).await.unwrap();

    let subnet = Subnet::of("127.0.100.1".parse().unwrap());
    let asker = PeerAt { id: stranger.id, subnet };
    let usage = |at: usize| net.nodes[at].store.ledger().usage(&asker).unwrap();
    let account = |at: usize| net.nodes[at].store.ledger().account(&stranger.id).unwrap();
    assert_eq!((usage(0).total, usage(0).repair, usage(0).indebted), (bytes, 0, bytes));
    assert_eq!(usage(0).indebted_in_subnet, bytes);
    assert_eq!(account(0).stored_for, bytes);
    assert_eq!((usage(1).total, usage(1).repair, usage(1).indebted), (bytes, bytes, 0));
    assert_eq!(account(1).stored_for, 0);
    assert_eq!((usage(3).total, usage(3).repair, account(3).stored_for), (bytes, 0, bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_witness_does_not_open_the_door_for_what_is_over_quota() {
    let mut net = Net::new();
    let goods = Goods::make(100, 20);
    let parcel = goods.parcel(Piece::Whole);
    let holder = alone(&mut net, |config| config.replication.limits.deficit_allowance = 10).await;
    let liar = Stranger::at("127.0.100.1");
    let gone =
        Contact { id: NodeId::new([7; 20]), addresses: vec!["127.0.0.1:9".parse().unwrap()] };
    let claimed = parcel.witnessed_by(vec![gone]);
    let given = liar.put(&holder.contact(), claimed).await;
    assert_eq!(given.unwrap_err(), refusal::OVER_QUOTA);
    assert_empty(holder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_peer_sends_at_once_counts_together() {
    let mut net = Net::new();
    let goods = [Goods::make(100, 20), Goods::make(100, 30), Goods::make(100, 40)];
    let parcels: Vec<_> = goods.iter().map(|goods| goods.parcel(Piece::Whole)).collect();
    let one = (parcels[0].head.len() + parcels[0].body.len()) as u64;
    let witness = alone(&mut net, |_| {}).await.contact();
    net.nodes[0].gate.lie(Lie::SilentOnAttest);
    let holder =
        alone(&mut net, |config| config.replication.limits.deficit_allowance = one * 3 / 2).await;
    // A witness that keeps the holder waiting, so that all three are on their way at once.
    let stranger = Stranger::at("127.0.100.1");
    let to = holder.contact();
    let puts = parcels
        .iter()
        .map(|parcel| stranger.put(&to, parcel.clone().witnessed_by(vec![witness.clone()])));
    let given = futures_util::future::join_all(puts).await;
    let taken = given.iter().filter(|answer| answer.is_ok()).count();
    assert!(taken <= 1, "{given:?}");
    assert_eq!(holder.store.fragments().totals().unwrap().0, taken as u64);
    assert_tidy(&holder.store, &holder.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mere_claim_of_a_sender_takes_no_room_from_others() {
    let mut net = Net::new();
    let limits = |config: &mut NodeConfig| {
        config.replication.limits.storage = 500 << 20;
        config.replication.limits.repair_share = 1200 << 20;
    };
    let victim = alone(&mut net, limits).await;
    let goods = Goods::make(1000, 30);
    let mut claim = goods.parcel(Piece::Whole).request;
    if let Request::PutPiece { bytes, dossier_bytes, witnesses, .. } = &mut claim {
        *bytes = 250 << 20;
        *dossier_bytes = 10 << 20;
        witnesses.push(victim.contact());
    }
    let liar = Stranger::at("127.0.80.1");
    let body: Body = Box::pin(stream::pending());
    let contact = victim.contact();
    let claiming = liar.ask::<Stored>(&contact, &claim, Some(body));
    let honest = Stranger::at("127.0.66.1");
    let asking = async {
        // More than would be left beside what is claimed, and all that one peer gets.
        for (bytes, charge) in [(100 << 20, Charge::OWN), (300 << 20, Charge::REPAIR)] {
            let request = Request::Offer { tessera: goods.tessera, bytes, charge };
            let said: Offered = honest.ask(&victim.contact(), &request, None).await.unwrap();
            assert!(said.accepts, "{said:?}");
        }
    };
    tokio::select! {
        said = claiming => panic!("{:?}", said.map(|_| ())),
        () = async {
            let asked = || victim.gate.take_asked();
            until("the claim is heard", async || !asked().is_empty()).await;
            asking.await;
        } => {}
    }
}
