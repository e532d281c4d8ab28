//! The capsules of this node's owner, and the state of their publication. Uses the stores and no
//! other node.

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{Origin, StoreError, TesseraRecord};
use tesseras_core::publication::Publication;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Clock;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::dossier::{DossierError, VerifiedDossier};
use crate::policy::health::{HealthState, TesseraHealth};
use crate::ports::{Capsules, OpenCapsule, UnpackError};
use crate::seen::Seen;
use crate::stores::Stores;
use crate::tessera_lock::TesseraLock;
use crate::unpack::Unpack;

/// The longest MANIFEST of a capsule that is set aside between two requests, in bytes. With what
/// follows from it, that takes about 5 MiB of memory.
const MAX_SET_ASIDE: usize = 1024 * 1024;

/// Why a dossier was not kept.
#[derive(Debug, Error)]
pub(crate) enum KeepError {
    /// The stored dossier or the plan is not valid.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// A different plan is already kept.
    #[error("another plan of this tessera was signed before")]
    PlanConflict,
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The owner's side of this node.
pub struct Library {
    clock: Clock,
    disk: Blocking,
    stores: Stores,
    capsules: Arc<dyn Capsules>,
    tables: Arc<Mutex<Tables>>,
}

/// State that need not survive a restart.
#[derive(Default)]
struct Tables {
    /// A capsule whose plan was drafted, and which is likely to be published next.
    drafted: Option<Arc<dyn OpenCapsule>>,
    /// Tesserae that are being published from here, and how each is told to stop.
    publishing: BTreeMap<TesseraHash, Arc<Notify>>,
    /// Tesserae that are being fetched, and how their fetches are told to stop.
    fetching: BTreeMap<TesseraHash, Weak<CancellationToken>>,
    /// The last observed figures of the capsules in the library.
    seen: BTreeMap<TesseraHash, Seen>,
    /// When the holders of each were last asked for an overview, whether they answered or not.
    asked: BTreeMap<TesseraHash, Instant>,
    /// Published tesserae whose holders have all been told so since this node started.
    all_told: BTreeSet<TesseraHash>,
}

/// What a node's library says about a capsule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnPart {
    /// Whether it is in the library.
    pub(crate) in_library: bool,
    /// Its state while its owner has not published it, or its publication is under way. Pieces on
    /// other nodes are then those of a publication that was stopped, or is not complete.
    pub(crate) unpublished: Option<HealthState>,
    /// Whether it is published, and too few holders have said that they know it.
    is_to_tell: bool,
}

impl OwnPart {
    /// Its state, given what was found on other nodes: that holders are still to be told hides no
    /// danger.
    pub(crate) fn state(&self, found: HealthState) -> HealthState {
        match self.unpublished {
            Some(state) => state,
            None if self.is_to_tell && found == HealthState::Healthy => HealthState::Publishing,
            None => found,
        }
    }

    /// Its state before any node was asked, if that is known.
    pub(crate) fn state_unasked(&self) -> Option<HealthState> {
        self.unpublished.or(self.is_to_tell.then_some(HealthState::Publishing))
    }
}

