//! The words of Tesseras as types, and the arithmetic between them. Pure: no I/O, no sockets, no
//! SQL, no clock, no randomness.
//!
//! Follow one memory: a [`manifest`] names its files; [`pack`] lays them out as one tar;
//! [`code`] says into which pieces the tar is cut; the [`plan`] says what each piece must be;
//! [`placement`] says who holds which; [`publication`] says when it counts; [`ports`] are what disks must offer for that.

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
pub mod words;
