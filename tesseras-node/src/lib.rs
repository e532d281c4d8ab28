//! One whole Tesseras node as a library: used by `tesd`, the demo, the tests and later apps.
//!
//! [`Node::start`] opens the stores, binds QUIC, joins the DHT, answers other nodes ([`router`])
//! and `tes` ([`requests`]), and runs the background [`jobs`]. The node owns every task; stopping
//! it stops them all. It does not parse command lines.

mod answers;
pub mod capsules;
pub mod clock;
pub mod config;
pub mod directory;
pub mod end_signals;
mod failure;
pub mod identity;
pub mod jobs;
pub mod loopback;
pub mod machine;
pub mod node;
pub mod observe;
pub mod problems;
pub mod requests;
pub mod router;
pub mod scrub;
mod start_error;

pub use config::{BootstrapPeer, NodeConfig};
pub use node::Node;
pub use start_error::StartError;
