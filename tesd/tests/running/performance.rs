//! Every key of `[performance]` changes what a running `tesd` does, as seen from outside: by its
//! metrics, its files, its system calls, or by what other nodes get from it.

mod busy;
mod cache;
mod node;
mod peer;
mod pool;
mod sqlite;
