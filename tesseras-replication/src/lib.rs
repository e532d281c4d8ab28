//! Erasure coding, placement, attestation, repair and fetch of tesserae. Knows neither SQL nor
//! QUIC: disks are the ports of the core, the network is [`tesseras_wire::Transport`] and
//! [`context::Directory`].
//!
//! Follow one memory: [`publish`] plans a capsule, cuts it ([`erasure`]) and brings its pieces to
//! other nodes (`distribute`), whose [`service`] admits ([`admission`]), verifies and keeps them.
//! [`survey`] asks all holders what they have ([`attestation`]); [`status`] counts it; [`repair`]
//! brings back what is missing; [`fetch`] gathers enough pieces (`collect`) and unpacks them.

pub mod admission;
mod ask;
pub mod attestation;
mod blocking;
pub mod bulk;
pub mod causes;
pub mod clock;
pub mod collect;
pub mod context;
mod distribute;
pub mod dossier;
pub mod erasure;
pub mod fetch;
mod in_flight;
pub mod messages;
pub mod overview;
pub mod pieces;
pub mod progress;
pub mod publication;
pub mod publish;
mod release;
pub mod repair;
pub mod seen;
pub mod service;
pub mod status;
pub mod survey;

pub use blocking::{BlockingPool, TokioBlocking};
pub use context::{
    Capsules, Directory, Parts, Replication, ReplicationConfig, Stores, UnpackError,
};
