//! Replication in simulation: the flows that `tesd` runs, with many nodes in one process, over
//! virtual time. No socket, no thread, no clock: stores are in memory ([`memory`]), messages go
//! through a simulated network ([`network`]), and everything random comes from one seed.
//!
//! After every event the world checks its invariants ([`world`]); a failure prints its seed.
//! `SIM_SEED=7 cargo test -p tesseras-replication --test sim NAME` runs that seed again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attackers;
mod bandwidth;
mod capsules;
mod claims;
mod dripping;
mod faults;
mod grace;
mod interrupted;
mod known_holders;
mod memory;
mod network;
mod own_faults;
mod plans;
mod stewards;
mod untold;
mod walk;
mod world;
