//! Counts requests to other nodes and how many of them are hedges.

use std::sync::Mutex;

use tesseras_core::lock::lock;

use crate::policy::hedging::Requests;

/// The requests of one node.
pub(crate) struct Hedges {
    percent: u8,
    requests: Mutex<Requests>,
}

impl Hedges {
    /// Allows up to `percent` of the requests to be unnecessary hedges.
    pub(super) fn new(percent: u8) -> Self {
        Self { percent, requests: Mutex::default() }
    }

    /// Records that a request is sent.
    pub(super) fn note_request(&self) {
        lock(&self.requests).sent += 1;
    }

    /// Whether a late request may be hedged now.
    pub(crate) fn may_hedge(&self) -> bool {
        lock(&self.requests).may_hedge(self.percent)
    }

    /// Records that a hedge is sent.
    pub(crate) fn note_hedge(&self) {
        lock(&self.requests).hedged += 1;
    }

    /// Records that a request that was hedged has failed: its hedge was needed.
    pub(crate) fn note_needed(&self) {
        lock(&self.requests).needed += 1;
    }

    /// The counts since the start.
    pub(crate) fn counts(&self) -> Requests {
        *lock(&self.requests)
    }
}
