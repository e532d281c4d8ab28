//! The terms of Tesseras as types, and the arithmetic on them. Pure: no I/O, no sockets, no SQL, no
//! clock, no randomness.
//!
//! To follow one memory: a [`manifest`] names its files; [`pack`] lays them out as one tar;
//! [`code`] defines the pieces of the tar; the [`plan`] gives the checksum of each piece;
//! [`placement`] decides which node holds which; [`publication`] records when it is published;
//! [`ports`] are what disks must provide for this.

pub mod address;
pub mod append;
pub mod buffer;
pub mod code;
pub mod contact;
pub mod dossier;
pub mod hash_code;
pub mod ids;
pub mod lock;
pub mod manifest;
pub mod pack;
pub mod path;
pub mod peer_memory;
pub mod placement;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod publication;
pub mod signature;
pub mod sums;
pub mod time;
pub mod units;
pub mod words;
