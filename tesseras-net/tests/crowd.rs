//! Many peers through a small pool. It measures the memory of the whole process, so it has a
//! process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, reason = "made for all tests of this crate")]
#[path = "net/node.rs"]
mod node;

use futures_util::{StreamExt as _, stream};
use tesseras_net::{BindConfig, Eviction, PoolConfig};

use crate::node::{Node, config, keys};

const PLACES: usize = 8;
const PEERS: usize = 300;
/// Less than a third of the memory of one round's connections at both ends.
const ALLOWANCE: u64 = 4 << 20;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Resident memory, in bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

/// Sends a request to every peer, a few at once.
async fn round(a: &Node, peers: &[Node]) {
    let met = stream::iter(peers)
        .map(|peer| async {
            let met = a.meet(&peer.target()).await.unwrap();
            assert!(a.pool_size() <= PLACES as i64);
            met == peer.id
        })
        .buffer_unordered(PLACES - 2)
        .filter(|same| std::future::ready(*same))
        .count()
        .await;
    assert_eq!(met, peers.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_peers_through_a_pool_of_eight() {
    let pool = PoolConfig { max_connections: PLACES, ..PoolConfig::default() };
    let a = Node::start(BindConfig { pool, ..config("127.0.1.1:0") }, &keys()).await;
    let peers: Vec<Node> = stream::iter(0..PEERS)
        .then(|n| async move { Node::on(&format!("127.0.{}.1:0", n % 250 + 2)).await })
        .collect()
        .await;
    let files = open_files();
    round(&a, &peers).await;
    assert_eq!((a.pool_size(), a.misses()), (PLACES as i64, PEERS as u64));
    assert_eq!(a.evictions(Eviction::Capacity), (PEERS - PLACES) as u64);
    assert_eq!(open_files(), files);

    // The first round includes what a process allocates only once.
    let before = memory();
    round(&a, &peers).await;
    round(&a, &peers).await;
    let after = memory();
    assert!(after < before + ALLOWANCE, "{before} bytes after one round, {after} after three");
    assert_eq!((a.pool_size(), open_files()), (PLACES as i64, files));
    assert!(peers.iter().all(|peer| peer.pool_size() == 0), "peers did not dial back");
}
