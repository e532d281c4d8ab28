//! A piece that is too large for the cache is hashed while it is sent: what rotted on the disk is
//! found by whoever asks for it first, and not believed or attested after that.

use std::fs;
use std::path::Path;

use tesseras_core::code::Piece;
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::FragmentStore as _;
use tesseras_core::units::MIB as CACHE;
use tesseras_replication::messages::{Attestation, Request, refusal};

use crate::network::{MIB, Net};
use crate::stranger::{Goods, Stranger, blob_path};

/// Flips one bit of a stored object.
fn flip(dir: &Path, hash: &ContentHash, at: usize) {
    let path = blob_path(dir, hash);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
}

/// A holder with a cache that is too small for large pieces, and a whole copy on its disk.
async fn holder_of(goods: &Goods) -> (Net, Stranger) {
    let mut net = Net::new();
    let mut config = net.config();
    config.fragment_cache = CACHE;
    let at = net.join_with(config).await;
    let stranger = Stranger::at("127.0.100.1");
    stranger.put(&net.nodes[at].contact(), goods.parcel(Piece::Whole)).await.unwrap();
    (net, stranger)
}

async fn attested(net: &Net, stranger: &Stranger, goods: &Goods) -> usize {
    let request = Request::Attest { tessera: goods.tessera, nonce: [7; 32] };
    let said: Attestation = stranger.ask(&net.nodes[0].contact(), &request, None).await.unwrap();
    said.pieces.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_piece_that_rotted_is_not_served_to_its_end_and_not_attested_any_more() {
    let goods = Goods::make(5 * MIB, 20);
    let (net, stranger) = holder_of(&goods).await;
    let holder = &net.nodes[0];
    let held = holder.held(goods.tessera).remove(0);
    assert_eq!(attested(&net, &stranger, &goods).await, 1);
    flip(&holder.dir, &held.checksum, 3 * MIB);
    let to = holder.contact();
    stranger.get(&to, goods.tessera, Piece::Whole, 0).await.unwrap_err();
    assert_eq!(attested(&net, &stranger, &goods).await, 0);
    assert_eq!(holder.store.fragments().count_damaged().unwrap(), 1);
    let again = stranger.get(&to, goods.tessera, Piece::Whole, 0).await;
    assert_eq!(again.unwrap_err(), refusal::NOT_HELD);
    stranger.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
    assert!(
        stranger.get(&to, goods.tessera, Piece::Whole, 0).await.unwrap()
            == goods.bytes(Piece::Whole)
    );
    assert_eq!(attested(&net, &stranger, &goods).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_part_of_a_piece_is_not_served_if_a_part_before_it_rotted() {
    let goods = Goods::make(5 * MIB, 20);
    let (net, stranger) = holder_of(&goods).await;
    let holder = &net.nodes[0];
    flip(&holder.dir, &holder.held(goods.tessera)[0].checksum, 1000);
    let to = holder.contact();
    stranger.get(&to, goods.tessera, Piece::Whole, 4 * MIB as u64).await.unwrap_err();
    assert_eq!(attested(&net, &stranger, &goods).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_of_a_rotten_whole_copy_is_not_served_if_it_is_the_rotten_one() {
    let goods = Goods::make(5 * MIB, 20);
    let (net, stranger) = holder_of(&goods).await;
    let holder = &net.nodes[0];
    flip(&holder.dir, &holder.held(goods.tessera)[0].checksum, 1000);
    let to = holder.contact();
    let intact = stranger.get(&to, goods.tessera, Piece::Index(9), 0).await.unwrap();
    assert!(intact == goods.bytes(Piece::Index(9)));
    assert_eq!(attested(&net, &stranger, &goods).await, 1);
    stranger.get(&to, goods.tessera, Piece::Index(0), 0).await.unwrap_err();
    assert_eq!(attested(&net, &stranger, &goods).await, 0);
}
