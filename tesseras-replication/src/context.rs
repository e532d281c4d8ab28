//! What every part of replication works with: stores, transport, directory, clock, limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    BlobReader, BlobStore, Fragment, FragmentStore, HoldingRepository, ReciprocityLedger,
    StoreError, TesseraRecord, TesseraRepository, Workbench,
};
use tesseras_core::time::{Clock, ClockOffset, Timestamp};
use tesseras_crypto::NodeKeys;
use tesseras_wire::{BoxFuture, Transport};
use thiserror::Error;
use tokio::sync::{Notify, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::admission::Limits;
use crate::blocking::{Blocking, BlockingPool};
use crate::bulk::{CHUNK, CHUNKS_IN_FLIGHT};
use crate::in_flight::InFlight;
use crate::pieces::PieceSource;
use crate::seen::Seen;

/// Transfers in each direction at once, by default.
pub const DEFAULT_MAX_TRANSFERS: usize = 4;
/// The most transfers in each direction that can be configured.
pub const MAX_TRANSFERS: usize = 4;

const _: () =
    assert!(2 * MAX_TRANSFERS * CHUNK * CHUNKS_IN_FLIGHT <= 16 << 20, "promise: bounded memory");

/// The stores of one node.
#[derive(Clone)]
pub struct Stores {
    /// Content-addressed bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Pieces of unfinished tasks.
    pub workbench: Arc<dyn Workbench>,
    /// The capsules of this node's owner.
    pub library: Arc<dyn TesseraRepository>,
    /// The pieces held for others.
    pub fragments: Arc<dyn FragmentStore>,
    /// Dossiers, holders, placements.
    pub holdings: Arc<dyn HoldingRepository>,
    /// Who stores how much for whom.
    pub ledger: Arc<dyn ReciprocityLedger>,
}

impl Stores {
    /// The pieces of a plan that are at hand here; see [`PieceSource::new`].
    pub(crate) fn pieces(
        &self,
        plan: Plan,
        whole: Option<Arc<dyn BlobReader>>,
    ) -> Result<PieceSource, StoreError> {
        PieceSource::new(plan, self.blobs.clone(), self.workbench.clone(), whole)
    }
}

/// Capsules as packs, and packs as capsules: the port to the part that knows their form on disk.
pub trait Capsules: Send + Sync + 'static {
    /// The pack of a capsule in the library, read from its stored files.
    fn pack(&self, record: &TesseraRecord) -> Result<Arc<dyn BlobReader>, StoreError>;

    /// Checks every byte of a capsule in the library: only what is sound may be published.
    fn check(&self, record: &TesseraRecord) -> Result<(), UnpackError>;

    /// Checks every byte of a pack and adds its capsule to the library. `on_bytes` is called with
    /// each number of bytes done.
    fn unpack(
        &self,
        tessera: &TesseraHash,
        pack: Arc<dyn BlobReader>,
        on_bytes: &mut dyn FnMut(u64),
    ) -> Result<TesseraRecord, UnpackError>;
}

/// Why a pack did not become a capsule.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The pack is not that of the tessera.
    #[error("the pack is not what it claims to be: {0}")]
    Invalid(String),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The port to the part that finds nodes and announces holders.
pub trait Directory: Send + Sync + 'static {
    /// Nodes that say they hold what is announced at a key. Hints.
    fn find_holders(&self, key: DhtKey) -> BoxFuture<'_, Vec<Contact>>;

    /// Nodes that were reached, nearest to the key first: as many as are wanted, or all that can
    /// be found.
    fn candidates(&self, key: DhtKey, wanted: usize) -> BoxFuture<'_, Vec<Contact>>;

    /// Where a node is now, if it can be found.
    fn resolve(&self, id: NodeId) -> BoxFuture<'_, Option<Contact>>;

    /// Announces this node as a holder at these keys; returns when it is done.
    fn announce(&self, keys: Vec<DhtKey>) -> BoxFuture<'_, ()>;

    /// The addresses at which this node was reached by others.
    fn own_addresses(&self) -> Vec<std::net::SocketAddr>;

    /// How far this node's clock is from its peers', if that is more than they tolerate. `None`
    /// if it is not, and also while too few peers have said their date to tell.
    fn clock_offset(&self) -> BoxFuture<'_, Option<ClockOffset>>;
}

/// The settings of replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// What is offered to others.
    pub limits: Limits,
    /// Transfers in each direction at once; 1 to [`MAX_TRANSFERS`].
    pub max_transfers: usize,
    /// How long to wait for a short answer, connecting included.
    pub answer_deadline: Duration,
    /// How long a transfer may stand still.
    pub transfer_deadline: Duration,
}

/// The parts that one node's replication is made of.
pub struct Parts {
    /// The settings.
    pub config: ReplicationConfig,
    /// Who this node is.
    pub keys: Arc<NodeKeys>,
    /// Its stores.
    pub stores: Stores,
    /// Its capsules.
    pub capsules: Arc<dyn Capsules>,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
    /// The way to find them.
    pub directory: Arc<dyn Directory>,
    /// The date.
    pub clock: Clock,
    /// Where nonces come from; seeded by whoever starts the node.
    pub rng: StdRng,
    /// Where work that blocks on a disk runs.
    pub blocking: Arc<dyn BlockingPool>,
}

