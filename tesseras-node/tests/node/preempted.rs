//! A stranger that was given a copy first places the pieces before the owner does, and tells nobody
//! that they are published.

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::HoldingRepository as _;
use tesseras_core::progress::silent;
use tesseras_crypto::CreatorKeys;
use tesseras_replication::messages::{Announced, Request, refusal};

use crate::network::{Member, Net};
use crate::stranger::{Goods, Parcel, Stranger, blob_path, dossier, draft, encode, read};

fn is_confirmed(member: &Member, hash: TesseraHash) -> bool {
    member.store.holdings().publication(&hash).unwrap().confirmed
}

/// The whole of a capsule with the plan that its creator signs here, as its owner would send it.
async fn parcel(owner: &Member, hash: TesseraHash, keys: &CreatorKeys) -> Parcel {
    let signed = owner.node.replication().draft_plan(hash, &silent()).await.unwrap();
    let (plan, source) = draft(&owner.store, hash);
    let head = encode(&dossier(&owner.store, hash, &plan, keys.sign(&signed)));
    let body = read(&*source.open(Piece::Whole).unwrap());
    let request = Request::PutPiece {
        tessera: hash,
        piece: Piece::Whole,
        bytes: body.len() as u64,
        dossier_bytes: head.len() as u64,
        witnesses: Vec::new(),
    };
    Parcel { request, head, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quicker_stranger_has_placed_is_published_all_the_same() {
    let mut net = Net::of(6).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 2000, 5);
    let parcel = parcel(owner, hash, &keys).await;
    let stranger = Stranger::at("127.0.100.1");
    for member in &net.nodes[1..] {
        stranger.put(&member.contact(), parcel.clone()).await.unwrap();
    }
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.placed, published.holders), (5, 5));
    assert!(net.nodes[1..].iter().all(|member| is_confirmed(member, hash)));
    let id = owner.node.id();
    net.destroy(id).await;
    let reader = net.join().await;
    net.settle().await;
    net.nodes[reader].fetch(hash).await.unwrap();
}

/// Whether a holder takes this node's word that a tessera is published.
async fn may_tell(stranger: &Stranger, holder: &Member, tessera: TesseraHash) -> bool {
    let request = Request::Roster { tessera, holders: Vec::new() };
    let announced: Announced = stranger.ask(&holder.contact(), &request, None).await.unwrap();
    let confirmed = announced.confirmed.unwrap();
    assert_eq!(confirmed, is_confirmed(holder, tessera), "it says what it knows");
    confirmed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shows_wrong_bytes_of_a_held_piece_is_refused_and_changes_nothing() {
    let net = Net::of(1).await;
    let (holder, goods) = (&net.nodes[0], Goods::make(2000, 7));
    let (hash, right) = (goods.tessera, goods.parcel(Piece::Whole));
    let (placer, liar) = (Stranger::at("127.0.100.1"), Stranger::at("127.0.101.1"));
    placer.put(&holder.contact(), right.clone()).await.unwrap();
    let held = holder.held(hash);
    let file = blob_path(&holder.dir, &held[0].checksum);
    assert!(!may_tell(&liar, holder, hash).await, "it has only named the tessera");

    let mut flipped = right.body.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = right.clone().with_body(flipped);
    let mut longer = right.body.clone();
    longer.push(0);
    let longer = right.clone().with_body(longer);
    // The holder has the dossier; it must compare the bytes all the same.
    let without_dossier = flipped.clone().with_head(Vec::new());
    for wrong in [flipped, longer, without_dossier] {
        let refused = liar.put(&holder.contact(), wrong).await;
        assert_eq!(refused.map(drop), Err(refusal::INVALID.to_owned()));
        assert!(!may_tell(&liar, holder, hash).await);
    }
    liar.put_half(&holder.contact(), right.clone()).await;
    assert!(!may_tell(&liar, holder, hash).await, "it has shown half of it");
    assert_eq!(holder.held(hash), held);
    assert_eq!(std::fs::read(&file).unwrap(), right.body, "what is held stays as it was");

    liar.put(&holder.contact(), right).await.unwrap();
    assert!(may_tell(&liar, holder, hash).await, "the right bytes are a proof");
}
