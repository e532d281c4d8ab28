//! The port for communication between nodes: one request, one reply, each a small frame, optionally
//! followed by a body of bulk bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tesseras_core::contact::{Contact, canonical};
use tesseras_core::ids::NodeId;
use thiserror::Error;

/// The longest frame that is sent or read, in bytes. Long lists are paged, bulk bytes are sent as a
/// body.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A future on the heap, so that the port can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream on the heap, so that a port can return one.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// Bulk bytes that follow a frame, chunk by chunk. An error ends the body: the bytes before it are
/// incomplete. Its length is given in the frame and bounded by its reader.
pub type Body = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A node whose key, nonce and proof of work were checked by the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The id derived from the key and the nonce.
    pub id: NodeId,
    /// Its raw Ed25519 public key, as its certificate carries it.
    pub public_key: [u8; 32],
    /// The nonce that completes the proof of work.
    pub nonce: [u8; 8],
    /// The source address of its packets.
    pub remote: SocketAddr,
}

/// The destination of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node that must answer; `None` (a bootstrap dial) accepts any and learns its id.
    pub id: Option<NodeId>,
    /// The addresses to try, best first.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    /// Whether this address is in the list, with IPv4-mapped IPv6 equal to IPv4.
    pub fn names(&self, address: SocketAddr) -> bool {
        self.addresses.iter().any(|known| canonical(*known) == canonical(address))
    }
}

impl From<&Contact> for Target {
    fn from(contact: &Contact) -> Self {
        Self { id: Some(contact.id), addresses: contact.addresses.clone() }
    }
}

/// A request to another node.
pub struct Request {
    /// The encoded message, at most [`MAX_FRAME_BYTES`].
    pub frame: Vec<u8>,
    /// Bulk bytes that follow the frame.
    pub body: Option<Body>,
    /// How long to wait for the reply's frame once the whole request is sent, including the time to
    /// connect. A body in either direction has no total limit, but fails when no bytes moved for
    /// this long.
    pub deadline: Duration,
    /// How long the other node may let it queue before it answers: a request that was
    /// given up sooner says nothing about that node. Zero for a request that is answered at once.
    pub may_queue_for: Duration,
}

impl Request {
    /// A request without a body that is answered at once.
    pub fn short(frame: Vec<u8>, deadline: Duration) -> Self {
        Self { frame, body: None, deadline, may_queue_for: Duration::ZERO }
    }
}

/// A reply as the requester receives it.
pub struct Reply {
    /// The node that answered.
    pub peer: Peer,
    /// The encoded answer.
    pub frame: Vec<u8>,
    /// The bulk bytes that follow; empty for most answers.
    pub body: Body,
}

/// An answer as the service produces it.
pub struct Response {
    /// The encoded answer.
    pub frame: Vec<u8>,
    /// Bulk bytes that follow the frame.
    pub body: Option<Body>,
}

/// Why a request got no reply.
#[derive(Debug, Clone, Error)]
pub enum RequestError {
    /// The target has no address that can be dialled from here.
    #[error("no address to dial")]
    NoAddress,
    /// No address answered with a handshake in time.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// The cause of the last failure.
        reason: String,
    },
    /// Another node answered.
    #[error("{address} is node {found}, not {expected}")]
    WrongNode {
        /// The address that was dialled.
        address: SocketAddr,
        /// The expected node.
        expected: NodeId,
        /// The node that answered.
        found: NodeId,
    },
    /// The deadline has passed.
    #[error("no answer in time")]
    Deadline,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The frame is longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is too long")]
    FrameTooLong(usize),
    /// Reading the request's own body failed.
    #[error("the body could not be read: {0}")]
    Body(#[source] Arc<std::io::Error>),
    /// The pool is full of busy connections, or the node is shutting down.
    #[error("no connection can be made: {0}")]
    Unavailable(&'static str),
}

/// The outgoing side: requests to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and returns its reply, whose body has not been read yet.
    fn request<'a>(
        &'a self,
        target: &'a Target,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>>;
}

/// The incoming side: answers the requests of other nodes.
pub trait Service: Send + Sync + 'static {
    /// How many ordinary requests a request counts as against its peer's rate limit; at least 1.
    fn cost(&self, _frame: &[u8]) -> u32 {
        1
    }

    /// Answers one request. Called on its own task; several run concurrently.
    fn serve(&self, peer: Peer, frame: Vec<u8>, body: Body) -> BoxFuture<'_, Response>;
}