/// The replication of one node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Replication {
    pub(crate) parts: Arc<Parts>,
    pub(crate) state: Arc<State>,
}

/// What changes while a node runs and need not survive it.
pub(crate) struct State {
    pub(crate) transfers_in: Arc<Semaphore>,
    pub(crate) transfers_out: Arc<Semaphore>,
    /// One large dossier in memory at a time.
    pub(crate) large_dossiers: Arc<Semaphore>,
    /// One pack encoded or rebuilt at a time.
    pub(crate) coding: Arc<Semaphore>,
    rng: Mutex<StdRng>,
    pub(crate) disk: Blocking,
    tables: Mutex<Tables>,
}

#[derive(Default)]
pub(crate) struct Tables {
    /// Bytes that are being received.
    pub(crate) in_flight: InFlight,
    /// Tesserae that are worked on, one task at a time each.
    working: BTreeMap<TesseraHash, Arc<tokio::sync::Mutex<()>>>,
    /// Tesserae of which pieces came, and that were not announced since.
    pub(crate) unannounced: BTreeSet<TesseraHash>,
    /// Held pieces that were found damaged when they were read: they are not attested, and taken
    /// again when somebody brings them.
    pub(crate) damaged: BTreeSet<(TesseraHash, Piece)>,
    /// Tesserae that are being published from here, and how each is told to stop.
    pub(crate) publishing: BTreeMap<TesseraHash, Arc<Notify>>,
    /// What was last seen of the capsules in the library.
    pub(crate) seen: BTreeMap<TesseraHash, Seen>,
    /// When the holders of those were last asked for an overview, whether they answered or not.
    pub(crate) asked: BTreeMap<TesseraHash, Instant>,
    /// Published tesserae whose holders were all told so since this node started.
    pub(crate) confirmed: BTreeSet<TesseraHash>,
}

impl Replication {
    /// Puts one node's replication together.
    pub fn new(mut parts: Parts) -> Self {
        let transfers = parts.config.max_transfers.clamp(1, MAX_TRANSFERS);
        let state = State {
            transfers_in: Arc::new(Semaphore::new(transfers)),
            transfers_out: Arc::new(Semaphore::new(transfers)),
            large_dossiers: Arc::new(Semaphore::new(1)),
            coding: Arc::new(Semaphore::new(1)),
            rng: Mutex::new(StdRng::from_rng(&mut parts.rng)),
            disk: Blocking::on(parts.blocking.clone()),
            tables: Mutex::default(),
        };
        Self { parts: Arc::new(parts), state: Arc::new(state) }
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.parts.keys.id()
    }

    /// The stores it works on.
    pub fn stores(&self) -> &Stores {
        &self.parts.stores
    }

    /// A turn to receive; kept until all bytes are there.
    pub(crate) async fn transfer_in(&self) -> OwnedSemaphorePermit {
        let turn = self.state.transfers_in.clone().acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }

    /// A turn to send; kept until all bytes are gone.
    pub(crate) async fn transfer_out(&self) -> OwnedSemaphorePermit {
        let turn = self.state.transfers_out.clone().acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }

    /// Waits until nobody else works on a tessera (publishes, fetches or repairs it) on this node.
    pub(crate) async fn work_on(&self, tessera: TesseraHash) -> OwnedMutexGuard<()> {
        let lock = {
            let mut tables = self.tables();
            tables.working.retain(|_, lock| Arc::strong_count(lock) > 1);
            tables.working.entry(tessera).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// The pieces held of a tessera, without those that were found damaged. Reads no blob.
    pub(crate) async fn held_pieces(
        &self,
        tessera: TesseraHash,
    ) -> Result<Vec<Fragment>, StoreError> {
        let mut held = self.blocking(move |s| s.fragments.list_fragments(&tessera)).await?;
        let tables = self.tables();
        held.retain(|fragment| !tables.damaged.contains(&(tessera, fragment.piece)));
        Ok(held)
    }

    /// Notes that pieces on this disk are not what they were.
    pub(crate) fn found_damaged(
        &self,
        tessera: TesseraHash,
        pieces: impl IntoIterator<Item = Piece>,
    ) {
        let mut tables = self.tables();
        for piece in pieces {
            tracing::error!(%tessera, %piece, "a piece on disk is damaged");
            tables.damaged.insert((tessera, piece));
        }
    }

    /// Whether a piece on this disk was found to be not what it was.
    pub(crate) fn is_damaged(&self, tessera: TesseraHash, piece: Piece) -> bool {
        self.tables().damaged.contains(&(tessera, piece))
    }

    /// Notes that a piece was stored anew, from bytes that were hashed on the way.
    pub(crate) fn stored_anew(&self, tessera: TesseraHash, piece: Piece) {
        self.tables().damaged.remove(&(tessera, piece));
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// 32 bytes that nobody foresees.
    pub(crate) fn nonce(&self) -> [u8; 32] {
        self.state.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic while it was held left at worst a reservation too many.
        self.state.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs store work on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stores) -> T + Send + 'static,
    ) -> T {
        let stores = self.parts.stores.clone();
        self.state.disk.run(move || work(&stores)).await
    }
}
