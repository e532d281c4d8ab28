//! Every key of `[performance]` changes what a running `tesd` does, as seen from outside: by its
//! metrics, its files, its system calls, or by what other nodes get from it.

#![cfg(target_os = "linux")] // Its system calls are watched through /proc and by a preloaded library.

mod busy;
mod cache;
mod peer;
mod pool;
mod process;
mod sqlite;
