//! Repairs every tessera of which this node holds a piece.

use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_core::progress;
use tesseras_replication::repair::{RepairError, Repaired};
use tesseras_replication::{Haste, Replication};
use tesseras_wire::BoxFuture;

use super::{Job, JobError, JobOutcome, jittered, outcome};

/// Repairs the tesserae of this node, those at the greatest risk first.
pub struct Repair {
    /// Repairs one tessera or many.
    pub replication: Replication,
    /// The time between two cycles.
    pub interval: Duration,
    /// How long a holder that does not answer may take to come back.
    pub grace: Duration,
    /// The longest random time that is added to or subtracted from the interval.
    pub jitter: Duration,
}

impl Repair {
    async fn repair(&self) -> Result<JobOutcome, JobError> {
        let tesserae = self.replication.looked_after().await?;
        let (mut restored, mut failed) = (0, 0);
        let mut put_off = Vec::new();
        let checked = tesserae.len() as u64;
        let haste = Haste::AfterGrace(self.grace);
        let mut each = self.replication.repair_each(tesserae, haste, progress::silent());
        while let Some((tessera, result)) = each.next().await {
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
        Ok(JobOutcome::Repaired { checked, restored, failed, put_off, clock })
    }
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
