//! One connection and its users.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quinn::VarInt;
use tesseras_core::contact::canonical;
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tesseras_crypto::NodePublic;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::window::{ReceiveWindow, Widths};
use tesseras_wire::Peer;

/// The most requests of ours on one connection that await the start of their answer; more wait
/// until one has.
pub(crate) const MAX_IN_FLIGHT: usize = 48;
/// While a connection is in use, its state is checked once in this interval rather than for each
/// request.
const RECENT: Duration = Duration::from_millis(10);

/// Close and reset codes that tell the other side the reason.
pub(crate) mod code {
    use quinn::VarInt;

    /// This node is shutting down.
    pub(crate) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    /// The connection was unused, or its place was needed.
    pub(crate) const IDLE: VarInt = VarInt::from_u32(1);
    /// There are too many connections, of this peer or of all.
    pub(crate) const TOO_MANY: VarInt = VarInt::from_u32(2);
    /// A stream ends early: the bytes sent are incomplete.
    pub(crate) const INCOMPLETE: VarInt = VarInt::from_u32(3);
    /// The rest of a stream is not wanted.
    pub(crate) const UNREAD: VarInt = VarInt::from_u32(4);
}

/// A QUIC connection with a peer whose identity the handshake proved.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pub(crate) quic: quinn::Connection,
    pub(crate) public: NodePublic,
    pub(crate) id: NodeId,
    pub(crate) window: ReceiveWindow,
    /// Admits requests in the order of their arrival.
    pub(crate) in_flight: Semaphore,
    usage: Mutex<Usage>,
}

#[derive(Debug)]
struct Usage {
    /// Requests in flight and bodies that are not read to their end.
    active: usize,
    last_used: Instant,
    looked: Instant,
    heard: Heard,
}

/// How much has been received from the peer, and the source address of the last packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) acks: u64,
    pub(crate) datagrams: u64,
    remote: SocketAddr,
}

impl Heard {
    /// Queries QUIC, under a lock that everything on the connection shares.
    pub(crate) fn from(quic: &quinn::Connection) -> Self {
        let stats = quic.stats();
        Self {
            acks: stats.frame_rx.acks,
            datagrams: stats.udp_rx.datagrams,
            remote: canonical(quic.remote_address()),
        }
    }
}

impl PooledConnection {
    pub(crate) fn new(quic: quinn::Connection, public: NodePublic, widths: Widths) -> Arc<Self> {
        let now = Instant::now();
        let heard = Heard::from(&quic);
        Arc::new(Self {
            quic,
            public,
            id: public.id(),
            window: ReceiveWindow::new(widths),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            usage: Mutex::new(Usage { active: 0, last_used: now, looked: now, heard }),
        })
    }

    /// Marks the connection as in use until the lease is dropped; `None` if it was found closed.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut usage = self.usage();
        let now = Instant::now();
        if usage.active == 0 || now - usage.looked > RECENT {
            if self.is_dead() {
                return None;
            }
            usage.looked = now;
            usage.heard = Heard::from(&self.quic);
        }
        Some(self.hold(&mut usage))
    }

    /// The lease of the caller that has just made this connection.
    pub(crate) fn first_lease(self: &Arc<Self>) -> Lease {
        self.hold(&mut self.usage())
    }

    fn hold(self: &Arc<Self>, usage: &mut Usage) -> Lease {
        usage.active += 1;
        Lease { connection: self.clone(), before: usage.heard }
    }

    /// When its last use ended; `None` while it is in use.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let usage = self.usage();
        (usage.active == 0).then_some(usage.last_used)
    }

    /// How long it has been unused.
    pub(crate) fn unused_for(&self) -> Duration {
        self.usage().last_used.elapsed()
    }

    /// Whether it is closed, by either side.
    pub(crate) fn is_dead(&self) -> bool {
        self.quic.close_reason().is_some()
    }

    pub(crate) fn close(&self, code: VarInt, reason: &str) {
        self.quic.close(code, reason.as_bytes());
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        lock(&self.usage)
    }
}

/// Marks a connection as in use, so that it is not evicted.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Arc<PooledConnection>,
    /// The state at the start of the lease, or up to [`RECENT`] earlier.
    pub(crate) before: Heard,
}

impl Lease {
    /// Another lease of the same connection.
    pub(crate) fn another(&self) -> Self {
        self.connection.usage().active += 1;
        Self { connection: self.connection.clone(), before: self.before }
    }

    /// The node at the other end and the source address of its packets.
    pub(crate) fn peer(&self) -> Peer {
        let NodePublic { public_key, nonce } = self.public;
        Peer { id: self.id, public_key, nonce, remote: self.before.remote }
    }
}

impl std::ops::Deref for Lease {
    type Target = Arc<PooledConnection>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = self.connection.usage();
        usage.active -= 1;
        usage.last_used = Instant::now();
    }
}
