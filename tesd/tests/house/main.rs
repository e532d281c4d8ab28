//! The rules of ARCHITECTURE.md, as tests: crates and modules use only what lies below them, no
//! crate knows what its layer must not know, and files and functions stay short. They are here
//! because `tesd` is at the top.

mod advice;
mod circles;
mod crates;
mod errors;
mod lengths;
mod map;
mod sources;
