//! The texts of `decode/`, held against other software in two ways: by the vectors that they print,
//! and by readers in Python that were written from the texts alone and use no library.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bitmaps;
mod deflate;
mod films;
mod hashes;
mod jpegs;
mod pictures;
mod pictures_python;
mod python;
#[expect(dead_code, reason = "the tests of whole capsules use more of it")]
#[path = "../capsule/samples.rs"]
mod samples;
mod scans;
mod signatures;
mod sounds;
#[expect(dead_code, reason = "the tests of whole capsules use more of it")]
#[path = "../capsule/store.rs"]
mod store;
mod weak_key;
mod written;
