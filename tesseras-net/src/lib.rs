//! How nodes reach each other. Knows neither the disk nor what a fragment means.
//!
//! [`QuinnTransport`] implements [`tesseras_wire::Transport`] over QUIC; [`certificate`] says how
//! a node shows who it is, [`interfaces`] where it may be found.

pub mod certificate;
pub mod interfaces;
pub mod metrics;
mod quinn_transport;
pub mod settings;
mod tls;

pub use interfaces::announce_candidates;
pub use metrics::{Eviction, NetMetrics};
pub use quinn_transport::{BindError, QuinnTransport};
pub use settings::{BindConfig, InboundConfig, PoolConfig, RateLimit};
pub use tls::ALPN;
