//! A stranger does not learn what a node made, dropped or has no room for.

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{Charge, HoldingRepository as _};
use tesseras_node::clock;
use tesseras_replication::messages::{Attestation, Bulk, Offered, Request};

use crate::network::{MIB, Member, Net};
use crate::stranger::{Goods, NoAnswer, Stranger};

/// All that a stranger is answered about a tessera before anything is held.
async fn told(
    stranger: &Stranger,
    of: &Member,
    tessera: TesseraHash,
    goods: &Goods,
) -> (Offered, Option<tesseras_core::ids::ContentHash>, [NoAnswer; 2]) {
    let to = of.contact();
    let offer = Request::Offer { tessera, bytes: 1000, charge: Charge::OWN };
    let offered: Offered = stranger.ask(&to, &offer, None).await.unwrap();
    let attest = Request::Attest { tessera, nonce: [3; 32] };
    let attested: Attestation = stranger.ask(&to, &attest, None).await.unwrap();
    assert_eq!(attested.pieces, []);
    let dossier = stranger.ask::<Bulk>(&to, &Request::GetDossier { tessera }, None).await;
    let put = stranger.put(&to, goods.parcel(Piece::Whole).of(tessera)).await;
    (offered, attested.plan, [dossier.unwrap_err(), put.unwrap_err()])
}

#[tokio::test(flavor = "multi_thread")]
async fn own_and_dropped_tesserae_are_refused_in_the_words_of_a_node_without_room() {
    let mut net = Net::of(2).await;
    let mut config = net.config();
    config.replication.limits.storage = 0;
    net.join_with(config).await;
    let mut config = net.config();
    config.replication.limits.min_free_space = 1 << 60;
    net.join_with(config).await;
    net.settle().await;
    let [owner, other, nothing_offered, disk_full] = &net.nodes[..] else { panic!("four nodes") };
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let goods = Goods::make(100, 20);
    other.store.holdings().block(&goods.tessera, clock::system().now()).unwrap();

    let stranger = Stranger::at("127.0.100.1");
    let made = told(&stranger, owner, hash, &goods).await;
    assert!(!made.0.accepts && !made.0.has_dossier && made.0.pieces.is_empty());
    assert_eq!(made.1, None, "the plan is told by who holds a piece");
    assert_eq!(made.2, ["not_held", "declined"]);
    for (member, tessera) in
        [(other, goods.tessera), (nothing_offered, goods.tessera), (disk_full, goods.tessera)]
    {
        assert_eq!(told(&stranger, member, tessera, &goods).await, made);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_without_a_piece_is_not_shown() {
    let net = Net::of(2).await;
    let goods = Goods::make(4 * MIB, 20);
    // As a node has it that fetched the capsule and keeps nothing for others.
    let keeper = &net.nodes[0];
    keeper.store.holdings().put_dossier(&goods.tessera, &goods.dossier).unwrap();
    let stranger = Stranger::at("127.0.100.1");
    let to = keeper.contact();
    let tessera = goods.tessera;
    let offer = Request::Offer { tessera, bytes: 1000, charge: Charge::OWN };
    let offered: Offered = stranger.ask(&to, &offer, None).await.unwrap();
    assert!(offered.accepts && !offered.has_dossier);
    let without = goods.parcel(Piece::Index(1)).with_head(Vec::new());
    assert_eq!(stranger.put(&to, without).await.unwrap_err(), "need_dossier");
    let dossier = stranger.ask::<Bulk>(&to, &Request::GetDossier { tessera }, None).await;
    assert_eq!(dossier.unwrap_err(), "not_held");

    // Once it holds a piece it says what it is.
    stranger.put(&to, goods.parcel(Piece::Index(1))).await.unwrap();
    stranger.ask::<Bulk>(&to, &Request::GetDossier { tessera }, None).await.unwrap();
    let attest = Request::Attest { tessera, nonce: [3; 32] };
    let attested: Attestation = stranger.ask(&to, &attest, None).await.unwrap();
    assert!(attested.plan.is_some());
}