impl Library {
    /// The capsules in these stores.
    pub(crate) fn new(
        clock: Clock,
        disk: Blocking,
        stores: Stores,
        capsules: Arc<dyn Capsules>,
    ) -> Self {
        Self { clock, disk, stores, capsules, tables: Arc::default() }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Stores) -> T + Send + 'static) -> T {
        self.stores.run_on(&self.disk, work).await
    }

    /// All capsules, newest first.
    pub(crate) async fn list(&self) -> Result<Vec<TesseraRecord>, StoreError> {
        self.run(|stores| stores.library.list()).await
    }

    /// Opens a capsule; `None` if it is not here. One that was [set aside](Library::set_aside) is
    /// given as it was read then.
    pub(crate) async fn open(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<Arc<dyn OpenCapsule>>, StoreError> {
        let (capsules, tables) = (self.capsules.clone(), self.tables.clone());
        self.run(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok(None) };
            let mut tables = lock(&tables);
            if let Some(capsule) = tables.drafted.take_if(|c| c.named().tessera() == tessera) {
                return Ok(Some(capsule));
            }
            drop(tables);
            capsules.open(&record).map(Some)
        })
        .await
    }

    /// Sets a capsule aside whose plan was drafted: it is published next, and need not be read
    /// again then. One at a time, and none with a long MANIFEST.
    pub(crate) fn set_aside(&self, capsule: Arc<dyn OpenCapsule>) {
        if capsule.named().bytes().len() <= MAX_SET_ASIDE {
            lock(&self.tables).drafted = Some(capsule);
        }
    }

    /// Checks every byte of a capsule.
    pub(crate) async fn check(&self, capsule: Arc<dyn OpenCapsule>) -> Result<(), UnpackError> {
        self.disk.run(move || capsule.check()).await
    }

    /// A capsule, if every byte of it is intact. Fails if that cannot be found out now.
    pub(crate) async fn sound_copy(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<TesseraRecord>, StoreError> {
        let capsules = self.capsules.clone();
        self.run(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok(None) };
            let checked = capsules.open(&record).map_err(UnpackError::from);
            match checked.and_then(|capsule| capsule.check()) {
                Ok(()) => Ok(Some(record)),
                Err(UnpackError::Store(error)) if !error.is_damage() => Err(error),
                Err(error) => {
                    tracing::warn!(%tessera, %error, "the copy in the library is damaged");
                    Ok(None)
                }
            }
        })
        .await
    }

    /// Begins to make a capsule of its pieces.
    pub(crate) fn unpack(&self, lock: &TesseraLock) -> Unpack {
        Unpack::new(lock.on(&self.disk), self.capsules.unpack(&lock.tessera()))
    }

    /// Whether this node's owner created a tessera.
    pub(crate) async fn is_own(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        let record = self.run(move |stores| stores.library.get(&tessera)).await?;
        Ok(record.is_some_and(|record| record.origin == Origin::Created))
    }

    /// Whether a capsule is in the library and was not dropped.
    pub(crate) async fn is_kept(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        self.run(move |stores| {
            let is_listed = stores.library.get(&tessera)?.is_some();
            Ok(is_listed && !stores.holdings.is_blocked(&tessera)?)
        })
        .await
    }

    /// Removes the block on a tessera that was dropped, because it is wanted again.
    pub(crate) async fn unblock(&self, lock: &TesseraLock) -> Result<(), StoreError> {
        let (disk, tessera) = (lock.on(&self.disk), lock.tessera());
        self.stores.run_on(&disk, move |stores| stores.library.unblock(&tessera)).await
    }

    /// The stored plan of a tessera.
    pub(crate) async fn plan(&self, tessera: TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |stores| stores.holdings.plan(&tessera)).await
    }

    /// Keeps the dossier of a capsule with a newly signed plan, working on `disk`.
    pub(crate) async fn keep_signed(
        &self,
        disk: &Blocking,
        capsule: Arc<dyn OpenCapsule>,
        plan: Vec<u8>,
        signatures: SignaturePair,
    ) -> Result<VerifiedDossier, KeepError> {
        self.stores
            .run_on(disk, move |stores| {
                let pems = capsule.creator_pems()?;
                keep(stores, VerifiedDossier::of_capsule(&*capsule, pems, plan, signatures)?)
            })
            .await
    }

    /// Keeps the dossier of a tessera that its owner, or a reader, wants to keep alive, working on
    /// `disk`.
    pub(crate) async fn keep_dossier(
        &self,
        disk: &Blocking,
        dossier: VerifiedDossier,
    ) -> Result<VerifiedDossier, KeepError> {
        self.stores.run_on(disk, move |stores| keep(stores, dossier)).await
    }

    /// What this node's library says about a capsule.
    pub(crate) async fn own_part(&self, tessera: TesseraHash) -> Result<OwnPart, StoreError> {
        let under_way = lock(&self.tables).publishing.contains_key(&tessera);
        self.run(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok(OwnPart::default()) };
            let Publication { published, wanted, .. } = stores.holdings.publication(&tessera)?;
            let unpublished = match record.origin {
                _ if under_way || (wanted && !published) => Some(HealthState::Publishing),
                Origin::Created if !published => Some(HealthState::Local),
                Origin::Created | Origin::Fetched => None,
            };
            Ok(OwnPart { in_library: true, unpublished, is_to_tell: wanted && published })
        })
        .await
    }

    /// Remembers, until this node stops, the observed figures of a tessera.
    pub(crate) fn note_seen(&self, tessera: TesseraHash, health: &TesseraHealth) {
        let TesseraHealth { total, live, needed, survives, .. } = *health;
        let seen = Seen { checked: self.clock.now(), total, live, needed, survives };
        lock(&self.tables).seen.insert(tessera, seen);
    }

    /// The last observed figures of a tessera.
    pub(crate) fn seen(&self, tessera: TesseraHash) -> Option<Seen> {
        lock(&self.tables).seen.get(&tessera).copied()
    }

    /// When its holders were last asked for an overview.
    pub(crate) fn last_asked(&self, tessera: TesseraHash) -> Option<Instant> {
        lock(&self.tables).asked.get(&tessera).copied()
    }

    /// Records that its holders are being asked for an overview.
    pub(crate) fn note_asked(&self, tessera: TesseraHash) {
        lock(&self.tables).asked.insert(tessera, Instant::now());
    }

    /// Forgets the figures of all tesserae but these.
    pub(crate) fn retain_seen(&self, library: &BTreeSet<TesseraHash>) {
        let mut tables = lock(&self.tables);
        tables.seen.retain(|tessera, _| library.contains(tessera));
        tables.asked.retain(|tessera, _| library.contains(tessera));
    }
}

fn keep(stores: &Stores, dossier: VerifiedDossier) -> Result<VerifiedDossier, KeepError> {
    let tessera = dossier.tessera();
    match stores.holdings.put_dossier(&tessera, dossier.dossier())? {
        true => Ok(dossier),
        false => Err(KeepError::PlanConflict),
    }
}
