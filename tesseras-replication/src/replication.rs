//! One node's replication: its collaborators, and which of them each flow may use.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::lock::lock;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{RepairRecord, StoreError};
use tesseras_core::publication::PublicationStop;
use tesseras_core::time::Clock;
use tesseras_crypto::NodeKeys;
use tesseras_wire::{Body, BoxStream, Peer, Response, SharedMemory, Transport};

use crate::announce::announce_unannounced;
use crate::blocking::{Blocking, BlockingPool};
use crate::clock::{ClockOff, check_clock};
use crate::config::{MAX_TRANSFERS, ReplicationConfig};
use crate::fetch::{FetchError, Fetched, Fetcher, Purpose};
use crate::holder::Holder;
use crate::library::Library;
use crate::overview::Glance;
use crate::peers::{Deadlines, Peers, PeersConfig};
use crate::policy::agenda::Agenda;
use crate::policy::hedging::Requests;
use crate::policy::routine::RepairConfig;
use crate::policy::steward::Turn;
use crate::ports::{Capsules, Directory};
use crate::publication::{self, PublicationReport};
use crate::publish::{PublishError, Published, Publisher};
use crate::repair::{Occasion, RepairError, Repaired, Repairer};
use crate::service::Service;
use crate::status::{Asking, StatusError, TesseraHealth};
use crate::stores::Stores;
use crate::throttle::Throttle;
use crate::workshop::Workshop;
use tesseras_core::progress::{OnProgress, silent};

/// The parts that one node's replication is made of.
pub struct Parts {
    /// The settings.
    pub config: ReplicationConfig,
    /// This node's keys.
    pub keys: Arc<NodeKeys>,
    /// Its stores.
    pub stores: Stores,
    /// Its capsules.
    pub capsules: Arc<dyn Capsules>,
    /// The transport to other nodes, which remembers silent ones.
    pub transport: Arc<dyn Transport>,
    /// The peers that were silent lately.
    pub memory: SharedMemory,
    /// How to find nodes.
    pub directory: Arc<dyn Directory>,
    /// The wall clock.
    pub clock: Clock,
    /// The source of nonces; seeded by the code that starts the node.
    pub rng: StdRng,
    /// Runs work that blocks on a disk.
    pub blocking: Arc<dyn BlockingPool>,
}

/// The replication of one node. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Replication(Arc<Collaborators>);

/// The collaborators of the flows. Each flow gets only those in its signature.
struct Collaborators {
    peers: Peers,
    holder: Holder,
    library: Library,
    workshop: Workshop,
    directory: Arc<dyn Directory>,
    stores: Stores,
    throttle: Throttle,
    repair: RepairConfig,
    agenda: Mutex<Agenda>,
}

