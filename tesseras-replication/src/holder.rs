//! What this node keeps for others: its pieces, what it knows of their tesserae, and what it would
//! take. Touches the stores and no other node.

mod kept;
mod reservation;

pub(crate) use reservation::NotAdmitted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::lock::lock;
use tesseras_core::ports::{Charge, Fragment, Origin, PlacedPiece, StoreError};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::time::Clock;
use tesseras_crypto::NodeKeys;
use tesseras_wire::codec::Refusal;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::blocking::Blocking;
use crate::dossier::{DossierError, VerifiedDossier};
use crate::messages::AttestedPiece;
use crate::policy::admission::{self, Limits, Standing};
use crate::policy::in_flight::InFlight;
use crate::policy::survey::{LiveHolder, Survey};
use crate::stores::Stores;
use crate::turns::{Turn, Turns};

/// How long a request waits for its turn before it is told that the node is busy.
const TURN: Duration = Duration::from_secs(10);

/// Why what is stored of a tessera's description cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum StoredDossierError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is damaged.
    #[error("the dossier kept here is damaged: {0}")]
    Damaged(#[from] DossierError),
}

/// What is remembered of a tessera's holders.
pub(crate) struct Remembered {
    /// Those who attested lately or were named by others, with their addresses.
    pub(crate) holders: Vec<Contact>,
    /// What this node placed.
    pub(crate) placed: Vec<PlacedPiece>,
    /// The bytes of the plan that is kept here.
    pub(crate) plan: Option<Vec<u8>>,
}

/// The keeper of other people's pieces on this node.
pub struct Holder {
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) clock: Clock,
    pub(crate) disk: Blocking,
    stores: Stores,
    limits: Limits,
    tables: Mutex<Tables>,
    in_flight: Arc<Mutex<InFlight>>,
    /// Transfers to and from others who asked for them.
    incoming: Turns,
    outgoing: Turns,
    /// One large dossier in memory at a time.
    large_dossiers: Arc<Semaphore>,
    /// One announcement at a time.
    announcing: tokio::sync::Mutex<()>,
}

