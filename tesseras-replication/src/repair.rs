//! Repair: holders bring back what is missing, without the owner.

use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Origin, StoreError};
use thiserror::Error;

use crate::clock::ClockOff;
use crate::collect::{CollectError, Collected};
use crate::context::{Replication, Stores};
use crate::distribute::{Ask, Delivery, Eligible, Purpose};
use crate::dossier::VerifiedDossier;
use crate::progress::{ByteCount, OnStep, Step};
use crate::status::live_contacts;
use crate::survey::Survey;

/// How many tesserae are announced at once.
pub const ANNOUNCE_BATCH: usize = 64;

/// What looking after one tessera came to.
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
    /// The pieces that are left do not suffice, or cannot be had now.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Replication {
    /// Announces tesserae of which pieces came here. While this node's clock seems wrong they
    /// stay unannounced, since others may have refused the records.
    pub(crate) async fn announce_new(&self, tesserae: Vec<TesseraHash>) {
        self.tables().unannounced.extend(&tesserae);
        let keys = tesserae.iter().map(TesseraHash::dht_key).collect();
        self.parts.directory.announce(keys).await;
        if self.check_clock().await.is_ok() {
            self.tables().unannounced.retain(|tessera| !tesserae.contains(tessera));
        }
    }

    /// Announces all tesserae of which pieces came here and that nobody asked to announce since;
    /// returns how many.
    pub async fn announce_unannounced(&self) -> usize {
        let new: Vec<TesseraHash> = self.tables().unannounced.iter().copied().collect();
        for batch in new.chunks(ANNOUNCE_BATCH) {
            self.announce_new(batch.to_vec()).await;
        }
        new.len()
    }

    /// The tesserae of which this node holds a piece.
    pub async fn held(&self) -> Result<Vec<TesseraHash>, StoreError> {
        self.blocking(|stores| {
            let mut all: Vec<TesseraHash> = Vec::new();
            loop {
                let page = stores.fragments.held_tesserae(all.last(), 1000)?;
                if page.is_empty() {
                    return Ok(all);
                }
                all.extend(page);
            }
        })
        .await
    }

    /// Looks after one tessera: asks its holders, and where pieces are missing, rebuilds and
    /// places them.
    pub async fn repair(
        &self,
        tessera: TesseraHash,
        on_step: &OnStep,
    ) -> Result<Repaired, RepairError> {
        let _alone = self.work_on(tessera).await;
        on_step(Step { stage: "asking holders", done: 0, total: 0, bytes: false });
        let stored = self.stored_dossier(tessera).await;
        if let Ok(None) = stored {
            return Err(RepairError::NotHeld(tessera));
        }
        if !self.may_repair(tessera).await? {
            return Err(RepairError::NotPublished(tessera));
        }
        let survey = self.survey(tessera).await?;
        self.check_clock_after(&survey).await?;
        let dossier = match stored {
            Ok(Some(dossier)) => dossier,
            _ => self.mend_dossier(tessera, &survey).await?,
        };
        let plan = dossier.plan();
        let placement = survey.placement(plan);
        let mut done = Repaired {
            unreachable: survey.silent.iter().map(|contact| contact.id).collect(),
            ..Repaired::default()
        };
        let ask = Ask::of(plan, !self.is_own(tessera).await?, self.may_hold(tessera).await);
        let eligible = self.find_eligible(&dossier, &placement, &live_contacts(&survey), ask).await;
        let lack = eligible.assignment.lack();
        done.missing = lack.without_room;
        if lack.pieces.is_empty() {
            self.confirm_once(&dossier, &survey).await?;
            if done.missing == 0 {
                self.release_whole(&dossier, &survey).await?;
            } else {
                done.refusals = crate::publish::unique(eligible.refusals);
                done.refusals.push("no other node has room".to_owned());
            }
            return Ok(done);
        }
        let missing = lack.pieces;
        let wanted = missing.len();
        let delivery = self.restore(&dossier, &survey, missing, eligible, on_step).await?;
        done.restored = delivery.placed.len();
        done.missing += wanted - done.restored;
        done.refusals = crate::publish::unique(delivery.refusals);
        tracing::info!(%tessera, restored = done.restored, missing = done.missing, "repaired");
        let after = self.survey(tessera).await?;
        let holders: Vec<Contact> = live_contacts(&after).into_values().collect();
        self.confirm(&dossier, &holders).await;
        Ok(done)
    }

    /// Tells all holders of what was published from here that it is, if that was not done since
    /// this node started: it may have been stopped just before it told them.
    async fn confirm_once(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        let tessera = dossier.tessera();
        if self.is_confirmed(tessera) {
            return Ok(());
        }
        let from_here = self.blocking(move |stores| {
            Ok::<_, StoreError>(
                stores.library.get(&tessera)?.is_some()
                    && stores.holdings.publication(&tessera)?.published,
            )
        });
        if from_here.await? {
            self.confirm(dossier, &survey.contacts_but(self.id())).await;
        }
        Ok(())
    }

    /// Whether a tessera is published as far as is known here. Of a capsule that was fetched,
    /// others hold pieces, and its reader may help them.
    async fn may_repair(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        self.blocking(move |stores| {
            let record = stores.library.get(&tessera)?;
            let known = stores.holdings.publication(&tessera)?;
            let is_fetched = record.is_some_and(|record| record.origin == Origin::Fetched);
            Ok(is_fetched || known.confirmed || known.published)
        })
        .await
    }

    /// Brings a damaged dossier back from another holder.
    async fn mend_dossier(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
    ) -> Result<VerifiedDossier, RepairError> {
        let others = self.dossiers_of_holders(tessera, survey).await;
        let dossier = others.into_iter().next().ok_or(RepairError::DamagedDossier(tessera))?;
        let sound = dossier.clone();
        self.blocking(move |stores| stores.holdings.put_dossier(&tessera, sound.dossier())).await?;
        Ok(dossier)
    }

    /// Gathers what is needed, rebuilds what is missing, and places it.
    async fn restore(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        missing: Vec<Piece>,
        eligible: Eligible,
        on_step: &OnStep,
    ) -> Result<Delivery, RepairError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let own_plan = plan.clone();
        let whole = self.library_copy(tessera).await?;
        let source = self.blocking(move |stores| stores.pieces(own_plan, whole)).await?;
        let Collected { mut source, pieces: have, .. } =
            self.collect(dossier, source, survey, on_step).await?;
        let lost = to_rebuild(plan, &missing, &have);
        self.rebuild(dossier, &mut source, &have, lost, on_step).await?;
        let source = if missing.contains(&Piece::Whole) {
            let plan = plan.clone();
            let joined = move |stores: &Stores| stores.pieces(plan, Some(source.pack()?));
            self.blocking(joined).await?
        } else {
            source
        };
        let total = missing.iter().filter_map(|p| plan.piece_bytes(*p)).sum();
        let count = ByteCount::new("placing pieces", total, on_step);
        let purpose = if self.is_own(tessera).await? {
            Purpose::Own
        } else {
            Purpose::Repair { witnesses: survey.contacts_but(self.id()) }
        };
        let delivery = self.distribute(dossier, &source, missing, eligible, &purpose, &count).await;
        self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
        Ok(delivery)
    }

    /// Whether this node's person made the tessera.
    async fn is_own(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        let record = self.blocking(move |stores| stores.library.get(&tessera)).await?;
        Ok(record.is_some_and(|record| record.origin == Origin::Created))
    }

    /// The pack of a capsule that is also in this node's library.
    async fn library_copy(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<std::sync::Arc<dyn tesseras_core::ports::BlobReader>>, StoreError> {
        let capsules = self.parts.capsules.clone();
        self.blocking(move |stores| {
            stores.library.get(&tessera)?.map(|record| capsules.pack(&record)).transpose()
        })
        .await
    }
}

