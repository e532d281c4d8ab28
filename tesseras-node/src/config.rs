//! Every setting of a node, typed, with its default. Files and flags are read elsewhere.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tesseras_dht::DhtConfig;
use tesseras_net::settings::{BindConfig, InboundConfig, PoolConfig, RateLimit};
use tesseras_replication::admission::{INDEBTED_SUBNET_SHARE, Limits};
use tesseras_replication::{DEFAULT_HEDGE_PERCENT, DEFAULT_MAX_TRANSFERS};
use tesseras_storage::StorageConfig;

pub use tesseras_dht::config::{MAX_ALPHA, MAX_CONTACTS};
pub use tesseras_replication::MAX_TRANSFERS;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Bytes offered to others, by default.
pub const DEFAULT_STORAGE_LIMIT: u64 = 10 * GIB;
/// Bytes that stay free on the disk, by default.
pub const DEFAULT_MIN_FREE_SPACE: u64 = GIB;
/// What one peer may store here at the most, by default.
pub const DEFAULT_PER_PEER_LIMIT: u64 = GIB;
/// How much more one peer may store here than it stores for this node, by default: as much as the
/// newcomers of one neighbourhood may together.
pub const DEFAULT_DEFICIT_ALLOWANCE: u64 = GIB;
/// The part of the storage limit that repairs may use, by default, in percent.
pub const DEFAULT_REPAIR_SHARE_PERCENT: u8 = 50;
/// How often held tesserae are looked after, by default.
pub const DEFAULT_REPAIR_INTERVAL: Duration = Duration::from_secs(86_400);
/// By how much that is moved at random, either way, by default.
pub const DEFAULT_REPAIR_JITTER: Duration = Duration::from_secs(7_200);
/// Memory for pieces that are read often, by default.
pub const DEFAULT_FRAGMENT_CACHE: u64 = 128 * MIB;
/// How long to wait for a short answer, by default.
pub const DEFAULT_ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a node waits for its first peer, by default.
pub const DEFAULT_JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a transfer may stand still, by default.
pub const DEFAULT_TRANSFER_DEADLINE: Duration = Duration::from_secs(30);
/// Where a node listens, by default: every interface, IPv4 and IPv6.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7310);

/// A bootstrap peer as it was written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// `HOST:PORT`.
    pub name: String,
    /// The addresses behind it; none if the name could not be looked up at the start.
    pub addresses: Vec<SocketAddr>,
}

/// Every setting of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// Where QUIC listens.
    pub listen: SocketAddr,
    /// What is announced instead of the addresses that the node finds by itself.
    pub advertise: Vec<SocketAddr>,
    /// Nodes to begin with.
    pub bootstrap: Vec<SocketAddr>,
    /// How those were written, to name the ones that do not answer. Those that are missing here
    /// are named by their address.
    pub bootstrap_peers: Vec<BootstrapPeer>,
    /// Zero bits that NodeIds must end with; all nodes of a network agree on it.
    pub work_bits: u32,
    /// What is offered to others.
    pub limits: Limits,
    /// Transfers in each direction at once.
    pub max_transfers: usize,
    /// How many of all requests about tesserae may be sent in place of late ones that then came
    /// after all, in percent.
    pub hedge_percent: u8,
    /// How long to wait for a short answer.
    pub answer_deadline: Duration,
    /// How long a transfer may stand still.
    pub transfer_deadline: Duration,
    /// How long after its start a node waits for its first peer before a search counts as empty.
    pub join_patience: Duration,
    /// How often held tesserae are looked after.
    pub repair_interval: Duration,
    /// By how much that is moved at random, either way.
    pub repair_jitter: Duration,
    /// The DHT's settings; its `work_bits` is set from the node's.
    pub dht: DhtConfig,
    /// Connections kept open.
    pub pool: PoolConfig,
    /// Connections and requests accepted.
    pub inbound: InboundConfig,
    /// Requests accepted from one peer.
    pub rate_limit: RateLimit,
    /// SQLite's settings.
    pub storage: StorageConfig,
    /// Memory for pieces that are read often, in bytes; 0 turns the cache off.
    pub fragment_cache: u64,
    /// Where metrics and health are served over HTTP.
    pub metrics: Option<SocketAddr>,
}

impl NodeConfig {
    /// The defaults, for a data directory and a listen address.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        let bind = BindConfig::new(listen);
        Self {
            data_dir: data_dir.into(),
            listen,
            advertise: Vec::new(),
            bootstrap: Vec::new(),
            bootstrap_peers: Vec::new(),
            work_bits: bind.work_bits,
            limits: Limits {
                storage: DEFAULT_STORAGE_LIMIT,
                min_free_space: DEFAULT_MIN_FREE_SPACE,
                per_peer: DEFAULT_PER_PEER_LIMIT,
                deficit_allowance: DEFAULT_DEFICIT_ALLOWANCE,
                repair_share: percent(DEFAULT_STORAGE_LIMIT, DEFAULT_REPAIR_SHARE_PERCENT),
            },
            max_transfers: DEFAULT_MAX_TRANSFERS,
            hedge_percent: DEFAULT_HEDGE_PERCENT,
            answer_deadline: DEFAULT_ANSWER_DEADLINE,
            transfer_deadline: DEFAULT_TRANSFER_DEADLINE,
            join_patience: DEFAULT_JOIN_PATIENCE,
            repair_interval: DEFAULT_REPAIR_INTERVAL,
            repair_jitter: DEFAULT_REPAIR_JITTER,
            dht: DhtConfig::default(),
            pool: bind.pool,
            inbound: bind.inbound,
            rate_limit: bind.rate_limit,
            storage: StorageConfig::default(),
            fragment_cache: DEFAULT_FRAGMENT_CACHE,
            metrics: None,
        }
    }
}

/// A part of a number of bytes, rounded down; of more than 100 percent, all of it.
pub fn percent(of: u64, percent: u8) -> u64 {
    let share = u128::from(of) * u128::from(percent.min(100)) / 100;
    u64::try_from(share).unwrap_or(of)
}

// A lower allowance would not stop someone with many names, who is stopped by the neighbourhood's
// share; a higher one could not be used.
const _: () = assert!(
    DEFAULT_DEFICIT_ALLOWANCE == DEFAULT_STORAGE_LIMIT / INDEBTED_SUBNET_SHARE
        && DEFAULT_DEFICIT_ALLOWANCE <= DEFAULT_PER_PEER_LIMIT
);

#[cfg(test)]
mod tests {
    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::NodeId;
    use tesseras_core::ports::{Charge, PeerAt};
    use tesseras_replication::admission::{Standing, room};

    use super::*;

    #[test]
    fn a_default_node_has_room_for_an_album_and_a_film_of_a_newcomer() {
        let limits = NodeConfig::new("", "127.0.0.1:0".parse().expect("an address")).limits;
        let subnet = Subnet::of("8.8.8.8".parse().expect("an address"));
        let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet });
        let standing = Standing { free: u64::MAX, ..Standing::default() };
        // On few nodes each takes a whole copy: a film of 300 MiB, and two albums as large.
        assert!(room(&charge, &standing, &limits) >= 3 * 300 * MIB);
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(percent(u64::MAX, 100), u64::MAX);
        assert_eq!(percent(10, 50), 5);
        assert_eq!(percent(10, 200), 10);
    }
}
