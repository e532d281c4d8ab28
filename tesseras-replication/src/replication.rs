//! One node's replication: its collaborators, and for each flow what it may touch of them.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::StoreError;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Clock;
use tesseras_crypto::NodeKeys;
use tesseras_wire::{Body, BoxStream, Peer, Response, SharedMemory, Transport};

use crate::announce::announce_unannounced;
use crate::blocking::{Blocking, BlockingPool};
use crate::bulk::{CHUNK, CHUNKS_IN_FLIGHT};
use crate::clock::{ClockOff, check_clock};
use crate::fetch::{FetchError, Fetched, Fetcher};
use crate::holder::Holder;
use crate::library::Library;
use crate::overview::Glance;
use crate::peers::{Deadlines, Peers, Way};
use crate::policy::admission::Limits;
use crate::policy::hedging::Requests;
use crate::ports::{Capsules, Directory};
use crate::publication::{self, PublicationReport};
use crate::publish::{PublishError, Published, Publisher, SignedPlan};
use crate::repair::{RepairError, Repaired, Repairer};
use crate::service::Service;
use crate::status::{Asking, StatusError, TesseraHealth};
use crate::stores::Stores;
use crate::workshop::Workshop;
use tesseras_core::progress::OnProgress;

/// Transfers in each direction that a task begins at once, by default; as many again that others
/// asked for.
pub const DEFAULT_MAX_TRANSFERS: usize = 4;
/// The most transfers in each direction that can be configured.
pub const MAX_TRANSFERS: usize = 4;

/// How much may be asked twice in vain, by default, in percent of all requests.
pub const DEFAULT_HEDGE_PERCENT: u8 = 10;

/// In each direction: what this node begins, as much again in place of what is late, and what
/// others asked for.
const _: () = assert!(
    2 * 3 * MAX_TRANSFERS * CHUNK * CHUNKS_IN_FLIGHT <= 16 << 20,
    "promise: bounded memory"
);

/// The settings of replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// What is offered to others.
    pub limits: Limits,
    /// Transfers in each direction at once; 1 to [`MAX_TRANSFERS`].
    pub max_transfers: usize,
    /// How many of all requests may be sent in place of late ones that then came after all, in
    /// percent; 0 waits for what is late until it fails.
    pub hedge_percent: u8,
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
    /// The way to other nodes, which remembers who was silent.
    pub transport: Arc<dyn Transport>,
    /// What it remembers.
    pub memory: SharedMemory,
    /// The way to find them.
    pub directory: Arc<dyn Directory>,
    /// The date.
    pub clock: Clock,
    /// Where nonces come from; seeded by the one who starts the node.
    pub rng: StdRng,
    /// Where work that blocks on a disk runs.
    pub blocking: Arc<dyn BlockingPool>,
}

/// The replication of one node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Replication(Arc<Collaborators>);

/// What the flows work with. Each flow is given only those that it names.
struct Collaborators {
    peers: Peers,
    holder: Holder,
    library: Library,
    workshop: Workshop,
    directory: Arc<dyn Directory>,
    stores: Stores,
}

