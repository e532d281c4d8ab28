//! Fetching: from a hash alone to a capsule in the library. The first holder that answers is used
//! at once; the others are asked in the meantime.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{StoreError, TesseraRecord};
use thiserror::Error;
use tokio::time::sleep;

use crate::clock::{ClockOff, check_clock_after};
use crate::collect::{CollectError, Collector, Holders};
use crate::dossier::VerifiedDossier;
use crate::dossiers::{DossierSources, dossiers_of_holders};
use crate::erasure::ErasureError;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::{Peers, Priority};
use crate::policy::patience::Manner;
use crate::policy::survey::{LiveHolder, Survey};
use crate::ports::{Directory, UnpackError};
use crate::survey::{Scope, Surveying};
use crate::tessera_lock::TesseraLock;
use crate::workshop::{PrepareError, Workshop};
use tesseras_core::progress::{Meter, OnProgress, Progress};

/// How often all holders are asked when some of them were silent and the rest does not suffice.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Why a tessera is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The owner of this node asks for it, also if it was dropped before.
    Asked,
    /// A capsule in the library is damaged. What was dropped in the meantime is not to come back.
    Mending,
}

/// Result of fetching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The capsule in the library.
    pub record: TesseraRecord,
    /// How many nodes its pieces came from; 0 if they were all here.
    pub holders: usize,
    /// Whether it was in the library already.
    pub already: bool,
}

/// Why a tessera was not fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// No holder is known.
    #[error("no node is known to hold {0}")]
    NoHolders(TesseraHash),
    /// Holders are known, but none answered.
    #[error("{}", all_silent(tessera, *silent))]
    AllSilent {
        /// The tessera.
        tessera: TesseraHash,
        /// How many holders.
        silent: usize,
    },
    /// Nodes have announced something under the same key, but none that answered holds this tessera.
    /// They may have held it, or another one whose hash begins the same.
    #[error(
        "nodes were announced under the key of {tessera}, but none of the {answered} that answered holds it: they have dropped or lost it, or a digit of the hash is wrong"
    )]
    NoneHoldsIt {
        /// The tessera.
        tessera: TesseraHash,
        /// How many answered that they hold nothing of it.
        answered: usize,
        /// How many did not answer.
        silent: usize,
    },
    /// No holder returned a valid dossier.
    #[error("no holder of {0} gave a valid description of it")]
    NoDossier(TesseraHash),
    /// Not enough pieces could be obtained.
    #[error(transparent)]
    Collect(CollectError),
    /// The pieces do not form a valid capsule.
    #[error(transparent)]
    Unpack(UnpackError),
    /// It was dropped in the meantime.
    #[error("{0} was dropped while it was fetched; nothing of it is kept")]
    Dropped(TesseraHash),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<UnpackError> for FetchError {
    fn from(error: UnpackError) -> Self {
        match error {
            UnpackError::Store(StoreError::Blocked(tessera)) => Self::Dropped(tessera),
            other => Self::Unpack(other),
        }
    }
}

impl From<CollectError> for FetchError {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Unpack(error) => error.into(),
            CollectError::Prepare(PrepareError::Store(StoreError::Blocked(tessera))) => {
                Self::Dropped(tessera)
            }
            other => Self::Collect(other),
        }
    }
}

fn all_silent(tessera: &TesseraHash, silent: usize) -> String {
    match silent {
        1 => format!("1 node is known to hold {tessera}, but it does not answer now"),
        _ => format!("{silent} nodes are known to hold {tessera}, but none of them answers now"),
    }
}

impl FetchError {
    /// Whether this node's own disk is the cause, so that no other plan or holder helps.
    fn is_of_this_node(&self) -> bool {
        matches!(
            self,
            Self::Store(_)
                | Self::Dropped(_)
                | Self::Unpack(UnpackError::NoSpace(_) | UnpackError::Store(_))
                | Self::Collect(CollectError::Prepare(
                    PrepareError::NoSpace(_)
                        | PrepareError::Store(_)
                        | PrepareError::Erasure(ErasureError::Store(_))
                ))
        )
    }

