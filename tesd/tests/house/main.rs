//! The house stands: crates and modules use only what lies below them, no crate knows what its floor
//! must not know, and files and functions stay short enough to read. Here, because `tesd` is at the
//! top.

mod advice;
mod circles;
mod crates;
mod lengths;
mod map;
mod sources;
