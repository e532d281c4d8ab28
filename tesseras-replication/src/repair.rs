//! Repair: holders bring back what is missing, without the owner.

use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::StoreError;
use thiserror::Error;

use crate::clock::{ClockOff, check_clock_after};
use crate::collect::{CollectError, Collected, Collector};
use crate::distribute::{Delivery, Distributor, Purpose, bytes_of};
use crate::dossier::VerifiedDossier;
use crate::dossiers::dossiers_of_holders;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::Peers;
use crate::pieces::PieceSource;
use crate::policy::offers::{Eligible, OfferTerms, distinct};
use crate::policy::patience::Manner;
use crate::policy::rebuild::to_rebuild;
use crate::policy::survey::Survey;
use crate::ports::Directory;
use crate::progress::{ByteCount, OnStep, Step};
use crate::publish::Publisher;
use crate::release::release_whole;
use crate::survey::survey;
use crate::workshop::Workshop;

/// Result of looking after one tessera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many pieces were rebuilt or copied and have a holder again.
    pub restored: usize,
    /// Which known holders did not answer. Of several tesserae they may be the same nodes.
    pub unreachable: BTreeSet<NodeId>,
    /// How many pieces are still missing.
    pub missing: usize,
    /// Why, for people.
    pub refusals: Vec<String>,
}

/// Why a tessera could not be looked after.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RepairError {
    /// This node's clock seems wrong, and no other node's attestation was valid: perhaps nothing
    /// is missing.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// It is neither held nor published here.
    #[error("{0} is neither held nor published by this node")]
    NotHeld(TesseraHash),
    /// Its owner has not published it, or has cancelled.
    #[error("{0} is not published")]
    NotPublished(TesseraHash),
    /// The description kept here is damaged, and no other holder gave it.
    #[error("the description of {0} kept here is damaged, and nobody else has it now")]
    DamagedDossier(TesseraHash),
    /// The pieces that are left do not suffice, or cannot be obtained now.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What repair may touch: what is held and published here, the workbench, and all ways to other
/// nodes.
#[derive(Clone, Copy)]
pub(crate) struct Repairer<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
}

impl Repairer<'_> {
    /// Looks after one tessera: asks its holders, and where pieces are missing, rebuilds and
    /// places them.
    pub(crate) async fn repair(
        &self,
        tessera: TesseraHash,
        on_step: &OnStep,
    ) -> Result<Repaired, RepairError> {
        let _turn = self.workshop.turn(tessera).await;
        on_step(Step { stage: "asking holders", done: 0, total: 0, bytes: false });
        let stored = self.holder.stored_dossier(tessera).await;
        if let Ok(None) = stored {
            return Err(RepairError::NotHeld(tessera));
        }
        if !self.library.may_repair(tessera).await? {
            return Err(RepairError::NotPublished(tessera));
        }
        let survey = self.survey(tessera).await?;
        check_clock_after(self.directory, &survey).await?;
        let dossier = match stored {
            Ok(Some(dossier)) => dossier,
            _ => self.mend_dossier(tessera, &survey).await?,
        };
        let is_own = self.library.is_own(tessera).await?;
        let may_hold = self.holder.may_hold(tessera).await;
        let terms = OfferTerms::of(dossier.plan(), !is_own, may_hold);
        let eligible = self.distributor().find_eligible(&dossier, &survey, terms).await;
        let lack = eligible.assignment.lack();
        let mut done = Repaired {
            unreachable: survey.silent.iter().map(|contact| contact.id).collect(),
            missing: lack.without_room,
            ..Repaired::default()
        };
        if lack.pieces.is_empty() {
            self.nothing_to_place(&dossier, &survey, eligible, &mut done).await?;
            return Ok(done);
        }
        let wanted = lack.pieces.len();
        let purpose = match is_own {
            true => Purpose::Own,
            false => Purpose::Repair { witnesses: survey.contacts_except(self.peers.me()) },
        };
        let restored = self.restore(&dossier, &survey, lack.pieces, eligible, &purpose, on_step);
        let delivery = restored.await?;
        done.restored = delivery.placed;
        done.missing += wanted - done.restored;
        done.refusals = distinct(delivery.refusals);
        tracing::info!(%tessera, restored = done.restored, missing = done.missing, "repaired");
        let after = self.survey(tessera).await?;
        let holders: Vec<_> = after.contacts().into_values().collect();
        self.publisher().confirm(&dossier, &holders).await;
        Ok(done)
    }

    /// Nothing can be placed: perhaps because nothing is missing.
    async fn nothing_to_place(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        eligible: Eligible,
        done: &mut Repaired,
    ) -> Result<(), StoreError> {
        if self.library.is_to_confirm(dossier.tessera()).await? {
            let others = survey.contacts_except(self.peers.me());
            self.publisher().confirm(dossier, &others).await;
        }
        if done.missing == 0 {
            release_whole(self.peers, self.holder, dossier, survey).await?;
        } else {
            done.refusals = distinct(eligible.refusals);
            done.refusals.push("no other node has room".to_owned());
        }
        Ok(())
    }

    /// Brings a damaged dossier back from another holder.
    async fn mend_dossier(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
    ) -> Result<VerifiedDossier, RepairError> {
        let others = dossiers_of_holders(self.peers, tessera, survey).await;
        let dossier = others.into_iter().next().ok_or(RepairError::DamagedDossier(tessera))?;
        self.holder.keep_dossier(dossier.clone()).await?;
        Ok(dossier)
    }

    /// Gathers what is needed, rebuilds what is missing, and places it.
    async fn restore(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        missing: Vec<Piece>,
        eligible: Eligible,
        purpose: &Purpose,
        on_step: &OnStep,
    ) -> Result<Delivery, RepairError> {
        let source = self.prepare(dossier, survey, &missing, on_step).await?;
        let total = bytes_of(dossier.plan(), &missing);
        let count = ByteCount::new("placing pieces", total, on_step);
        let distributor = self.distributor();
        let placing = distributor.distribute(dossier, &source, missing, eligible, purpose, &count);
        let delivery = placing.await;
        self.workshop.unpin(dossier.tessera()).await?;
        Ok(delivery)
    }

    /// Makes sure that the missing pieces are at hand.
    async fn prepare(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        missing: &[Piece],
        on_step: &OnStep,
    ) -> Result<PieceSource, RepairError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let Self { peers, holder, workshop, .. } = *self;
        let collector = Collector { peers, holder, workshop };
        let whole = self.library.pack(tessera).await?.map(|(_, pack)| pack);
        let source = workshop.pieces(plan.clone(), whole).await?;
        let Collected { mut source, pieces: have, .. } =
            collector.collect(dossier, source, Some(survey), None, on_step).await?;
        let lost = to_rebuild(plan, missing, &have);
        collector.rebuild(dossier, &mut source, &have, &lost, on_step).await?;
        if !missing.contains(&Piece::Whole) {
            return Ok(source);
        }
        Ok(workshop.joined(source).await?)
    }

    async fn survey(&self, tessera: TesseraHash) -> Result<Survey, StoreError> {
        survey(self.peers, self.holder, self.directory, tessera, Manner::Thorough).await
    }

    fn distributor(&self) -> Distributor<'_> {
        let Self { peers, holder, workshop, directory, .. } = *self;
        Distributor { peers, holder, workshop, directory }
    }

    fn publisher(&self) -> Publisher<'_> {
        let Self { peers, holder, library, workshop, directory } = *self;
        Publisher { peers, holder, library, workshop, directory }
    }
}