    /// Whether a retry may succeed.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::NoHolders(_)
                | Self::AllSilent { .. }
                | Self::NoDossier(_)
                | Self::NoneHoldsIt { .. }
                | Self::Collect(CollectError::TooFew { .. })
        )
    }
}

/// The collaborators of fetching: the owner's capsules, the workbench, and other nodes.
#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
}

impl Fetcher<'_> {
    /// Fetches a tessera into the library, until it is done or dropped. An interrupted fetch
    /// continues with the pieces it has.
    pub(crate) async fn fetch(
        &self,
        tessera: TesseraHash,
        purpose: Purpose,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let stop = self.library.start_fetching(tessera);
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(FetchError::Dropped(tessera)),
            fetched = self.fetch_locked(tessera, purpose, on_progress) => fetched,
        }
    }

    async fn fetch_locked(
        &self,
        tessera: TesseraHash,
        purpose: Purpose,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let lock = &self.workshop.lock(tessera).await;
        if purpose == Purpose::Mending && !self.library.is_kept(tessera).await? {
            return Err(FetchError::Dropped(tessera));
        }
        if let Some(record) = self.library.sound_copy(tessera).await? {
            return Ok(Fetched { record, holders: 0, already: true });
        }
        // What is dropped while it is mended stays blocked, and a blocked capsule is not stored.
        if purpose == Purpose::Asked {
            self.library.unblock(lock).await?;
        }
        on_progress(Progress::begun("finding holders"));
        let mut tries = 0;
        loop {
            tries += 1;
            let (survey, result) = self.try_once(lock, on_progress).await?;
            let error = match result {
                Err(error) if error.may_pass() => error,
                Ok(fetched) => {
                    self.workshop.unpin(lock).await;
                    return Ok(fetched);
                }
                Err(error) => return Err(error),
            };
            // A retry does not help with this.
            check_clock_after(self.directory, &survey).await?;
            if tries == TRIES {
                return Err(error);
            }
            // A holder was silent, or this node has only just joined.
            tracing::info!(%tessera, %error, "asking all holders again");
            sleep(PAUSE).await;
        }
    }

    /// Asks all holders, and fetches from those that answer first; if that fails, from all that
    /// answer.
    async fn try_once(
        &self,
        lock: &TesseraLock,
        on_progress: &OnProgress,
    ) -> Result<(Survey, Result<Fetched, FetchError>), FetchError> {
        let tessera = lock.tessera();
        let Self { peers, holder, directory, .. } = *self;
        let begun =
            Surveying::begin(peers, holder, directory, tessera, Scope::Network, Manner::Quick);
        let mut surveying = begun.await?;
        let early = self.fetch_early(lock, &mut surveying, on_progress).await;
        if early.is_ok() {
            // The result is complete, so the remaining answers are not needed.
            return Ok((surveying.end().await, early));
        }
        let survey = surveying.finish().await;
        let result = match early {
            Err(error) if error.is_of_this_node() => Err(error),
            _ => self.fetch_from_all(lock, &survey, on_progress).await,
        };
        Ok((survey, result))
    }

    /// Fetches by the first dossier that is obtained, from holders as they answer.
    async fn fetch_early(
        &self,
        lock: &TesseraLock,
        surveying: &mut Surveying<'_>,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let tessera = lock.tessera();
        let stored = self.holder.stored_dossier(tessera).await.ok().flatten();
        let dossier = match stored {
            Some(dossier) => dossier,
            None => self.first_dossier(tessera, surveying).await?,
        };
        self.fetch_by(lock, &dossier, Holders::Arriving(surveying), on_progress).await
    }

    /// The first dossier that a holder returns, while others are still being found.
    async fn first_dossier(
        &self,
        tessera: TesseraHash,
        surveying: &mut Surveying<'_>,
    ) -> Result<VerifiedDossier, FetchError> {
        let mut sources = DossierSources::new(self.peers, tessera, Priority::Interactive);
        let me = self.peers.me();
        let add = |sources: &mut DossierSources<'_>, holder: &LiveHolder| {
            if let Some(plan) = holder.plan.filter(|_| holder.contact.id != me) {
                sources.add(holder.contact.clone(), plan);
            }
        };
        surveying.so_far().live.values().for_each(|holder| add(&mut sources, holder));
        let mut is_surveying = true;
        loop {
            tokio::select! {
                biased;
                Some(dossier) = sources.next() => return Ok(dossier),
                found = surveying.next(), if is_surveying => match found {
                    Some(holder) => add(&mut sources, &holder),
                    None => is_surveying = false,
                },
                else => return Err(FetchError::NoDossier(tessera)),
            }
        }
    }

    /// Fetches by each plan that holders attest, the most common first: only the true pack contains
    /// the MANIFEST that hashes to the tessera, so where holders keep different plans, rebuilding
    /// shows which is true.
    async fn fetch_from_all(
        &self,
        lock: &TesseraLock,
        survey: &Survey,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let tessera = lock.tessera();
        if survey.live.is_empty() {
            return Err(nobody(tessera, survey));
        }
        let mut dossiers =
            dossiers_of_holders(self.peers, tessera, survey, Priority::Interactive).await;
        if let Ok(Some(own)) = self.holder.stored_dossier(tessera).await {
            dossiers.retain(|other| other.plan_hash() != own.plan_hash());
            dossiers.insert(0, own);
        }
        let mut last = FetchError::NoDossier(tessera);
        for dossier in dossiers {
            match self.fetch_by(lock, &dossier, Holders::Known(survey), on_progress).await {
                Ok(fetched) => return Ok(fetched),
                // Another plan does not help with that.
                Err(error) if error.is_of_this_node() => return Err(error),
                Err(error) => {
                    tracing::warn!(%tessera, plan = %dossier.plan_hash(), %error, "no capsule");
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn fetch_by(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        holders: Holders<'_, '_>,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let Self { peers, holder, workshop, .. } = *self;
        let (priority, throttled) = (Priority::Interactive, None);
        let collector = Collector { peers, holder, workshop, lock, priority, throttled };
        let source = workshop.pieces(dossier.plan().clone(), None).await?;
        let mut unpack = self.library.unpack(lock);
        let collecting =
            collector.collect(dossier, source, holders, Some(&mut unpack), on_progress);
        let collected = collecting.await?;
        let mut source = collected.source;
        if !collected.pieces.contains(&Piece::Whole) {
            let data = 0..source.plan().coded().map_or(0, |form| form.shape.k);
            let lost: Vec<u8> =
                data.filter(|i| !collected.pieces.contains(&Piece::Index(*i))).collect();
            let have = &collected.pieces;
            collector.rebuild(dossier, &mut source, have, &lost, on_progress).await?;
        }
        let count = Meter::new("checking and storing", source.plan().pack_bytes(), on_progress);
        let record = unpack.finish(source, count).await?;
        self.keep(lock, dossier).await;
        Ok(Fetched { record, holders: collected.holders.len(), already: false })
    }

    /// Keeps the creator's signed plan: with it a reader can later publish the capsule again.
    async fn keep(&self, lock: &TesseraLock, dossier: &VerifiedDossier) {
        let tessera = dossier.tessera();
        match self.holder.keep_dossier(lock, dossier.clone()).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(%tessera, "a plan other than the true one is kept here"),
            // The capsule is in the library; holders still have the plan.
            Err(error) => tracing::warn!(%tessera, %error, "the signed plan could not be kept"),
        }
    }
}

/// Why there is no holder to fetch from.
fn nobody(tessera: TesseraHash, survey: &Survey) -> FetchError {
    match (survey.of_another, survey.silent.len()) {
        (0, 0) => FetchError::NoHolders(tessera),
        (answered, silent) if answered > silent => {
            FetchError::NoneHoldsIt { tessera, answered, silent }
        }
        // Most of the expected holders have not answered.
        (_, silent) => FetchError::AllSilent { tessera, silent },
    }
}
