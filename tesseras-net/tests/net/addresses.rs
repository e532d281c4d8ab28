//! Every kind of address that a node may listen on or dial.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tesseras_net::{BindConfig, BindError, Eviction, PoolConfig, QuinnTransport};
use tesseras_wire::{RequestError, Target};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::node::{Node, config, keys};

fn at(node: &Node, address: &str) -> Target {
    let address = format!("{address}:{}", node.address().port());
    Target { id: Some(node.id), addresses: vec![address.parse().unwrap()] }
}

fn has_ipv6() -> bool {
    let here = UdpSocket::bind("[::1]:0").is_ok();
    if !here {
        eprintln!("skipped: this machine has no IPv6");
    }
    here
}

#[tokio::test]
async fn ipv4_wildcard() {
    let (a, b) = (Node::on("0.0.0.0:0").await, Node::on("127.0.1.1:0").await);
    assert_eq!(b.meet(&at(&a, "127.0.3.7")).await.unwrap(), a.id);
    let from = a.ask(&b.target(), "from").await.unwrap().frame;
    let from: SocketAddr = String::from_utf8(from).unwrap().parse().unwrap();
    assert_eq!(from.port(), a.address().port());
}

#[tokio::test]
async fn ipv6_and_each_family_dials_the_other() {
    if !has_ipv6() {
        return;
    }
    let (six, four) = (Node::on("[::1]:0").await, Node::on("127.0.1.1:0").await);
    let other = Node::on("[::1]:0").await;
    assert_eq!(other.meet(&six.target()).await.unwrap(), six.id);
    assert_eq!(four.meet(&six.target()).await.unwrap(), six.id);
    assert_eq!(six.meet(&four.target()).await.unwrap(), four.id);
}

#[tokio::test]
async fn ipv6_wildcard_takes_both() {
    if !has_ipv6() {
        return;
    }
    let (both, four) = (Node::on("[::]:0").await, Node::on("127.0.1.1:0").await);
    let six = Node::on("[::1]:0").await;
    assert_eq!(six.meet(&at(&both, "[::1]")).await.unwrap(), both.id);
    assert_eq!(four.meet(&at(&both, "127.0.0.1")).await.unwrap(), both.id);
    assert_eq!(four.meet(&at(&both, "[::ffff:127.0.0.1]")).await.unwrap(), both.id);
    assert_eq!(four.misses(), 1, "both ways to write it are one address");
    assert_eq!(both.meet(&six.target()).await.unwrap(), six.id);
    assert_eq!(both.meet(&four.target()).await.unwrap(), four.id);
    let reply = both.ask(&four.target(), "from").await.unwrap();
    assert_eq!(reply.peer.remote, four.address(), "IPv4 is written as IPv4");
    let from = four.ask(&at(&both, "127.0.0.1"), "from").await.unwrap().frame;
    assert_eq!(from, four.address().to_string().into_bytes());
}

#[tokio::test]
async fn a_dead_address_costs_its_deadline_and_no_more() {
    let config =
        BindConfig { connect_deadline: Duration::from_millis(400), ..config("127.0.1.1:0") };
    let a = Node::start(config, &keys()).await;
    let b = Node::on("127.0.2.1:0").await;
    let silent = UdpSocket::bind("127.0.3.1:0").unwrap();
    let closed: SocketAddr = "127.0.3.2:9".parse().unwrap();
    let addresses = vec![closed, silent.local_addr().unwrap(), b.address()];
    let target = Target { id: Some(b.id), addresses };
    assert_eq!(a.meet(&target).await.unwrap(), b.id);
    assert_eq!((a.misses(), a.hits(), a.pool_size()), (3, 0, 1));
    assert_eq!(a.meet(&target).await.unwrap(), b.id);
    assert_eq!((a.misses(), a.hits()), (3, 1), "the good address is remembered");
    let dead = Target { id: None, addresses: vec![closed] };
    match a.ask(&dead, "who").await {
        Err(RequestError::Connect { address, .. }) => assert_eq!(address, closed),
        other => panic!("{:?}", other.err()),
    }
}

/// A socket that is bound and never answers, and its address.
fn dead(ip: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(format!("{ip}:0")).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn a_dead_address_before_a_live_one_does_not_use_up_the_deadline() {
    let pool = PoolConfig { max_connections: 3, ..PoolConfig::default() };
    let a = Node::start(BindConfig { pool, ..config("127.0.1.1:0") }, &keys()).await;
    let b = Node::on("127.0.2.1:0").await;
    let (_first, first) = dead("127.0.3.1");
    let (_second, second) = dead("127.0.3.2");
    let target = Target { id: Some(b.id), addresses: vec![first, second, b.address()] };
    // One dead address alone may take longer than that for its handshake.
    let deadline = BindConfig::CONNECT_DEADLINE - Duration::from_millis(500);
    let reply = a.send(&target, "who", None, deadline).await.unwrap();
    assert_eq!((reply.peer.id, reply.peer.remote), (b.id, b.address()));
    for n in 4..6 {
        let other = Node::on(&format!("127.0.{n}.1:0")).await;
        a.meet(&other.target()).await.unwrap();
    }
    let evicted = a.evictions(Eviction::Capacity);
    assert_eq!(evicted, 0, "the handshakes that lost take no places in the pool");
}

#[tokio::test]
async fn the_address_that_answered_last_is_dialled_first() {
    let pool = PoolConfig { max_connections: 3, ..PoolConfig::default() };
    let a = Node::start(BindConfig { pool, ..config("127.0.1.1:0") }, &keys()).await;
    let b = Node::on("127.0.2.1:0").await;
    let (_socket, dead) = dead("127.0.3.1");
    let target = Target { id: Some(b.id), addresses: vec![dead, b.address()] };
    assert_eq!(a.meet(&target).await.unwrap(), b.id);
    assert_eq!(a.misses(), 2);
    for n in 3..6 {
        // Other connections displace it from the pool.
        let other = Node::on(&format!("127.0.{n}.1:0")).await;
        a.meet(&other.target()).await.unwrap();
    }
    assert_eq!(a.misses(), 5);
    assert_eq!(a.meet(&target).await.unwrap(), b.id);
    assert_eq!(a.misses(), 6, "the dead address is not dialled again");
}

#[tokio::test]
async fn the_requests_deadline_bounds_the_dial() {
    let a = Node::on("127.0.1.1:0").await;
    let silent = UdpSocket::bind("127.0.3.1:0").unwrap();
    let target = Target { id: None, addresses: vec![silent.local_addr().unwrap(); 3] };
    let begun = tokio::time::Instant::now();
    assert!(a.send(&target, "who", None, Duration::from_millis(200)).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn what_cannot_be_dialled_is_no_address() {
    let a = Node::on("127.0.1.1:0").await;
    for addresses in [vec![], vec!["127.0.0.1:0"], vec!["0.0.0.0:7", "[ff02::1]:7"]] {
        let addresses = addresses.into_iter().map(|text| text.parse().unwrap()).collect();
        let asked = a.ask(&Target { id: None, addresses }, "who").await;
        assert!(matches!(asked, Err(RequestError::NoAddress)));
    }
    let again = config(&a.address().to_string());
    let taken = QuinnTransport::bind(again, &keys(), &a.tracker, a.cancel.clone());
    assert!(matches!(taken, Err(BindError::Socket { address, .. }) if address == a.address()));
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let bound = QuinnTransport::bind(config("127.0.1.1:0"), &keys(), &tracker, cancel);
    assert!(matches!(bound, Err(BindError::NoRuntime)));
}
