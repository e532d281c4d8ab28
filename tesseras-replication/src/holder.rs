//! The pieces that this node keeps for others, what it knows of their tesserae, and its limits.
//! Uses the stores and no other node.

mod kept;
mod reservation;
mod serving;

pub(crate) use kept::NotedRoster;
pub(crate) use reservation::NotAdmitted;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::lock::lock;
use tesseras_core::ports::{
    Charge, HeldPiece, HintBy, KnownHolder, Origin, PeerAt, PlacedPiece, StoreError,
};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::time::Clock;
use tesseras_crypto::{NodeKeys, blake3_of};
use tesseras_wire::codec::Refusal;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::blocking::Blocking;
use crate::dossier::{DossierError, VerifiedDossier};
use crate::messages::{AttestedPiece, LONGEST_QUEUE};
use crate::policy::admission::{self, Limits, Standing};
use crate::policy::checks::Checks;
use crate::policy::in_flight::InFlight;
use crate::policy::shown::Shown;
use crate::policy::survey::{LiveHolder, Survey};
use crate::serving_permits::{ServingPermit, ServingPermits};
use crate::stores::Stores;
use crate::tessera_lock::TesseraLock;

/// Why the stored dossier of a tessera cannot be used.
#[derive(Debug, Error)]
pub(crate) enum StoredDossierError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is damaged.
    #[error("the dossier kept here is damaged: {0}")]
    Damaged(#[from] DossierError),
    /// Its MANIFEST is missing or damaged.
    #[error("the dossier kept here is damaged: {0}")]
    Lost(StoreError),
}

/// What is recorded about a tessera's holders.
pub(crate) struct Remembered {
    /// Nodes that attested recently or were named by other holders.
    pub(crate) holders: Vec<KnownHolder>,
    /// The pieces that this node placed.
    pub(crate) placed: Vec<PlacedPiece>,
    /// The bytes of the plan that is kept here.
    pub(crate) plan: Option<Vec<u8>>,
}

/// Keeps pieces of other owners on this node.
pub struct Holder {
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) clock: Clock,
    pub(crate) disk: Blocking,
    stores: Stores,
    limits: Limits,
    tables: Mutex<Tables>,
    in_flight: Arc<Mutex<InFlight>>,
    /// Transfers that other nodes requested.
    incoming: ServingPermits,
    outgoing: ServingPermits,
    /// Permits one large dossier in memory at a time.
    large_dossiers: Arc<Semaphore>,
    /// Permits one announcement at a time.
    announcing: tokio::sync::Mutex<()>,
    /// How many damaged pieces of this node were replaced since the start.
    replaced: AtomicU64,
}

/// State that need not survive a restart.
#[derive(Default)]
struct Tables {
    /// Tesserae of which pieces were received and that were not announced since.
    unannounced: BTreeSet<TesseraHash>,
    /// Tesserae whose announcement has begun, and is not known to have succeeded.
    announcing: BTreeSet<TesseraHash>,
    /// How many holders of each tessera could be lost, as of its last repair check.
    survived: BTreeMap<TesseraHash, usize>,
    /// How the last checks of each tessera ended.
    checks: Checks,
    /// Who may say, beside those that placed them, that drafts are published.
    shown: Shown,
}

impl Holder {
    /// Keeps pieces in these stores, within limits, and serves `max_transfers` at once in each
    /// direction.
    pub(crate) fn new(
        keys: Arc<NodeKeys>,
        clock: Clock,
        disk: Blocking,
        stores: Stores,
        limits: Limits,
        max_transfers: usize,
    ) -> Self {
        Self {
            keys,
            clock,
            disk,
            stores,
            limits,
            tables: Mutex::default(),
            in_flight: Arc::default(),
            incoming: ServingPermits::new(max_transfers),
            outgoing: ServingPermits::new(max_transfers),
            large_dossiers: Arc::new(Semaphore::new(1)),
            announcing: tokio::sync::Mutex::default(),
            replaced: AtomicU64::new(0),
        }
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.keys.id()
    }

    /// This node as the peer that places a piece on itself; its neighbourhood has no limit.
    pub(crate) fn itself(&self) -> PeerAt {
        PeerAt { id: self.me(), subnet: Subnet::of(Ipv4Addr::LOCALHOST.into()) }
    }

