//! What a repair prepares on this node: the missing pieces, and what is damaged here.

use tesseras_core::code::Piece;
use tesseras_core::progress::OnProgress;

use super::{Effort, RepairError, Repairer};
use crate::collect::{Collected, Collector, Holders};
use crate::dossier::VerifiedDossier;
use crate::dossiers::dossiers_of_holders;
use crate::peers::Priority;
use crate::pieces::PieceSource;
use crate::policy::rebuild::to_rebuild;
use crate::policy::survey::Survey;
use crate::policy::urgency::Urgency;
use crate::tessera_lock::TesseraLock;
use crate::throttle::Throttled;

/// What a repair uses besides its collaborators.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) throttled: Throttled<'a>,
    pub(super) on_progress: &'a OnProgress,
}

impl Repairer<'_> {
    /// The means for a repair: one that is urgent does not wait for bandwidth.
    pub(super) fn means<'b>(
        &'b self,
        urgency: Urgency,
        effort: Effort<'b>,
        on_progress: &'b OnProgress,
    ) -> Means<'b> {
        let Effort { waited, .. } = effort;
        let waits = urgency != Urgency::Now;
        Means { throttled: Throttled { by: self.throttle, waits, waited }, on_progress }
    }

    /// Ensures that the missing pieces are at hand.
    pub(super) async fn prepare(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        survey: &Survey,
        missing: &[Piece],
        means: Means<'_>,
    ) -> Result<PieceSource, RepairError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let Self { peers, holder, workshop, .. } = *self;
        let Means { throttled, on_progress } = means;
        let (priority, throttled) = (Priority::Background, Some(throttled));
        let collector = Collector { peers, holder, workshop, lock, priority, throttled };
        let whole = self.library.open(tessera).await?.map(|capsule| capsule.pack());
        let source = workshop.pieces(plan.clone(), whole).await?;
        let Collected { mut source, pieces: have, .. } =
            collector.collect(dossier, source, Holders::Known(survey), None, on_progress).await?;
        let lost = to_rebuild(plan, missing, &have);
        collector.rebuild(dossier, &mut source, &have, &lost, on_progress).await?;
        if !missing.contains(&Piece::Whole) {
            return Ok(source);
        }
        Ok(workshop.joined(source).await?)
    }

    /// Replaces the damaged pieces of this node with what other holders have; returns how many.
    pub(super) async fn mend_own(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        survey: &Survey,
        means: Means<'_>,
    ) -> Result<usize, RepairError> {
        let tessera = dossier.tessera();
        let damaged = self.holder.damaged_pieces(tessera).await?;
        if damaged.is_empty() {
            return Ok(0);
        }
        let source = self.prepare(lock, dossier, survey, &damaged, means).await?;
        for piece in &damaged {
            self.holder.mend(lock, dossier, &source, *piece).await;
        }
        let left = self.holder.damaged_pieces(tessera).await?;
        Ok(damaged.len().saturating_sub(left.len()))
    }

    /// Replaces a damaged dossier by that of another holder.
    pub(super) async fn mend_dossier(
        &self,
        lock: &TesseraLock,
        survey: &Survey,
    ) -> Result<VerifiedDossier, RepairError> {
        let tessera = lock.tessera();
        let others = dossiers_of_holders(self.peers, tessera, survey, Priority::Background).await;
        let dossier = others.into_iter().next().ok_or(RepairError::DamagedDossier(tessera))?;
        self.throttle.spent(dossier.encoded_bytes());
        self.holder.keep_dossier(lock, dossier.clone()).await?;
        Ok(dossier)
    }
}
