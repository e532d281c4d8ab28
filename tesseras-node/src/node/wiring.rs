//! Connects the ports of one node with their adapters.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, Registry};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::ports::{FragmentStore, PeerRepository};
use tesseras_core::time::Clock;
use tesseras_dht::{Bootstrap, Dht};
use tesseras_net::QuinnTransport;
use tesseras_net::interfaces::announce_candidates;
use tesseras_replication::{Parts, Replication, Stores, TokioBlocking};
use tesseras_storage::{StorageMetrics, Store};
use tesseras_wire::{RememberingTransport, SharedMemory};

use super::open::Opened;
use super::tasks::Tasks;
use crate::capsules::StoredCapsules;
use crate::config::NodeConfig;
use crate::directory::DhtDirectory;
use crate::jobs::{
    Announce, AnnounceNew, CollectGarbage, Job, Publish, Remember, Repair, RepairPostponed,
    ScrubJob,
};
use crate::scrub::Scrubber;
use crate::start_error::StartError;

/// How often a node looks whether a repair waits for its turn.
const LOOK_FOR_TURNS_EVERY: Duration = Duration::from_secs(60);

/// The parts of one node, connected with each other.
pub struct Wiring {
    pub id: NodeId,
    pub dht: Dht,
    pub directory: Arc<DhtDirectory>,
    pub memory: SharedMemory,
    pub peers: Arc<dyn PeerRepository>,
    pub replication: Replication,
    pub store: Store,
    pub clock: Clock,
    pub scrubber: Scrubber,
    gc_duration: Histogram,
}

impl Wiring {
    /// Connects the parts of a node. The DHT begins to join.
    pub fn new(
        config: &NodeConfig,
        opened: &Opened,
        transport: &Arc<QuinnTransport>,
        clock: Clock,
        registry: &Registry,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let Opened { store, keys, remembered, silent, .. } = opened;
        let memory = SharedMemory::new(silent.clone(), clock.clone());
        memory.have_answered(remembered);
        let remembering = RememberingTransport::new(transport.clone(), memory.clone());
        let dht = Dht::start(
            config.dht.clone(),
            keys.clone(),
            Arc::new(remembering),
            bootstrap(config, transport.local_addr(), remembered.clone(), silent.clone()),
            clock.clone(),
            &tasks.tracker(),
            tasks.token(),
        );
        let patience = config.join_patience;
        let directory =
            Arc::new(DhtDirectory::new(dht.clone(), keys.id(), memory.clone(), patience));
        let observed = RememberingTransport::new(transport.clone(), memory.clone());
        let replication = Replication::new(Parts {
            config: config.replication.clone(),
            keys: keys.clone(),
            capsules: Arc::new(StoredCapsules {
                blobs: store.blobs(),
                library: store.library(),
                clock: clock.clone(),
            }),
            stores: stores(config, store, registry)?,
            transport: Arc::new(observed.observed_by(Arc::new(dht.clone()))),
            memory: memory.clone(),
            directory: directory.clone(),
            clock: clock.clone(),
            rng: rand::make_rng(),
            blocking: Arc::new(TokioBlocking),
        });
        let (id, peers) = (keys.id(), store.peers());
        let store = store.clone();
        let scrubber = Scrubber::new(&store, &replication, registry)?;
        let gc_duration = gc_duration(registry)?;
        Ok(Self {
            id,
            dht,
            directory,
            memory,
            peers,
            replication,
            store,
            clock,
            scrubber,
            gc_duration,
        })
    }

    /// All background jobs.
    pub fn jobs(&self, config: &NodeConfig) -> [Arc<dyn Job>; 8] {
        let replication = self.replication.clone();
        let repair = &config.replication.repair;
        let look_every = LOOK_FOR_TURNS_EVERY.min(repair.interval).min(repair.steward_step);
        [
            Arc::new(Announce {
                replication: replication.clone(),
                directory: self.directory.clone(),
                dht: self.dht.clone(),
                done: AtomicBool::new(false),
            }),
            Arc::new(AnnounceNew { replication: replication.clone() }),
            Arc::new(Publish::new(replication.clone())),
            Arc::new(Repair {
                replication: replication.clone(),
                interval: repair.interval,
                jitter: repair.jitter,
            }),
            Arc::new(RepairPostponed {
                replication,
                interval: look_every.max(Duration::from_secs(1)),
            }),
            Arc::new(self.remember()),
            Arc::new(CollectGarbage {
                store: self.store.clone(),
                clock: self.clock.clone(),
                duration: self.gc_duration.clone(),
            }),
            Arc::new(ScrubJob {
                scrubber: self.scrubber.clone(),
                period: config.scrub_period,
                clock: self.clock.clone(),
                mended: Mutex::default(),
            }),
        ]
    }

    /// The job that stores what would be lost with the process.
    pub fn remember(&self) -> Remember {
        Remember {
            dht: self.dht.clone(),
            directory: self.directory.clone(),
            peers: self.peers.clone(),
            memory: self.memory.clone(),
            replication: self.replication.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
        }
    }
}

/// How long collections of garbage take.
fn gc_duration(registry: &Registry) -> Result<Histogram, prometheus::Error> {
    let options = HistogramOpts::new(
        "tesseras_cas_gc_sweep_duration_seconds",
        "Seconds that a collection of garbage took.",
    );
    let buckets = prometheus::exponential_buckets(0.01, 4.0, 8)?;
    let duration = Histogram::with_opts(options.buckets(buckets))?;
    registry.register(Box::new(duration.clone()))?;
    Ok(duration)
}

/// The stores of a data directory, with a cache for pieces that are read often.
fn stores(config: &NodeConfig, store: &Store, registry: &Registry) -> Result<Stores, StartError> {
    let fragments: Arc<dyn FragmentStore> = match config.fragment_cache {
        0 => store.fragments(),
        bytes => {
            let metrics = StorageMetrics::new(registry)?;
            Arc::new(store.cached_fragments(bytes).with_metrics(metrics))
        }
    };
    Ok(Stores {
        blobs: store.blobs(),
        workbench: store.workbench(),
        library: store.library(),
        fragments,
        holdings: store.holdings(),
        ledger: store.ledger(),
    })
}

/// The addresses at which this node may be reached, and the peers that it starts with.
fn bootstrap(
    config: &NodeConfig,
    listen: SocketAddr,
    remembered: Vec<Contact>,
    silent: Vec<SilentPeer>,
) -> Bootstrap {
    let advertised = !config.advertise.is_empty();
    let wildcard = listen.ip().is_unspecified();
    Bootstrap {
        candidates: if advertised { config.advertise.clone() } else { announce_candidates(listen) },
        wildcard_port: (wildcard && !advertised).then(|| listen.port()),
        addresses: config.bootstrap.iter().flat_map(|peer| peer.addresses.clone()).collect(),
        remembered,
        silent,
    }
}
