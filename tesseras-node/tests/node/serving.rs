//! What a holder gives to anyone who asks, and how it answers nonsense.

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_replication::messages::{Announced, Bulk, Request, Stored, refusal};
use tesseras_wire::codec::Refusal;

use crate::network::{MIB, Net};
use crate::stranger::{Goods, Stranger};

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_copy_gives_its_data_fragments_from_any_offset() {
    let mut net = Net::new();
    net.join().await;
    let holder = net.nodes[0].contact();
    let goods = Goods::make(4 * MIB, 20);
    let stranger = Stranger::at("127.0.100.1");
    stranger.put(&holder, goods.parcel(Piece::Whole)).await.unwrap();
    let get = async |piece, offset| stranger.get(&holder, goods.tessera, piece, offset).await;
    for index in [0, 7, 15] {
        assert!(get(Piece::Index(index), 0).await.unwrap() == goods.bytes(Piece::Index(index)));
    }
    let whole = goods.bytes(Piece::Whole);
    let end = whole.len() as u64;
    assert!(get(Piece::Whole, 0).await.unwrap() == whole);
    for offset in [1, 300_001, end - 1, end, end + 1, u64::MAX] {
        let rest = whole.get(offset.min(end) as usize..).unwrap();
        assert!(get(Piece::Whole, offset).await.unwrap() == rest, "from {offset}");
    }
    // Parity would have to be computed, and more fragments there are not.
    for index in [16, 23, 24, 254] {
        assert_eq!(get(Piece::Index(index), 0).await.unwrap_err(), refusal::NOT_HELD);
    }
    let other = TesseraHash::new([1; 32]);
    let given = stranger.get(&holder, other, Piece::Whole, 0).await;
    assert_eq!(given.unwrap_err(), refusal::NOT_HELD);
    let dossier = Request::GetDossier { tessera: other };
    let given = stranger.ask::<Bulk>(&holder, &dossier, None).await;
    assert_eq!(given.unwrap_err(), refusal::NOT_HELD);
    let roster = Request::Roster { tessera: other, holders: vec![holder.clone()] };
    let given = stranger.ask::<Announced>(&holder, &roster, None).await;
    assert_eq!(given.unwrap_err(), refusal::NOT_HELD);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_gets_a_word() {
    let mut net = Net::new();
    net.join().await;
    let holder = net.nodes[0].contact();
    let stranger = Stranger::at("127.0.100.1");
    let say = async |frame: &[u8]| {
        stranger.send::<Stored>(&holder, frame.to_vec(), None).await.map(drop).unwrap_err()
    };
    assert_eq!(say(b"").await, Refusal::MALFORMED);
    assert_eq!(say(b"\xc1 is never used").await, Refusal::MALFORMED);
    assert_eq!(say(b"\x81\xa5dance\x80").await, Refusal::UNKNOWN_REQUEST);
    assert_eq!(say(b"\x81\xa6attest\x80").await, Refusal::MALFORMED);
    assert_eq!(say(b"\x81\xa9get_piece\x81\xa7tessera\x07").await, Refusal::MALFORMED);
    // And goes on answering sense.
    let given = stranger.get(&holder, TesseraHash::new([1; 32]), Piece::Whole, 0).await;
    assert_eq!(given.unwrap_err(), refusal::NOT_HELD);
}
