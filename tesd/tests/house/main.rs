//! The house stands: crates and modules know only what lies below them, nobody knows what its floor
//! must not know, and files and functions stay small enough to be read. Here, because `tesd` is at
//! the top.

mod circles;
mod crates;
mod lengths;
mod map;
mod sources;
