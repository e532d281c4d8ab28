//! `pool_max_connections`, `pool_idle_timeout_secs` and `pool_reaper_interval_secs`.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tesseras_node::Node;

use super::node::{FOR_EVER, Running, until};
use super::peer::node;

const SIZE: &str = "tesseras_conn_pool_size";
const FOR_ROOM: &str = "tesseras_conn_pool_evictions_total{reason=\"capacity\"}";
const FOR_IDLENESS: &str = "tesseras_conn_pool_evictions_total{reason=\"idle\"}";

/// Nodes without peers, and their addresses.
async fn peers(dir: &TempDir, count: usize) -> (Vec<Node>, Vec<SocketAddr>) {
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(node(dir, &number.to_string(), &[]).await);
    }
    let addresses = nodes.iter().map(Node::listen).collect();
    (nodes, addresses)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_connections_say_when_an_idle_one_goes() {
    const PEERS: u64 = 10;
    let dir = tempfile::tempdir().expect("a directory");
    let (_nodes, addresses) = peers(&dir, PEERS as usize).await;
    let small = Running::joining("pool_max_connections = 8", &addresses);
    let large = Running::joining("pool_max_connections = 64", &addresses);
    until("it is connected to all", FOR_EVER, async || large.metric(SIZE) >= Some(PEERS)).await;
    until("it has closed some for others", FOR_EVER, async || {
        assert!(small.metric(SIZE) <= Some(8));
        small.metric(FOR_ROOM) >= Some(PEERS - 8)
    })
    .await;
    assert_eq!(large.metric(FOR_ROOM), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_go_once_the_timeout_is_over_and_the_reaper_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_nodes, addresses) = peers(&dir, 2).await;
    let start = |idle: u64, reaper: u64| {
        let keys = format!("pool_idle_timeout_secs = {idle}\npool_reaper_interval_secs = {reaper}");
        Running::joining(&keys, &addresses)
    };
    const DAY: u64 = 86_400;
    let (seldom_reaped, never_idle) = (start(1, DAY), start(DAY, 1));
    let connected = |node: &Running| node.metric(SIZE) > Some(0);
    let both = async || connected(&seldom_reaped) && connected(&never_idle);
    until("both are connected", FOR_EVER, both).await;
    let quick = start(1, 1);
    // QUIC itself closes a connection ten seconds after the idle timeout, and a reaper of the
    // default interval would find the first ones dead rather than idle.
    let closed = async || quick.metric(FOR_IDLENESS) >= Some(1);
    until("idle connections are closed", Duration::from_secs(25), closed).await;
    for node in [&seldom_reaped, &never_idle] {
        assert!(connected(node));
        assert_eq!(node.metric(FOR_IDLENESS), Some(0));
    }
}
