//! The driver at work over a transport in memory.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tesseras_core::ids::DhtKey;
use tesseras_crypto::NodeKeys;
use tesseras_dht::messages::{DhtRequest, DhtResponse};
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{BoxStream, PeerObserver as _};
use tokio::time::Instant;

use crate::memory::{Node, Switchboard, peer};

fn address(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    SocketAddr::from(([10, 1, high, low], 4433))
}

async fn all<T>(stream: BoxStream<'_, T>) -> Vec<T> {
    stream.collect().await
}

/// Nodes that join through the first, all at once.
fn nodes(board: &Switchboard, n: u16) -> Vec<Node> {
    let bootstrap = |i| if i == 0 { vec![] } else { vec![address(0)] };
    (0..n).map(|i| board.start(address(i), bootstrap(i), true)).collect()
}

/// Waits until a condition holds; the test harness's time limit ends a test in which it never does.
async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    for _ in 0..600 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never so: {what}");
}

async fn all_know_all(nodes: &[Node]) {
    until("all know all", || async {
        for node in nodes {
            if node.dht.peers().await.len() < nodes.len() - 1 {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_nodes_join_announce_and_find() {
    let board = Switchboard::default();
    let nodes = nodes(&board, 30);
    all_know_all(&nodes).await;
    let status = nodes[4].dht.status().await.expect("it runs");
    assert!(status.reachable);
    assert_eq!((status.peers, status.addresses), (29, vec![address(4)]));

    let keys: Vec<_> = (0..100).map(|n| DhtKey::new([n; 20])).collect();
    let stored = nodes[4].dht.announce(keys.clone()).await;
    assert!(stored.len() == 100 && stored.values().all(|count| *count >= 19), "{stored:?}");
    let found = all(nodes[20].dht.find_holders(keys[50])).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].node(), &found[0].addresses), (nodes[4].id, &vec![address(4)]));
    assert!(all(nodes[20].dht.find_holders(DhtKey::new([200; 20]))).await.is_empty());

    // A third of the network vanishes without notice.
    for node in nodes.iter().skip(20) {
        board.cut(&node.address);
        node.token.cancel();
    }
    let found = all(nodes[1].dht.find_holders(keys[51])).await;
    assert_eq!(found.len(), 1);
    let answered = all(nodes[1].dht.lookup(keys[3])).await;
    assert!(answered.len() >= 15 && answered.iter().all(|c| c.id != nodes[25].id));
    assert_eq!(
        nodes[1].dht.resolve(nodes[9].id).await.map(|c| c.addresses),
        Some(vec![address(9)])
    );
    assert_eq!(nodes[1].dht.resolve(nodes[25].id).await, None);

    for node in &nodes {
        node.token.cancel();
        node.tracker.close();
        node.tracker.wait().await;
        assert!(node.dht.status().await.is_none() && node.dht.peers().await.is_empty());
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_dialled_back_is_in_nobodys_table() {
    let board = Switchboard::default();
    let nodes = nodes(&board, 8);
    let hidden = board.start(address(99), vec![address(0)], false);
    all_know_all(&nodes).await;
    until("the hidden one knows all", || async { hidden.dht.peers().await.len() == 8 }).await;
    for node in &nodes {
        assert!(node.dht.peers().await.iter().all(|contact| contact.id != hidden.id));
    }
    let status = hidden.dht.status().await.expect("it runs");
    assert!(!status.reachable);
    assert_eq!(all(hidden.dht.lookup(DhtKey::new([1; 20]))).await.len(), 8);
    assert_eq!(all(hidden.dht.discover(50)).await.len(), 8);
}

#[tokio::test]
async fn other_protocols_tell_what_they_see() {
    let board = Switchboard::default();
    let one = board.start(address(0), vec![], true);
    let two = board.start(address(1), vec![], true);
    one.dht.answered(two.id, address(1));
    until("they know each other", || async {
        one.dht.peers().await.len() == 1 && two.dht.peers().await.len() == 1
    })
    .await;
    assert_eq!(one.dht.closest(two.id.into(), 5).await[0].id, two.id);
    board.cut(&address(1));
    one.dht.failed(two.id);
    one.dht.failed(two.id);
    until("the dead one is gone", || async { one.dht.peers().await.is_empty() }).await;
}

#[tokio::test]
async fn findings_come_while_the_search_runs_and_a_dropped_search_makes_room() {
    let board = Switchboard::default();
    let nodes = nodes(&board, 12);
    all_know_all(&nodes).await;
    let key = DhtKey::new([9; 20]);
    assert!(nodes[4].dht.announce(vec![key]).await[&key] >= 11);
    // More searches than may run at once, each dropped at its first result.
    for _ in 0..200 {
        let mut found = nodes[7].dht.find_holders(key);
        assert_eq!(found.next().await.map(|record| record.node()), Some(nodes[4].id));
    }
    let mut met = nodes[7].dht.lookup(key);
    assert!(met.next().await.is_some());
    assert_eq!(met.count().await, 10, "eleven others answer, each once");
}

#[tokio::test]
async fn what_is_not_of_the_dht_is_left_to_others_and_malformed_requests_are_refused() {
    let board = Switchboard::default();
    let node = board.start(address(0), vec![], true);
    let keys = tesseras_crypto::NodeKeys::generate(0).expect("randomness");
    let peer = peer(&keys.public(), address(7));
    let other = std::collections::BTreeMap::from([("store_fragment", ())]);
    let other = codec::encode(&other).expect("fits");
    assert_eq!(node.dht.serve(peer, "store_fragment", &other).await, None);
    let malformed = std::collections::BTreeMap::from([("find_node", 7)]);
    let malformed = codec::encode(&malformed).expect("fits");
    let answer = node.dht.serve(peer, "find_node", &malformed).await.expect("a refusal");
    let kind = DhtRequest::Ping {}.kind();
    let refusal = DhtResponse::decode(kind, &answer).expect("reads").expect_err("a refusal");
    assert_eq!(refusal.code, Refusal::MALFORMED);
    let ping = codec::encode(&DhtRequest::Ping {}).expect("fits");
    let answer = node.dht.serve(peer, "ping", &ping).await.expect("an answer");
    assert!(DhtResponse::decode(kind, &answer).expect("reads").is_ok());
}

#[tokio::test(start_paused = true)]
async fn greetings_from_dead_addresses_delay_no_search() {
    let board = Switchboard::default();
    let nodes = nodes(&board, 6);
    all_know_all(&nodes).await;
    let key = DhtKey::new([9; 20]);
    let search = || async {
        let begun = Instant::now();
        let found = all(nodes[0].dht.lookup(key)).await.len();
        (found, begun.elapsed())
    };
    let undisturbed = search().await;
    assert_eq!(undisturbed.0, 5);
    let greet = async |n: u8| {
        let remote = SocketAddr::from(([10, 2, 0, n], 50_000));
        let public = NodeKeys::from_parts(&[n.wrapping_add(100); 32], [0; 8]).public();
        let dead = |m| SocketAddr::from(([10, 2, m, n], 4433));
        let hello = DhtRequest::Hello { addresses: (1..5).map(dead).collect() };
        let frame = codec::encode(&hello).expect("encoded");
        nodes[0].dht.serve(peer(&public, remote), "hello", &frame).await
    };
    let searching = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        search().await
    };
    let (greeted, disturbed) = tokio::join!(join_all((0..64).map(greet)), searching);
    assert_eq!(disturbed, undisturbed);
    assert!(greeted.iter().all(Option::is_some));
}
