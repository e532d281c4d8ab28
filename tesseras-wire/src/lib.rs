//! The communication between nodes, without the network: the ports [`Transport`] (out) and
//! [`Service`] (in), [`codec`] (messages as frames) and [`body`] (bulk bytes). It knows neither
//! QUIC nor the disk, nor the meaning of any message.

pub mod body;
pub mod codec;
mod remembering;
pub mod transport;

pub use body::{body_from_bytes, body_from_channel, empty_body, read_to_vec};
pub use remembering::{PeerObserver, RememberingTransport, SharedMemory, is_the_peers_fault};
pub use transport::{
    Body, BoxFuture, BoxStream, MAX_FRAME_BYTES, Peer, Reply, Request, RequestError, Response,
    Service, Target, Transport,
};
