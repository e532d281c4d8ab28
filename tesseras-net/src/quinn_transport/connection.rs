//! One connection, and who is using it.

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

use super::window::{Widths, Window};
use tesseras_wire::Peer;

/// The most of our requests on one connection whose answer has not begun; more wait their turn.
pub(crate) const MAX_IN_FLIGHT: usize = 48;
/// While a connection is in use, its state is looked at once in so long, and not for each request.
const RECENT: Duration = Duration::from_millis(10);

/// What a closed connection or stream tells the other side.
pub(crate) mod code {
    use quinn::VarInt;

    /// This node is shutting down.
    pub(crate) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    /// Nobody used the connection, or its place was needed.
    pub(crate) const IDLE: VarInt = VarInt::from_u32(1);
    /// There are too many connections, of this peer or of all.
    pub(crate) const TOO_MANY: VarInt = VarInt::from_u32(2);
    /// A stream ends before its end: what was sent is not complete.
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
    pub(crate) window: Window,
    /// Who may ask now, in the order in which they came.
    pub(crate) turns: Semaphore,
    usage: Mutex<Usage>,
}

#[derive(Debug)]
struct Usage {
    /// Requests in flight and bodies not read to their end.
    active: usize,
    last_used: Instant,
    looked: Instant,
    heard: Heard,
}

/// What has come from the peer so far, and from where the last of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) acks: u64,
    pub(crate) datagrams: u64,
    remote: SocketAddr,
}

impl Heard {
    /// Asks QUIC, under a lock for which everything on the connection competes.
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
            window: Window::new(widths),
            turns: Semaphore::new(MAX_IN_FLIGHT),
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

    /// The lease of who has just made this connection.
    pub(crate) fn first_lease(self: &Arc<Self>) -> Lease {
        self.hold(&mut self.usage())
    }

    fn hold(self: &Arc<Self>, usage: &mut Usage) -> Lease {
        usage.active += 1;
        Lease { connection: self.clone(), before: usage.heard }
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let usage = self.usage();
        (usage.active == 0).then_some(usage.last_used)
    }

    /// How long ago the last use of it ended.
    pub(crate) fn unused_for(&self) -> Duration {
        self.usage().last_used.elapsed()
    }

    /// Whether it is closed, by whomever.
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

/// The right to use a connection, which is not evicted meanwhile.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Arc<PooledConnection>,
    /// What had come before, or up to [`RECENT`] earlier.
    pub(crate) before: Heard,
}

impl Lease {
    /// One more for the same connection.
    pub(crate) fn another(&self) -> Self {
        self.connection.usage().active += 1;
        Self { connection: self.connection.clone(), before: self.before }
    }

    /// Who is at the other end, and where its packets come from.
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
