//! A small network of real nodes: real QUIC on loopback, real files in a temporary folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tesseras_core::ids::NodeId;
use tesseras_node::{Node, NodeConfig, StartError, loopback};
use tesseras_storage::{StorageConfig, Store};

use crate::command_error::CommandError;

/// A private network asks for little work.
const WORK_BITS: u32 = 8;
/// Nodes on one machine answer at once, or never.
const ANSWER_DEADLINE: Duration = Duration::from_millis(1000);
const LOOKUP_DEADLINE: Duration = Duration::from_millis(500);
/// How long nodes may take to find each other.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
const KIB_OF_CACHE: u32 = 16_000;
const BYTES_OF_CACHE: u64 = 4 << 20;
const RESERVE: u64 = 64 << 20;

/// A node and its disk.
pub struct Member {
    pub node: Node,
    pub store: Store,
    dir: PathBuf,
}

/// All nodes that live.
pub struct Network {
    root: PathBuf,
    members: Vec<Member>,
    started: u8,
}

impl Network {
    /// Starts nodes, and waits until everybody knows everybody.
    pub async fn start(root: &Path, nodes: u8) -> Result<Self, CommandError> {
        let mut network = Self { root: root.to_owned(), members: Vec::new(), started: 0 };
        for _ in 0..nodes {
            network.join().await?;
        }
        let nodes = network.members.iter().map(|member| &member.node);
        if !loopback::acquainted(nodes, network.members.len() - 1, JOIN_DEADLINE).await {
            return Err(CommandError::new("the nodes do not find each other")
                .with_hint("does a firewall block UDP on loopback?"));
        }
        Ok(network)
    }

    /// Starts one more node.
    pub async fn join(&mut self) -> Result<(), CommandError> {
        self.started += 1;
        let dir = self.root.join(format!("node-{}", self.started));
        let config = self.config(&dir);
        // Where the system does not have all of 127.0.0.0/8, nodes share one neighbourhood.
        let shared =
            NodeConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..config.clone() };
        let node = match Node::start(config).await {
            Err(StartError::Bind(_)) => Node::start(shared).await,
            other => other,
        };
        let node = node.map_err(|error| CommandError::new(error.to_string()))?;
        let config = StorageConfig { cache_size_kb: KIB_OF_CACHE, ..StorageConfig::default() };
        let store = Store::open(&dir, &config)?;
        self.members.push(Member { node, store, dir });
        Ok(())
    }

    fn config(&self, dir: &Path) -> NodeConfig {
        let others = self.members.iter().map(|member| member.node.listen());
        let mut config = loopback::config(dir, self.started, others);
        config.work_bits = WORK_BITS;
        config.replication.answer_deadline = ANSWER_DEADLINE;
        config.dht.request_deadline = LOOKUP_DEADLINE;
        config.dht.slow_after = LOOKUP_DEADLINE / 4;
        config.storage.cache_size_kb = KIB_OF_CACHE;
        config.fragment_cache = BYTES_OF_CACHE;
        config.replication.limits.min_free_space = RESERVE;
        config
    }

    /// The node that joined last.
    pub fn newest(&self) -> &Member {
        self.members.last().expect("the network has nodes")
    }

    /// A node that lives.
    pub fn by_id(&self, id: NodeId) -> &Member {
        self.members.iter().find(|m| m.node.id() == id).expect("it lives")
    }

    /// Ends nodes and erases their disks.
    pub async fn destroy(&mut self, doomed: &[NodeId]) {
        let (dead, alive) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| doomed.contains(&member.node.id()));
        self.members = alive;
        end(dead).await;
    }

    /// Ends all nodes.
    pub async fn stop(self) {
        end(self.members).await;
    }
}

async fn end(members: Vec<Member>) {
    let mut ending = tokio::task::JoinSet::new();
    for Member { node, store, dir } in members {
        ending.spawn(async move {
            node.stop().await;
            drop(store);
            // What cannot be removed now goes with the temporary folder.
            let _ = std::fs::remove_dir_all(dir);
        });
    }
    ending.join_all().await;
}