/// The fragments to compute, so that all that is missing is at hand: the missing ones themselves,
/// and for a whole copy all data.
fn to_rebuild(plan: &Plan, missing: &[Piece], have: &BTreeSet<Piece>) -> Vec<u8> {
    let Some(form) = plan.coded() else { return Vec::new() };
    let whole_is_here = have.contains(&Piece::Whole);
    let whole_is_missing = missing.contains(&Piece::Whole);
    let is_wanted = |index: &u8| {
        let is_data = *index < form.shape.k;
        let is_here = have.contains(&Piece::Index(*index)) || (is_data && whole_is_here);
        !is_here && (missing.contains(&Piece::Index(*index)) || (is_data && whole_is_missing))
    };
    (0..form.shape.n()).filter(is_wanted).collect()
}

#[cfg(test)]
mod tests {
    use tesseras_core::code::CODED_FROM_BYTES;
    use tesseras_core::ids::ContentHash;

    use super::*;

    #[test]
    fn what_is_rebuilt_follows_from_what_is_missing_and_what_is_at_hand() {
        let hash = ContentHash::new([1; 32]);
        let tessera = TesseraHash::new([2; 32]);
        let plan = Plan::new(tessera, CODED_FROM_BYTES, hash, vec![hash; 24]).expect("a plan");
        let pieces = |range: std::ops::Range<u8>| range.map(Piece::Index);
        let rebuilt = |missing: &[Piece], have: BTreeSet<Piece>| to_rebuild(&plan, missing, &have);
        let lost = [Piece::Index(3), Piece::Index(20)];
        assert_eq!(rebuilt(&lost, [Piece::Whole].into()), [20], "data are ranges of the whole");
        assert_eq!(rebuilt(&lost, pieces(4..20).collect()), [3, 20]);
        assert_eq!(rebuilt(&lost, pieces(3..21).collect()), [0u8; 0]);
        // A whole copy and a fragment at once: all data, and the fragment.
        let both = [Piece::Whole, Piece::Index(20)];
        assert_eq!(rebuilt(&both, pieces(2..18).collect()), [0, 1, 20]);
        assert_eq!(rebuilt(&both, [Piece::Whole].into()), [20]);
        let short = Plan::new(tessera, 1000, hash, Vec::new()).expect("a plan");
        assert!(to_rebuild(&short, &[Piece::Whole], &[Piece::Whole].into()).is_empty());
    }
}