impl Replication {
    /// Builds one node's replication.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, keys, stores, capsules, transport, memory, .. } = parts;
        let Parts { directory, clock, rng, blocking, .. } = parts;
        let disk = Blocking::on(blocking);
        let transfers = config.max_transfers.clamp(1, MAX_TRANSFERS);
        let deadlines =
            Deadlines { answer: config.answer_deadline, transfer: config.transfer_deadline };
        let (limits, reserve) = (config.limits, config.limits.min_free_space);
        Self(Arc::new(Collaborators {
            peers: Peers::new(PeersConfig {
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
            throttle: Throttle::new(config.repair.bandwidth),
            repair: config.repair,
            agenda: Mutex::default(),
        }))
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.0.peers.me()
    }

    /// Counts of the requests to other nodes since the start.
    pub fn requests(&self) -> Requests {
        self.0.peers.hedges().counts()
    }

    /// The stores it works on.
    pub fn stores(&self) -> &Stores {
        &self.0.stores
    }

    /// Answers a request of another node; `None` if its kind belongs to another service.
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
    /// returned unchanged.
    pub async fn draft_plan(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Vec<u8>, PublishError> {
        self.publisher().draft_plan(tessera, on_progress).await
    }

    /// Places a capsule of the library on other nodes, by a newly signed plan.
    pub async fn publish(
        &self,
        tessera: TesseraHash,
        signed: SignedPlan,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        self.publisher().publish(tessera, Some(signed), on_progress).await
    }

    /// Places a capsule of the library on other nodes, by the signed plan that is kept here or by
    /// its holders.
    pub async fn publish_signed(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        self.publisher().publish(tessera, None, on_progress).await
    }

    /// Publishes in the background from now on, until it is done or stopped. The plan and its
    /// signatures are required unless a dossier is already kept.
    pub async fn publish_later(
        &self,
        tessera: TesseraHash,
        signed: Option<SignedPlan>,
    ) -> Result<PublicationReport, PublishError> {
        self.publisher().publish_later(tessera, signed).await?;
        Ok(publication::publication(&self.0.library, tessera).await?)
    }

    /// Stops a publication; one in progress ends, and none continues in the background.
    /// `how` says what else ends.
    pub async fn stop_publication(
        &self,
        tessera: TesseraHash,
        how: PublicationStop,
    ) -> Result<PublicationReport, StoreError> {
        self.publisher().stop(tessera, how).await
    }

    /// The tesserae that this node is publishing in the background.
    pub async fn publishing(&self) -> Result<Vec<TesseraHash>, StoreError> {
        Ok(self.0.library.known_as(|known| known.wanted).await?.into_iter().collect())
    }

    /// The publication state of a tessera, as far as this node knows.
    pub async fn publication(&self, tessera: TesseraHash) -> Result<PublicationReport, StoreError> {
        publication::publication(&self.0.library, tessera).await
    }

    /// Fetches a tessera into the library. An interrupted fetch continues with the pieces it has.
    pub async fn fetch(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        self.fetcher().fetch(tessera, Purpose::Asked, on_progress).await
    }

    /// Fetches a capsule of the library again that is damaged. [`FetchError::Dropped`] if it was
    /// dropped, at any time before the end; it stays dropped.
    pub async fn mend_capsule(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Fetched, FetchError> {
        self.fetcher().fetch(tessera, Purpose::Mending, on_progress).await
    }

    /// Repairs one tessera: surveys its holders, and replaces what is missing, at once.
    pub async fn repair(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Repaired, RepairError> {
        self.repairer().repair(tessera, Occasion::Asked, on_progress).await
    }

    /// Repairs many tesserae at once, several concurrently, the most endangered first; returns each
    /// result as soon as it is done.
    pub fn repair_each(
        &self,
        tesserae: Vec<TesseraHash>,
        on_progress: OnProgress,
    ) -> BoxStream<'_, (TesseraHash, Result<Repaired, RepairError>)> {
        self.repairer().repair_each(tesserae, Occasion::Asked, on_progress)
    }

    /// Looks at many tesserae in the same way, by the settings of routine repairs. Those that are not
    /// urgent are only checked; they wait for their turn, in [`Replication::repair_postponed`].
    pub fn repair_round(
        &self,
        tesserae: Vec<TesseraHash>,
    ) -> BoxStream<'_, (TesseraHash, Result<Repaired, RepairError>)> {
        self.repairer().repair_each(tesserae, Occasion::Round, silent())
    }

    /// Repairs the tesserae that wait for it and whose turn has come, within the bandwidth for
    /// repairs, until none is left; returns each result as soon as it is done.
    pub fn repair_postponed(&self) -> BoxStream<'_, (TesseraHash, Result<Repaired, RepairError>)> {
        self.repairer().repair_postponed()
    }

    /// The turn that the repair of a tessera waits for, if it does.
    pub fn postponed(&self, tessera: &TesseraHash) -> Option<Turn> {
        lock(&self.0.agenda).waiting(tessera)
    }

    /// The last repair of a tessera by this node, or by one that gave it pieces.
    pub async fn last_repair(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<RepairRecord>, StoreError> {
        self.0.holder.last_repair(tessera).await
    }

    /// Whether other nodes, or the owner of this one, wait for a transfer that goes on now.
    pub fn is_transferring(&self) -> bool {
        self.0.holder.is_transferring() || self.0.peers.is_transferring()
    }

    /// How many bytes repairs of this node have transferred since the start, in both directions.
    pub fn repair_bytes(&self) -> u64 {
        self.0.throttle.moved()
    }

    /// How many damaged pieces of this node repairs have replaced since the start.
    pub fn replaced_pieces(&self) -> u64 {
        self.0.holder.replaced_pieces()
    }

    /// How many pieces that this node holds of a tessera are known to be damaged.
    pub async fn count_damaged(&self, tessera: TesseraHash) -> Result<usize, StoreError> {
        Ok(self.0.holder.damaged_pieces(tessera).await?.len())
    }

    /// Reads every byte of the pieces that this node holds of a tessera; what is damaged is recorded,
    /// and replaced by the next repair. Fails if any piece could not be read for another reason; what
    /// was found damaged is recorded nevertheless.
    pub async fn verify_held(&self, tessera: TesseraHash) -> Result<(), StoreError> {
        self.0.holder.verify_held(tessera).await
    }

    /// The current state of a tessera; `None` if no record of it is found anywhere.
    pub async fn status(&self, tessera: TesseraHash) -> Result<Option<TesseraHealth>, StatusError> {
        self.asking().status(tessera).await
    }

    /// An overview of every capsule of the library; waits up to `patience` for holders.
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

    /// The tesserae that this node maintains.
    pub async fn looked_after(&self) -> Result<Vec<TesseraHash>, StoreError> {
        publication::looked_after(&self.0.holder, &self.0.library).await
    }

    /// Announces all tesserae of which pieces were received and that were not announced since;
    /// returns how many.
    pub async fn announce_unannounced(&self) -> usize {
        announce_unannounced(&self.0.holder, &*self.0.directory).await
    }

    /// Fails if this node's clock seems wrong according to its peers.
    pub async fn check_clock(&self) -> Result<(), ClockOff> {
        check_clock(&*self.0.directory).await
    }

    fn fetcher(&self) -> Fetcher<'_> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        Fetcher { peers, holder, library, workshop, directory: &**directory }
    }

    fn publisher(&self) -> Publisher<'_> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        Publisher { peers, holder, library, workshop, directory: &**directory }
    }

    fn repairer(&self) -> Repairer<'_> {
        let Collaborators { peers, holder, library, workshop, directory, .. } = &*self.0;
        let Collaborators { throttle, repair: config, agenda, .. } = &*self.0;
        let directory = &**directory;
        Repairer { peers, holder, library, workshop, directory, throttle, config, agenda }
    }

    fn asking(&self) -> Asking<'_> {
        let Collaborators { peers, holder, library, directory, .. } = &*self.0;
        Asking { peers, holder, library, directory: &**directory }
    }
}
