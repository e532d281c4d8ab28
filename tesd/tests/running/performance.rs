//! Every key of `[performance]` has an effect on a running `tesd` that is visible from outside: in
//! its metrics, its files, its system calls, or its answers to other nodes.

mod busy;
mod cache;
mod node;
mod peer;
mod pool;
mod sqlite;
