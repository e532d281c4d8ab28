//! Routine repairs that wait for their turn: what is not urgent is done after it, within the bandwidth
//! that there is for repairs.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tesseras_core::ids::TesseraHash;
use tesseras_core::progress::silent;
use tesseras_wire::BoxStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::stewardship::Stewardship;
use super::{Effort, Occasion, REPAIR_DEADLINE, RepairError, Repaired, Repairer};
use crate::throttle::Waited;

/// How many are repaired at once, beside those that are urgent: several, so that slow peers of one do
/// not hold up the others.
const AT_ONCE: usize = 4;
/// How often to look for more while some are repaired.
const LOOK_FOR_MORE_EVERY: Duration = Duration::from_secs(60);
/// How long a repair works on a tessera at least, before it gives way to another task.
const AT_LEAST: Duration = Duration::from_secs(10);

impl<'a> Repairer<'a> {
    /// Repairs the tesserae whose turn has come, the most endangered first, until none is left.
    pub(crate) fn repair_postponed(
        self,
    ) -> BoxStream<'a, (TesseraHash, Result<Repaired, RepairError>)> {
        Box::pin(stream::unfold(FuturesUnordered::new(), move |mut running| async move {
            loop {
                while running.len() < AT_ONCE
                    && let Some(tessera) = self.stewardship().begin_next()
                {
                    running.push(self.repair_next(tessera));
                }
                tokio::select! {
                    biased;
                    Some(ended) = running.next() => {
                        if let Some(done) = ended {
                            return Some((done, running));
                        }
                    }
                    () = sleep(LOOK_FOR_MORE_EVERY), if !running.is_empty() => {}
                    else => return None,
                }
            }
        }))
    }

    async fn repair_next(
        self,
        tessera: TesseraHash,
    ) -> Option<(TesseraHash, Result<Repaired, RepairError>)> {
        let _in_progress = InProgress { stewardship: self.stewardship(), tessera };
        Some((tessera, self.repair_in_turn(tessera).await?))
    }

    /// Repairs one tessera, in its turn. `None` if this node does not look after it any more, or if it
    /// gave way to another task of this node; what was fetched is kept then, and it waits for another
    /// turn.
    async fn repair_in_turn(self, tessera: TesseraHash) -> Option<Result<Repaired, RepairError>> {
        let lock = self.workshop.lock(tessera).await;
        let waited = Waited::default();
        let effort = Effort { occasion: Occasion::Turn, waited: &waited };
        let on_progress = silent();
        let repairing = self.repair_locked(&lock, effort, &on_progress);
        tokio::select! {
            biased;
            done = repairing => match done {
                // It was dropped, or its publication was stopped: no failure.
                Err(RepairError::NotHeld(_) | RepairError::NotPublished(_)) => {
                    self.stewardship().forget(&tessera);
                    None
                }
                done => Some(done),
            },
            () = overdue(&waited) => Some(Err(RepairError::Deadline(tessera))),
            () = async { sleep(AT_LEAST).await; lock.wanted().await } => {
                self.stewardship().give_way(tessera);
                None
            }
        }
    }
}

/// Waits until a repair has lasted too long, except for the time for which it waited for bandwidth.
async fn overdue(waited: &Waited) {
    let begun = Instant::now();
    loop {
        let ends = begun + REPAIR_DEADLINE + waited.total();
        if ends <= Instant::now() {
            return;
        }
        sleep_until(ends).await;
    }
}

/// A repair in progress. Once it has ended, another one of the tessera may begin.
struct InProgress<'a> {
    stewardship: Stewardship<'a>,
    tessera: TesseraHash,
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.stewardship.ended(&self.tessera);
    }
}
