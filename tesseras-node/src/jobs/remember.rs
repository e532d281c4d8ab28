//! Stores peers for the next start, and refreshes the known addresses of this node.

use std::sync::Arc;
use std::time::Duration;

use tesseras_core::ports::{PeerRepository, StoreError};
use tesseras_core::time::{Clock, Timestamp};
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_storage::Store;
use tesseras_wire::{BoxFuture, SharedMemory};

use super::{Job, JobError, JobOutcome, outcome};
use crate::directory::DhtDirectory;

/// The interval at which peers are stored and own addresses refreshed.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);
const FIRST_REMEMBER: Duration = Duration::from_secs(2);
/// Pieces of tasks that were not continued for this long are removed.
const WORKBENCH_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Stores what would be lost with the process, and removes pieces of abandoned tasks.
#[derive(Clone)]
pub struct Remember {
    /// The source of the peers.
    pub dht: Dht,
    /// Has the addresses of this node.
    pub directory: Arc<DhtDirectory>,
    /// Stores peers.
    pub peers: Arc<dyn PeerRepository>,
    /// The source of the silent peers.
    pub memory: SharedMemory,
    /// Removes abandoned tasks.
    pub replication: Replication,
    /// Removes what commands that were killed left in `tmp/`.
    pub store: Store,
    /// The wall clock.
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
        let data_dir = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            store.remember_peers(&peers, now)?;
            store.remember_silent(&silent)?;
            // What it cannot remove is told by the collection of garbage, once a day.
            let _ = data_dir.sweep_tmp();
            let stale = now.0.saturating_sub(WORKBENCH_LIFETIME.as_secs());
            workbench.unpin_before(Timestamp(stale))?;
            Ok::<_, StoreError>(())
        });
        done.await.map_err(|_| JobError::BrokenOff)??;
        Ok(outcome)
    }
}

/// Removes what dead processes left in `tmp/`. What cannot be removed only takes space: it is
/// logged, and no reason to fail.
pub fn sweep(store: &Store) {
    match store.sweep_tmp() {
        Ok(swept) => swept.failed.warn(),
        Err(error) => tracing::warn!(%error, "tmp/ cannot be swept"),
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
