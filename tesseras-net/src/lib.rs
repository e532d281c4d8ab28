//! Connections between nodes. Knows neither the disk nor what a piece means.
//!
//! [`QuinnTransport`] implements [`tesseras_wire::Transport`] over QUIC; [`certificate`] defines
//! how a node proves its identity, [`interfaces`] at which addresses it may be reached.

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
