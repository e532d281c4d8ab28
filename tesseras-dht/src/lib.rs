//! Which node is where, and which nodes hold what: Kademlia (Maymounkov and Mazières, 2002) as a
//! pure state machine, and the driver that runs it over a `Transport`. It knows neither the disk
//! nor the bytes of a piece.
//!
//! To follow one announcement: [`Dht::announce`] (`driver`) hands the keys to the [`engine`], which
//! signs [`records`], looks up the nodes that should keep them ([`lookup`], seeded from
//! [`routing`]) and emits [`messages`] as effects; the driver sends them and hands the answers
//! back. Dialling back decides which peers may enter the routing table ([`reachability`]).
//! The dates in answers show whether this node's clock is right ([`clocks`]).

pub mod clocks;
pub mod config;
pub mod driver;
pub mod engine;
pub mod lookup;
pub mod messages;
pub mod reachability;
pub mod records;
pub mod routing;

pub use config::{DhtConfig, REANNOUNCE_EVERY, REANNOUNCE_JITTER};
pub use driver::Dht;
pub use engine::{Bootstrap, Status};
pub use messages::KINDS;
pub use records::{HolderRecord, NodeIdentity};
