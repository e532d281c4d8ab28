//! One request, one reply: deadlines, limits, shutdown.

use std::time::Duration;

use futures_util::future::join_all;
use tesseras_crypto::NodePublic;
use tesseras_wire::{MAX_FRAME_BYTES, RequestError, Target, codec};

use crate::node::{GENEROUS, Node};
use crate::relay::Relay;
use crate::stranger::Stranger;

#[tokio::test]
async fn each_side_knows_the_other() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let reply = a.ask(&b.target(), "who").await.unwrap();
    assert_eq!(reply.frame, a.id.as_bytes());
    let shown = NodePublic { public_key: reply.peer.public_key, nonce: reply.peer.nonce };
    assert_eq!((reply.peer.id, shown.id()), (b.id, b.id));
    assert_eq!(reply.peer.remote, b.address());
    let from = a.ask(&b.target(), "from").await.unwrap().frame;
    assert_eq!(from, a.address().to_string().into_bytes(), "one socket for both ways");
    assert_eq!(b.meet(&a.target()).await.unwrap(), a.id);
}

#[tokio::test]
async fn many_at_once() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let target = b.target();
    let replies = join_all((0..100).map(|_| a.ask(&target, "who"))).await;
    assert!(replies.into_iter().all(|reply| reply.unwrap().frame == a.id.as_bytes()));
    assert_eq!(a.misses(), 1);
}

#[tokio::test]
async fn a_silent_service_meets_the_deadline() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let silence = a.send(&b.target(), "silence", None, Duration::from_millis(300)).await;
    assert!(matches!(silence, Err(RequestError::Deadline)));
    assert!(a.ask(&b.target(), "who").await.is_ok(), "the connection still serves others");
    assert_eq!(a.misses(), 1);
}

#[tokio::test]
async fn frames_are_bounded_on_both_sides() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let full = "x".repeat(MAX_FRAME_BYTES);
    assert_eq!(a.ask(&b.target(), &full).await.unwrap().frame, b"what?");
    let long = a.ask(&b.target(), &(full + "x")).await;
    assert!(matches!(long, Err(RequestError::FrameTooLong(n)) if n == MAX_FRAME_BYTES + 1));

    let stranger = Stranger::honest(b.address()).await.unwrap();
    let answer = stranger.send_raw(&u32::MAX.to_be_bytes()).await.unwrap();
    let answer: codec::Answer<()> = codec::decode(&answer).unwrap();
    let codec::Answer::Error(refusal) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.code, codec::Refusal::MALFORMED);

    let huge = a.ask(&b.target(), "huge").await.unwrap().frame;
    let codec::Answer::Error(refusal) = codec::decode::<codec::Answer<()>>(&huge).unwrap() else {
        panic!("an answer of a mebibyte")
    };
    assert_eq!(refusal.code, codec::Refusal::INTERNAL);
}

#[tokio::test]
async fn a_stopping_node_finishes_its_answers() {
    let a = Node::on("127.0.1.1:0").await;
    let mut b = Node::on("127.0.2.1:0").await;
    let target = b.target();
    let asking = async {
        let reply = a.ask(&target, "hold").await;
        reply.unwrap().frame
    };
    let stopping = async {
        b.seen.recv().await.unwrap().unwrap();
        b.cancel.cancel();
        b.tracker.close();
        tokio::time::sleep(Duration::from_millis(50)).await;
        b.service.release();
        tokio::time::timeout(GENEROUS, b.tracker.wait()).await.expect("it is done soon");
        b.transport.close().await;
    };
    let (frame, ()) = tokio::join!(asking, stopping);
    assert_eq!(frame, b"held");
    let late = a.send(&target, "who", None, Duration::from_millis(500)).await;
    assert!(matches!(late, Err(RequestError::Connect { .. })), "{late:?}", late = late.err());
}

/// The answer is given before the node is told to stop, and its packets are lost until after.
#[tokio::test]
async fn a_stopping_node_waits_until_its_answers_have_arrived() {
    let (a, mut b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let relay = Relay::to(b.address()).await;
    let target = Target { id: Some(b.id), addresses: vec![relay.address] };
    a.meet(&target).await.unwrap();
    let stopping = async {
        b.seen.recv().await.unwrap().unwrap();
        relay.lose(true);
        b.service.release();
        tokio::time::sleep(Duration::from_millis(100)).await;
        b.cancel.cancel();
        b.tracker.close();
        tokio::time::sleep(Duration::from_millis(200)).await;
        relay.lose(false);
        tokio::time::timeout(GENEROUS, b.tracker.wait()).await.expect("it is done soon");
        b.transport.close().await;
    };
    let (reply, ()) = tokio::join!(a.ask(&target, "hold"), stopping);
    assert_eq!(reply.unwrap().frame, b"held");
}

#[tokio::test]
async fn closing_ends_what_does_not_end_by_itself() {
    let (a, mut b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let target = b.target();
    let closing = async {
        b.seen.recv().await.unwrap().unwrap();
        b.cancel.cancel();
        b.tracker.close();
        b.transport.close().await;
        tokio::time::timeout(GENEROUS, b.tracker.wait()).await.expect("nothing is left");
        b.transport.close().await;
    };
    let (asked, ()) = tokio::join!(a.ask(&target, "hold"), closing);
    assert!(matches!(asked, Err(RequestError::Broken(_))), "{:?}", asked.err());
    let own = b.ask(&a.target(), "who").await;
    assert!(matches!(own, Err(RequestError::Unavailable(_))));
}
