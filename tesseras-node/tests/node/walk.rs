//! The walk of one memory: created, published, orphaned, fetched, repaired.

use tesseras_core::code::CodedForm;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{BlobStore as _, TesseraRepository as _};
use tesseras_replication::status::HealthState;

use crate::network::{MIB, Net};

/// The holders that hold most, as many as may vanish.
fn worst(health: &tesseras_replication::status::TesseraHealth, spared: NodeId) -> Vec<NodeId> {
    let mut holders: Vec<(NodeId, usize)> =
        health.placement.iter().map(|(id, pieces)| (*id, pieces.len())).collect();
    holders.retain(|(id, _)| *id != spared);
    holders.sort_by_key(|(_, load)| std::cmp::Reverse(*load));
    holders.into_iter().take(health.survives).map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coded_capsule_outlives_its_owner_and_as_many_holders_as_promised() {
    let mut net = Net::of(12).await;
    let folder = net.path("album");
    let owner = &net.nodes[11];
    let owner_id = owner.node.id();
    let (hash, keys) = owner.create(&folder, 5 * MIB, 7);
    let want = owner.export(hash, &net.path("want"));
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed, published.holders), (24, 24, 11));
    assert_eq!((published.survives, published.copies.live), (5, 3));
    let health = owner.health(hash).await;
    assert_eq!((health.state, health.live, health.total), (HealthState::Healthy, 24, 24));

    let mut lost = worst(&health, owner_id);
    lost.push(owner_id);
    for id in lost {
        net.destroy(id).await;
    }
    let fresh = net.join().await;
    let member = &net.nodes[fresh];
    let fetched = member.fetch(hash).await.unwrap();
    assert!(fetched.holders >= 3, "pieces come from several holders at once");
    assert_eq!(member.export(hash, &net.path("got")), want);

    let health = member.health(hash).await;
    assert_eq!(health.state, HealthState::Degraded);
    for member in &net.nodes[..fresh] {
        member.repair(hash).await;
    }
    let health = net.nodes[fresh].health(hash).await;
    assert_eq!((health.state, health.live), (HealthState::Healthy, 24), "{health:?}");
    assert_eq!((health.survives, health.copies.live), (5, 4), "one copy more for fewer nodes");

    let spared = net.nodes[fresh].node.id();
    for id in worst(&health, spared) {
        net.destroy(id).await;
    }
    let late = net.join().await;
    net.nodes[late].fetch(hash).await.unwrap();
    assert_eq!(net.nodes[late].export(hash, &net.path("late")), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_capsule_is_kept_in_whole_copies() {
    let net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 3);
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed, published.survives), (3, 3, 2));
    for member in &net.nodes {
        let health = member.health(hash).await;
        assert_eq!((health.state, health.live, health.total), (HealthState::Healthy, 3, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_whose_manifest_is_longer_than_a_fragment_is_fetched() {
    let mut net = Net::of(8).await;
    let owner = &net.nodes[0];
    let folder = net.path("album");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..2000 {
        std::fs::write(folder.join(format!("letter {number}.txt")), format!("Dear {number}"))
            .unwrap();
    }
    let (hash, keys) = owner.create(&folder, 3 * MIB, 9);
    let store = &owner.store;
    let record = store.library().get(&hash).unwrap().unwrap();
    let manifest = store.blobs().open(&hash.into()).unwrap().bytes();
    let pack = tesseras_capsule::StoredCapsule::of_record(&*store.blobs(), &record).unwrap();
    let form = CodedForm::of_pack(pack.layout().bytes()).unwrap();
    assert!(manifest > form.fragment_bytes, "{manifest} of {}", form.fragment_bytes);
    owner.publish(hash, &keys).await.unwrap();
    let want = owner.export(hash, &net.path("want"));
    // It holds no piece, so all of them arrive.
    let reader = net.join().await;
    net.nodes[reader].fetch(hash).await.unwrap();
    assert_eq!(net.nodes[reader].export(hash, &net.path("got")), want);
}
