//! The settings of a node, with their defaults. Configuration files and flags are read by the
//! program that starts it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tesseras_core::units::MIB;
use tesseras_dht::DhtConfig;
use tesseras_net::settings::{BindConfig, InboundConfig, PoolConfig, RateLimit};
use tesseras_replication::ReplicationConfig;
use tesseras_storage::StorageConfig;

pub use tesseras_dht::config::{MAX_ALPHA, MAX_CONTACTS};
pub use tesseras_replication::config::{DEFAULT_REPAIR_SHARE_PERCENT, MAX_TRANSFERS, percent};

/// Default of [`NodeConfig::scrub_period`].
pub const DEFAULT_SCRUB_PERIOD: Duration = Duration::from_secs(30 * 86_400);
/// Default of [`NodeConfig::fragment_cache`], in bytes.
pub const DEFAULT_FRAGMENT_CACHE: u64 = 128 * MIB;
/// Default of [`NodeConfig::join_patience`].
pub const DEFAULT_JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// The address on which a node listens by default: every interface, IPv4 and IPv6.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7310);

/// A bootstrap peer as it is named in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapPeer {
    /// `HOST:PORT`.
    pub name: String,
    /// Its addresses; empty if the name could not be resolved at the start.
    pub addresses: Vec<SocketAddr>,
}

impl From<SocketAddr> for BootstrapPeer {
    /// A peer that is named by its address.
    fn from(address: SocketAddr) -> Self {
        Self { name: address.to_string(), addresses: vec![address] }
    }
}

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The directory of all data.
    pub data_dir: PathBuf,
    /// The UDP address for QUIC.
    pub listen: SocketAddr,
    /// The addresses to announce; if empty, the node determines its own.
    pub advertise: Vec<SocketAddr>,
    /// The nodes to join through. The ones that do not answer are reported by their names.
    pub bootstrap: Vec<BootstrapPeer>,
    /// The storage offered to others, and how pieces are transferred.
    pub replication: ReplicationConfig,
    /// How long after its start a node waits for its first peer, before a search without a result
    /// counts as empty.
    pub join_patience: Duration,
    /// The time in which everything that is stored is re-read once.
    pub scrub_period: Duration,
    /// The settings of the DHT. Its `work_bits` also applies to this node's key and to every
    /// connection.
    pub dht: DhtConfig,
    /// Outgoing connections that are kept open.
    pub pool: PoolConfig,
    /// Limits for incoming connections and requests.
    pub inbound: InboundConfig,
    /// The rate of requests accepted from one peer.
    pub rate_limit: RateLimit,
    /// The settings of SQLite.
    pub storage: StorageConfig,
    /// Memory for pieces that are read often, in bytes; 0 disables the cache.
    pub fragment_cache: u64,
    /// The address on which metrics and health are served over HTTP; `None` serves neither.
    pub metrics: Option<SocketAddr>,
}

impl NodeConfig {
    /// The defaults for this data directory and listen address.
    pub fn new(data_dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        let bind = BindConfig::new(listen);
        Self {
            data_dir: data_dir.into(),
            listen,
            advertise: Vec::new(),
            bootstrap: Vec::new(),
            replication: ReplicationConfig::default(),
            join_patience: DEFAULT_JOIN_PATIENCE,
            scrub_period: DEFAULT_SCRUB_PERIOD,
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
