//! The capsules of this node's owner, and how far each is published. Touches the stores and no
//! other node.

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{Origin, StoreError, TesseraRecord};
use tesseras_core::publication::PublicationState;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Clock;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::dossier::{DossierError, VerifiedDossier};
use crate::pieces::PieceSource;
use crate::policy::health::{State, TesseraHealth};
use crate::ports::{Capsules, OpenCapsule, UnpackError};
use crate::seen::Seen;
use crate::stores::Stores;
use tesseras_core::progress::Meter;

/// The longest MANIFEST of a capsule that is set aside between two requests, in bytes. With what
/// follows from it, that takes about 5 MiB of memory.
const MAX_SET_ASIDE: usize = 1024 * 1024;

/// Why a dossier was not kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum KeepError {
    /// What is stored here, or the plan, does not hold.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// A plan is kept already, and this is another one.
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

/// What changes while a node runs and need not survive it.
#[derive(Default)]
struct Tables {
    /// A capsule whose plan was drafted, and which is likely to be published next.
    drafted: Option<Arc<dyn OpenCapsule>>,
    /// Tesserae that are being published from here, and how each is told to stop.
    publishing: BTreeMap<TesseraHash, Arc<Notify>>,
    /// What was last seen of the capsules in the library.
    seen: BTreeMap<TesseraHash, Seen>,
    /// When the holders of those were last asked for an overview, whether they answered or not.
    asked: BTreeMap<TesseraHash, Instant>,
    /// Published tesserae whose holders were all told so since this node started.
    confirmed: BTreeSet<TesseraHash>,
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
        let stores = self.stores.clone();
        self.disk.run(move || work(&stores)).await
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

    /// A capsule, if every byte of it is sound.
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
                Err(UnpackError::Store(error @ StoreError::Full { .. })) => Err(error),
                Err(error) => {
                    tracing::warn!(%tessera, %error, "the copy in the library is damaged");
                    Ok(None)
                }
            }
        })
        .await
    }

    /// Adds the capsule whose pack is at hand.
    pub(crate) async fn unpack(
        &self,
        tessera: TesseraHash,
        source: PieceSource,
        count: Meter,
    ) -> Result<TesseraRecord, UnpackError> {
        let capsules = self.capsules.clone();
        self.disk
            .run(move || {
                let pack = source.pack()?;
                capsules.unpack(&tessera, pack, &count)
            })
            .await
    }

    /// Whether this node's owner made a tessera.
    pub(crate) async fn is_own(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        let record = self.run(move |stores| stores.library.get(&tessera)).await?;
        Ok(record.is_some_and(|record| record.origin == Origin::Created))
    }

    /// A tessera is wanted here again, after it may have been dropped.
    pub(crate) async fn unblock(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        self.run(move |stores| stores.holdings.unblock(&tessera)).await
    }

    /// The plan that is kept of a tessera.
    pub(crate) async fn plan(&self, tessera: TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |stores| stores.holdings.plan(&tessera)).await
    }

    /// Keeps the dossier of a capsule under a plan that was signed just now.
    pub(crate) async fn keep_signed(
        &self,
        capsule: Arc<dyn OpenCapsule>,
        plan: Vec<u8>,
        signatures: SignaturePair,
    ) -> Result<VerifiedDossier, KeepError> {
        self.run(move |stores| {
            let pems = capsule.creator_pems()?;
            keep(stores, VerifiedDossier::of_capsule(&*capsule, pems, plan, signatures)?)
        })
        .await
    }

    /// Keeps a dossier of a tessera that its owner, or a reader of it, wants to be kept alive.
    pub(crate) async fn keep_dossier(
        &self,
        dossier: VerifiedDossier,
    ) -> Result<VerifiedDossier, KeepError> {
        self.run(move |stores| keep(stores, dossier)).await
    }

    /// Whether a capsule is in the library here, and its state while its owner has not published
    /// it. What others hold of it then is what was placed before a publication was stopped.
    pub(crate) async fn own_part(
        &self,
        tessera: TesseraHash,
    ) -> Result<(bool, Option<State>), StoreError> {
        let under_way = lock(&self.tables).publishing.contains_key(&tessera);
        self.run(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok((false, None)) };
            let state = match stores.holdings.publication(&tessera)?.state() {
                _ if under_way => Some(State::Publishing),
                PublicationState::Publishing => Some(State::Publishing),
                PublicationState::Local if record.origin == Origin::Created => Some(State::Local),
                PublicationState::Local | PublicationState::Published => None,
            };
            Ok((true, state))
        })
        .await
    }

    /// Remembers, until this node stops, what was seen of a tessera.
    pub(crate) fn note_seen(&self, tessera: TesseraHash, health: &TesseraHealth) {
        let TesseraHealth { total, live, needed, survives, .. } = *health;
        let seen = Seen { checked: self.clock.now(), total, live, needed, survives };
        lock(&self.tables).seen.insert(tessera, seen);
    }

    /// What was last seen of a tessera.
    pub(crate) fn seen(&self, tessera: TesseraHash) -> Option<Seen> {
        lock(&self.tables).seen.get(&tessera).copied()
    }

    /// When its holders were last asked for an overview.
    pub(crate) fn last_asked(&self, tessera: TesseraHash) -> Option<Instant> {
        lock(&self.tables).asked.get(&tessera).copied()
    }

    /// Notes that its holders are being asked for an overview.
    pub(crate) fn note_asked(&self, tessera: TesseraHash) {
        lock(&self.tables).asked.insert(tessera, Instant::now());
    }

    /// Forgets what was seen of all other tesserae than these.
    pub(crate) fn retain_seen(&self, library: &BTreeSet<TesseraHash>) {
        let mut tables = lock(&self.tables);
        tables.seen.retain(|tessera, _| library.contains(tessera));
        tables.asked.retain(|tessera, _| library.contains(tessera));
    }
}

fn keep(stores: &Stores, dossier: VerifiedDossier) -> Result<VerifiedDossier, KeepError> {
    let tessera = dossier.tessera();
    stores.holdings.unblock(&tessera)?;
    match stores.holdings.put_dossier(&tessera, dossier.dossier())? {
        true => Ok(dossier),
        false => Err(KeepError::PlanConflict),
    }
}
