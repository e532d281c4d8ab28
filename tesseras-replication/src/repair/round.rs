//! A round over many tesserae: each is checked, and repaired if that is not enough.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tesseras_core::ids::TesseraHash;
use tesseras_core::progress::OnProgress;
use tesseras_wire::{BoxFuture, BoxStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Occasion, REPAIR_DEADLINE, RepairError, Repaired, Repairer};
use crate::clock::check_clock_after;
use crate::survey::survey_if_full;

/// How many tesserae are checked concurrently, by asking their recorded holders.
const CHECKS_AT_ONCE: usize = 64;
/// How many tesserae are repaired at once.
const REPAIRS_AT_ONCE: usize = 16;

impl<'a> Repairer<'a> {
    /// Repairs many tesserae, several at once, the most endangered first. If the recorded holders
    /// attest everything there should be, no other node is asked. Each tessera has its own
    /// deadline: a dead or slow holder delays only those that it holds.
    pub(crate) fn repair_each(
        self,
        mut tesserae: Vec<TesseraHash>,
        occasion: Occasion,
        on_progress: OnProgress,
    ) -> BoxStream<'a, (TesseraHash, Result<Repaired, RepairError>)> {
        tesserae.sort_by_cached_key(|tessera| self.holder.last_survived(tessera));
        let repairs = Arc::new(Semaphore::new(REPAIRS_AT_ONCE));
        let each = stream::iter(tesserae).map(move |tessera| -> BoxFuture<'a, _> {
            let (repairs, on_progress) = (repairs.clone(), on_progress.clone());
            Box::pin(async move {
                let overdue = |_| Err(RepairError::Deadline(tessera));
                let checked = timeout(REPAIR_DEADLINE, self.check(tessera)).await;
                let done = match checked.unwrap_or_else(overdue) {
                    Ok(None) => {
                        let _slot = repairs.acquire().await;
                        let repairing = self.repair(tessera, occasion, &on_progress);
                        let repaired = timeout(REPAIR_DEADLINE, repairing).await;
                        repaired.unwrap_or_else(|_| Err(RepairError::Deadline(tessera)))
                    }
                    Ok(Some(done)) => Ok(done),
                    Err(error) => Err(error),
                };
                (tessera, done)
            })
        });
        Box::pin(each.buffer_unordered(CHECKS_AT_ONCE))
    }

    /// Asks only the recorded holders of a tessera, and only if there are as many as there should
    /// be. `None` if they do not attest everything there should be, or if it is time to ask others.
    async fn check(&self, tessera: TesseraHash) -> Result<Option<Repaired>, RepairError> {
        let Self { peers, holder, directory, .. } = *self;
        let lock = &self.workshop.lock(tessera).await;
        let Some(dossier) = self.stored_dossier(tessera).await? else { return Ok(None) };
        holder.held_pieces(tessera).await?;
        let is_damaged = !holder.damaged_pieces(tessera).await?.is_empty();
        if is_damaged || !holder.may_end_with_claims(&tessera) {
            return Ok(None);
        }
        let plan = dossier.plan();
        let Some(survey) = survey_if_full(peers, holder, directory, plan).await? else {
            return Ok(None);
        };
        check_clock_after(directory, &survey).await?;
        self.holder.note_survived(tessera, survey.survives(plan));
        holder.note_ended_with_claims(tessera);
        self.conclude(lock, &survey).await?;
        self.stewardship().forget(&tessera);
        Ok(Some(Repaired { unreachable: survey.silent_ids(), ..Repaired::default() }))
    }
}
