//! Publishing is a state that its owner begins and ends. What was not published, nobody
//! completes, announces or repairs.

use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{FragmentStore as _, HoldingRepository as _, TesseraRepository as _};
use tesseras_core::progress::silent;
use tesseras_core::publication::{PublicationState, PublicationStop};
use tesseras_dht::HolderRecord;
use tesseras_node::clock;
use tesseras_replication::messages::Request;
use tesseras_replication::publication::PublicationReport;
use tesseras_replication::publish::PublishError;
use tesseras_replication::repair::RepairError;
use tesseras_replication::status::HealthState;
use tesseras_rpc::calls::{Call, Fetch, Publish, PublishInBackground, StopPublication};
use tesseras_rpc::{Cause, Client, socket_path};

use crate::gate::Lie;
use crate::network::{MIB, Member, Net, until};
use crate::reasons::ask;
use crate::stranger::Stranger;

/// A node's repair cycle, as its job runs it.
async fn looks_after_everything(member: &Member) -> usize {
    let replication = member.node.replication();
    let all = replication.looked_after().await.unwrap();
    for tessera in &all {
        replication.repair(*tessera, &silent()).await.unwrap();
    }
    replication.announce_unannounced().await;
    all.len()
}

async fn announced(member: &Member, hash: TesseraHash) -> Vec<HolderRecord> {
    member.node.dht().find_holders(hash.dht_key()).collect().await
}

fn pieces(net: &Net, hash: TesseraHash) -> usize {
    net.nodes.iter().map(|member| member.held(hash).len()).sum()
}

async fn rpc<C: Call>(member: &Member, call: C) -> C::Answer {
    let client = Client::connect(&socket_path(&member.dir)).await.unwrap();
    client.ask(call, |_| {}).await.unwrap()
}

async fn signed(
    member: &Member,
    hash: TesseraHash,
    keys: &tesseras_crypto::CreatorKeys,
) -> Option<SignedPlan> {
    let plan = member.node.replication().draft_plan(hash, &silent()).await.unwrap();
    Some(SignedPlan { signatures: keys.sign(&plan), plan })
}

