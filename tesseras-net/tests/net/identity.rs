//! No node can impersonate another.

use tesseras_crypto::NodeKeys;
use tesseras_net::{BindConfig, certificate};
use tesseras_wire::{RequestError, Target};

use crate::node::{Node, config, keys};
use crate::stranger::{Stranger, certified};

#[tokio::test]
async fn the_wrong_node_is_refused_on_a_fresh_and_on_a_pooled_connection() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let stranger = keys().id();
    let wrong = Target { id: Some(stranger), addresses: vec![b.address()] };
    let refused = |error: RequestError| match error {
        RequestError::WrongNode { address, expected, found } => {
            assert_eq!((address, expected, found), (b.address(), stranger, b.id));
        }
        error => panic!("{error}"),
    };
    refused(a.ask(&wrong, "who").await.err().unwrap());
    assert_eq!(a.pool_size(), 0);
    let anyone = Target { id: None, addresses: vec![b.address()] };
    assert_eq!(a.meet(&anyone).await.unwrap(), b.id, "a bootstrap dial learns who it is");
    assert_eq!(a.meet(&b.target()).await.unwrap(), b.id);
    refused(a.ask(&wrong, "who").await.err().unwrap());
    assert_eq!(a.misses(), 2, "the pooled connection told who is there");
}

#[tokio::test]
async fn concurrent_dials_that_expect_different_nodes_each_get_their_answer() {
    let (a, b) = (Node::on("127.0.1.1:0").await, Node::on("127.0.2.1:0").await);
    let wrong = Target { id: Some(keys().id()), addresses: vec![b.address()] };
    let right = b.target();
    let (first, second) = tokio::join!(a.ask(&wrong, "who"), a.ask(&right, "who"));
    assert!(matches!(first, Err(RequestError::WrongNode { .. })));
    assert_eq!(second.unwrap().peer.id, b.id);
}

#[tokio::test]
async fn clients_that_prove_nothing_never_reach_the_service() {
    let node = Node::on("127.0.1.1:0").await;
    let (victim, thief) = (keys(), keys());
    let stolen = certified(certificate::make(&victim).unwrap(), &thief);
    let plain = rcgen::generate_simple_self_signed(vec!["stranger.invalid".to_owned()]).unwrap();
    let other = certified(plain.cert.der().clone(), &thief);
    let honest = certified(certificate::make(&thief).unwrap(), &thief);
    for (who, identity, alpn) in [
        ("a thief", Some(stolen), tesseras_net::ALPN),
        ("somebody from the web", Some(other), tesseras_net::ALPN),
        ("nobody", None, tesseras_net::ALPN),
        ("another protocol", Some(honest), b"h3".as_slice()),
    ] {
        if let Ok(stranger) = Stranger::with(node.address(), identity, alpn).await {
            assert!(stranger.is_thrown_out().await, "{who}");
            assert!(stranger.send_raw(b"\0\0\0\x03who").await.is_err(), "{who}");
        }
    }
    let stranger = Stranger::as_node(node.address(), &thief).await.unwrap();
    assert_eq!(stranger.send_raw(b"\0\0\0\x03who").await.unwrap(), thief.id().as_bytes());
}

#[tokio::test]
async fn too_little_work_is_refused_on_both_sides() {
    let worked = NodeKeys::generate(10).unwrap();
    let idle = std::iter::repeat_with(keys).find(|keys| keys.public().work_bits() < 10).unwrap();
    let strict = |listen| BindConfig { work_bits: 10, ..config(listen) };
    let a = Node::start(strict("127.0.1.1:0"), &worked).await;
    let lax = Node::start(config("127.0.2.1:0"), &idle).await;
    let refused = a.ask(&lax.target(), "who").await;
    assert!(matches!(refused, Err(RequestError::Connect { .. })), "{:?}", refused.err());
    assert!(lax.ask(&a.target(), "who").await.is_err());
    let b = Node::start(strict("127.0.3.1:0"), &NodeKeys::generate(10).unwrap()).await;
    assert_eq!(a.meet(&b.target()).await.unwrap(), b.id);
}
