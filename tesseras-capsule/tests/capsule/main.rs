//! The capsule's behaviour, seen from outside: real folders, real files, a store on a real disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod create;
mod disks;
mod export;
mod hostile;
mod import;
mod index;
mod pack;
mod pronom;
mod recognise;
mod restore;
mod samples;
mod store;
mod tools;
mod verify;
