//! Nodes in this process that form a network of their own on loopback, each in its own /24: for the
//! demo, tests and measurements.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::StoreError;
use tesseras_storage::{StorageConfig, Store};
use tokio::time::{Instant, sleep};

use crate::config::NodeConfig;
use crate::node::Node;
use crate::start_error::StartError;

/// The number of nodes that a new node joins through.
const BOOTSTRAP: usize = 3;
/// The pause between two checks whether all nodes know each other.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The address of node `number`: 127.0.`number`.1, with a port that the system chooses. Where the
/// system does not have all of 127.0.0.0/8 (only Linux does), nodes share
/// [`Ipv4Addr::LOCALHOST`], and so one /24.
pub fn address(number: u8) -> SocketAddr {
    let own = Ipv4Addr::new(127, 0, number, 1);
    let ip = if UdpSocket::bind((own, 0)).is_ok() { own } else { Ipv4Addr::LOCALHOST };
    SocketAddr::from((ip, 0))
}

/// Waits until each of these nodes knows at least `others` other nodes; `false` after the deadline.
pub async fn acquainted<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    others: usize,
    deadline: Duration,
) -> bool {
    let end = Instant::now() + deadline;
    for node in nodes {
        while node.dht().peers().await.len() < others {
            if Instant::now() > end {
                return false;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
    true
}

/// A running node, and its data directory opened a second time, as `tes` opens it beside `tesd`.
pub struct Member {
    /// The node.
    pub node: Node,
    /// The second store on its data directory.
    pub store: Store,
    /// Its data directory.
    pub dir: PathBuf,
}

impl Member {
    /// Starts a node.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let (dir, storage) = (config.data_dir.clone(), config.storage.clone());
        Ok(Self::new(Node::start(config).await?, &dir, &storage)?)
    }

    /// A node that was started with this data directory.
    pub fn new(node: Node, dir: &Path, storage: &StorageConfig) -> Result<Self, StoreError> {
        Ok(Self { node, store: Store::open(dir, storage)?, dir: dir.to_owned() })
    }

    /// Its id and address.
    pub fn contact(&self) -> Contact {
        Contact { id: self.node.id(), addresses: vec![self.node.listen()] }
    }

    /// Stops the node and deletes its data directory.
    pub async fn destroy(self) -> io::Result<()> {
        let Self { node, store, dir } = self;
        node.stop().await;
        drop(store);
        std::fs::remove_dir_all(dir)
    }
}

impl AsRef<Self> for Member {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Up to 255 nodes whose data directories are in one directory. Dereferences to its members, in the
/// order in which they joined.
pub struct LoopbackNetwork<M = Member> {
    root: PathBuf,
    configure: fn(&mut NodeConfig),
    started: u8,
    members: Vec<M>,
}

impl<M: AsRef<Member>> LoopbackNetwork<M> {
    /// A network without nodes; `configure` changes the default settings of each node.
    pub fn new(root: impl Into<PathBuf>, configure: fn(&mut NodeConfig)) -> Self {
        Self { root: root.into(), configure, started: 0, members: Vec::new() }
    }

    /// The settings of one more node: at the next [`address`], joining through the first members.
    pub fn next_config(&mut self) -> NodeConfig {
        self.started += 1;
        let dir = self.root.join(format!("node-{}", self.started));
        let mut config = NodeConfig::new(dir, address(self.started));
        let first = self.members.iter().take(BOOTSTRAP);
        config.bootstrap = first.map(|member| member.as_ref().node.listen().into()).collect();
        (self.configure)(&mut config);
        config
    }

    /// Adds a running node.
    pub fn add(&mut self, member: M) {
        self.members.push(member);
    }

    /// Waits until all members know each other; `false` after the deadline.
    pub async fn settle(&self, deadline: Duration) -> bool {
        let nodes = self.members.iter().map(|member| &member.as_ref().node);
        acquainted(nodes, self.members.len().saturating_sub(1), deadline).await
    }

    /// The member with this id.
    pub fn by_id(&self, id: NodeId) -> Option<&M> {
        self.members.iter().find(|member| member.as_ref().node.id() == id)
    }

    /// Takes the member with this id out of the network; its node continues to run.
    pub fn remove(&mut self, id: NodeId) -> Option<M> {
        let at = self.members.iter().position(|member| member.as_ref().node.id() == id)?;
        Some(self.members.remove(at))
    }
}

impl LoopbackNetwork {
    /// Starts one more node.
    pub async fn join(&mut self) -> Result<(), StartError> {
        let config = self.next_config();
        self.add(Member::start(config).await?);
        Ok(())
    }

    /// Stops the members with these ids and deletes their data directories.
    pub async fn destroy(&mut self, ids: &[NodeId]) -> io::Result<()> {
        let members: Vec<_> = ids.iter().filter_map(|id| self.remove(*id)).collect();
        try_join_all(members.into_iter().map(Member::destroy)).await.map(drop)
    }

    /// Stops all nodes.
    pub async fn stop(self) {
        join_all(self.members.into_iter().map(|member| member.node.stop())).await;
    }
}

impl<M> Deref for LoopbackNetwork<M> {
    type Target = [M];

    fn deref(&self) -> &[M] {
        &self.members
    }
}

impl<'a, M> IntoIterator for &'a LoopbackNetwork<M> {
    type Item = &'a M;
    type IntoIter = std::slice::Iter<'a, M>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter()
    }
}
