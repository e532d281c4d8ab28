//! Whole nodes in one process, over real QUIC on loopback and real files.

mod accounts;
mod addresses;
mod gate;
mod health;
mod hostile;
mod kill;
mod lies;
mod mending;
mod network;
mod plans;
mod resume;
mod shared;
mod stranger;
mod walk;
mod wishes;
