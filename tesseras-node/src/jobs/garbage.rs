//! Removes what nothing in the store refers to.

use std::time::Duration;

use prometheus::Histogram;
use tesseras_core::time::{Clock, Timestamp};
use tesseras_storage::Store;
use tesseras_wire::BoxFuture;
use tokio::time::Instant;

use super::{Job, JobError, JobOutcome, jittered, outcome};

/// The interval of the collection.
const COLLECT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const JITTER: Duration = Duration::from_secs(60 * 60);
const FIRST_COLLECTION: Duration = Duration::from_secs(5 * 60);
/// A file without a row is garbage as soon as nobody writes. It is left for this long all the same,
/// should that be wrong.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// Collects the garbage of a data directory.
pub struct CollectGarbage {
    /// The data directory.
    pub store: Store,
    /// The wall clock.
    pub clock: Clock,
    /// How long each collection took, in seconds.
    pub duration: Histogram,
}

impl CollectGarbage {
    async fn collect(&self) -> Result<JobOutcome, JobError> {
        let store = self.store.clone();
        let before = Timestamp(self.clock.now().0.saturating_sub(GRACE.as_secs()));
        let begun = Instant::now();
        let done = tokio::task::spawn_blocking(move || store.collect_garbage(before));
        let garbage = done.await.map_err(|_| JobError::BrokenOff)??;
        self.duration.observe(begun.elapsed().as_secs_f64());
        garbage.failed.warn();
        if !garbage.unlisted.is_empty() {
            let unlisted = garbage.unlisted.len();
            tracing::warn!(unlisted, "there are capsules that the database does not list");
        }
        for disagreement in &garbage.disagreements {
            tracing::error!(%disagreement, "the index and what is stored do not agree");
        }
        if let Some(first) = garbage.disagreements.into_iter().next() {
            return Err(JobError::Disagrees(first));
        }
        Ok(JobOutcome::Collected {
            orphans: garbage.orphans,
            leaked: garbage.leaked,
            stale: garbage.stale,
            failed: garbage.failed.files,
        })
    }
}

impl Job for CollectGarbage {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn pause(&self, first: bool) -> Duration {
        if first { FIRST_COLLECTION } else { jittered(COLLECT_EVERY, JITTER) }
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.collect().await) })
    }
}
