//! The port through which nodes talk: one request, one reply, each a small frame and then,
//! where there is any, a body of bulk bytes.

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

/// The longest frame that is sent or read. Long lists are paged, bulk bytes are a body.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;

/// A future on the heap, so that the port can be used as a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream on the heap, so that a port can give one.
pub type BoxStream<'a, T> = Pin<Box<dyn Stream<Item = T> + Send + 'a>>;

/// Bulk bytes that follow a frame, chunk by chunk. An error ends the body: what came before it is
/// incomplete. Its length is named in the frame and bounded by its reader.
pub type Body = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A node whose key, nonce and work were checked by the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The id that follows from the key and the nonce.
    pub id: NodeId,
    /// Its raw Ed25519 public key, as its certificate carries it.
    pub public_key: [u8; 32],
    /// The nonce beside the key, which shows the work.
    pub nonce: [u8; 8],
    /// Where its packets come from.
    pub remote: SocketAddr,
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who must answer; `None` (a bootstrap dial) learns it.
    pub id: Option<NodeId>,
    /// Where to try, best first.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    /// Whether it names this address, be it IPv4 or IPv4 within IPv6.
    pub fn names(&self, address: SocketAddr) -> bool {
        self.addresses.iter().any(|known| canonical(*known) == canonical(address))
    }
}

impl From<&Contact> for Target {
    fn from(contact: &Contact) -> Self {
        Self { id: Some(contact.id), addresses: contact.addresses.clone() }
    }
}

/// What is asked.
pub struct Request {
    /// The encoded message, at most [`MAX_FRAME_BYTES`].
    pub frame: Vec<u8>,
    /// Bulk bytes that follow it.
    pub body: Option<Body>,
    /// How long to wait for the reply's frame once the whole request is sent, connecting
    /// included. A body in either direction has no total limit, but fails when nothing moved for
    /// this long.
    pub deadline: Duration,
}

/// What is answered, as the asker sees it.
pub struct Reply {
    /// Who answered.
    pub peer: Peer,
    /// The encoded answer.
    pub frame: Vec<u8>,
    /// The bulk bytes that follow; empty for most answers.
    pub body: Body,
}

/// What is answered, as the answerer makes it.
pub struct Response {
    /// The encoded answer.
    pub frame: Vec<u8>,
    /// Bulk bytes that follow it.
    pub body: Option<Body>,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The target names no address that can be dialled from here.
    #[error("no address to dial")]
    NoAddress,
    /// No address answered with a handshake in time.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What went wrong there.
        reason: String,
    },
    /// Somebody else answered.
    #[error("{address} is node {found}, not {expected}")]
    WrongNode {
        /// The address that was dialled.
        address: SocketAddr,
        /// Who was expected.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The deadline passed.
    #[error("no answer in time")]
    Deadline,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The frame is longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes is too long")]
    FrameTooLong(usize),
    /// The request's own body failed.
    #[error("the body could not be read: {0}")]
    Body(#[source] Arc<std::io::Error>),
    /// The pool is full of busy connections, or the node is shutting down.
    #[error("no connection can be made: {0}")]
    Unavailable(&'static str),
}

/// The way out: requests to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and returns its reply, whose body is still to be read.
    fn request<'a>(
        &'a self,
        target: &'a Target,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>>;
}

/// The way in: the part that answers the requests of other nodes.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Called on its own task; several run at once.
    fn serve(&self, peer: Peer, frame: Vec<u8>, body: Body) -> BoxFuture<'_, Response>;
}