/// What changes while a node runs and need not survive it.
#[derive(Default)]
struct Tables {
    /// Tesserae of which pieces came, and that were not announced since.
    unannounced: BTreeSet<TesseraHash>,
    /// How many holders of each tessera might have vanished when it was last looked after.
    survived: BTreeMap<TesseraHash, usize>,
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
            incoming: Turns::new(max_transfers),
            outgoing: Turns::new(max_transfers),
            large_dossiers: Arc::new(Semaphore::new(1)),
            announcing: tokio::sync::Mutex::default(),
        }
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.keys.id()
    }

    /// Runs store work where it may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stores) -> T + Send + 'static,
    ) -> T {
        let stores = self.stores.clone();
        self.disk.run(move || work(&stores)).await
    }

    /// Where bytes are staged.
    pub(crate) fn blobs(&self) -> &Arc<dyn tesseras_core::ports::BlobStore> {
        &self.stores.blobs
    }

    /// A turn to receive from one who asked; kept until all bytes are there.
    pub(crate) async fn turn_to_receive(&self, from: NodeId) -> Result<Turn, Refusal> {
        self.incoming.take(from, Instant::now() + TURN).await.ok_or_else(busy)
    }

    /// A turn to send to one who asked; kept until all bytes are gone.
    pub(crate) async fn turn_to_send(&self, to: NodeId) -> Result<Turn, Refusal> {
        self.outgoing.take(to, Instant::now() + TURN).await.ok_or_else(busy)
    }

    /// The turn to have a large dossier in memory.
    pub(crate) async fn turn_for_dossier(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = timeout(TURN, self.large_dossiers.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(busy)
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

    /// The pieces held of a tessera, also those that were found damaged. Reads no blob.
    pub(crate) async fn all_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<Fragment>, StoreError> {
        self.run(move |stores| stores.fragments.list_fragments(&tessera)).await
    }

    /// The pieces held of a tessera, without those that were found damaged. Reads no blob.
    pub(crate) async fn held_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<Fragment>, StoreError> {
        self.run(move |stores| stores.fragments.list_sound_fragments(&tessera)).await
    }

    /// Whether this node holds a piece: only then does it tell anything of a tessera.
    pub(crate) async fn is_holder(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        Ok(!self.all_pieces(tessera).await?.is_empty())
    }

    /// This node among the holders, by what it has stored; `None` if that is nothing.
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

    /// Notes that pieces on this disk are not what they were: they are not attested, and taken again
    /// when somebody brings them.
    pub(crate) async fn found_damaged(
        &self,
        tessera: TesseraHash,
        pieces: Vec<Piece>,
    ) -> Result<(), StoreError> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.run(move |stores| {
            for fragment in stores.fragments.list_fragments(&tessera)? {
                if pieces.contains(&fragment.piece) {
                    tracing::error!(%tessera, piece = %fragment.piece, "a piece on disk is damaged");
                    stores.fragments.mark_damaged(&fragment)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Notes how many holders of a tessera might vanish now.
    pub(crate) fn note_survived(&self, tessera: TesseraHash, survives: usize) {
        lock(&self.tables).survived.insert(tessera, survives);
    }

    /// How many that were when it was last looked after; 0 if it never was since the start.
    pub(crate) fn last_survived(&self, tessera: &TesseraHash) -> usize {
        lock(&self.tables).survived.get(tessera).copied().unwrap_or(0)
    }

    /// The tesserae of which pieces came and that were not announced since.
    pub(crate) fn unannounced(&self) -> BTreeSet<TesseraHash> {
        lock(&self.tables).unannounced.clone()
    }

    /// Notes a tessera that is to be announced.
    pub(crate) fn is_to_announce(&self, tessera: TesseraHash) {
        lock(&self.tables).unannounced.insert(tessera);
    }

    /// Waits for the turn to announce, which lasts until it is dropped.
    pub(crate) async fn turn_to_announce(&self) -> impl Drop {
        self.announcing.lock().await
    }

    /// Notes tesserae that are announced now.
    pub(crate) fn is_announced(&self, tesserae: &[TesseraHash]) {
        lock(&self.tables).unannounced.retain(|tessera| !tesserae.contains(tessera));
    }

    /// What is remembered of the holders of a tessera.
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

    /// Remembers holders of a tessera.
    pub(crate) async fn remember(
        &self,
        tessera: TesseraHash,
        holders: Vec<Contact>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.run(move |stores| stores.holdings.remember_holders(&tessera, &holders, now)).await
    }

    /// Remembers what a survey saw. `placed` is what this node placed: what a holder says itself
    /// that it has no more is no longer counted in the ledger.
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

    /// Notes what another node keeps for this one.
    pub(crate) async fn note_placed(
        &self,
        tessera: TesseraHash,
        placed: PlacedPiece,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.run(move |stores| stores.holdings.record_placement(&tessera, &placed, now)).await
    }

    /// Notes that a tessera of which this node holds a piece is published.
    pub(crate) async fn note_confirmed(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        let event = PublicationEvent::Confirmed;
        self.run(move |stores| stores.holdings.note_publication(&tessera, event)).await.map(|_| ())
    }

    /// The dossier kept here, checked again: a disk is not trusted either.
    pub(crate) async fn stored_dossier(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<VerifiedDossier>, StoredDossierError> {
        self.run(move |stores| {
            let Some(dossier) = stores.holdings.dossier(&tessera)? else { return Ok(None) };
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

    /// Keeps a dossier beside a piece; `false` if another plan is kept already.
    pub(crate) async fn keep_dossier(&self, dossier: VerifiedDossier) -> Result<bool, StoreError> {
        let tessera = dossier.tessera();
        self.run(move |stores| stores.holdings.put_dossier(&tessera, dossier.dossier())).await
    }

    /// Why this node may hold no piece of a tessera, if it may not.
    pub(crate) async fn unwanted(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<&'static str>, StoreError> {
        self.run(move |stores| {
            if stores.holdings.is_blocked(&tessera)? {
                return Ok(Some("it was dropped here"));
            }
            let record = stores.library.get(&tessera)?;
            // A whole copy is here already, and would be lost with the piece.
            let is_own = record.is_some_and(|record| record.origin == Origin::Created);
            let is_kept = is_own || stores.holdings.publication(&tessera)?.published;
            Ok(is_kept.then_some("it was made or published here"))
        })
        .await
    }

    /// Whether this node could be a holder at all: it did not make the tessera, and its owner did
    /// not drop it.
    pub(crate) async fn may_hold(&self, tessera: TesseraHash) -> bool {
        matches!(self.unwanted(tessera).await, Ok(None))
    }

    /// How many bytes of repairs this node would take itself.
    pub(crate) async fn own_room(&self, subnet: Subnet) -> u64 {
        let standing = self.run(move |stores| {
            Ok::<_, StoreError>(Standing {
                usage: stores.ledger.usage(&subnet)?,
                free: stores.blobs.free_bytes()?,
                ..Standing::default()
            })
        });
        standing
            .await
            .map_or(0, |standing| admission::room(&Charge::Repair, &standing, &self.limits))
    }
}

fn busy() -> Refusal {
    Refusal::new(Refusal::BUSY, "too many transfers at once")
}
