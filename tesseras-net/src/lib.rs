//! How nodes reach each other. Knows neither the disk nor what a fragment means.
//!
//! [`transport`] is the port that the floors above speak to, [`QuinnTransport`] its
//! implementation over QUIC; [`codec`] turns messages into frames and back, and [`body`] helps
//! with the bulk bytes. [`certificate`] says how a node shows who it is, [`interfaces`] where it
//! may be found.

pub mod body;
pub mod certificate;
pub mod codec;
pub mod interfaces;
pub mod metrics;
mod quinn_transport;
pub mod settings;
mod tls;
pub mod transport;

pub use body::{body_from_bytes, body_from_channel, empty_body, read_to_vec};
pub use interfaces::announce_candidates;
pub use metrics::{Eviction, NetMetrics};
pub use quinn_transport::{BindError, QuinnTransport};
pub use settings::{BindConfig, InboundConfig, PoolConfig, RateLimit};
pub use tls::ALPN;
pub use transport::{
    Body, BoxFuture, MAX_FRAME_BYTES, Peer, Reply, Request, RequestError, Response, Service,
    Target, Transport,
};
