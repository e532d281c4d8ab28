//! A disk that fails at each of its touches in turn while its node repairs, is given what others
//! repair, and mends what rotted: nothing that it had acknowledged is missing afterwards, every
//! byte of it is read, and the same repair completes. See `failing_disk.rs` for the stride.

use std::cell::RefCell;
use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{FragmentStore as _, HeldPiece, TesseraRepository as _, Workbench as _};
use tesseras_core::progress::silent;
use tesseras_rpc::calls::{Repair, Scrub};
use tesseras_storage::Store;

use crate::frail::{Frail, assert_sound, assert_sound_but, publish, stride};
use crate::mending::lose;
use crate::network::{MIB, Net, create_in};
use crate::scrubbing::file_of;
use crate::stranger::{blob_path, read};

/// The pieces that are missing each time: data and parity.
const LOST: [u8; 4] = [0, 9, 16, 23];

fn assert_held(store: &Store, pieces: &[HeldPiece]) {
    for piece in pieces {
        let reader = store.fragments().read_fragment(piece).unwrap();
        assert_eq!(tesseras_crypto::blake3(&read(&*reader)), piece.checksum);
    }
}

/// Takes pieces from all their holders; returns what is left on this node.
fn lose_everywhere(net: &Net, frail: &Frail, hash: TesseraHash) -> Vec<HeldPiece> {
    let mut lost = lose(&net.nodes, hash, &LOST);
    let (gone, kept): (Vec<_>, Vec<_>) =
        frail.held(hash).into_iter().partition(|held| LOST.map(Piece::Index).contains(&held.piece));
    for piece in gone {
        lost += usize::from(frail.open().fragments().delete_fragment(&piece).unwrap());
    }
    assert!(lost >= LOST.len(), "{lost}");
    kept
}

