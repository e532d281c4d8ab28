//! Whole nodes in one process, over real QUIC on loopback and real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod addresses;
mod batches;
mod clocks;
mod consent;
mod failing_disk;
mod failing_repair;
mod fair_share;
mod frail;
mod gate;
mod growth;
mod health;
mod hearsay;
mod hostile;
mod kill;
mod lies;
mod mending;
mod network;
mod plans;
mod preempted;
mod problems;
mod reasons;
mod remembered;
mod resolving;
mod resume;
mod rot;
mod scrubbing;
mod served_rot;
mod serving;
mod shared;
mod silence;
mod stewards;
mod stranger;
mod walk;
mod wishes;
mod words;
