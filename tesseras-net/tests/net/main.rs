//! The transport over real QUIC on loopback, one module per topic.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod addresses;
mod bodies;
mod identity;
mod limits;
mod node;
mod pool;
mod relay;
mod requests;
mod stranger;
