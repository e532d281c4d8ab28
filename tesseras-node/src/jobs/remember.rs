//! Remembers peers for the next start, and keeps what is known of own addresses fresh.

use std::sync::Arc;
use std::time::Duration;

use tesseras_core::ports::PeerRepository;
use tesseras_core::time::{Clock, Timestamp};
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_wire::{BoxFuture, SharedMemory};

use super::{Job, JobError, JobOutcome, outcome};
use crate::directory::DhtDirectory;

/// How often peers are remembered, and own addresses looked at.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);
const FIRST_REMEMBER: Duration = Duration::from_secs(2);
/// Pieces of tasks that were not continued for this long are removed.
const WORKBENCH_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Writes down what would be lost with the process, and removes pieces of abandoned tasks.
#[derive(Clone)]
pub struct Remember {
    /// Knows the peers.
    pub dht: Dht,
    /// Keeps this node's own addresses.
    pub directory: Arc<DhtDirectory>,
    /// Keeps peers on the disk.
    pub peers: Arc<dyn PeerRepository>,
    /// Knows which peers were silent lately.
    pub memory: SharedMemory,
    /// Its abandoned tasks are removed.
    pub replication: Replication,
    /// The date.
    pub clock: Clock,
}

impl Remember {
    async fn remember(&self) -> Result<JobOutcome, JobError> {
        self.directory.refresh_own_addresses().await;
        let peers = self.dht.peers().await;
        let outcome = JobOutcome::Remembered { peers: peers.len() as u64 };
        let silent = self.memory.list();
        let (store, now) = (self.peers.clone(), self.clock.now());
        let workbench = self.replication.stores().workbench.clone();
        let done = tokio::task::spawn_blocking(move || {
            store.remember_peers(&peers, now)?;
            store.remember_silent(&silent)?;
            let stale = now.0.saturating_sub(WORKBENCH_LIFETIME.as_secs());
            workbench.unpin_before(Timestamp(stale))
        });
        done.await.map_err(|_| JobError::BrokenOff)??;
        Ok(outcome)
    }
}

impl Job for Remember {
    fn name(&self) -> &'static str {
        "remember"
    }

    fn pause(&self, first: bool) -> Duration {
        if first { FIRST_REMEMBER } else { REMEMBER_EVERY }
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.remember().await) })
    }
}
