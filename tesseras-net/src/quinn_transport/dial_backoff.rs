//! Addresses that recently did not answer, so that requests do not wait for them again at once:
//! when a node dies, many requests try to reach it within seconds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tesseras_core::contact::canonical;
use tesseras_core::lock::lock;
use tokio::time::Instant;

/// How long an address that did not answer is not dialled again. Packets from it end that at once.
const LASTS: Duration = Duration::from_secs(10);
/// A dial that was cancelled sooner than this proves nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many addresses are remembered; when full, new ones are ignored.
const MAX_ADDRESSES: usize = 1024;

/// For each address that did not answer, when it may be dialled again.
#[derive(Debug, Default)]
pub(super) struct DialBackoff(Mutex<BTreeMap<SocketAddr, Instant>>);

impl DialBackoff {
    /// Whether an address is in backoff.
    pub(super) fn lasts(&self, address: SocketAddr) -> bool {
        self.table().get(&address).is_some_and(|until| Instant::now() < *until)
    }

    /// Records that no packet came from an address that was dialled at `dialled`.
    pub(super) fn note(&self, address: SocketAddr, dialled: Instant) {
        let now = Instant::now();
        if now - dialled < PATIENCE {
            return;
        }
        let mut table = self.table();
        table.retain(|_, until| now < *until);
        if table.len() < MAX_ADDRESSES {
            table.insert(address, now + LASTS);
        }
    }

    /// Records that packets came from an address, which ends its backoff.
    pub(super) fn heard(&self, address: SocketAddr) {
        self.table().remove(&canonical(address));
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        lock(&self.0)
    }
}
