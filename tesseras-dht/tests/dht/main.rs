//! The DHT as its users see it: the pure engine under virtual time, and the driver over a
//! transport that carries frames in memory.

mod clocks;
mod crowding;
mod eviction;
mod forgeries;
mod memory;
mod network;
mod properties;
mod silent;
mod simulation;
mod world;
