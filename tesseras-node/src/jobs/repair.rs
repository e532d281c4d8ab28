//! Repairs every tessera of which this node holds a piece: a round looks at all of them, and what is
//! not urgent is repaired in its turn, while further rounds go on.

use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_core::ids::TesseraHash;
use tesseras_replication::Replication;
use tesseras_replication::repair::{RepairError, Repaired};
use tesseras_wire::{BoxFuture, BoxStream};

use super::{Job, JobError, JobOutcome, jittered, outcome};

/// Repairs the tesserae of this node, those at the greatest risk first.
pub struct Repair {
    /// Repairs one tessera or many.
    pub replication: Replication,
    /// The time between two cycles.
    pub interval: Duration,
    /// The longest random time that is added to or subtracted from the interval.
    pub jitter: Duration,
}

impl Repair {
    async fn repair(&self) -> Result<JobOutcome, JobError> {
        let tesserae = self.replication.looked_after().await?;
        Ok(outcome_of(self.replication.repair_round(tesserae)).await)
    }
}

/// Counts what became of each tessera.
async fn outcome_of(
    mut each: BoxStream<'_, (TesseraHash, Result<Repaired, RepairError>)>,
) -> JobOutcome {
    let (mut checked, mut restored, mut failed) = (0, 0, 0);
    let mut put_off = Vec::new();
    while let Some((tessera, result)) = each.next().await {
        checked += 1;
        match result {
            Ok(done) => {
                restored += done.restored as u64;
                if done.waiting > 0 {
                    let Repaired { waiting, missing, .. } = done;
                    tracing::info!(%tessera, waiting, missing, "left for a later repair");
                }
            }
            Err(RepairError::ClockOff(off)) => put_off.push(off.0),
            Err(error) => {
                tracing::warn!(%tessera, %error, "not repaired");
                failed += 1;
            }
        }
    }
    let (put_off, clock) = (put_off.len() as u64, put_off.first().copied());
    JobOutcome::Repaired { checked, restored, failed, put_off, clock }
}

impl Job for Repair {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn pause(&self, _first: bool) -> Duration {
        jittered(self.interval, self.jitter)
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(async move { outcome::of(self.repair().await) })
    }
}

/// Repairs the tesserae that wait for their turn.
pub struct RepairPostponed {
    /// Knows which wait.
    pub replication: Replication,
    /// The time after which it looks again whether any waits.
    pub interval: Duration,
}

impl Job for RepairPostponed {
    fn name(&self) -> &'static str {
        "repair_postponed"
    }

    fn pause(&self, _first: bool) -> Duration {
        self.interval
    }

    fn run(&self) -> BoxFuture<'_, JobOutcome> {
        Box::pin(outcome_of(self.replication.repair_postponed()))
    }
}
