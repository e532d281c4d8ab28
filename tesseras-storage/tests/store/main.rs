//! The store on real files: what its ports promise, alone, among threads and processes, after a
//! kill, and on disks that fail.

mod conformance;
mod disks;
mod model;
mod processes;
mod scale;
mod things;
mod threads;
