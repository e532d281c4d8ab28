//! One whole Tesseras node as a library: used by `tesd`, the demo, the tests and later apps.
//!
//! [`Node::start`] opens the stores, binds QUIC, joins the DHT, answers other nodes ([`router`])
//! and `tes` ([`requests`]), and runs the background [`jobs`]. The node owns every task; stopping
//! it stops them all. Knows no command lines.

pub mod capsules;
pub mod causes;
pub mod clock;
pub mod clock_watch;
pub mod config;
pub mod directory;
pub mod identity;
pub mod jobs;
pub mod node;
pub mod observe;
pub mod problems;
pub mod requests;
mod room;
pub mod router;

pub use config::{BootstrapPeer, NodeConfig};
pub use node::{Node, StartError, socket_path};