impl Replication {
    /// Puts one node's replication together.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, keys, stores, capsules, transport, memory, .. } = parts;
        let Parts { directory, clock, rng, blocking, .. } = parts;
        let disk = Blocking::on(blocking);
        let transfers = config.max_transfers.clamp(1, MAX_TRANSFERS);
        let deadlines =
            Deadlines { answer: config.answer_deadline, transfer: config.transfer_deadline };
        let (limits, reserve) = (config.limits, config.limits.min_free_space);
        Self(Arc::new(Collaborators {
            peers: Peers::new(Way {
                keys: keys.clone(),
                transport,
                memory,
                clock: clock.clone(),
                rng,
                deadlines,
                max_transfers: transfers,
                hedge_percent: config.hedge_percent,
            }),
            holder: Holder::new(
                keys,
                clock.clone(),
                disk.clone(),
                stores.clone(),
                limits,
                transfers,
            ),
            library: Library::new(clock.clone(), disk.clone(), stores.clone(), capsules),
            workshop: Workshop::new(clock, disk, stores.clone(), reserve),
            directory,
            stores,
        }))
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.0.peers.me()
    }

    /// What was asked of other nodes since the start.
    pub fn requests(&self) -> Requests {
        self.0.peers.requests()
    }

    /// The stores it works on.
    pub fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// Answers a request of another node; `None` if its kind belongs to somebody else.
    pub async fn serve(
        &self,
        peer: Peer,
        kind: &str,
        frame: &[u8],
        body: Body,
    ) -> Option<Response> {
        let Collaborators { peers, holder, directory, .. } = &*self.0;
        Service { peers, holder, directory: &**directory }.serve(peer, kind, frame, body).await
    }

    /// The plan of a capsule in the library, for its creator to sign; one that was signed before is
    /// returned as it is.
    pub async fn draft_plan(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Vec<u8>, PublishError> {
        self.publisher().draft_plan(tessera, on_progress).await
    }

    /// Places a capsule of the library on other nodes, by a plan that was signed just now.
    pub async fn publish(
        &self,
        tessera: TesseraHash,
        plan: Vec<u8>,
        signatures: SignaturePair,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        let signed = SignedPlan { plan, signatures };
        self.publisher().publish(tessera, Some(signed), on_progress).await
    }

    /// Places a capsule of the library on other nodes, by the signed plan that is kept here or that
    /// its holders keep.
    pub async fn publish_signed(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        self.publisher().publish(tessera, None, on_progress).await
    }

    /// Publishes in the background from now on, until it is done or stopped. The plan and its
    /// signatures are needed unless a dossier is kept already.
    pub async fn publish_later(
        &self,
        tessera: TesseraHash,
        signed: Option<(Vec<u8>, SignaturePair)>,
    ) -> Result<PublicationReport, PublishError> {
        let signed = signed.map(|(plan, signatures)| SignedPlan { plan, signatures });
        self.publisher().publish_later(tessera, signed).await?;
        Ok(publication::publication(&self.0.library, tessera).await?)
    }

    /// Stops a publication; one under way ends, and none in the background goes on. With `unpublish`, a finished one ends as
    /// well.
    pub async fn stop_publication(
        &self,
        tessera: TesseraHash,
        unpublish: bool,
    ) -> Result<PublicationReport, StoreError> {
        self.publisher().stop(tessera, unpublish).await
    }

    /// The tesserae that this node goes on publishing in the background.
    pub async fn publishing(&self) -> Result<Vec<TesseraHash>, StoreError> {
        Ok(self.0.library.known_as(|known| known.wanted).await?.into_iter().collect())
    }

    /// How far a tessera is published, as far as this node knows.
    pub async fn publication(&self, tessera: TesseraHash) -> Result<PublicationReport, StoreError> {
        publication::publication(&self.0.library, tessera).await
    }

    /// Brings a tessera into the library. An interrupted fetch goes on with the pieces it has.
    pub async fn fetch(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        let fetcher = Fetcher { peers, holder, library, workshop, directory: &**directory };
        fetcher.fetch(tessera, on_progress).await
    }

    /// Looks after one tessera: asks its holders, and brings back what is missing.
    pub async fn repair(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Repaired, RepairError> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        let repairer = Repairer { peers, holder, library, workshop, directory: &**directory };
        repairer.repair(tessera, on_progress).await
    }

    /// Looks after many tesserae, several at once, the endangered first; tells of each as soon as it
    /// is done.
    pub fn repair_each(
        &self,
        tesserae: Vec<TesseraHash>,
        on_progress: OnProgress,
    ) -> BoxStream<'_, (TesseraHash, Result<Repaired, RepairError>)> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        let repairer = Repairer { peers, holder, library, workshop, directory: &**directory };
        repairer.repair_each(tesserae, on_progress)
    }

    /// How a tessera is now; `None` if no record of it is found anywhere.
    pub async fn status(&self, tessera: TesseraHash) -> Result<Option<TesseraHealth>, StatusError> {
        self.asking().status(tessera).await
    }

    /// Every capsule of the library at a glance; waits as long as `patience` for holders.
    pub async fn overview(&self, patience: Duration) -> Result<Vec<Glance>, StoreError> {
        self.asking().overview(patience).await
    }

    /// The tesserae of which this node holds a piece.
    pub async fn held(&self) -> Result<Vec<TesseraHash>, StoreError> {
        self.0.holder.held().await
    }

    /// The tesserae of which this node holds a piece and that are published.
    pub async fn published_holdings(&self) -> Result<Vec<TesseraHash>, StoreError> {
        publication::published_holdings(&self.0.holder, &self.0.library).await
    }

    /// The tesserae that this node looks after.
    pub async fn looked_after(&self) -> Result<Vec<TesseraHash>, StoreError> {
        publication::looked_after(&self.0.holder, &self.0.library).await
    }

    /// Announces all tesserae of which pieces came here and that nobody asked to announce since;
    /// returns how many.
    pub async fn announce_unannounced(&self) -> usize {
        announce_unannounced(&self.0.holder, &*self.0.directory).await
    }

    /// Fails if this node's clock seems wrong, by what its peers say.
    pub async fn check_clock(&self) -> Result<(), ClockOff> {
        check_clock(&*self.0.directory).await
    }

    fn publisher(&self) -> Publisher<'_> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        Publisher { peers, holder, library, workshop, directory: &**directory }
    }

    fn asking(&self) -> Asking<'_> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        Asking { peers, holder, library, workshop, directory: &**directory }
    }
}
