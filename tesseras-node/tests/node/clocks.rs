//! A node whose clock is wrong says so, and does not take its peers for dead.

use std::sync::atomic::{AtomicU64, Ordering};

use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;
use tesseras_node::clock;
use tesseras_node::jobs::{AnnounceNew, Job as _};
use tesseras_rpc::messages::{NodeStatus, Request, Response};
use tesseras_rpc::problem::{Cause, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::network::{Member, Net, until};
use crate::reasons::ask;

/// How far the clock of the one node is ahead.
static AHEAD: AtomicU64 = AtomicU64::new(7200);

fn ahead() -> Timestamp {
    Timestamp(clock::now().0 + AHEAD.load(Ordering::Relaxed))
}

pub async fn status(member: &Member) -> NodeStatus {
    match ask(member, Request::Status).await.unwrap() {
        Response::Status(status) => status,
        other => panic!("{other:?}"),
    }
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
    seconds.abs_diff(7200) < 60
}

async fn assert_told(member: &Member, request: Request) {
    let failure = ask(member, request.clone()).await.unwrap_err();
    match failure.cause {
        Some(Cause::ClockOff { seconds, witnesses: 3.. }) => assert!(is_two_hours(seconds)),
        other => panic!("{request:?}: {other:?}"),
    }
    assert!(failure.message.contains("clock"), "{failure}");
    assert!(failure.message.contains("ahead of its peers'"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_named_wherever_it_matters_until_it_is_set_right() {
    let mut net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (published, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(published, &keys).await.unwrap();
    let mut config = net.config();
    config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let late = net.join_at(config, ahead).await;
    net.settle().await;
    let late = &net.nodes[late];
    let (hash, keys) = late.create(&net.path("late"), 1000, 15);
    until("its offset is known", async || status(late).await.clock_offset_seconds.is_some()).await;
    let told = status(late).await;
    assert!(told.clock_offset_seconds.is_some_and(is_two_hours), "{told:?}");
    assert!(matches!(told.problems[0], Problem::ClockOff { witnesses: 3.., .. }), "{told:?}");
    assert!(is_two_hours(measured(late).await));

    let unheard = TesseraHash::new([7; 32]);
    for request in [
        Request::DraftPlan { hash },
        Request::Fetch { hash: published },
        Request::Fetch { hash: unheard },
        Request::TesseraStatus { hash: published },
        Request::Repair { hash: Some(published) },
        Request::Repair { hash: None },
    ] {
        assert_told(late, request).await;
    }
    // What others would refuse is announced when they no longer do.
    let job = AnnounceNew { replication: late.node.replication().clone() };
    assert!(job.run().await.starts_with("put off"));
    // One peer whose clock is wrong makes nobody else doubt.
    for member in &net.nodes[..4] {
        assert_eq!(status(member).await.clock_offset_seconds, None);
        assert_eq!(status(member).await.problems, []);
    }

    AHEAD.store(0, Ordering::Relaxed);
    until("it is right", async || status(late).await.clock_offset_seconds.is_none()).await;
    assert_eq!(measured(late).await, 0);
    assert!(job.run().await.starts_with("announced"));
    assert_eq!(late.publish(hash, &keys).await.unwrap().holders, 4);
    late.fetch(published).await.unwrap();
}
