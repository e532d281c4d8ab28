//! The capsules of this node's owner, and the state of their publication. Uses the stores and no
//! other node.

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{MAX_MANIFEST_BYTES, Manifest, listed};
use tesseras_core::ports::{BlobReader, BlobStore, Origin, StoreError, TesseraRecord};
use tesseras_core::publication::PublicationState;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Clock;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::blocking::{Blocking, lock};
use crate::dossier::{DossierError, VerifiedDossier};
use crate::pieces::PieceSource;
use crate::policy::health::{State, TesseraHealth};
use crate::ports::{Capsules, UnpackError};
use crate::seen::Seen;
use crate::stores::Stores;
use tesseras_core::progress::Meter;

/// Why a dossier was not kept.
#[derive(Debug, Error)]
#[non_exhaustive]
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
    /// Tesserae that are being published from here, each with the signal to stop.
    publishing: BTreeMap<TesseraHash, Arc<Notify>>,
    /// The last observed figures of the capsules in the library.
    seen: BTreeMap<TesseraHash, Seen>,
    /// When the holders of each were last asked for an overview, whether they answered or not.
    asked: BTreeMap<TesseraHash, Instant>,
    /// Published tesserae whose holders have all been told so since this node started.
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

    /// A capsule and its pack; `None` if it is not here.
    pub(crate) async fn pack(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<(TesseraRecord, Arc<dyn BlobReader>)>, StoreError> {
        let capsules = self.capsules.clone();
        self.run(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok(None) };
            let pack = capsules.pack(&record)?;
            Ok(Some((record, pack)))
        })
        .await
    }

    /// Checks every byte of a capsule.
    pub(crate) async fn check(&self, record: TesseraRecord) -> Result<(), UnpackError> {
        let capsules = self.capsules.clone();
        self.disk.run(move || capsules.check(&record)).await
    }

    /// A capsule, if every byte of it is intact.
    pub(crate) async fn sound_copy(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<TesseraRecord>, StoreError> {
        let capsules = self.capsules.clone();
        self.run(move |stores| {
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

    /// Whether this node's owner created a tessera.
    pub(crate) async fn is_own(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        let record = self.run(move |stores| stores.library.get(&tessera)).await?;
        Ok(record.is_some_and(|record| record.origin == Origin::Created))
    }

    /// Removes the block on a tessera that was dropped, because it is wanted again.
    pub(crate) async fn unblock(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        self.run(move |stores| stores.holdings.unblock(&tessera)).await
    }

    /// The stored plan of a tessera.
    pub(crate) async fn plan(&self, tessera: TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |stores| stores.holdings.plan(&tessera)).await
    }

    /// Keeps the dossier of a capsule with a newly signed plan.
    pub(crate) async fn keep_signed(
        &self,
        record: TesseraRecord,
        plan: Vec<u8>,
        signatures: SignaturePair,
    ) -> Result<VerifiedDossier, KeepError> {
        let tessera = record.hash;
        self.run(move |stores| {
            let dossier = own_dossier(&*stores.blobs, &record, plan, signatures)?;
            keep(stores, VerifiedDossier::verify(dossier, &tessera)?)
        })
        .await
    }

    /// Keeps the dossier of a tessera that its owner, or a reader, wants to keep alive.
    pub(crate) async fn keep_dossier(
        &self,
        dossier: VerifiedDossier,
    ) -> Result<VerifiedDossier, KeepError> {
        self.run(move |stores| keep(stores, dossier)).await
    }

    /// Whether a capsule is in the library here, and its state while its owner has not published
    /// it. Pieces on other nodes are then the remains of a publication that was stopped.
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

/// The dossier of a capsule in the library, from its stored parts.
fn own_dossier(
    blobs: &dyn BlobStore,
    record: &TesseraRecord,
    plan: Vec<u8>,
    plan_signatures: SignaturePair,
) -> Result<Dossier, KeepError> {
    let manifest = read_all(blobs, &record.hash.into())?;
    let parsed = Manifest::parse(&manifest).map_err(DossierError::Manifest)?;
    let pem = |path| {
        let entry = parsed.file(path).ok_or(DossierError::Keys)?;
        Ok::<_, KeepError>(read_all(blobs, &entry.blake3)?)
    };
    Ok(Dossier {
        ed25519_pem: pem(listed::ED25519_PEM)?,
        ml_dsa_65_pem: pem(listed::ML_DSA_65_PEM)?,
        manifest,
        manifest_signatures: record.signatures.clone(),
        plan,
        plan_signatures,
    })
}

fn keep(stores: &Stores, dossier: VerifiedDossier) -> Result<VerifiedDossier, KeepError> {
    let tessera = dossier.tessera();
    stores.holdings.unblock(&tessera)?;
    match stores.holdings.put_dossier(&tessera, dossier.dossier())? {
        true => Ok(dossier),
        false => Err(KeepError::PlanConflict),
    }
}

/// A small stored object (a MANIFEST, a key) in memory.
fn read_all(blobs: &dyn BlobStore, hash: &ContentHash) -> Result<Vec<u8>, StoreError> {
    let reader = blobs.open(hash)?;
    if reader.bytes() > MAX_MANIFEST_BYTES {
        return Err(StoreError::Corrupt(*hash));
    }
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes)?;
    if tesseras_crypto::blake3(&bytes) == *hash {
        Ok(bytes)
    } else {
        Err(StoreError::Corrupt(*hash))
    }
}
