//! One connection, and who is using it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use quinn::VarInt;
use tesseras_core::ids::NodeId;
use tesseras_crypto::NodePublic;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::window::{Widths, Window};
use crate::transport::Peer;

/// The most of our requests on one connection whose answer has not begun; more wait their turn.
pub(crate) const MAX_IN_FLIGHT: usize = 32;

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
}

impl PooledConnection {
    pub(crate) fn new(quic: quinn::Connection, public: NodePublic, widths: Widths) -> Arc<Self> {
        Arc::new(Self {
            quic,
            public,
            id: public.id(),
            window: Window::new(widths),
            turns: Semaphore::new(MAX_IN_FLIGHT),
            usage: Mutex::new(Usage { active: 0, last_used: Instant::now() }),
        })
    }

    /// Marks the connection as in use until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        self.usage().active += 1;
        Lease(self.clone())
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let usage = self.usage();
        (usage.active == 0).then_some(usage.last_used)
    }

    /// How long ago the last use of it ended.
    pub(crate) fn unused_for(&self) -> std::time::Duration {
        self.usage().last_used.elapsed()
    }

    /// Whether it is closed, by whomever.
    pub(crate) fn is_dead(&self) -> bool {
        self.quic.close_reason().is_some()
    }

    pub(crate) fn close(&self, code: VarInt, reason: &str) {
        self.quic.close(code, reason.as_bytes());
    }

    /// Who is at the other end, and where its packets come from now.
    pub(crate) fn peer(&self) -> Peer {
        Peer { id: self.id, public: self.public, remote: canonical(self.quic.remote_address()) }
    }

    fn usage(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().expect("nothing panics while it holds this lock")
    }
}

/// The right to use a connection, which is not evicted meanwhile.
#[derive(Debug)]
pub(crate) struct Lease(Arc<PooledConnection>);

impl std::ops::Deref for Lease {
    type Target = Arc<PooledConnection>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.active -= 1;
        usage.last_used = Instant::now();
    }
}

/// An address as others write it: IPv4 that came through an IPv6 socket is IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
