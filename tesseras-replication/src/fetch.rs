//! Fetching: from a hash alone back to a capsule in the library.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{StoreError, TesseraRecord};
use thiserror::Error;

use crate::clock::ClockOff;
use crate::collect::CollectError;
use crate::context::{Replication, UnpackError};
use crate::dossier::VerifiedDossier;
use crate::progress::{ByteCount, OnStep};
use crate::survey::Survey;

/// How often all holders are asked when some of them were silent and the rest does not suffice.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// What fetching came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What is in the library now.
    pub record: TesseraRecord,
    /// From how many nodes its pieces came; 0 if it was here already.
    pub holders: usize,
}

/// Why a tessera was not fetched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// Nobody is known to hold it.
    #[error("no node is known to hold {0}")]
    NoHolders(TesseraHash),
    /// Holders are known, but none answered.
    #[error("{}", all_silent(tessera, *silent))]
    AllSilent {
        /// Which tessera.
        tessera: TesseraHash,
        /// How many.
        silent: usize,
    },
    /// Nodes hold something under the same key, and none of them this.
    #[error(
        "nodes are known under the name of {tessera}, but none of the {answered} that answered has exactly this one: a digit may be wrong"
    )]
    OtherHash {
        /// Which tessera.
        tessera: TesseraHash,
        /// How many answered that they hold nothing of it.
        answered: usize,
        /// How many did not answer.
        silent: usize,
    },
    /// No holder gave a dossier that holds.
    #[error("no holder of {0} gave a valid description of it")]
    NoDossier(TesseraHash),
    /// Not enough pieces could be had.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The pieces make no valid capsule.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn all_silent(tessera: &TesseraHash, silent: usize) -> String {
    match silent {
        1 => format!("1 node is known to hold {tessera}, but it does not answer now"),
        _ => format!("{silent} nodes are known to hold {tessera}, but none of them answers now"),
    }
}

impl FetchError {
    /// Whether the same may succeed a moment later.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoHolders(_)
                | Self::AllSilent { .. }
                | Self::NoDossier(_)
                | Self::OtherHash { .. }
                | Self::Collect(CollectError::TooFew { .. })
        )
    }
}

impl Replication {
    /// Brings a tessera into the library. An interrupted fetch goes on with the pieces it has.
    pub async fn fetch(
        &self,
        tessera: TesseraHash,
        on_step: &OnStep,
    ) -> Result<Fetched, FetchError> {
        let _alone = self.work_on(tessera).await;
        if let Some(record) = self.sound_copy(tessera).await? {
            return Ok(Fetched { record, holders: 0 });
        }
        self.blocking(move |stores| stores.holdings.unblock(&tessera)).await?;
        on_step(crate::progress::Step {
            stage: "finding holders",
            done: 0,
            total: 0,
            bytes: false,
        });
        let mut tries = 0;
        loop {
            tries += 1;
            let survey = self.survey(tessera).await?;
            let error = match self.fetch_from(tessera, &survey, on_step).await {
                Err(error) if error.may_pass() => error,
                result => return result,
            };
            // That does not pass by asking again.
            self.check_clock_after(&survey).await?;
            if tries == TRIES {
                return Err(error);
            }
            // Somebody was silent, or this node has only just joined.
            tracing::info!(%tessera, %error, "asking all holders again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn fetch_from(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
        on_step: &OnStep,
    ) -> Result<Fetched, FetchError> {
        if survey.live.is_empty() {
            return Err(match (survey.of_another, survey.silent.len()) {
                (0, 0) => FetchError::NoHolders(tessera),
                (answered, silent) if answered > silent => {
                    FetchError::OtherHash { tessera, answered, silent }
                }
                // Most of those who may hold it have not answered.
                (_, silent) => FetchError::AllSilent { tessera, silent },
            });
        }
        // Only the true pack holds the MANIFEST that hashes to the tessera: where holders keep
        // different plans, rebuilding shows which is true.
        let mut dossiers = self.dossiers_of_holders(tessera, survey).await;
        if let Ok(Some(own)) = self.stored_dossier(tessera).await {
            dossiers.retain(|other| other.plan_hash() != own.plan_hash());
            dossiers.insert(0, own);
        }
        let mut last = FetchError::NoDossier(tessera);
        for dossier in dossiers {
            match self.fetch_by(&dossier, survey, on_step).await {
                Ok(fetched) => {
                    self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
                    return Ok(fetched);
                }
                Err(error) => {
                    tracing::warn!(%tessera, plan = %dossier.plan_hash(), %error, "no capsule");
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// The capsule in the library, if every byte of it is sound. A damaged one is fetched again,
    /// and mended by what comes.
    async fn sound_copy(&self, tessera: TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        let capsules = self.parts.capsules.clone();
        self.blocking(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok(None) };
            match capsules.check(&record) {
                Ok(()) => Ok(Some(record)),
                Err(UnpackError::Store(error @ StoreError::Full { .. })) => Err(error),
                Err(error) => {
                    tracing::warn!(%tessera, %error, "the copy in the library is damaged");
                    Ok(None)
                }
            }
        })
        .await
    }

    async fn fetch_by(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        on_step: &OnStep,
    ) -> Result<Fetched, FetchError> {
        let plan = dossier.plan().clone();
        let source = self.blocking(move |stores| stores.pieces(plan, None)).await?;
        let mut collected = self.collect(dossier, source, survey, on_step).await?;
        let source = &mut collected.source;
        if !collected.pieces.contains(&Piece::Whole) {
            let data = 0..source.plan().coded().map_or(0, |form| form.shape.k);
            let lost = data.filter(|i| !collected.pieces.contains(&Piece::Index(*i))).collect();
            self.rebuild(dossier, source, &collected.pieces, lost, on_step).await?;
        }
        let source = collected.source;
        let capsules = self.parts.capsules.clone();
        let tessera = dossier.tessera();
        let count = ByteCount::new("checking and storing", source.plan().pack_bytes(), on_step);
        let record = self
            .state
            .disk
            .run(move || {
                let pack = source.pack()?;
                capsules.unpack(&tessera, pack, &mut |bytes| count.add(bytes))
            })
            .await?;
        // With the creator's signed plan, a reader can keep the capsule alive one day.
        let kept = dossier.clone();
        let kept =
            self.blocking(move |stores| stores.holdings.put_dossier(&tessera, kept.dossier()));
        match kept.await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(%tessera, "another plan than the true one is kept here"),
            // The capsule is in the library; holders still have the plan.
            Err(error) => tracing::warn!(%tessera, %error, "the signed plan could not be kept"),
        }
        Ok(Fetched { record, holders: collected.holders.len() })
    }
}
