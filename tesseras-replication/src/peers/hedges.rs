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

    /// Whether a late request may be hedged; counts the hedge if so.
    pub(super) fn begin(&self) -> bool {
        let mut requests = lock(&self.requests);
        let may = requests.may_hedge(self.percent);
        requests.hedged += u64::from(may);
        may
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
