//! Bulk bytes: complete or an error, and never a hang.

use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_crypto::blake3;
use tesseras_wire::{RequestError, empty_body, read_to_vec};

use crate::node::{GENEROUS, Node, broken_noise, noise, noise_bytes};

const LENGTH: usize = 8 << 20;

async fn pair() -> (Node, Node) {
    (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await)
}

#[tokio::test]
async fn eight_mebibytes_both_ways() {
    let (a, mut b) = pair().await;
    let expected = blake3(&noise_bytes(LENGTH));
    // Several in a row, so that the receive windows are widened and narrowed again.
    for _ in 0..3 {
        let sent = a.send(&b.target(), "hash", Some(noise(LENGTH)), GENEROUS).await.unwrap();
        assert_eq!(sent.frame, expected.as_bytes());
        assert_eq!(b.seen.recv().await.unwrap(), Ok(LENGTH));
        let given = a.ask(&b.target(), &format!("give {LENGTH}")).await.unwrap();
        assert_eq!(given.frame, b"given");
        let bytes = read_to_vec(given.body, LENGTH).await.unwrap();
        assert_eq!(blake3(&bytes), expected);
    }
    let echoed = a.send(&b.target(), "echo", Some(empty_body()), GENEROUS).await.unwrap();
    assert!(read_to_vec(echoed.body, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn more_transfers_than_wide_windows() {
    let (a, b) = pair().await;
    let mut others = Vec::new();
    for n in 0..12 {
        others.push(Node::on(&format!("127.0.3.{}:0", n + 1)).await);
    }
    let target = a.target();
    let ask = |node: &Node| {
        let order = format!("give {}", LENGTH / 4);
        let request = tesseras_wire::Request::short(order.into_bytes(), GENEROUS);
        let (transport, target) = (node.transport.clone(), target.clone());
        async move {
            let reply =
                tesseras_wire::Transport::request(&*transport, &target, request).await.unwrap();
            read_to_vec(reply.body, LENGTH).await.unwrap().len()
        }
    };
    let sizes = futures_util::future::join_all(others.iter().chain([&b]).map(ask)).await;
    assert!(sizes.iter().all(|size| *size == LENGTH / 4));
}

#[tokio::test]
async fn a_request_body_that_fails_is_no_body() {
    let (a, mut b) = pair().await;
    // A small one may fail before the service has seen it; it never looks complete.
    for length in [0, 10, 1 << 20] {
        let failed = a.send(&b.target(), "hash", Some(broken_noise(length)), GENEROUS).await;
        assert!(matches!(failed, Err(RequestError::Body(_))), "{:?}", failed.err());
    }
    assert!(b.seen.recv().await.unwrap().is_err());
    b.stop().await;
}

#[tokio::test]
async fn a_request_that_is_given_up_is_no_body() {
    let (a, mut b) = pair().await;
    let endless = noise(1 << 20).chain(futures_util::stream::pending());
    let target = b.target();
    let asking = a.send(&target, "hash", Some(Box::pin(endless)), GENEROUS);
    assert!(tokio::time::timeout(Duration::from_millis(300), asking).await.is_err());
    assert!(b.seen.recv().await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_is_not_sent_on() {
    let (a, mut b) = pair().await;
    let target = b.target();
    // Cancelled while its body is read …
    let reply = a.ask(&target, "endless").await.unwrap();
    let mut body = reply.body;
    body.next().await.unwrap().unwrap();
    drop(body);
    let dropped = Err("the body was dropped".to_owned());
    assert_eq!(b.seen.recv().await.unwrap(), dropped);
    // … and before the body has begun.
    let asking = a.ask(&target, "held_endless");
    let begun = async { b.seen.recv().await.unwrap() };
    tokio::select! {
        answered = asking => panic!("it is held: {:?}", answered.err()),
        begun = begun => assert_eq!(begun, Ok(0)),
    }
    b.service.release();
    assert_eq!(b.seen.recv().await.unwrap(), dropped);
    assert_eq!(a.meet(&target).await.unwrap(), b.id, "the connection still serves others");
    assert_eq!(a.misses(), 1);
}

#[tokio::test]
async fn a_reply_body_that_fails_is_an_error() {
    let (a, b) = pair().await;
    for length in [0, 10, 1 << 20] {
        match a.ask(&b.target(), &format!("break {length}")).await {
            Ok(reply) => {
                assert!(read_to_vec(reply.body, LENGTH).await.is_err(), "after {length} bytes");
            }
            // The failure of a small one overtakes its frame.
            Err(error) => assert!(length < 100 && matches!(error, RequestError::Broken(_))),
        }
    }
}

#[tokio::test]
async fn bodies_that_stand_still_are_given_up() {
    let (a, mut b) = pair().await;
    let short = Duration::from_millis(300);
    let reply = a.send(&b.target(), "stall 100000", None, short).await.unwrap();
    let error = read_to_vec(reply.body, LENGTH).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);

    let endless = noise(100_000).chain(futures_util::stream::pending());
    let stalled = a.send(&b.target(), "hash", Some(Box::pin(endless)), short).await;
    assert!(matches!(stalled, Err(RequestError::Deadline)));
    assert!(b.seen.recv().await.unwrap().is_err());
}

#[tokio::test]
async fn a_slow_body_may_take_longer_than_the_deadline() {
    let (a, mut b) = pair().await;
    let slow = noise(60).then(|chunk| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        chunk
    });
    let bytes: Vec<_> = (0..10_u8).map(|n| Ok(bytes::Bytes::from(vec![n]))).collect();
    let slow = slow.chain(futures_util::stream::iter(bytes).then(|chunk| async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        chunk
    }));
    let deadline = Duration::from_secs(1);
    let reply = a.send(&b.target(), "hash", Some(Box::pin(slow)), deadline).await.unwrap();
    assert_eq!(reply.frame.len(), 32);
    assert_eq!(b.seen.recv().await.unwrap(), Ok(70));
}

#[tokio::test]
async fn what_nobody_reads_stops_nobody() {
    let (a, b) = pair().await;
    let reply = a.send(&b.target(), "ignore", Some(noise(LENGTH)), GENEROUS).await.unwrap();
    assert_eq!(reply.frame, b"not read");
    for _ in 0..40 {
        let reply = a.ask(&b.target(), &format!("give {}", LENGTH / 2)).await.unwrap();
        drop(reply.body);
    }
    assert_eq!(a.meet(&b.target()).await.unwrap(), b.id);
    assert_eq!(a.misses(), 1);
}
