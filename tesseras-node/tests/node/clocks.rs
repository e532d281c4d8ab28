//! A node whose clock is wrong says so, and does not take its peers for dead. One whose peers lie
//! about the date goes on with its work.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::progress::silent;
use tesseras_core::time::{Clock, ClockOffset, Timestamp};
use tesseras_crypto::CreatorKeys;
use tesseras_node::directory::DhtDirectory;
use tesseras_node::jobs::{Announce, AnnounceNew, Job as _, JobOutcome, Repair};
use tesseras_node::{NodeConfig, clock};
use tesseras_replication::publish::PublishError;
use tesseras_rpc::Cause;
use tesseras_rpc::calls::{AskStatus, AskTesseraStatus, Call, Fetch, Publish, Repair as RepairNow};
use tesseras_rpc::messages::{NodeStatus, TesseraState};
use tesseras_rpc::problem::Problem;
use tesseras_wire::SharedMemory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::network::{Member, Net, until};
use crate::reasons::ask;

const TWO_HOURS: u64 = 7200;

/// How far the clock of the one node is ahead.
static AHEAD: AtomicU64 = AtomicU64::new(0);

fn ahead() -> Timestamp {
    Timestamp(clock::system().now().0 + AHEAD.load(Ordering::Relaxed))
}

fn two_hours_ahead() -> Timestamp {
    Timestamp(clock::system().now().0 + TWO_HOURS)
}

pub async fn status(member: &Member) -> NodeStatus {
    ask(member, AskStatus {}).await.unwrap()
}

