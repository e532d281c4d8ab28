//! Tests of the codec, the messages and the attestations, each on its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attestation;
mod erasure;
mod messages;
mod words;
