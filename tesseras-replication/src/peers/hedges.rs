//! Counts requests to other nodes and how many of them are hedges.

use std::sync::Mutex;

use tesseras_core::lock::lock;

use crate::policy::hedging::Requests;

/// The requests of one node.
pub(super) struct Hedges {
    percent: u8,
    requests: Mutex<Requests>,
}

impl Hedges {
    /// Allows up to `percent` of the requests to be unnecessary hedges.
    pub(super) fn new(percent: u8) -> Self {
        Self { percent, requests: Mutex::default() }
    }

    /// Records that a request is sent.
    pub(super) fn sent(&self) {
        lock(&self.requests).sent += 1;
    }

    /// Whether a late request may be hedged now.
    pub(super) fn may_hedge(&self) -> bool {
        lock(&self.requests).may_hedge(self.percent)
    }

    /// Records that a hedge is sent.
    pub(super) fn hedged(&self) {
        lock(&self.requests).hedged += 1;
    }

    /// The hedged request has failed.
    pub(super) fn was_needed(&self) {
        lock(&self.requests).needed += 1;
    }

    /// The counts so far.
    pub(super) fn so_far(&self) -> Requests {
        *lock(&self.requests)
    }
}