/// Has the node repair over and over what all have lost.
async fn repair_everywhere(net: &Net, frail: &Frail, hash: TesseraHash, stride: u64) {
    let repair = async || frail.ask(Repair { hash: Some(hash) }).await;
    // What it holds and must not lose.
    let kept = RefCell::new(lose_everywhere(net, frail, hash));
    let (mut complete, mut partial) = (0, 0);
    let failed = frail
        .fail_everywhere(
            stride,
            async |_| match repair().await {
                Ok(done) if done.restored >= 4 => complete += 1,
                _ => partial += 1,
            },
            |store| {
                assert_sound(store);
                assert_held(store, &kept.borrow());
            },
            async || {
                let done = repair().await.unwrap();
                assert_eq!(done.failed, 0, "{done:?}");
                let mut all: BTreeSet<Piece> = frail.held(hash).iter().map(|h| h.piece).collect();
                all.extend(net.nodes.iter().flat_map(|node| node.held(hash)).map(|h| h.piece));
                let missing: Vec<_> =
                    (0..24).map(Piece::Index).filter(|piece| !all.contains(piece)).collect();
                assert!(missing.is_empty(), "{missing:?}: {done:?}");
                assert_eq!(frail.open().workbench().pinned(&hash).unwrap(), []);
                kept.replace(lose_everywhere(net, frail, hash));
            },
        )
        .await;
    eprintln!("repair: {failed}, {complete} repairs complete at once, {partial} with the next one");
    assert!(failed.faults > 1 && complete > 0 && partial > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_disk_fails_while_it_repairs_loses_nothing_and_repairs() {
    let mut net = Net::tight(7).await;
    let config = net.tight_config();
    let frail = Frail::join_with(&net, config).await;
    let (hash, keys) = create_in(&frail.open(), &net.path("album"), 4 * MIB, 5);
    publish(&frail.node, hash, &keys).await.unwrap();
    repair_everywhere(&net, &frail, hash, stride(11)).await;
    let frail = frail.restart(&net).await;
    assert_sound(&frail.open());
    assert!(frail.open().library().get(&hash).unwrap().is_some());
    assert_eq!(frail.ask(Repair { hash: Some(hash) }).await.unwrap().restored, 4);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_disk_fails_while_it_repairs_loses_nothing_and_repairs() {
    let mut net = Net::tight(7).await;
    let config = net.tight_config();
    let frail = Frail::join_with(&net, config).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 4 * MIB, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    assert!(!frail.held(hash).is_empty(), "it is one of seven holders of 24 pieces");
    repair_everywhere(&net, &frail, hash, stride(31)).await;
    let before = frail.held(hash);
    let frail = frail.restart(&net).await;
    assert_eq!(frail.held(hash), before);
    assert_sound(&frail.open());
    assert_eq!(frail.ask(Repair { hash: Some(hash) }).await.unwrap().restored, 4);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_repair_on_a_disk_that_fails_is_there_if_it_was_acknowledged() {
    let mut net = Net::of(3).await;
    let frail = Frail::join(&mut net).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 100_000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let copy = frail.held(hash).remove(0);
    let lose_it = || {
        let store = frail.open();
        assert!(store.fragments().delete_fragment(&copy).unwrap());
    };
    let acknowledged = RefCell::new(Vec::new());
    let (mut accepted, mut refused) = (0, 0);
    lose_it();
    let failed = frail
        .fail_everywhere(
            stride(3),
            async |_| {
                let restored = net.nodes[1].repair(hash).await.restored;
                match restored {
                    0 => refused += 1,
                    _ => accepted += 1,
                }
                let held = (restored > 0).then_some(copy);
                acknowledged.replace(held.into_iter().collect());
            },
            |store| {
                assert_sound(store);
                assert_held(store, &acknowledged.borrow());
            },
            async || {
                net.nodes[1].repair(hash).await;
                assert_eq!(frail.held(hash), [copy]);
                acknowledged.take();
                lose_it();
            },
        )
        .await;
    eprintln!("repaired by others: {failed}, {accepted} acknowledged, {refused} refused");
    assert!(accepted > 0 && refused > 0);
    let frail = frail.restart(&net).await;
    assert_eq!(net.nodes[1].repair(hash).await.restored, 1);
    assert_eq!(frail.held(hash), [copy]);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rotted_on_a_disk_that_fails_is_left_in_its_place_until_it_is_mended() {
    let mut net = Net::of(3).await;
    let frail = Frail::join(&mut net).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 100_000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    frail.node.replication().fetch(hash, &silent()).await.unwrap();
    let copy = frail.held(hash).remove(0);
    let objects = [copy.checksum, file_of(&frail.open(), hash, ".wav"), ContentHash::from(hash)];
    let sound = objects.map(|object| std::fs::read(blob_path(&frail.dir(), &object)).unwrap());
    let damage = || objects.iter().for_each(|object| frail.damage(object));
    let (mut mended, mut left) = (0, 0);
    damage();
    let failed = frail
        .fail_everywhere(
            stride(7),
            async |_| match frail.ask(Scrub {}).await {
                Ok(done) if done.repaired == 3 => mended += 1,
                _ => left += 1,
            },
            |store| assert_sound_but(store, &objects),
            async || {
                let done = frail.ask(Scrub {}).await.unwrap();
                assert_eq!((done.corrupt, done.failed), (done.repaired, 0), "{done:?}");
                assert_sound(&frail.open());
                for (object, bytes) in objects.iter().zip(&sound) {
                    assert!(std::fs::read(blob_path(&frail.dir(), object)).unwrap() == *bytes);
                }
                assert_eq!(frail.held(hash), [copy]);
                damage();
            },
        )
        .await;
    eprintln!("scrub: {failed}, {mended} mended at once, {left} by the next scrub");
    assert!(failed.faults > 1 && mended > 0 && left > 0);
    let frail = frail.restart(&net).await;
    assert_eq!(frail.ask(Scrub {}).await.unwrap().repaired, 3);
    assert_sound(&frail.open());
    frail.node.stop().await;
}
