//! Counts what is asked of other nodes, and what is asked twice.

use std::sync::Mutex;

use tesseras_core::lock::lock;

use crate::policy::hedging::Requests;

/// The requests of one node.
pub(super) struct Hedges {
    percent: u8,
    requests: Mutex<Requests>,
}

impl Hedges {
    /// Up to `percent` of the requests may be asked twice in vain.
    pub(super) fn new(percent: u8) -> Self {
        Self { percent, requests: Mutex::default() }
    }

    /// Notes that a request is sent.
    pub(super) fn sent(&self) {
        lock(&self.requests).sent += 1;
    }

    /// Whether something may be asked for in place of what is late; counts it if so.
    pub(super) fn begin(&self) -> bool {
        let mut requests = lock(&self.requests);
        let may = requests.may_hedge(self.percent);
        requests.hedged += u64::from(may);
        may
    }

    /// What was late has failed.
    pub(super) fn was_needed(&self) {
        lock(&self.requests).needed += 1;
    }

    /// What was asked so far.
    pub(super) fn so_far(&self) -> Requests {
        *lock(&self.requests)
    }
}
