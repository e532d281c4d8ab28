//! A small network of real nodes: QUIC on loopback, files in a temporary directory.

use std::path::Path;
use std::time::Duration;

use tesseras_node::NodeConfig;
use tesseras_node::loopback::LoopbackNetwork;

use crate::command_error::CommandError;

/// A private network needs little proof of work.
const WORK_BITS: u32 = 8;
/// Nodes on one machine answer at once, or never.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1000);
const LOOKUP_DEADLINE: Duration = Duration::from_millis(500);
/// How long nodes may take to find each other.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
const SQLITE_CACHE_KB: u32 = 16_000;
const FRAGMENT_CACHE_BYTES: u64 = 4 << 20;
const MIN_FREE_SPACE: u64 = 64 << 20;

/// Starts nodes, and waits until they all know each other.
pub async fn start(root: &Path, nodes: u8) -> Result<LoopbackNetwork, CommandError> {
    let mut network = LoopbackNetwork::new(root, configure);
    for _ in 0..nodes {
        network.join().await.map_err(|error| CommandError::new(error.to_string()))?;
    }
    if !network.settle(JOIN_DEADLINE).await {
        return Err(CommandError::new("the nodes do not find each other")
            .with_hint("does a firewall block UDP on loopback?"));
    }
    Ok(network)
}

fn configure(config: &mut NodeConfig) {
    config.dht.work_bits = WORK_BITS;
    config.replication.answer_deadline = ANSWER_DEADLINE;
    config.replication.limits.min_free_space = MIN_FREE_SPACE;
    config.dht.request_deadline = LOOKUP_DEADLINE;
    config.dht.slow_after = LOOKUP_DEADLINE / 4;
    config.storage.cache_size_kb = SQLITE_CACHE_KB;
    config.fragment_cache = FRAGMENT_CACHE_BYTES;
}