    /// Runs store work on blocking threads.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Stores) -> T + Send + 'static) -> T {
        self.stores.run_on(&self.disk, work).await
    }

    /// The store in which bytes are staged.
    pub(crate) fn blobs(&self) -> &Arc<dyn tesseras_core::ports::BlobStore> {
        &self.stores.blobs
    }

    /// A permit to receive bytes of a request; kept until all of them have arrived.
    pub(crate) async fn permit_to_receive(&self, from: PeerAt) -> Result<ServingPermit, Refusal> {
        self.incoming.take(from, Instant::now() + LONGEST_QUEUE).await.ok_or_else(busy)
    }

    /// A permit to send the bytes of an answer; kept until all of them are sent.
    pub(crate) async fn permit_to_send(&self, to: PeerAt) -> Result<ServingPermit, Refusal> {
        self.outgoing.take(to, Instant::now() + LONGEST_QUEUE).await.ok_or_else(busy)
    }

    /// Whether any other node has a turn.
    pub(crate) fn is_transferring(&self) -> bool {
        self.incoming.are_taken() || self.outgoing.are_taken()
    }

    /// The permit to have a large dossier in memory.
    pub(crate) async fn permit_for_large_dossier(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let permit = timeout(LONGEST_QUEUE, self.large_dossiers.clone().acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or_else(busy)
    }

    /// The tesserae of which this node holds a piece.
    pub(crate) async fn held(&self) -> Result<Vec<TesseraHash>, StoreError> {
        self.run(|stores| {
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

    /// The pieces held of a tessera, including those found damaged. Reads no blob.
    pub(crate) async fn all_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        self.run(move |stores| stores.fragments.list_fragments(&tessera)).await
    }

    /// The pieces held of a tessera whose bytes are there. Reads no blob; one that is gone, or has
    /// another length, is recorded as damaged.
    pub(crate) async fn held_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        self.run(move |stores| stores.fragments.list_attestable_fragments(&tessera)).await
    }

    /// The pieces held of a tessera that were found damaged.
    pub(crate) async fn damaged_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<Piece>, StoreError> {
        self.run(move |stores| {
            let sound = stores.fragments.list_sound_fragments(&tessera)?;
            let mut held = stores.fragments.list_fragments(&tessera)?;
            held.retain(|piece| !sound.contains(piece));
            Ok(held.into_iter().map(|held| held.piece).collect())
        })
        .await
    }

    /// Whether this node holds a piece; only then does it disclose anything about a tessera.
    pub(crate) async fn is_holder(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        Ok(!self.all_pieces(tessera).await?.is_empty())
    }

    /// Whether a tessera is known here to be published.
    pub(crate) async fn is_published(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        let known = self.run(move |stores| stores.holdings.publication(&tessera)).await?;
        Ok(known.confirmed || known.published)
    }

    /// This node as a holder, from its store; `None` if it holds nothing.
    pub(crate) async fn as_live_holder(
        &self,
        tessera: TesseraHash,
        plan: Option<&[u8]>,
        addresses: Vec<std::net::SocketAddr>,
    ) -> Result<Option<LiveHolder>, StoreError> {
        let held = self.held_pieces(tessera).await?;
        let pieces: Vec<AttestedPiece> = held
            .into_iter()
            .map(|f| AttestedPiece { piece: f.piece, checksum: f.checksum })
            .collect();
        Ok((!pieces.is_empty()).then(|| LiveHolder {
            contact: Contact { id: self.me(), addresses },
            plan: plan.map(tesseras_crypto::blake3),
            pieces,
        }))
    }

    /// Records that pieces on this disk are damaged: they are no longer attested, and are accepted
    /// again from other nodes.
    pub(crate) async fn found_damaged(
        &self,
        tessera: TesseraHash,
        pieces: Vec<Piece>,
    ) -> Result<(), StoreError> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.run(move |stores| {
            for held_piece in stores.fragments.list_fragments(&tessera)? {
                if pieces.contains(&held_piece.piece) {
                    tracing::error!(%tessera, piece = %held_piece.piece, "a piece on disk is damaged");
                    stores.fragments.mark_damaged(&held_piece)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Reads every byte of the pieces held of a tessera, from the disk and not from the cache, and
    /// records which are damaged. Fails with the first piece that could not be read for another
    /// reason, after all others have been read.
    pub(crate) async fn verify_held(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        let read = self.run(move |stores| {
            let (mut damaged, mut failed) = (Vec::new(), Ok(()));
            for held in stores.fragments.list_sound_fragments(&tessera)? {
                match stores.blobs.open(&held.checksum).and_then(|blob| blake3_of(&*blob)) {
                    Ok(hash) if hash == held.checksum => {}
                    Ok(_) => damaged.push(held.piece),
                    Err(error) if error.is_damage() => damaged.push(held.piece),
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            Ok((damaged, failed))
        });
        let (damaged, failed) = read.await?;
        self.found_damaged(tessera, damaged).await?;
        failed
    }

    /// Records how many holders of a tessera could be lost now.
    pub(crate) fn note_survived(&self, tessera: TesseraHash, survives: usize) {
        lock(&self.tables).survived.insert(tessera, survives);
    }

    /// That number as of the last repair check; 0 if there was none since the start.
    pub(crate) fn last_survived(&self, tessera: &TesseraHash) -> usize {
        lock(&self.tables).survived.get(tessera).copied().unwrap_or(0)
    }

    /// How many damaged pieces of this node were replaced since the start.
    pub(crate) fn replaced_pieces(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Logs and counts how many of the damaged pieces of this node were replaced.
    pub(crate) fn note_replaced(&self, tessera: TesseraHash, replaced: usize, left: usize) {
        if replaced > 0 {
            self.replaced.fetch_add(replaced as u64, Ordering::Relaxed);
            tracing::info!(%tessera, replaced, left, "replaced damaged pieces of this node");
        }
    }

    /// Whether the next check of a tessera may end with what its recorded holders claim.
    pub(crate) fn may_end_with_claims(&self, tessera: &TesseraHash) -> bool {
        lock(&self.tables).checks.may_end_with_claims(tessera)
    }

    /// Records that a check has ended so.
    pub(crate) fn note_ended_with_claims(&self, tessera: TesseraHash) {
        lock(&self.tables).checks.ended_with_claims(tessera);
    }

    /// Records that all possible holders of a tessera were asked.
    pub(crate) fn note_surveyed(&self, tessera: TesseraHash) {
        lock(&self.tables).checks.surveyed(tessera);
    }

    /// Tesserae of which pieces were received and that were not announced since.
    pub(crate) fn unannounced(&self) -> BTreeSet<TesseraHash> {
        lock(&self.tables).unannounced.clone()
    }

    /// Those, and the tesserae whose announcement is not known to have succeeded.
    pub(crate) fn not_known_to_be_announced(&self) -> BTreeSet<TesseraHash> {
        let tables = lock(&self.tables);
        tables.unannounced.union(&tables.announcing).copied().collect()
    }

    /// Records a tessera that should be announced.
    pub(crate) fn note_to_announce(&self, tessera: TesseraHash) {
        lock(&self.tables).unannounced.insert(tessera);
    }

    /// Waits until no other announcement is under way; none begins until the result is dropped.
    pub(crate) async fn lock_announcements(&self) -> impl Drop {
        self.announcing.lock().await
    }

    /// Records that an announcement begins.
    pub(crate) fn note_announcing(&self, tesserae: &[TesseraHash]) {
        let mut tables = lock(&self.tables);
        for tessera in tesserae {
            tables.unannounced.remove(tessera);
            tables.announcing.insert(*tessera);
        }
    }

    /// Records that an announcement has ended well.
    pub(crate) fn note_announced(&self, tesserae: &[TesseraHash]) {
        lock(&self.tables).announcing.retain(|tessera| !tesserae.contains(tessera));
    }

    /// What is recorded about the holders of a tessera.
    pub(crate) async fn remembered(&self, tessera: TesseraHash) -> Result<Remembered, StoreError> {
        self.run(move |stores| {
            Ok(Remembered {
                holders: stores.holdings.known_holders(&tessera)?,
                placed: stores.holdings.placements(&tessera)?,
                plan: stores.holdings.plan(&tessera)?,
            })
        })
        .await
    }

    /// Records that a piece is sent to a node, which may hold it from now on.
    pub(crate) async fn note_sending(
        &self,
        lock: &TesseraLock,
        to: Contact,
    ) -> Result<(), StoreError> {
        let (disk, tessera, now) = (lock.on(&self.disk), lock.tessera(), self.clock.now());
        let note =
            move |stores: &Stores| stores.holdings.note_hints(&tessera, &[to], HintBy::Placer, now);
        self.stores.run_on(&disk, note).await
    }

    /// Records the result of a survey. `placed` is what this node placed: pieces that a holder
    /// itself no longer attests are removed from the ledger.
    pub(crate) async fn remember_survey(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
        gone: Vec<PlacedPiece>,
    ) -> Result<(), StoreError> {
        let (seen, now) = (survey.contacts_except(self.me()), self.clock.now());
        self.run(move |stores| {
            gone.iter().try_for_each(|p| stores.holdings.forget_placement(&tessera, p))?;
            stores.holdings.remember_holders(&tessera, &seen, now)
        })
        .await
    }

    /// Records a piece that another node keeps for this one.
    pub(crate) async fn note_placed(
        &self,
        lock: &TesseraLock,
        placed: PlacedPiece,
    ) -> Result<(), StoreError> {
        let (disk, tessera, now) = (lock.on(&self.disk), lock.tessera(), self.clock.now());
        let record =
            move |stores: &Stores| stores.holdings.record_placement(&tessera, &placed, now);
        self.stores.run_on(&disk, record).await
    }

    /// Records that a tessera of which this node holds a piece is published.
    pub(crate) async fn note_confirmed(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        let event = PublicationEvent::Confirmed;
        self.run(move |stores| stores.holdings.note_publication(&tessera, event)).await.map(|_| ())
    }

    /// The dossier kept here, verified again: a disk is not trusted either.
    pub(crate) async fn stored_dossier(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<VerifiedDossier>, StoredDossierError> {
        self.run(move |stores| {
            let dossier = match stores.holdings.dossier(&tessera) {
                Err(error) if error.is_damage() => return Err(StoredDossierError::Lost(error)),
                found => found?,
            };
            let Some(dossier) = dossier else { return Ok(None) };
            match VerifiedDossier::verify(dossier, &tessera) {
                Ok(dossier) => Ok(Some(dossier)),
                Err(error) => {
                    tracing::error!(%tessera, %error, "the dossier on disk is damaged");
                    Err(error.into())
                }
            }
        })
        .await
    }

    /// Keeps a dossier beside a piece; `false` if another plan is already kept.
    pub(crate) async fn keep_dossier(
        &self,
        lock: &TesseraLock,
        dossier: VerifiedDossier,
    ) -> Result<bool, StoreError> {
        let (disk, tessera) = (lock.on(&self.disk), dossier.tessera());
        let keep = move |stores: &Stores| stores.holdings.put_dossier(&tessera, dossier.dossier());
        self.stores.run_on(&disk, keep).await
    }

    /// Why this node must not hold a piece of a tessera, if it must not.
    pub(crate) async fn unwanted(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<&'static str>, StoreError> {
        self.run(move |stores| {
            if stores.holdings.is_blocked(&tessera)? {
                return Ok(Some("it was dropped here"));
            }
            let record = stores.library.get(&tessera)?;
            // A whole copy is already here, and would be lost together with the piece.
            let is_own = record.is_some_and(|record| record.origin == Origin::Created);
            let is_kept = is_own || stores.holdings.publication(&tessera)?.published;
            Ok(is_kept.then_some("it was created or published here"))
        })
        .await
    }

    /// Whether this node could be a holder at all: it did not create the tessera, and its owner did
    /// not drop it.
    pub(crate) async fn may_hold(&self, tessera: TesseraHash) -> bool {
        matches!(self.unwanted(tessera).await, Ok(None))
    }

    /// How many bytes of repairs this node would accept itself.
    pub(crate) async fn own_room(&self) -> u64 {
        let charge = Charge::Repair(self.itself());
        let me = self.itself();
        let standing = self.run(move |stores| {
            Ok::<_, StoreError>(Standing {
                usage: stores.ledger.usage(&me)?,
                free: stores.blobs.free_space()?,
                ..Standing::default()
            })
        });
        standing.await.map_or(0, |standing| admission::room(&charge, &standing, &self.limits))
    }
}

fn busy() -> Refusal {
    Refusal::new(Refusal::BUSY, "too many transfers at once")
}
