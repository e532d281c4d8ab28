//! Whole nodes in one process, over real QUIC on loopback and real files.

mod network;
mod walk;