/// Publishes from the first node, and stops when enough is placed to rebuild the rest.
async fn stopped_midway(
    net: &Net,
    hash: TesseraHash,
    keys: &tesseras_crypto::CreatorKeys,
    how: PublicationStop,
) -> PublicationReport {
    let owner = &net.nodes[0];
    net.nodes[1].gate.lie(Lie::SilentOnPuts);
    let placed = || owner.store.holdings().placements(&hash).unwrap().len();
    let stop = async {
        until("enough is placed to rebuild the rest", async || placed() >= 17).await;
        owner.node.replication().stop_publication(hash, how).await.unwrap()
    };
    let (published, stopped) = tokio::join!(owner.publish(hash, keys), stop);
    assert!(matches!(published, Err(PublishError::Stopped(_))), "{published:?}");
    assert!(stopped.placed >= placed(), "what arrived without a receipt is counted, too");
    net.nodes[1].gate.be_honest();
    stopped
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_stopped_is_completed_by_nobody() {
    let net = Net::of(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let stopped = stopped_midway(&net, hash, &keys, PublicationStop::Stop).await;
    assert_eq!(stopped.state, PublicationState::Local);

    // What was on its way when it was stopped has arrived, or never will.
    let (mut before, mut unchanged) = (0, 0);
    until("all has arrived", async || {
        let now = pieces(&net, hash);
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        unchanged == 20
    })
    .await;
    assert!(before >= 17);
    for member in &net.nodes {
        assert_eq!(looks_after_everything(member).await, 0);
        let asked = member.node.replication().repair(hash, &silent()).await;
        assert!(
            matches!(asked, Err(RepairError::NotPublished(_) | RepairError::NotHeld(_))),
            "{asked:?}"
        );
    }
    assert_eq!(pieces(&net, hash), before);
    let health = owner.health(hash).await;
    assert_eq!(health.state, HealthState::Local);
    let told: usize = health.placement.values().map(|pieces| pieces.len()).sum();
    assert_eq!(told, before, "what others hold already is told: {health:?}");
    // Nobody announced it: a stranger finds nothing.
    assert_eq!(announced(&net.nodes[2], hash).await, []);
    // Nor does a holder count what a fetch would not find.
    let health = net.nodes[2].health(hash).await;
    assert_eq!(health.placement.into_keys().collect::<Vec<_>>(), [net.nodes[2].node.id()]);

    // It begins again where it was, and then everybody looks after it.
    assert_eq!(owner.publish(hash, &keys).await.unwrap().placed, 24);
    assert_eq!(owner.health(hash).await.state, HealthState::Healthy);
    for member in &net.nodes {
        let holds = !member.held(hash).is_empty() || member.node.id() == owner.node.id();
        assert_eq!(looks_after_everything(member).await, usize::from(holds));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_failed_stays_local() {
    let mut net = Net::of(1).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    let failed = net.nodes[0].publish(hash, &keys).await;
    assert!(matches!(failed, Err(PublishError::NobodyEligible { .. })), "{failed:?}");
    for _ in 0..3 {
        net.join().await;
    }
    net.settle().await;
    assert_eq!(looks_after_everything(&net.nodes[0]).await, 0);
    assert_eq!(pieces(&net, hash), 0);
    assert_eq!(net.nodes[0].health(hash).await.state, HealthState::Local);
    assert_eq!(net.nodes[1].node.replication().status(hash).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_publication_along() {
    let net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    let signed = signed(owner, hash, &keys).await;
    for member in &net.nodes[1..] {
        member.gate.lie(Lie::SilentOnPuts);
    }
    let client = Client::connect(&socket_path(&owner.dir)).await.unwrap();
    let publishing = client.ask(Publish { hash, signed }, |_| {});
    let asked = tokio::time::timeout(Duration::from_secs(1), publishing);
    assert!(asked.await.is_err(), "nobody takes a piece, so there is no answer yet");
    for member in &net.nodes {
        member.gate.be_honest();
    }
    until("it is over", async || owner.health(hash).await.state == HealthState::Local).await;
    assert_eq!(looks_after_everything(owner).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_in_the_background_goes_on_by_itself_until_it_is_cancelled() {
    let mut net = Net::of(1).await;
    let owner = &net.nodes[0];
    let (first, keys) = owner.create(&net.path("one"), 1000, 5);
    let (second, _) = owner.create(&net.path("two"), 1001, 5);
    for hash in [first, second] {
        let signed = signed(owner, hash, &keys).await;
        let begun = rpc(owner, PublishInBackground { hash, signed }).await;
        assert_eq!(begun.state, PublicationState::Publishing);
        assert_eq!(owner.health(hash).await.state, HealthState::Publishing);
    }
    let cancelled =
        rpc(owner, StopPublication { hash: second, how: PublicationStop::Unpublish }).await;
    assert_eq!((cancelled.state, cancelled.placed), (PublicationState::Local, 0));

    for _ in 0..3 {
        net.join().await;
    }
    let owner = &net.nodes[0];
    until("the first is published by itself", async || {
        owner.health(first).await.state == HealthState::Healthy
    })
    .await;
    assert_eq!(pieces(&net, first), 3);
    assert_eq!(owner.health(second).await.state, HealthState::Local);
    assert_eq!(pieces(&net, second), 0);

    // A finished one that is cancelled stays with those who hold it, and only with them.
    let cancelled =
        rpc(owner, StopPublication { hash: first, how: PublicationStop::Unpublish }).await;
    assert_eq!((cancelled.state, cancelled.placed), (PublicationState::Local, 3));
    assert_eq!(looks_after_everything(owner).await, 0);
    assert_eq!(owner.health(first).await.state, HealthState::Local);
    assert_eq!(net.nodes[1].health(first).await.state, HealthState::Healthy);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_a_capsule_alive_when_its_owner_and_all_holders_are_gone() {
    let mut net = Net::of(5).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    let want = net.nodes[0].export(hash, &net.path("want"));
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let aunt = net.join().await;
    net.nodes[aunt].fetch(hash).await.unwrap();
    // That she has it is nobody's business.
    let seen = net.nodes[1].health(hash).await;
    assert!(!seen.placement.contains_key(&net.nodes[aunt].node.id()));
    for _ in 0..5 {
        let id = net.nodes[0].node.id();
        net.destroy(id).await;
    }
    let health = net.nodes[0].health(hash).await;
    assert_eq!((health.state, health.in_library), (HealthState::Unreachable, true));
    for _ in 0..3 {
        net.join().await;
    }
    until("she knows her new neighbours", async || {
        net.nodes[0].node.dht().peers().await.len() >= 3
    })
    .await;
    let published = rpc(&net.nodes[0], Publish { hash, signed: None }).await;
    assert_eq!((published.placed, published.fragments), (3, 3));
    // From now on her node looks after it.
    let lost = net.nodes[1].held(hash).remove(0);
    net.nodes[1].store.fragments().delete_fragment(&lost).unwrap();
    assert_eq!(looks_after_everything(&net.nodes[0]).await, 1);
    assert_eq!(net.nodes[1].health(hash).await.state, HealthState::Healthy);

    let aunt = net.nodes[0].node.id();
    net.destroy(aunt).await;
    net.nodes[0].fetch(hash).await.unwrap();
    assert_eq!(net.nodes[0].export(hash, &net.path("got")), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capsule_without_a_signed_plan_is_published_by_its_creator_alone() {
    let net = Net::of(2).await;
    let (hash, _) = net.nodes[0].create(&net.path("album"), 1000, 5);
    let refused = net.nodes[0].node.replication().publish_signed(hash, &silent()).await;
    assert!(matches!(refused, Err(PublishError::NoSignedPlan(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_complete_what_was_cancelled() {
    let net = Net::of(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    stopped_midway(&net, hash, &keys, PublicationStop::Unpublish).await;
    // It was asked for room, or saw the hash somewhere; nobody gave it a piece to place.
    let stranger = Stranger::at("127.0.77.1");
    for member in net.nodes.iter().filter(|member| !member.held(hash).is_empty()) {
        stranger.tell_to_announce(&member.contact(), hash).await;
        assert_eq!(looks_after_everything(member).await, 0);
    }
    assert_eq!(announced(&net.nodes[2], hash).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_while_it_is_published_is_not_published() {
    let net = Net::of(5).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    net.nodes[1].gate.lie(Lie::SilentOnPuts);
    let drop_it = async {
        let placed = || owner.store.holdings().placements(&hash).unwrap();
        until("one copy is placed", async || !placed().is_empty()).await;
        // As `tes drop` does in another process, without a word to the node.
        owner.store.holdings().block(&hash, clock::system().now()).unwrap();
        owner.store.library().remove(&hash).unwrap().expect("in the library");
        net.nodes[1].gate.be_honest();
    };
    let (published, ()) = tokio::join!(owner.publish(hash, &keys), drop_it);
    assert!(published.is_err(), "{published:?}");
    for member in &net.nodes {
        assert_eq!(looks_after_everything(member).await, 0);
    }
    assert_eq!(announced(&net.nodes[2], hash).await, []);
}

/// Publishes a tessera whose only holder besides the owner sends no piece of it.
async fn held_back(net: &Net) -> TesseraHash {
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    net.nodes[2].drop_tessera(hash);
    net.nodes[1].gate.lie(Lie::SilentOnPieces);
    net.nodes[1].gate.take_asked();
    hash
}

async fn a_piece_is_asked_for(holder: &Member) {
    let is_for_a_piece = |request: &Request| matches!(request, Request::GetPiece { .. });
    let asked = || holder.gate.take_asked();
    until("a piece is asked for", async || asked().iter().any(is_for_a_piece)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_stops_a_fetch_of_the_same_tessera() {
    let net = Net::of(3).await;
    let (hash, reader, holder) = (held_back(&net).await, &net.nodes[2], &net.nodes[1]);
    let dropping = async {
        a_piece_is_asked_for(holder).await;
        rpc(reader, StopPublication { hash, how: PublicationStop::Drop }).await;
        reader.drop_tessera(hash);
        holder.gate.be_honest();
    };
    let (fetched, ()) = tokio::join!(ask(reader, Fetch { hash }), dropping);
    assert_eq!(fetched.unwrap_err().cause, Cause::Stopped);
    assert!(reader.store.library().get(&hash).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_when_the_publication_of_its_tessera_is_cancelled() {
    let net = Net::of(3).await;
    let (hash, reader, holder) = (held_back(&net).await, &net.nodes[2], &net.nodes[1]);
    let cancelling = async {
        a_piece_is_asked_for(holder).await;
        let cancelled = rpc(reader, StopPublication { hash, how: PublicationStop::Unpublish });
        let honest = async { holder.gate.be_honest() };
        tokio::join!(cancelled, honest).0
    };
    let (fetched, cancelled) = tokio::join!(ask(reader, Fetch { hash }), cancelling);
    assert_eq!(cancelled.state, PublicationState::Local);
    assert_eq!(fetched.unwrap().hash, hash);
    assert!(reader.store.library().get(&hash).unwrap().is_some());
}
