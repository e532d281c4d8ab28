//! Re-reads what is stored, bit by bit, and mends what is damaged.

use std::sync::Mutex;
use std::time::Duration;

use tesseras_core::lock::lock;
use tesseras_core::time::Clock;
use tesseras_storage::{ScrubRound, Scrubbed, Store};
use tesseras_wire::BoxFuture;
use tokio::time::{Instant, sleep};

use super::{Job, JobError, JobOutcome, outcome};
use crate::scrub::{Scrubber, pace};

/// How often it looks whether more is due.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const FIRST_LOOK: Duration = Duration::from_secs(2 * 60);
/// How much is read without a rest, in bytes.
const STEP: u64 = 256 * 1024;
/// How much is read before the place is saved, in bytes.
const SAVE_EVERY: u64 = 64 * 1024 * 1024;
/// How long it waits before it looks again whether others transfer.
const OTHERS: Duration = Duration::from_secs(1);
/// How long after it was tried what is still damaged is tried again.
const MEND_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads every stored object once in a period.
pub struct ScrubJob {
    /// Reads and mends.
    pub scrubber: Scrubber,
    /// The time in which everything is read once.
    pub period: Duration,
    /// The wall clock.
    pub clock: Clock,
    /// When mending was tried last.
    pub mended: Mutex<Option<Instant>>,
}

impl ScrubJob {
    async fn scrub(&self) -> Result<JobOutcome, JobError> {
        let saved = self.scrubber.read(Store::scrub_round).await?;
        let mut round = pace::round_now(saved, self.clock.now(), self.period);
        if saved != Some(round) {
            self.save(round).await?;
        }
        let done = self.read_on(&mut round).await?;
        let mut damaged = self.scrubber.read(Store::count_damaged_objects).await?;
        if damaged > 0 && (done.corrupt > 0 || self.may_mend_again()) {
            *lock(&self.mended) = Some(Instant::now());
            for why in self.scrubber.mend(None).await? {
                tracing::warn!(why, "not mended");
            }
            damaged = self.scrubber.read(Store::count_damaged_objects).await?;
        }
        Ok(JobOutcome::Scrubbed { objects: done.objects, bytes: done.bytes, damaged })
    }

    /// Reads what is due. An object that was begun is read to its end.
    async fn read_on(&self, round: &mut ScrubRound) -> Result<Scrubbed, JobError> {
        let stored = self.scrubber.read(Store::object_counts).await?.bytes;
        let mut walk = self.scrubber.store.scrub(round.after);
        let (mut done, mut saved) = (Scrubbed::default(), round.bytes);
        while walk.is_within_object() || pace::is_due(round, stored, self.clock.now(), self.period)
        {
            self.let_others_go_first(round, stored).await;
            let (further, read) = self.scrubber.step(walk, STEP).await?;
            walk = further;
            sleep(pace::rest_after(&read)).await;
            round.bytes += read.bytes;
            (round.after, round.complete) = (walk.position(), walk.is_done());
            done.add(read);
            if round.bytes - saved >= SAVE_EVERY && !walk.is_within_object() {
                self.save(*round).await?;
                saved = round.bytes;
            }
        }
        if done.objects > 0 || round.complete {
            self.save(*round).await?;
        }
        Ok(done)
    }

    async fn save(&self, round: ScrubRound) -> Result<(), JobError> {
        Ok(self.scrubber.read(move |store| store.save_scrub_round(&round)).await?)
    }

    async fn let_others_go_first(&self, round: &ScrubRound, stored: u64) {
        while self.scrubber.replication.is_transferring()
            && pace::waits_for_others(round, stored, self.clock.now(), self.period)
        {
            sleep(OTHERS).await;
        }
    }

    fn may_mend_again(&self) -> bool {
        lock(&self.mended).is_none_or(|last| last.elapsed() >= MEND_AGAIN)
    }
}

impl Job for ScrubJob {
    fn name(&self) -> &'static str {
        "scrub"
    }

    fn pause(&self, first: bool) -> Duration {
        if first { FIRST_LOOK } else { LOOK_EVERY }
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.scrub().await) })
    }
}
