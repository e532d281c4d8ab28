//! Erasure coding, placement, attestation, repair and fetch of tesserae. Knows neither SQL nor
//! QUIC: disks are the ports of the core, the network is [`tesseras_wire::Transport`] and
//! [`Directory`].
//!
//! [`policy`] makes decisions and never waits. `peers` sends requests to other nodes, `holder`
//! keeps pieces for them, `library` is the owner's side, `workshop` prepares pieces. The flows
//! combine these, each with the collaborators in its signature: [`publish`] plans a capsule,
//! encodes it ([`erasure`]) and sends its pieces to other nodes (`distribute`), whose `service`
//! admits, verifies and keeps them; `survey` asks all holders what they have ([`attestation`]);
//! [`status`] counts it; [`repair`] replaces what is missing; [`fetch`] collects enough pieces
//! (`collect`) and unpacks them.

mod announce;
pub mod attestation;
mod blocking;
pub mod bulk;
mod candidates;
pub mod clock;
pub mod collect;
pub mod config;
mod distribute;
pub mod dossier;
mod dossiers;
pub mod erasure;
pub mod fetch;
mod holder;
mod library;
pub mod messages;
pub mod overview;
mod peers;
pub mod pieces;
pub mod policy;
mod ports;
pub mod publication;
pub mod publish;
pub mod repair;
mod replication;
mod roster;
pub mod seen;
mod sending;
mod service;
mod serving_permits;
mod staged;
pub mod status;
mod stores;
mod survey;
mod telling;
mod tessera_lock;
mod throttle;
mod transfers;
mod unpack;
mod workshop;

pub use announce::ANNOUNCE_BATCH;
pub use blocking::{BlockingPool, TokioBlocking};
pub use config::ReplicationConfig;
pub use policy::routine::RepairConfig;
pub use policy::steward::Turn;
pub use policy::{admission, causes};
pub use ports::{Capsules, Directory, OpenCapsule, UnpackError, UnpackingCapsule};
pub use replication::{Parts, Replication};
pub use staged::Staged;
pub use stores::Stores;
pub use workshop::PrepareError;
