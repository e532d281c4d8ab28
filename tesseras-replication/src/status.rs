//! The state of a tessera, by asking its holders now.

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{Charge, StoreError};
use thiserror::Error;

use crate::candidates::Candidates;
use crate::clock::{ClockOff, check_clock_after};
use crate::dossiers::any_dossier;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::Peers;
use crate::policy::offers::OfferTerms;
use crate::policy::patience::Manner;
use crate::ports::Directory;
use crate::survey::{Scope, survey, survey_if_full};

pub use crate::policy::health::{Copies, HealthState, TesseraHealth};

/// Why the state of a tessera could not be determined.
#[derive(Debug, Error)]
pub enum StatusError {
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The collaborators of a status request.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) directory: &'a dyn Directory,
}

impl Asking<'_> {
    /// The current state of a capsule of the library. Where the recorded holders attest everything
    /// there should be, no other node is asked.
    pub(crate) async fn glance(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<TesseraHealth>, StatusError> {
        let Self { peers, holder, library, directory } = *self;
        let Ok(Some(dossier)) = holder.stored_dossier(tessera).await else {
            return self.status(tessera).await;
        };
        let plan = dossier.plan();
        let Some(survey) = survey_if_full(peers, holder, directory, plan).await? else {
            return self.status(tessera).await;
        };
        check_clock_after(directory, &survey).await?;
        let own = library.own_part(tessera).await?;
        let (all, count) = (survey.attested(plan), survey.live.len());
        let mut health = TesseraHealth::of(plan, &survey, &all, count, own.in_library);
        health.state = own.state(health.state);
        library.note_seen(tessera, &health);
        Ok(Some(health))
    }

    /// The current state of a tessera; `None` if no record of it is found anywhere, or if no node
    /// that answered knows it.
    pub(crate) async fn status(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<TesseraHealth>, StatusError> {
        let Self { peers, holder, library, directory } = *self;
        let own = library.own_part(tessera).await?;
        let candidates = Candidates { peers, holder, directory };
        let may_hold = holder.may_hold(tessera).await;
        let terms = OfferTerms::of_unknown(Charge::REPAIR, may_hold);
        let (survey, mut prospects) = tokio::join!(
            survey(peers, holder, directory, tessera, Scope::Network, Manner::Quick),
            candidates.ask(tessera, terms, Manner::Quick),
        );
        let mut survey = survey?;
        check_clock_after(directory, &survey).await?;
        if !survey.known && !own.in_library {
            return Ok(None);
        }
        let dossier = match survey.known || own.unpublished.is_some() {
            true => any_dossier(peers, holder, tessera, &survey).await,
            false => None,
        };
        let is_of_another = survey.live.is_empty() && survey.of_another > survey.silent.len();
        if dossier.is_none() && is_of_another && !own.in_library {
            // The key is a prefix of the hash: what is announced under it may be another tessera. One
            // node that has nothing does not speak for several that are silent.
            return Ok(None);
        }
        if own.unpublished.is_none() {
            prospects.forget_drafts();
        }
        let mut health = match &dossier {
            Some(dossier) => {
                let plan = dossier.plan();
                let terms = OfferTerms::of(plan, Charge::REPAIR, may_hold);
                let all = candidates.eligible(dossier, &mut survey, &prospects, terms).await;
                TesseraHealth::of(plan, &survey, &all.assignment, all.count, own.in_library)
            }
            None => TesseraHealth::nothing(own.in_library),
        };
        health.state = own.state(health.state);
        if own.in_library {
            library.note_seen(tessera, &health);
        }
        Ok(Some(health))
    }
}
