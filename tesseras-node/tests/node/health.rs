//! What people are told about a capsule, from before it is published to when it is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::FragmentStore as _;
use tesseras_replication::status::{Copies, HealthState};
use tesseras_rpc::calls::{AskStatus, AskTesseraStatus};
use tesseras_rpc::messages::{self, TesseraGlance, TesseraStatus};
use tesseras_rpc::{Client, socket_path};

use crate::gate::Lie;
use crate::network::{MIB, Member, Net};

/// What `tes status` is answered.
async fn told(member: &Member, hash: TesseraHash) -> TesseraStatus {
    let client = Client::connect(&socket_path(&member.dir)).await.unwrap();
    client.ask(AskTesseraStatus { hash }, |_| {}).await.unwrap()
}

/// Takes pieces from their holders.
fn lose(net: &Net, hash: TesseraHash, lost: impl Fn(Piece) -> bool) {
    for member in &net.nodes {
        for fragment in member.held(hash).into_iter().filter(|f| lost(f.piece)) {
            assert!(member.store.fragments().delete_fragment(&fragment).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coded_capsule_is_counted_from_local_to_lost() {
    let net = Net::of(8).await;
    let (owner, other) = (&net.nodes[0], &net.nodes[5]);
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    assert_eq!(other.node.replication().status(hash).await.unwrap(), None);
    let health = owner.health(hash).await;
    assert_eq!((health.state, health.total, health.live), (HealthState::Local, 0, 0));

    owner.publish(hash, &keys).await.unwrap();
    for member in [owner, other] {
        let health = member.health(hash).await;
        assert_eq!((health.state, health.survives), (HealthState::Healthy, 5));
        assert_eq!((health.total, health.live, health.needed), (24, 24, 16));
        assert_eq!(health.copies, Copies { total: 4, live: 4 });
        let pieces: BTreeSet<Piece> = health.placement.values().flatten().copied().collect();
        let all = (0..24).map(Piece::Index).chain([Piece::Whole]);
        assert_eq!(pieces, all.collect());
        assert_eq!(health.uncounted, 0);
    }
    lose(&net, hash, |piece| matches!(piece, Piece::Index(0..=7)));
    let health = other.health(hash).await;
    assert_eq!((health.state, health.survives), (HealthState::Degraded, 4));
    assert_eq!((health.total, health.live, health.needed), (24, 16, 16));
    lose(&net, hash, |piece| piece == Piece::Index(8));
    // Now the copies are what makes it readable.
    let health = other.health(hash).await;
    assert_eq!((health.state, health.survives), (HealthState::Degraded, 3));
    assert_eq!((health.total, health.live, health.needed), (6, 4, 1));
    lose(&net, hash, |piece| piece == Piece::Whole);
    let health = owner.health(hash).await;
    assert_eq!((health.state, health.survives), (HealthState::Unreachable, 0));
    assert_eq!((health.total, health.live, health.needed), (24, 15, 16));
    let status = told(other, hash).await;
    assert_eq!((status.fragments.live, status.placement.len()), (15, 15));
    assert_eq!((status.copies.total, status.copies.live), (4, 0));
    assert_eq!(status.notes, Vec::<String>::new(), "loopback is never crowded");
    // It was published from here, so the owner brings it back.
    owner.publish(hash, &keys).await.unwrap();
    let health = other.health(hash).await;
    assert_eq!((health.state, health.live, health.copies.live), (HealthState::Healthy, 24, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_copies_are_counted_as_copies() {
    let net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let seen = |health: tesseras_replication::status::TesseraHealth| {
        (health.state, health.total, health.live, health.needed, health.survives)
    };
    assert_eq!(seen(owner.health(hash).await), (HealthState::Healthy, 3, 3, 1, 2));
    let lost = net.nodes[1].held(hash).remove(0);
    net.nodes[1].store.fragments().delete_fragment(&lost).unwrap();
    assert_eq!(seen(owner.health(hash).await), (HealthState::Degraded, 3, 2, 1, 1));
    assert_eq!(told(owner, hash).await.only_silent, 0, "all answer, and one lacks its copy");
    assert_eq!(seen(net.nodes[1].health(hash).await), (HealthState::Degraded, 3, 2, 1, 1));
    lose(&net, hash, |_| true);
    assert_eq!(owner.health(hash).await.state, HealthState::Unreachable);
    let nowhere = Client::connect(&socket_path(&owner.dir)).await.unwrap();
    let unknown = AskTesseraStatus { hash: TesseraHash::new([7; 32]) };
    let failure = nowhere.ask(unknown, |_| {}).await.unwrap_err();
    assert!(failure.to_string().contains("no node that answered knows"), "{failure}");
}

/// What `tes status` lists.
async fn listed(member: &Member) -> Vec<(TesseraHash, messages::TesseraState, u64, bool)> {
    let client = Client::connect(&socket_path(&member.dir)).await.unwrap();
    let status = client.ask(AskStatus {}, |_| {}).await.unwrap();
    let listed = |t: TesseraGlance| (t.hash, t.state, t.fragments.live, t.checked.is_some());
    status.tesserae.into_iter().map(listed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_capsule_here_is_in_one_overview_that_never_passes_an_old_picture_off_as_todays() {
    let mut net = Net::of(4).await;
    let owner = &net.nodes[0];
    assert_eq!(listed(owner).await, []);
    let (first, keys) = owner.create(&net.path("one"), 1000, 5);
    let (second, _) = owner.create(&net.path("two"), 1001, 5);
    owner.publish(first, &keys).await.unwrap();
    let mut all = listed(owner).await;
    all.sort_by_key(|(hash, ..)| *hash != first);
    assert_eq!(
        all,
        [
            (first, messages::TesseraState::Healthy, 3, true),
            (second, messages::TesseraState::Local, 0, false)
        ]
    );
    // Nobody answers any more: the last picture is told with its date, and not as a state.
    for member in &net.nodes[1..] {
        member.gate.lie(Lie::SilentOnAttest);
    }
    let glances = owner.node.replication().overview(Duration::from_millis(100)).await.unwrap();
    let old = glances.iter().find(|glance| glance.hash == first).unwrap();
    assert_eq!((old.state, old.seen.unwrap().live), (None, 3));
    for member in &net.nodes[1..] {
        member.gate.be_honest();
    }
    for _ in 0..3 {
        let id = net.nodes[1].node.id();
        net.destroy(id).await;
    }
    let dead = listed(&net.nodes[0]).await;
    let dead = dead.iter().find(|(hash, ..)| *hash == first).unwrap();
    assert_eq!((dead.1, dead.2), (messages::TesseraState::Unreachable, 0));
    let status = told(&net.nodes[0], first).await;
    assert!(status.in_library, "it is only here, and not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_makes_no_smaller_target() {
    let mut net = Net::of(5).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    assert_eq!(net.nodes[0].health(hash).await.state, HealthState::Healthy);
    for _ in 0..3 {
        let id = net.nodes[1].node.id();
        net.destroy(id).await;
    }
    let health = net.nodes[0].health(hash).await;
    assert_eq!((health.state, health.live, health.total), (HealthState::Degraded, 1, 4));
    assert_eq!(told(&net.nodes[0], hash).await.only_silent, 3, "nobody is there to take a copy");
}
