//! What is lost comes back, without the owner; and a network that grows spreads what it has.

use std::collections::BTreeSet;
use std::fs;

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{FragmentStore as _, Workbench as _};
use tesseras_replication::status::HealthState;
use tesseras_rpc::calls::Repair;

use crate::network::{MIB, Member, Net, assert_tidy};
use crate::reasons::ask;
use crate::stranger::blob_path;

/// Takes these pieces from their holders; returns how many that were.
pub fn lose(members: &[Member], hash: TesseraHash, lost: &[u8]) -> usize {
    let mut count = 0;
    for member in members {
        for fragment in member.held(hash) {
            if lost.iter().any(|index| fragment.piece == Piece::Index(*index)) {
                assert!(member.store.fragments().delete_fragment(&fragment).unwrap());
                count += 1;
            }
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_parity_are_rebuilt_by_two_at_once_and_despite_damage() {
    let mut net = Net::tight(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let want = owner.export(hash, &net.path("want"));
    owner.publish(hash, &keys).await.unwrap();

    assert_eq!(lose(&net.nodes, hash, &[0, 9, 16, 23]), 4);
    let (one, two) = tokio::join!(net.nodes[1].repair(hash), net.nodes[2].repair(hash));
    assert!((4..=8).contains(&(one.restored + two.restored)), "{one:?} {two:?}");
    let health = net.nodes[3].health(hash).await;
    assert_eq!((health.live, health.survives), (24, 2), "{health:?}");
    // Only the whole copies are lacking, for which nobody has room.
    assert_eq!((health.state, health.copies.live), (HealthState::Degraded, 0), "{health:?}");
    for member in &net.nodes[1..] {
        assert_eq!(member.store.workbench().pinned(&hash).unwrap(), []);
        assert_tidy(&member.store, &member.dir).await;
    }
    assert_eq!(net.nodes[3].repair(hash).await.restored, 0, "nothing is missing any more");

    // A byte rots on one holder's disk. It attests what it no longer has.
    let damaged = net.nodes[1..].iter().find_map(|member| {
        let data = member.held(hash).into_iter().find(|f| f.piece < Piece::Index(16))?;
        Some((member, data))
    });
    let (rotten, fragment) = damaged.unwrap();
    let path = blob_path(&rotten.dir, &fragment.checksum);
    let mut bytes = fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let rotten_id = rotten.node.id();

    assert_eq!(lose(&net.nodes, hash, &[20]), 1);
    let healthy = net.nodes[1..].iter().find(|member| member.node.id() != rotten_id).unwrap();
    assert_eq!(healthy.repair(hash).await.restored, 1, "others can repair");
    assert_eq!(lose(&net.nodes, hash, &[21]), 1);
    // And it brings back the damaged piece, too, if the repair before has read it and shown that.
    let restored = net.by_id(rotten_id).unwrap().repair(hash).await.restored;
    assert!((1..=2).contains(&restored), "so can it: {restored}");
    let fetcher = net.join().await;
    let fetcher = &net.nodes[fetcher];
    fetcher.fetch(hash).await.unwrap();
    assert!(fetcher.export(hash, &net.path("got")) == want);
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_copies_come_back_and_spread_to_nodes_that_join() {
    let mut net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let lost = net.nodes[1].held(hash).remove(0);
    net.nodes[1].store.fragments().delete_fragment(&lost).unwrap();
    assert_eq!(net.nodes[2].repair(hash).await.restored, 1);
    assert_eq!(net.nodes[1].held(hash), [lost]);
    net.join().await;
    net.settle().await;
    assert_eq!(net.nodes[3].repair(hash).await.restored, 1);
    assert_eq!(net.nodes[4].held(hash).len(), 1);
    let health = net.nodes[4].health(hash).await;
    assert_eq!((health.state, health.live, health.survives), (HealthState::Healthy, 4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coded_form_is_placed_beside_whole_copies_when_the_network_has_grown() {
    let mut net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 4 * MIB, 5);
    let want = net.nodes[0].export(hash, &net.path("want"));
    let published = net.nodes[0].publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed), (3, 3));
    for _ in 0..11 {
        net.join().await;
    }
    // One that offers nothing only reads.
    let mut config = net.config();
    config.replication.limits.storage = 0;
    let reader = net.join_with(config).await;
    net.settle().await;
    let reader = &net.nodes[reader];
    let wholes = || {
        let of = |m: &&Member| m.held(hash).iter().any(|f| f.piece == Piece::Whole);
        net.nodes.iter().filter(of).collect::<Vec<_>>()
    };

    // Until then the copies are all there is, and too few for so many nodes.
    let health = reader.health(hash).await;
    assert_eq!((health.state, health.live, health.total), (HealthState::Degraded, 3, 6));
    assert_eq!(net.nodes[1].repair(hash).await.restored, 24);
    assert_eq!(wholes().len(), 3, "nothing is let go in the same breath");
    let health = reader.health(hash).await;
    assert_eq!((health.state, health.live, health.total), (HealthState::Healthy, 24, 24));
    assert_eq!((health.survives, health.copies.total), (6, 1));

    // Nothing is let go, whoever repairs: that others hold the fragments is only what they claim.
    for member in &net.nodes[1..15] {
        member.repair(hash).await;
    }
    assert_eq!(wholes().len(), 3);
    reader.fetch(hash).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    assert!(reader.export(hash, to.path()) == want);
    reader.forget(hash);
    let health = reader.health(hash).await;
    assert_eq!((health.state, health.survives), (HealthState::Healthy, 6));
    let pieces: BTreeSet<Piece> = health.placement.values().flatten().copied().collect();
    assert_eq!(pieces, (0..24).map(Piece::Index).chain([Piece::Whole]).collect());
    for member in &net.nodes[1..] {
        assert_tidy(&member.store, &member.dir).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_many_names_takes_no_copy_with_it_when_it_leaves() {
    let mut net = Net::of(6).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 4 * MIB, 5);
    let want = net.nodes[0].export(hash, &net.path("want"));
    let published = net.nodes[0].publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed), (5, 5));
    let mut machine = Vec::new();
    for _ in 0..12 {
        let joined = net.join().await;
        machine.push(net.nodes[joined].node.id());
    }
    net.settle().await;
    for _ in 0..2 {
        for holder in 1..6 {
            net.nodes[holder].repair(hash).await;
        }
    }
    for id in machine {
        net.destroy(id).await;
    }
    let is_whole = |m: &&Member| m.held(hash).iter().any(|held| held.piece == Piece::Whole);
    assert_eq!(net.nodes[1..].iter().filter(is_whole).count(), 5, "they still keep it");
    let owner = net.nodes[0].node.id();
    net.destroy(owner).await;
    let reader = &net.nodes[0];
    reader.fetch(hash).await.unwrap();
    let to = tempfile::tempdir().unwrap();
    assert!(reader.export(hash, to.path()) == want);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_missing_has_a_reason_also_where_nobody_refused() {
    let net = Net::tight(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    owner.publish(hash, &keys).await.unwrap();
    assert_eq!(lose(&net.nodes, hash, &[0, 9]), 2);
    // Its fragments find a place, and the whole copies have room nowhere.
    let repaired = ask(&net.nodes[1], Repair { hash: Some(hash) }).await.unwrap();
    assert!(repaired.restored >= 2 && repaired.missing > 0, "{repaired:?}");
    assert!(repaired.notes[0].contains("known"), "{repaired:?}");
}
