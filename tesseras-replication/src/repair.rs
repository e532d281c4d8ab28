//! Repair: holders bring back what is missing, without the owner.

use std::collections::BTreeSet;

use tesseras_core::code::{CodedForm, Piece, WHOLE_COPIES};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::{self, Placement};
use tesseras_core::ports::{Origin, Publication, StoreError};
use thiserror::Error;

use crate::clock::ClockOff;
use crate::collect::{CollectError, Collected};
use crate::context::{Replication, Stores};
use crate::distribute::{Ask, Delivery, Eligible, Purpose};
use crate::dossier::VerifiedDossier;
use crate::progress::{ByteCount, OnStep, Step};
use crate::status::{coded_pieces, live_contacts};
use crate::survey::Survey;

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
    /// This node's clock is wrong: all holders would look dead.
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

/// What a tessera lacks, by the plan and the nodes there are. Pure.
pub(crate) fn missing_pieces(
    coded: Option<CodedForm>,
    placement: &Placement,
    eligible: usize,
) -> Vec<Piece> {
    let distinct = placement::distinct_fragments(placement);
    match coded {
        // The coded form, where there are enough nodes for it, or where it is in use already.
        Some(form) if eligible >= WHOLE_COPIES || distinct.len() >= form.shape.k.into() => {
            (0..form.shape.n()).filter(|i| !distinct.contains(i)).map(Piece::Index).collect()
        }
        _ => {
            let target = eligible.min(WHOLE_COPIES);
            vec![Piece::Whole; target.saturating_sub(placement::whole_copies(placement))]
        }
    }
}

impl Replication {
    /// Announces tesserae of which pieces came here.
    pub(crate) async fn announce_new(&self, tesserae: Vec<TesseraHash>) {
        let keys = tesserae.iter().map(TesseraHash::dht_key).collect();
        self.parts.directory.announce(keys).await;
        self.tables().unannounced.retain(|tessera| !tesserae.contains(tessera));
    }

    /// Announces all tesserae of which pieces came here and that nobody asked to announce since;
    /// returns how many.
    pub async fn announce_unannounced(&self) -> usize {
        let new: Vec<TesseraHash> = self.tables().unannounced.iter().copied().take(64).collect();
        if !new.is_empty() {
            self.announce_new(new.clone()).await;
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
        self.check_clock().await?;
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
        let coded = plan.coded();
        if coded
            .is_some_and(|f| placement::distinct_fragments(&placement).len() == f.shape.n().into())
        {
            self.release_whole(&dossier, &survey).await?;
            self.confirm_once(&dossier, &survey).await?;
            return Ok(done);
        }
        let ask = Ask {
            wanted: coded.map_or(WHOLE_COPIES, |form| form.shape.n().into()),
            bytes: coded.map_or(plan.pack_bytes(), |form| form.fragment_bytes),
            repair: !self.is_own(tessera).await?,
            include_self: self.may_hold(tessera).await,
        };
        let eligible = self.find_eligible(&dossier, &placement, &live_contacts(&survey), ask).await;
        let missing = missing_pieces(coded, &placement, eligible.count);
        if missing.is_empty() {
            self.confirm_once(&dossier, &survey).await?;
            return Ok(done);
        }
        let wanted = missing.len();
        let delivery = self.restore(&dossier, &survey, missing, eligible, on_step).await?;
        done.restored = delivery.placed.len();
        done.missing = wanted - done.restored;
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
                    && stores.holdings.publication(&tessera)? == Publication::Published,
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
            Ok(record.is_some_and(|record| record.origin == Origin::Fetched)
                || stores.holdings.publication(&tessera)? == Publication::Published)
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
        let indexes = |pieces: &[Piece]| -> Vec<u8> {
            let index = |p: &Piece| match p {
                Piece::Index(i) if !have.contains(p) => Some(*i),
                _ => None,
            };
            pieces.iter().filter_map(index).collect()
        };
        let lost = if missing.contains(&Piece::Whole) && !have.contains(&Piece::Whole) {
            // A whole copy is wanted and only fragments are here: all data is needed.
            let k = plan.coded().map_or(0, |form| form.shape.k);
            indexes(&coded_pieces(plan).take(k.into()).collect::<Vec<_>>())
        } else {
            let whole = have.contains(&Piece::Whole);
            let k = plan.coded().map_or(0, |form| form.shape.k);
            indexes(&missing).into_iter().filter(|i| !(whole && *i < k)).collect()
        };
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

#[cfg(test)]
mod tests {
    use tesseras_core::code::CODED_FROM_BYTES;

    use super::*;

    fn placement(holders: &[&[Piece]]) -> Placement {
        let ids = (1..).map(|n| NodeId::new([n; 20]));
        ids.zip(holders.iter().map(|pieces| pieces.iter().copied().collect())).collect()
    }

    fn indexes(range: std::ops::Range<u8>) -> Vec<Piece> {
        range.map(Piece::Index).collect()
    }

    #[test]
    fn what_is_missing_follows_from_the_plan_and_the_number_of_nodes() {
        let coded = CodedForm::of_pack(CODED_FROM_BYTES);
        let nothing = placement(&[]);
        let copies = placement(&[&[Piece::Whole], &[Piece::Whole], &[Piece::Whole]]);
        // A short pack is copied, seven times at the most.
        assert_eq!(missing_pieces(None, &nothing, 3), [Piece::Whole; 3]);
        assert_eq!(missing_pieces(None, &copies, 3), []);
        assert_eq!(missing_pieces(None, &copies, 100), [Piece::Whole; 4]);
        // A longer one, too, while there are few nodes; from seven on it is coded.
        assert_eq!(missing_pieces(coded, &copies, 6), [Piece::Whole; 3]);
        assert_eq!(missing_pieces(coded, &copies, 7), indexes(0..24));
        assert_eq!(missing_pieces(coded, &nothing, 0), []);
        // What is coded and readable stays so, however few nodes are left.
        let readable = placement(&[&indexes(0..9), &indexes(8..16)]);
        assert_eq!(missing_pieces(coded, &readable, 2), indexes(16..24));
        let unreadable = placement(&[&indexes(0..9), &indexes(8..15)]);
        assert_eq!(missing_pieces(coded, &unreadable, 2), [Piece::Whole; 2]);
        assert_eq!(missing_pieces(coded, &unreadable, 7), indexes(15..24));
    }
}
