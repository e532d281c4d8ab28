//! A creator who signs two plans: only one of them can be true, and rebuilding shows which.

use tesseras_core::code::Piece;
use tesseras_core::ports::{HoldingRepository as _, TesseraRepository as _};
use tesseras_crypto::blake3;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::messages::refusal;

use crate::network::{MIB, Net, assert_tidy, noise};
use crate::stranger::{Goods, Stranger, encode, falsify};

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_keeps_its_first_plan_and_a_fetch_finds_the_true_one() {
    let mut net = Net::of(4).await;
    let goods = Goods::make(4 * MIB, 20);
    let hash = goods.tessera;
    let stranger = Stranger::at("127.0.100.1");
    let to = |at: usize| net.nodes[at].contact();
    let fragment = goods.bytes(Piece::Index(0)).len();

    // Two holders get a plan with a false fragment 0, and that fragment. One of them gets more
    // data, one gets all parity; one holder gets the true plan, and enough pieces.
    let false_bytes = noise(fragment, 77);
    let false_plan = falsify(&goods.plan, 0, &false_bytes);
    let mut lie = goods.dossier.clone();
    lie.plan = false_plan.render().into_bytes();
    lie.plan_signatures = goods.creator.sign(&lie.plan);
    let lie = encode(&lie);
    for at in [0, 1] {
        let first = goods.parcel(Piece::Index(0)).with_body(false_bytes.clone());
        stranger.put(&to(at), first.with_head(lie.clone())).await.unwrap();
    }
    for index in 1..6 {
        let parcel = goods.parcel(Piece::Index(index)).with_head(Vec::new());
        stranger.put(&to(0), parcel).await.unwrap();
    }
    // What was kept first stays.
    for index in [0, 7] {
        let given = stranger.put(&to(1), goods.parcel(Piece::Index(index))).await;
        match index {
            // It is there already, under the first plan: nothing is taken, nothing overwritten.
            0 => drop(given),
            _ => assert_eq!(given.unwrap_err(), refusal::PLAN_CONFLICT),
        }
    }
    let kept = net.nodes[1].store.holdings().plan(&hash).unwrap().unwrap();
    assert_eq!(kept, false_plan.render().into_bytes());
    assert_eq!(net.nodes[1].held(hash)[0].checksum, blake3(&false_bytes));
    assert_tidy(&net.nodes[1].store, &net.nodes[1].dir).await;

    for index in 6..16 {
        stranger.put(&to(2), goods.parcel(Piece::Index(index))).await.unwrap();
    }
    for at in 0..3 {
        stranger.tell_to_announce(&to(at), hash).await;
    }
    let fetcher = net.join().await;
    let fetcher = &net.nodes[fetcher];
    // Fifteen true pieces and a false one: every plan fails, and nothing is kept.
    let error = fetcher.fetch(hash).await.unwrap_err();
    assert!(matches!(error, FetchError::Collect(_) | FetchError::Unpack(_)), "{error}");
    assert_eq!(fetcher.store.library().get(&hash).unwrap(), None);
    // One more, and it is settled: although most holders keep the false plan.
    stranger.put(&net.nodes[2].contact(), goods.parcel(Piece::Index(23))).await.unwrap();
    let fetched = fetcher.fetch(hash).await.unwrap();
    assert_eq!(fetched.record.hash, hash);
    assert_tidy(&fetcher.store, &fetcher.dir).await;
}
