//! Limits on what peers may use of a node.

use std::time::Duration;

use tesseras_net::{BindConfig, InboundConfig, RateLimit};
use tesseras_wire::codec::{self, Answer, Refusal};

use crate::node::{GENEROUS, Node, config, keys, noise};
use crate::stranger::Stranger;

fn is_busy(frame: &[u8]) -> bool {
    matches!(
        codec::decode::<Answer<()>>(frame),
        Ok(Answer::Error(refusal)) if refusal.code == Refusal::BUSY
    )
}

async fn guarded(inbound: InboundConfig) -> Node {
    Node::start(BindConfig { inbound, ..config("127.0.1.1:0") }, &keys()).await
}

#[tokio::test]
async fn a_node_that_asks_too_often_is_told_so() {
    let rate_limit = RateLimit { requests_per_second: 1, burst: 5 };
    let b = Node::start(BindConfig { rate_limit, ..config("127.0.1.1:0") }, &keys()).await;
    let (eager, modest) = (Node::on("127.0.2.1:0").await, Node::on("127.0.2.2:0").await);
    let target = b.target();
    let mut busy = 0;
    for _ in 0..20 {
        // A body is not read, and does not keep the refusal from arriving.
        let reply = eager.send(&target, "who", Some(noise(500_000)), GENEROUS).await.unwrap();
        busy += usize::from(is_busy(&reply.frame));
    }
    assert!((1..=15).contains(&busy), "{busy} of 20");
    assert!(!is_busy(&modest.ask(&target, "who").await.unwrap().frame));
    assert_eq!(eager.misses(), 1, "busy is an answer, not a broken connection");
}

#[tokio::test]
async fn one_node_has_so_many_connections() {
    let node = guarded(InboundConfig { max_per_node: 2, ..InboundConfig::default() }).await;
    let keys = keys();
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(Stranger::as_node(node.address(), &keys).await.unwrap());
    }
    assert!(connections[2].is_thrown_out().await);
    let who = b"\0\0\0\x03who";
    assert!(connections[0].send_raw(who).await.is_ok());
    assert!(connections[1].send_raw(who).await.is_ok());
    connections.remove(0);
    let again = async {
        loop {
            let stranger = Stranger::as_node(node.address(), &keys).await.unwrap();
            if stranger.send_raw(who).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(GENEROUS, again).await.expect("a place is free again");
}

#[tokio::test]
async fn a_full_node_closes_idle_connections() {
    let node = guarded(InboundConfig { max_connections: 2, ..InboundConfig::default() }).await;
    let first = Stranger::honest(node.address()).await.unwrap();
    let second = Stranger::honest(node.address()).await.unwrap();
    let third = Stranger::honest(node.address()).await.unwrap();
    assert!(third.is_thrown_out().await, "nobody is idle yet");
    tokio::time::sleep(InboundConfig::MIN_IDLE).await;
    assert!(second.send_raw(b"\0\0\0\x03who").await.is_ok());
    let fourth = Stranger::honest(node.address()).await.unwrap();
    assert!(first.is_thrown_out().await, "it was idle longest");
    assert!(fourth.send_raw(b"\0\0\0\x03who").await.is_ok());
    assert!(second.send_raw(b"\0\0\0\x03who").await.is_ok());
}

#[tokio::test]
async fn so_many_requests_are_answered_at_once() {
    let mut node = guarded(InboundConfig { max_requests: 1, ..InboundConfig::default() }).await;
    let other = Node::on("127.0.2.1:0").await;
    let target = node.target();
    let holding = other.ask(&target, "hold");
    let meanwhile = async {
        node.seen.recv().await.unwrap().unwrap();
        assert!(is_busy(&other.ask(&target, "who").await.unwrap().frame));
        node.service.release();
    };
    let (held, ()) = tokio::join!(holding, meanwhile);
    assert_eq!(held.unwrap().frame, b"held");
}

#[tokio::test]
async fn a_request_that_drips_is_stopped() {
    let frame_deadline = Duration::from_millis(500);
    let node = guarded(InboundConfig { frame_deadline, ..InboundConfig::default() }).await;
    let stranger = Stranger::honest(node.address()).await.unwrap();
    assert!(stranger.drip().await, "it was let drip");
    assert!(stranger.send_raw(b"\0\0\0\x03who").await.is_ok(), "others go on meanwhile");
}

#[tokio::test]
async fn a_reader_that_stands_still_does_not_hold_a_service_for_ever() {
    let stall_deadline = Duration::from_millis(500);
    let mut node = guarded(InboundConfig { stall_deadline, ..InboundConfig::default() }).await;
    let stranger = Stranger::honest(node.address()).await.unwrap();
    // It asks for more than fits any window, and reads nothing.
    let (mut send, recv) = stranger.connection.open_bi().await.unwrap();
    send.write_all(b"\0\0\0\x0dgive 30000000").await.unwrap();
    send.finish().unwrap();
    // And it promises a body that never comes.
    let (mut promise, _answer) = stranger.connection.open_bi().await.unwrap();
    promise.write_all(b"\0\0\0\x04hash").await.unwrap();
    assert!(node.seen.recv().await.unwrap().is_err());
    node.cancel.cancel();
    node.tracker.close();
    tokio::time::timeout(GENEROUS, node.tracker.wait()).await.expect("every task ended by itself");
    drop(recv);
}
