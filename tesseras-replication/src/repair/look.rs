//! What a repair finds out first: who holds what, and who could hold more.

use tesseras_core::code::Piece;
use tesseras_core::ports::Charge;
use tesseras_core::progress::OnProgress;

use super::{Effort, RepairError, Repairer};
use crate::candidates::Candidates;
use crate::clock::check_clock_after;
use crate::dossier::VerifiedDossier;
use crate::pieces::PieceSource;
use crate::policy::offers::{Eligible, OfferTerms};
use crate::policy::patience::Manner;
use crate::policy::survey::Survey;
use crate::policy::urgency::Urgency;
use crate::survey::{Scope, Surveying};
use crate::tessera_lock::TesseraLock;

/// The complete result of a survey.
pub(super) struct Findings {
    pub(super) dossier: VerifiedDossier,
    pub(super) survey: Survey,
    pub(super) eligible: Eligible,
    pub(super) prepared: Option<Prepared>,
}

/// What was prepared before all nodes had answered.
pub(super) struct Prepared {
    pieces: Vec<Piece>,
    source: Result<PieceSource, RepairError>,
}

impl Prepared {
    /// What was prepared, if all of these pieces are part of it.
    pub(super) fn with_all(self, wanted: &[Piece]) -> Option<Result<PieceSource, RepairError>> {
        wanted.iter().all(|piece| self.pieces.contains(piece)).then_some(self.source)
    }
}

impl Repairer<'_> {
    /// Surveys all holders and candidates. While the pieces that seem to be missing are prepared,
    /// slow nodes may still answer.
    pub(super) async fn look(
        &self,
        lock: &TesseraLock,
        stored: Option<VerifiedDossier>,
        charge: Charge<()>,
        effort: Effort<'_>,
        on_progress: &OnProgress,
    ) -> Result<Findings, RepairError> {
        let Self { peers, holder, directory, .. } = *self;
        let (candidates, tessera) = (self.candidates(), lock.tessera());
        let may_hold = holder.may_hold(tessera).await;
        let terms = match &stored {
            Some(dossier) => OfferTerms::of(dossier.plan(), charge, may_hold),
            None => OfferTerms::of_unknown(charge, may_hold),
        };
        let begun =
            Surveying::begin(peers, holder, directory, tessera, Scope::Network, Manner::Quick);
        let mut surveying = begun.await?;
        let asking = candidates.ask(tessera, terms, Manner::Quick);
        let ((), prospects) = tokio::join!(surveying.settle(), asking);
        let mut early = surveying.as_of_now();
        let dossier = match stored {
            Some(dossier) => dossier,
            None => {
                check_clock_after(directory, &early).await?;
                self.mend_dossier(lock, &early).await?
            }
        };
        let terms = OfferTerms::of(dossier.plan(), charge, may_hold);
        let eligible = candidates.eligible(&dossier, &mut early, &prospects, terms).await;
        surveying.set_manner(Manner::Thorough);
        let lack = eligible.assignment.lack();
        let stewardship = self.stewardship();
        let urgency = stewardship.urgency(effort.occasion, dossier.plan(), &lack, &early);
        let missing = lack.pieces;
        let preparing = async {
            if missing.is_empty() || !early.others_attested || urgency != Urgency::Now {
                return None;
            }
            let means = self.means(urgency, effort, on_progress);
            let source = self.prepare(lock, &dossier, &early, &missing, means).await;
            Some(Prepared { pieces: missing, source })
        };
        let (prepared, mut survey) = tokio::join!(preparing, surveying.finish());
        check_clock_after(directory, &survey).await?;
        let eligible = candidates.eligible(&dossier, &mut survey, &prospects, terms).await;
        Ok(Findings { dossier, survey, eligible, prepared })
    }

    fn candidates(&self) -> Candidates<'_> {
        let Self { peers, holder, directory, .. } = *self;
        Candidates { peers, holder, directory }
    }
}
