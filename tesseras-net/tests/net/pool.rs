//! The pool: which connections are kept or evicted, and what happens to a dead one.

use std::time::Duration;

use tesseras_crypto::blake3;
use tesseras_net::{BindConfig, Eviction, NetMetrics, PoolConfig, QuinnTransport};
use tesseras_wire::{Request, RequestError, Target, Transport as _, read_to_vec};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::{GENEROUS, Node, config, keys, noise, noise_bytes};

fn pooled(listen: &str, pool: PoolConfig) -> BindConfig {
    BindConfig { pool, ..config(listen) }
}

async fn with_cap(max_connections: usize) -> Node {
    let pool = PoolConfig { max_connections, ..PoolConfig::default() };
    Node::start(pooled("127.0.1.1:0", pool), &keys()).await
}

async fn others<const N: usize>() -> [Node; N] {
    let mut nodes = Vec::new();
    for n in 0..N {
        nodes.push(Node::on(&format!("127.0.{}.1:0", n + 2)).await);
    }
    nodes.try_into().ok().unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(GENEROUS, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn the_oldest_idle_connection_makes_room() {
    let a = with_cap(2).await;
    let [b, c, d] = others().await;
    for node in [&b, &c, &b, &d] {
        a.meet(&node.target()).await.unwrap();
        assert!(a.pool_size() <= 2);
    }
    assert_eq!((a.misses(), a.hits(), a.evictions(Eviction::Capacity)), (3, 1, 1));
    a.meet(&b.target()).await.unwrap();
    assert_eq!(a.misses(), 3, "it was used after the other, and stayed");
    a.meet(&c.target()).await.unwrap();
    assert_eq!((a.misses(), a.evictions(Eviction::Capacity)), (4, 2));
}

#[tokio::test]
async fn busy_connections_are_spared() {
    let a = with_cap(2).await;
    let [mut b, c, d] = others().await;
    let (to_b, to_c, to_d) = (b.target(), c.target(), d.target());
    let giving = a.ask(&to_c, "give 5000000").await.unwrap();
    let holding = a.ask(&to_b, "hold");
    let meanwhile = async {
        b.seen.recv().await.unwrap().unwrap();
        let refused = a.ask(&to_d, "who").await;
        assert!(matches!(refused, Err(RequestError::Unavailable(_))), "{:?}", refused.err());
        assert_eq!(read_to_vec(giving.body, 5_000_000).await.unwrap().len(), 5_000_000);
        assert_eq!(a.meet(&to_d).await.unwrap(), d.id, "a body that was read makes room");
        b.service.release();
    };
    let (held, ()) = tokio::join!(holding, meanwhile);
    assert_eq!(held.unwrap().frame, b"held");
    assert_eq!(a.evictions(Eviction::Capacity), 1);
}

#[tokio::test]
async fn the_reaper_closes_what_nobody_uses() {
    let pool = PoolConfig {
        idle_timeout: Duration::from_millis(400),
        reaper_interval: Duration::from_millis(50),
        ..PoolConfig::default()
    };
    let a = Node::start(pooled("127.0.1.1:0", pool), &keys()).await;
    let [b, c] = others().await;
    a.meet(&b.target()).await.unwrap();
    let kept = a.ask(&c.target(), "stall 100").await.unwrap();
    until("the idle one goes", || a.evictions(Eviction::Idle) == 1).await;
    assert_eq!(a.pool_size(), 1, "the one with an unfinished body stays");
    drop(kept);
    until("the other too", || a.evictions(Eviction::Idle) == 2).await;
    assert_eq!(a.pool_size(), 0);
    assert_eq!(a.meet(&b.target()).await.unwrap(), b.id);
    assert_eq!(a.misses(), 3);
}

#[tokio::test]
async fn a_transport_that_answers_nobody_reaps_as_well() {
    let pool = PoolConfig {
        idle_timeout: Duration::from_millis(400),
        reaper_interval: Duration::from_millis(50),
        ..PoolConfig::default()
    };
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let config = pooled("127.0.1.1:0", pool);
    let a = QuinnTransport::bind(config, &keys(), &tracker, cancel.clone()).unwrap();
    let [b] = others().await;
    let asked = a.request(&b.target(), Request::short(b"who".to_vec(), GENEROUS)).await;
    assert_eq!(asked.unwrap().peer.id, b.id);
    assert_eq!(a.metrics().pool_size.get(), 1);
    until("it is reaped", || a.metrics().evictions(Eviction::Idle).get() == 1).await;
    assert_eq!(a.metrics().pool_size.get(), 0);
    tracker.close();
    cancel.cancel();
    tokio::time::timeout(GENEROUS, tracker.wait()).await.expect("the reaper ends");
    a.close().await;
}

#[tokio::test]
async fn connections_from_others_are_counted_while_they_are_open() {
    let [a, b, c] = others().await;
    assert_eq!(c.inbound_connections(), 0);
    for node in [&a, &b, &a] {
        node.meet(&c.target()).await.unwrap();
    }
    assert_eq!((c.inbound_connections(), a.inbound_connections()), (2, 0));
    a.stop().await;
    until("one has gone", || c.inbound_connections() == 1).await;
    b.stop().await;
    until("both have gone", || c.inbound_connections() == 0).await;
}

#[tokio::test]
async fn two_requests_share_one_handshake() {
    let a = with_cap(8).await;
    let [b] = others().await;
    let target = b.target();
    let (first, second) = tokio::join!(a.ask(&target, "who"), a.ask(&target, "who"));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!((a.misses(), a.hits(), a.pool_size()), (1, 1, 1));
}

#[tokio::test]
async fn a_handshake_that_is_given_up_is_taken_over() {
    let a = with_cap(8).await;
    let [b] = others().await;
    let target = b.target();
    let hasty = tokio::time::timeout(Duration::from_micros(200), a.ask(&target, "who"));
    let (_, patient) = tokio::join!(hasty, a.ask(&target, "who"));
    assert_eq!(patient.unwrap().peer.id, b.id);
    assert_eq!(a.pool_size(), 1);
}

#[tokio::test]
async fn a_peer_that_was_stopped_and_started_is_dialled_again() {
    let a = with_cap(8).await;
    let keys = keys();
    let b = Node::start(config("127.0.2.1:0"), &keys).await;
    let target = b.target();
    a.meet(&target).await.unwrap();
    b.stop().await;
    let gone = a.send(&target, "who", None, Duration::from_millis(300)).await;
    assert!(gone.is_err());
    let b = Node::start(config(&target.addresses[0].to_string()), &keys).await;
    assert_eq!(a.meet(&target).await.unwrap(), b.id);
    assert_eq!(a.evictions(Eviction::Dead), 1);
}

/// The peer vanishes without closing, together with its runtime, and a new one with the same key
/// takes its place. The request finds the old connection in the pool, and must not have to wait for
/// it.
#[test]
fn a_peer_that_died_and_came_back_is_dialled_again() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ours, theirs) = (runtime(), runtime());
    let keys = keys();
    let a = ours.block_on(with_cap(8));
    let b = theirs.block_on(Node::start(config("127.0.2.1:0"), &keys));
    let target = b.target();
    ours.block_on(a.meet(&target)).unwrap();
    theirs.shutdown_timeout(GENEROUS);
    drop(b);
    assert_eq!((a.pool_size(), a.misses()), (1, 1));
    let theirs = runtime();
    let b = theirs.block_on(Node::start(config(&target.addresses[0].to_string()), &keys));
    assert_eq!(ours.block_on(a.meet(&target)).unwrap(), b.id);
    // A packet of QUIC's own may already have noticed, so hits are not checked.
    assert_eq!((a.misses(), a.evictions(Eviction::Dead)), (2, 1));

    // A body that waits until the peer has been heard is not lost either.
    theirs.shutdown_timeout(GENEROUS);
    drop(b);
    std::thread::sleep(Duration::from_millis(1100));
    let theirs = runtime();
    let _b = theirs.block_on(Node::start(config(&target.addresses[0].to_string()), &keys));
    let sent = ours.block_on(a.send(&target, "hash", Some(noise(100_000)), GENEROUS)).unwrap();
    assert_eq!(sent.frame, blake3(&noise_bytes(100_000)).as_bytes());
    assert_eq!((a.misses(), a.evictions(Eviction::Dead)), (3, 2));
}

