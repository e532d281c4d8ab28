//! Announces the held pieces to the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tesseras_core::ids::DhtKey;
use tesseras_dht::{Dht, REANNOUNCE_EVERY, REANNOUNCE_JITTER};
use tesseras_replication::{ANNOUNCE_BATCH, Directory as _, Replication};
use tesseras_wire::BoxFuture;

use super::{Job, JobError, JobOutcome, jittered, outcome};
use crate::directory::DhtDirectory;

/// The delay after the start before all held pieces are announced; by then most peers are known.
const FIRST_ANNOUNCEMENT: Duration = Duration::from_secs(20);
/// The interval at which new pieces are announced that no roster request asked about.
const ANNOUNCE_NEW_EVERY: Duration = Duration::from_secs(30);
/// The delay after an announcement that reached no peer or that peers may have refused.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(30);

const _: () = assert!(FIRST_ANNOUNCEMENT.as_secs() < 60, "promise: within a minute of start");

/// Announces this node as a holder of all tesserae of which it holds a piece.
pub struct Announce {
    /// The source of what is held.
    pub replication: Replication,
    /// Sends the announcements.
    pub directory: Arc<DhtDirectory>,
    /// Tells whether there are any peers.
    pub dht: Dht,
    /// Whether it was done since the start.
    pub done: AtomicBool,
}

impl Announce {
    async fn announce(&self) -> Result<JobOutcome, JobError> {
        let held = self.replication.published_holdings().await?;
        if self.dht.peers().await.is_empty() {
            self.done.store(false, Ordering::Relaxed);
            return Ok(JobOutcome::NoPeers);
        }
        let keys: Vec<DhtKey> = held.iter().map(|tessera| tessera.dht_key()).collect();
        for batch in keys.chunks(ANNOUNCE_BATCH) {
            self.directory.announce(batch.to_vec()).await;
        }
        let outcome = announced(keys.len() as u64, &self.replication).await;
        self.done.store(outcome.clock().is_none(), Ordering::Relaxed);
        Ok(outcome)
    }
}

impl Job for Announce {
    fn name(&self) -> &'static str {
        "announce"
    }

    fn pause(&self, first: bool) -> Duration {
        if first {
            jittered(FIRST_ANNOUNCEMENT, FIRST_ANNOUNCEMENT / 2)
        } else if !self.done.load(Ordering::Relaxed) {
            ANNOUNCE_AGAIN
        } else {
            jittered(REANNOUNCE_EVERY, REANNOUNCE_JITTER)
        }
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.announce().await) })
    }
}

/// Announces recent pieces that are not announced yet: the node that placed them may have failed.
pub struct AnnounceNew {
    /// The source of recent pieces.
    pub replication: Replication,
}

impl Job for AnnounceNew {
    fn name(&self) -> &'static str {
        "announce new"
    }

    fn pause(&self, _first: bool) -> Duration {
        ANNOUNCE_NEW_EVERY
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move {
            let tesserae = self.replication.announce_unannounced().await;
            announced(tesserae as u64, &self.replication).await
        })
    }
}

/// Records dated by a wrong clock are refused by others, and are announced again.
async fn announced(tesserae: u64, replication: &Replication) -> JobOutcome {
    let clock = replication.check_clock().await.err().map(|off| off.0);
    JobOutcome::Announced { tesserae, clock }
}