/// What the metric says.
async fn measured(member: &Member) -> i64 {
    let mut stream = TcpStream::connect(member.node.metrics().unwrap()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    let line = said.lines().find_map(|l| l.strip_prefix("tesseras_clock_offset_seconds "));
    line.unwrap().parse().unwrap()
}

fn is_two_hours(seconds: i64) -> bool {
    seconds.abs_diff(TWO_HOURS as i64) < 60
}

/// Whether a job says that the clock is wrong.
fn two_hours_off(outcome: &JobOutcome) -> bool {
    outcome.clock().is_some_and(|ClockOffset { seconds, .. }| is_two_hours(seconds))
}

async fn assert_told<C>(member: &Member, call: C)
where
    C: Call<Answer: Debug> + Debug + Clone,
{
    let failure = ask(member, call.clone()).await.unwrap_err();
    match failure.cause {
        Cause::ClockOff { seconds, witnesses: 3.. } => assert!(is_two_hours(seconds)),
        other => panic!("{call:?}: {other:?}"),
    }
    assert!(failure.message.contains("clock"), "{failure}");
    assert!(failure.message.contains("ahead of its peers'"), "{failure}");
}

/// The request of an owner to publish.
async fn publish(member: &Member, hash: TesseraHash, keys: &CreatorKeys) -> Publish {
    let plan = member.node.replication().draft_plan(hash, &silent()).await.unwrap();
    let signatures = keys.sign(&plan);
    Publish { hash, signed: Some(SignedPlan { plan, signatures }) }
}

/// Its routine repairs wait for nobody.
fn waits_for_nobody(mut config: NodeConfig) -> NodeConfig {
    let repair = &mut config.replication.repair;
    (repair.grace, repair.steward_step) = (Some(Duration::ZERO), Duration::ZERO);
    config
}

fn repair_job(member: &Member) -> Repair {
    let replication = member.node.replication().clone();
    Repair { replication, interval: Duration::from_secs(1), jitter: Duration::ZERO }
}

fn announce_job(member: &Member) -> Announce {
    let nobody_silent = SharedMemory::new(Vec::new(), clock::system());
    let (node, dht) = (&member.node, member.node.dht());
    Announce {
        replication: node.replication().clone(),
        directory: Arc::new(DhtDirectory::new(
            dht.clone(),
            node.id(),
            nobody_silent,
            Duration::ZERO,
        )),
        dht: dht.clone(),
        done: AtomicBool::new(false),
    }
}

async fn doubts_its_clock(member: &Member) -> bool {
    member.node.replication().check_clock().await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_named_wherever_it_matters_until_it_is_set_right() {
    let mut net = Net::of(4).await;
    let (elsewhere, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(elsewhere, &keys).await.unwrap();
    let mut config = waits_for_nobody(net.config());
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let late = net.join_at(config, Clock::new(ahead)).await;
    net.settle().await;
    let (owner, late) = (&net.nodes[0], &net.nodes[late]);
    let (held, keys) = owner.create(&net.path("held"), 1000, 25);
    assert_eq!(owner.publish(held, &keys).await.unwrap().holders, 4);
    let (own, keys) = late.create(&net.path("own"), 1000, 35);
    assert_eq!(late.publish(own, &keys).await.unwrap().holders, 4);
    let (hash, keys) = late.create(&net.path("late"), 1000, 15);

    AHEAD.store(TWO_HOURS, Ordering::Relaxed);
    until("its offset is known", async || status(late).await.clock_offset_seconds.is_some()).await;
    let told = status(late).await;
    assert!(told.clock_offset_seconds.is_some_and(is_two_hours), "{told:?}");
    assert!(matches!(told.problems[0], Problem::ClockOff { witnesses: 3.., .. }), "{told:?}");
    assert!(is_two_hours(measured(late).await));
    let states: Vec<_> = told.tesserae.iter().map(|glance| (glance.hash, glance.state)).collect();
    assert!(states.contains(&(own, TesseraState::Unchecked)), "{states:?}");
    assert!(states.contains(&(hash, TesseraState::Local)), "{states:?}");

    let unheard = TesseraHash::new([7; 32]);
    assert_told(late, publish(late, hash, &keys).await).await;
    for hash in [elsewhere, unheard] {
        assert_told(late, Fetch { hash }).await;
    }
    for hash in [elsewhere, own] {
        assert_told(late, AskTesseraStatus { hash }).await;
    }
    for hash in [Some(held), None] {
        assert_told(late, RepairNow { hash }).await;
    }
    let outcome = repair_job(late).run().await;
    assert!(two_hours_off(&outcome), "{outcome}");
    let JobOutcome::Repaired { restored: 0, failed: 0, put_off: 2, .. } = outcome else {
        panic!("{outcome}")
    };
    // What others refuse now is announced again when they no longer do.
    let job = announce_job(late);
    let outcome = job.run().await;
    assert!(two_hours_off(&outcome) && !job.done.load(Ordering::Relaxed), "{outcome}");
    let new = AnnounceNew { replication: late.node.replication().clone() };
    let outcome = new.run().await;
    assert!(two_hours_off(&outcome), "{outcome}");
    assert!(outcome.to_string().contains("ahead of its peers'"), "{outcome}");
    // One peer whose clock is wrong makes nobody else doubt.
    for member in &net.nodes[..4] {
        assert_eq!(status(member).await.clock_offset_seconds, None);
        assert_eq!(status(member).await.problems, []);
    }

    AHEAD.store(0, Ordering::Relaxed);
    until("it is right", async || status(late).await.clock_offset_seconds.is_none()).await;
    assert_eq!(measured(late).await, 0);
    let outcome = job.run().await;
    assert!(matches!(outcome, JobOutcome::Announced { tesserae: 1, clock: None }), "{outcome}");
    assert!(job.done.load(Ordering::Relaxed));
    assert_eq!(late.publish(hash, &keys).await.unwrap().holders, 4);
    late.fetch(elsewhere).await.unwrap();
}

fn two_hours_behind() -> Timestamp {
    Timestamp(clock::system().now().0 - TWO_HOURS)
}

fn six_hours_ahead() -> Timestamp {
    Timestamp(clock::system().now().0 + 3 * TWO_HOURS)
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_whose_date_is_refused_show_a_wrong_clock_while_nothing_else_does() {
    let mut net = Net::of(2).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    assert_eq!(net.nodes[0].publish(hash, &keys).await.unwrap().holders, 1);
    // Most peers do not agree about the date, so that they say nothing about the clock.
    for wrong in [two_hours_behind, six_hours_ahead] {
        let config = net.config();
        net.join_at(config, Clock::new(wrong)).await;
    }
    net.settle().await;
    let config = net.config();
    let late = net.join_at(config, Clock::new(two_hours_ahead)).await;
    net.settle().await;
    let late = &net.nodes[late];
    let failures = [
        ask(late, Fetch { hash }).await.unwrap_err(),
        ask(late, AskTesseraStatus { hash }).await.unwrap_err(),
    ];
    for failure in failures {
        let Cause::ClockOff { seconds, .. } = failure.cause else { panic!("{failure}") };
        assert!(is_two_hours(seconds), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_on_a_node_whose_attestation_is_refused_is_not_restored_again_and_goes_elsewhere() {
    let mut net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    assert_eq!(net.nodes[0].publish(hash, &keys).await.unwrap().holders, 2);
    let config = net.config();
    let wrong = net.join_at(config, Clock::new(two_hours_ahead)).await;
    net.settle().await;
    let first = net.nodes[0].repair(hash).await;
    assert_eq!(net.nodes[wrong].held(hash).len(), 1, "it has taken the piece: {first:?}");
    for _ in 0..2 {
        let again = net.nodes[0].repair(hash).await;
        assert_eq!(again.restored, 0, "{again:?}");
    }
    let right = net.join().await;
    net.settle().await;
    assert_eq!(net.nodes[0].repair(hash).await.restored, 1);
    assert_eq!(net.nodes[right].held(hash).len(), 1);
}

/// One machine uses more addresses than there are honest nodes, and says a wrong date at each.
#[tokio::test(flavor = "multi_thread")]
async fn lies_about_the_date_stop_nobody_whose_holders_attest() {
    let mut net = Net::new();
    for _ in 0..3 {
        let config = often_greeting(&mut net);
        net.join_with(config).await;
    }
    net.settle().await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    assert_eq!(net.nodes[0].publish(hash, &keys).await.unwrap().holders, 2);
    let config = often_greeting(&mut net);
    net.join_with(config).await;
    for last in 1..=7 {
        let mut config = net.config();
        config.listen = format!("127.0.99.{last}:0").parse().unwrap();
        // It takes nothing.
        config.replication.limits.min_free_space = u64::MAX;
        net.join_at(config, Clock::new(two_hours_ahead)).await;
    }
    for member in &net.nodes[..4] {
        until("it doubts its clock", async || doubts_its_clock(member).await).await;
    }
    let [owner, holder, _, reader] = &net.nodes[..4] else { unreachable!() };

    assert_eq!(reader.fetch(hash).await.unwrap().holders, 1);
    assert_eq!(holder.repair(hash).await.restored, 1, "the reader would hold it, too");
    let outcome = repair_job(holder).run().await;
    let JobOutcome::Repaired { checked: 1, failed: 0, put_off: 0, .. } = outcome else {
        panic!("{outcome}")
    };
    assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 3);
    let told = status(owner).await.tesserae;
    assert_eq!(told[0].state, TesseraState::Healthy, "{told:?}");
    let known = ask(reader, AskTesseraStatus { hash }).await;
    assert!(known.is_ok(), "{known:?}");
    let job = announce_job(holder);
    let outcome = job.run().await;
    assert!(matches!(outcome, JobOutcome::Announced { tesserae: 1, .. }), "{outcome}");
    assert!(!job.done.load(Ordering::Relaxed), "it is announced again soon");
    let new = AnnounceNew { replication: reader.node.replication().clone() };
    for _ in 0..2 {
        let outcome = new.run().await;
        let off = matches!(outcome, JobOutcome::Announced { tesserae: 1, clock: Some(_) });
        assert!(off, "{outcome}");
    }

    // Of what nobody holds yet, nothing shows whether the clock is right.
    let (new, keys) = owner.create(&net.path("new"), 1000, 15);
    let refused = owner.publish(new, &keys).await;
    assert!(matches!(refused, Err(PublishError::ClockOff(_))), "{refused:?}");
    for member in [owner, holder, reader] {
        assert!(doubts_its_clock(member).await);
    }
}

/// The settings of a node that soon hears everyone's date again.
fn often_greeting(net: &mut Net) -> NodeConfig {
    let mut config = waits_for_nobody(net.config());
    config.dht.hello_every = Duration::from_secs(2);
    config
}