#[tokio::test]
async fn the_dead_make_room_before_the_idle() {
    let a = with_cap(2).await;
    let [b, c, d] = others().await;
    a.meet(&b.target()).await.unwrap();
    a.meet(&c.target()).await.unwrap();
    c.stop().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    a.meet(&d.target()).await.unwrap();
    assert_eq!((a.evictions(Eviction::Dead), a.evictions(Eviction::Capacity)), (1, 0));
}

#[tokio::test]
async fn an_answer_without_a_body_holds_no_connection() {
    let a = with_cap(1).await;
    let [b, c] = others().await;
    let answer = a.ask(&b.target(), "who").await.unwrap();
    assert_eq!(a.meet(&c.target()).await.unwrap(), c.id, "the first makes room");
    assert!(read_to_vec(answer.body, 0).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_handshake_that_hangs_holds_up_nobody_else() {
    let a = with_cap(8).await;
    let [b] = others().await;
    let nobody = std::net::UdpSocket::bind("127.0.9.1:0").unwrap();
    let silent = Target { id: None, addresses: vec![nobody.local_addr().unwrap()] };
    let hanging = a.ask(&silent, "who");
    let meanwhile = async {
        until("the first handshake has begun", || a.misses() == 1).await;
        assert_eq!(a.meet(&b.target()).await.unwrap(), b.id);
    };
    tokio::select! {
        biased;
        ended = hanging => panic!("it still hangs: {:?}", ended.err()),
        () = meanwhile => {}
    }
}

#[tokio::test]
async fn metrics_are_exposed_under_their_names() {
    let registry = prometheus::Registry::new();
    let metrics = NetMetrics::with_metrics(&registry).unwrap();
    assert!(NetMetrics::with_metrics(&registry).is_err(), "twice is a mistake");
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (config, keys) = (config("127.0.1.1:0"), keys());
    let transport =
        QuinnTransport::bind_with_metrics(config, &keys, metrics, &tracker, cancel).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        "tesseras_conn_pool_size 0",
        "tesseras_conn_pool_hits_total 0",
        "tesseras_conn_pool_misses_total 0",
        "tesseras_conn_pool_evictions_total{reason=\"capacity\"} 0",
        "tesseras_conn_pool_evictions_total{reason=\"dead\"} 0",
        "tesseras_conn_pool_evictions_total{reason=\"idle\"} 0",
        "tesseras_inbound_connections 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    transport.close().await;
}
