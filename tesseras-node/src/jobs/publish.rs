//! Continues publications in the background.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tesseras_core::progress;
use tesseras_replication::Replication;
use tesseras_replication::publish::PublishError;
use tesseras_wire::BoxFuture;
use tokio::time::Instant;

use super::{Job, JobError, JobOutcome, outcome};

/// The interval at which publications in the background are looked for.
const LOOK_FOR_PUBLICATIONS_EVERY: Duration = Duration::from_secs(5);
/// The delay before a failed publication is tried again: doubled each time, from the first to the
/// second value.
const PUBLISH_AGAIN: Duration = Duration::from_secs(30);
const PUBLISH_AGAIN_AT_MOST: Duration = Duration::from_secs(60 * 60);

/// Publishes until each publication is complete, with a longer delay after each failure.
pub struct Publish {
    replication: Replication,
    /// When each failed publication is tried again, and the delay after its next failure.
    again: Mutex<HashMap<TesseraHash, (Instant, Duration)>>,
}

impl Publish {
    /// The job of a node.
    pub fn new(replication: Replication) -> Self {
        Self { replication, again: Mutex::default() }
    }

    async fn publish(&self) -> Result<JobOutcome, JobError> {
        let publishing = self.replication.publishing().await?;
        self.table().retain(|tessera, _| publishing.contains(tessera));
        let mut finished = 0_u64;
        for tessera in &publishing {
            let waits = self.table().get(tessera).is_some_and(|(at, _)| *at > Instant::now());
            if !waits && self.go_on(*tessera).await {
                finished += 1;
            }
        }
        Ok(JobOutcome::Published { finished, waiting: publishing.len() as u64 - finished })
    }

    /// Whether it is complete.
    async fn go_on(&self, tessera: TesseraHash) -> bool {
        let error = match self.replication.publish_signed(tessera, &progress::silent()).await {
            Ok(published) => {
                tracing::info!(%tessera, holders = published.holders, "published");
                self.table().remove(&tessera);
                return true;
            }
            // Another request of `tes` is publishing it, or it was just stopped.
            Err(PublishError::InProgress(_) | PublishError::Stopped(_)) => return false,
            Err(error) => error,
        };
        tracing::warn!(%tessera, %error, "not published yet");
        let mut table = self.table();
        let (at, pause) = table.entry(tessera).or_insert((Instant::now(), PUBLISH_AGAIN));
        *at = Instant::now() + *pause;
        *pause = (*pause * 2).min(PUBLISH_AGAIN_AT_MOST);
        false
    }

    fn table(&self) -> MutexGuard<'_, HashMap<TesseraHash, (Instant, Duration)>> {
        lock(&self.again)
    }
}

impl Job for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn pause(&self, _first: bool) -> Duration {
        LOOK_FOR_PUBLICATIONS_EVERY
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.publish().await) })
    }
}
