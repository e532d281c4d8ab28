//! Settings of the QUIC transport, with their units, bounds and costs.

use std::net::SocketAddr;
use std::time::Duration;

use tesseras_crypto::node::DEFAULT_WORK_BITS;

/// How a [`crate::QuinnTransport`] listens, dials and limits its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindConfig {
    /// The UDP address to listen on. Port 0 takes any free port; a wildcard takes all interfaces,
    /// and `[::]` takes IPv4 as well where the system allows it.
    pub listen: SocketAddr,
    /// The proof of work that every node must have, in bits; the same in the whole network.
    /// Default: [`DEFAULT_WORK_BITS`].
    pub work_bits: u32,
    /// The outgoing connections that are kept.
    pub pool: PoolConfig,
    /// Limits for incoming connections and requests.
    pub inbound: InboundConfig,
    /// How many requests are answered per second.
    pub rate_limit: RateLimit,
    /// How long the handshake with one address may take; other addresses of the same node are tried
    /// meanwhile. Default: [`Self::CONNECT_DEADLINE`]. A request's own deadline cuts it short.
    pub connect_deadline: Duration,
    /// The socket's send and receive buffers in the kernel, in bytes each: enough for four senders
    /// with one full stream window each. Best effort: the system may grant less
    /// (`net.core.rmem_max`), and bulk transfers then lose more packets. Default:
    /// [`Self::SOCKET_BUFFER_BYTES`].
    pub socket_buffer_bytes: usize,
}

impl BindConfig {
    /// The default of [`Self::connect_deadline`].
    pub const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
    /// The default of [`Self::socket_buffer_bytes`].
    pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

    /// The defaults of the public network, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            work_bits: DEFAULT_WORK_BITS,
            pool: PoolConfig::default(),
            inbound: InboundConfig::default(),
            rate_limit: RateLimit::default(),
            connect_deadline: Self::CONNECT_DEADLINE,
            socket_buffer_bytes: Self::SOCKET_BUFFER_BYTES,
        }
    }
}

/// How many outgoing connections are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// The most connections at once, handshakes included; at least 1. When all are busy, requests
    /// to further peers fail as unavailable. An idle one costs some 20 KiB, a hostile one up to
    /// 128 KiB more. Default: [`Self::MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// A connection that is unused for this long is closed; an incoming one ten seconds later. Both
    /// sides have this setting; the shorter one applies. Default: [`Self::IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// How often the reaper looks for idle connections, and so the longest delay after the idle
    /// timeout. Default: [`Self::REAPER_INTERVAL`].
    pub reaper_interval: Duration,
}

impl PoolConfig {
    /// The default of [`Self::max_connections`].
    pub const MAX_CONNECTIONS: usize = 256;
    /// The default of [`Self::idle_timeout`].
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
    /// The default of [`Self::reaper_interval`].
    pub const REAPER_INTERVAL: Duration = Duration::from_secs(30);
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_connections: Self::MAX_CONNECTIONS,
            idle_timeout: Self::IDLE_TIMEOUT,
            reaper_interval: Self::REAPER_INTERVAL,
        }
    }
}

/// Limits for incoming connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboundConfig {
    /// The most incoming connections. At the limit the one that has been idle longest makes room;
    /// if none has been idle for [`Self::MIN_IDLE`], the new one is closed. Handshakes in progress
    /// have a limit of their own, [`Self::MAX_HANDSHAKES`], so that a peer that has proved nothing
    /// displaces no other. Default: [`Self::MAX_CONNECTIONS`].
    pub max_connections: usize,
    /// The most connections from one /24 (IPv4) or /48 (IPv6); loopback and private networks are
    /// exempt. More are refused. Default: [`Self::MAX_PER_SUBNET`].
    pub max_per_subnet: usize,
    /// The most connections from one NodeId, which may come over IPv4, over IPv6, and have one left
    /// from before its address changed; more are closed after the handshake. Default:
    /// [`Self::MAX_PER_NODE`].
    pub max_per_node: usize,
    /// The most requests that are read or answered at once; more are answered `busy`. Each may hold
    /// a frame of 64 KiB. Default: [`Self::MAX_REQUESTS`].
    pub max_requests: usize,
    /// How long a handshake may take. Default: [`Self::HANDSHAKE_DEADLINE`].
    pub handshake_deadline: Duration,
    /// How long the whole frame of a request may take to arrive once its stream is open, even if
    /// bytes keep arriving. Default: [`Self::FRAME_DEADLINE`].
    pub frame_deadline: Duration,
    /// How long a body, in either direction, may stall. Default: [`Self::STALL_DEADLINE`].
    pub stall_deadline: Duration,
}

impl InboundConfig {
    /// The default of [`Self::max_connections`].
    pub const MAX_CONNECTIONS: usize = 256;
    /// The default of [`Self::max_per_subnet`].
    pub const MAX_PER_SUBNET: usize = 32;
    /// The default of [`Self::max_per_node`].
    pub const MAX_PER_NODE: usize = 3;
    /// The default of [`Self::max_requests`].
    pub const MAX_REQUESTS: usize = 256;
    /// The default of [`Self::handshake_deadline`].
    pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
    /// The default of [`Self::frame_deadline`].
    pub const FRAME_DEADLINE: Duration = Duration::from_secs(10);
    /// The default of [`Self::stall_deadline`].
    pub const STALL_DEADLINE: Duration = Duration::from_secs(30);
    /// The most incoming handshakes in progress; more are refused. From a quarter of this on, a new
    /// peer must first prove that it receives at its address.
    pub const MAX_HANDSHAKES: usize = 64;
    /// An inbound connection that was used more recently than this never makes room for another.
    pub const MIN_IDLE: Duration = Duration::from_secs(2);
}

impl Default for InboundConfig {
    fn default() -> Self {
        Self {
            max_connections: Self::MAX_CONNECTIONS,
            max_per_subnet: Self::MAX_PER_SUBNET,
            max_per_node: Self::MAX_PER_NODE,
            max_requests: Self::MAX_REQUESTS,
            handshake_deadline: Self::HANDSHAKE_DEADLINE,
            frame_deadline: Self::FRAME_DEADLINE,
            stall_deadline: Self::STALL_DEADLINE,
        }
    }
}

/// How many requests one peer may make. A peer over the limit is answered `busy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Sustained requests per second for one NodeId. Default: [`Self::REQUESTS_PER_SECOND`].
    pub requests_per_second: u32,
    /// Requests that it may make at once after a pause; at least 1. Default: [`Self::BURST`].
    pub burst: u32,
}

impl RateLimit {
    /// The default of [`Self::requests_per_second`].
    pub const REQUESTS_PER_SECOND: u32 = 50;
    /// The default of [`Self::burst`].
    pub const BURST: u32 = 200;
    /// A whole /24 (IPv4) or /48 (IPv6) may make this many times the requests of one NodeId;
    /// loopback and private networks are exempt.
    pub const SUBNET_FACTOR: u32 = 8;
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { requests_per_second: Self::REQUESTS_PER_SECOND, burst: Self::BURST }
    }
}
