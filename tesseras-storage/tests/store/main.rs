//! The store on real files: what its ports promise, alone, among threads and processes, after a
//! kill, and on disks that fail.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, the functions that share their work too"
)]

mod adopting;
mod blocked;
mod cached;
mod conformance;
mod damage;
mod disks;
mod flipped_byte;
mod flipped_index;
mod full_disk;
mod garbage;
mod holders;
mod hooked;
mod leftovers;
mod model;
mod only_database;
mod power_cut;
mod processes;
mod read_only;
mod rebuilding;
mod replaced;
mod scale;
mod scrub;
mod things;
mod threads;
mod unlisted;
mod unsynced;
