//! Who is where, and who holds what: Kademlia (Maymounkov and Mazières, 2002) as a pure state
//! machine, and the driver that runs it over a `Transport`. Knows neither the disk nor a
//! fragment's bytes.
//!
//! Follow one announcement: [`Dht::announce`] (`driver`) hands the keys to the [`engine`], which
//! signs [`records`], looks up where they belong ([`lookup`], seeded from [`routing`]) and emits
//! [`messages`] as effects; the driver sends them and hands the answers back. Who may enter the
//! routing table is decided by dialling back ([`reachability`], [`address`]). Whether this node's
//! clock is right is told from the dates in answers ([`clocks`]).

pub mod address;
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
pub use records::{HolderRecord, Identity};
