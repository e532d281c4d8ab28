//! One running node: its parts wired together, and all its tasks owned.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::Registry;
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::ports::{FragmentStore, PeerRepository as _, StoreError};
use tesseras_core::time::{Clock, Timestamp};
use tesseras_dht::{Bootstrap, Dht, DhtConfig};
use tesseras_net::interfaces::announce_candidates;
use tesseras_net::settings::BindConfig;
use tesseras_net::{BindError, NetMetrics, QuinnTransport};
use tesseras_replication::{Parts, Replication, ReplicationConfig, Stores, TokioBlocking};
use tesseras_rpc::{Server, ServerError};
use tesseras_storage::{DaemonLock, StorageMetrics, Store};
use tesseras_wire::{RememberingTransport, Service, SharedMemory, Transport};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capsules::StoredCapsules;
use crate::clock;
use crate::clock_watch::ClockWatch;
use crate::config::NodeConfig;
use crate::directory::DhtDirectory;
use crate::identity::{self, IdentityError};
use crate::jobs::{self, Announce, AnnounceNew, Job, JobBoard, Publish, Remember, Repair};
use crate::observe::{self, Gauges, Observed};
use crate::requests::Requests;
use crate::router::Router;

/// How long what runs may take to end once the node is told to stop.
const GRACE: Duration = Duration::from_secs(4);
/// How many remembered peers a node begins with.
const REMEMBERED_PEERS: usize = 64;

/// Why a node does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used, or another node uses it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no node key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// QUIC cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `tes` cannot be listened to.
    #[error(transparent)]
    Rpc(#[from] ServerError),
    /// Metrics cannot be served.
    #[error("cannot serve metrics on {address}: {source}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two metrics have one name; a bug.
    #[error("metrics: {0}")]
    Registry(#[from] prometheus::Error),
}

/// Where `tes` finds the node of a data directory.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("daemon.sock")
}

/// One running node. Dropped without [`Node::stop`], it stops without waiting.
pub struct Node {
    id: NodeId,
    transport: Arc<QuinnTransport>,
    replication: Replication,
    dht: Dht,
    directory: Arc<DhtDirectory>,
    peers: Arc<dyn tesseras_core::ports::PeerRepository>,
    memory: SharedMemory,
    metrics: Option<SocketAddr>,
    token: CancellationToken,
    tracker: TaskTracker,
    _lock: DaemonLock,
}

impl Node {
    /// Starts a node. When it returns, QUIC and RPC accept; joining goes on.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(config, |router| Arc::new(router)).await
    }

    /// Starts a node whose way in is wrapped: to watch requests, or, in tests, to play a node
    /// that lies.
    pub async fn start_with(
        config: NodeConfig,
        wrap: impl FnOnce(Router) -> Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        Self::start_at(config, clock::now, wrap).await
    }

    /// Starts a node as [`Node::start_with`] does, with a clock of its own for all that other nodes
    /// see: to play a machine whose clock is wrong.
    pub async fn start_at(
        config: NodeConfig,
        now: fn() -> Timestamp,
        wrap: impl FnOnce(Router) -> Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        let opened = {
            let config = config.clone();
            off_thread(move || open(&config)).await?
        };
        let Opened { store, lock, keys, remembered, silent } = opened;
        let keys = Arc::new(keys);
        let id = keys.id();
        let registry = Registry::new();
        let bind = BindConfig {
            work_bits: config.work_bits,
            pool: config.pool,
            inbound: config.inbound,
            rate_limit: config.rate_limit,
            ..BindConfig::new(config.listen)
        };
        let net_metrics = NetMetrics::with_metrics(&registry)?;
        let transport = QuinnTransport::bind_with_metrics(bind, &keys, net_metrics)?;
        let listen = transport.local_addr();
        let rpc = Server::bind(&socket_path(&config.data_dir)).await?;
        let http = match config.metrics {
            None => None,
            Some(address) => Some(
                observe::bind(address)
                    .await
                    .map_err(|source| StartError::Metrics { address, source })?,
            ),
        };
        let metrics = http.as_ref().and_then(|listener| listener.local_addr().ok());

        let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
        let memory = SharedMemory::new(silent.clone(), Clock::new(now));
        let remembering: Arc<dyn Transport> =
            Arc::new(RememberingTransport::new(transport.clone(), memory.clone()));
        let dht = Dht::start(
            DhtConfig { work_bits: config.work_bits, ..config.dht.clone() },
            keys.clone(),
            remembering.clone(),
            bootstrap(&config, listen, remembered, silent),
            Arc::new(now),
            &tracker,
            token.child_token(),
        );
        let directory =
            Arc::new(DhtDirectory::new(dht.clone(), id, memory.clone(), config.join_patience));
        let fragments: Arc<dyn FragmentStore> = if config.fragment_cache > 0 {
            let metrics = StorageMetrics::new(&registry)?;
            Arc::new(store.cached_fragments(config.fragment_cache).with_metrics(metrics))
        } else {
            store.fragments()
        };
        let stores = Stores {
            blobs: store.blobs(),
            workbench: store.workbench(),
            library: store.library(),
            fragments,
            holdings: store.holdings(),
            ledger: store.ledger(),
        };
        let observed = RememberingTransport::new(transport.clone(), memory.clone());
        let observed = Arc::new(observed.observed_by(Arc::new(dht.clone())));
        let replication = Replication::new(Parts {
            config: ReplicationConfig {
                limits: config.limits,
                max_transfers: config.max_transfers,
                answer_deadline: config.answer_deadline,
                transfer_deadline: config.transfer_deadline,
            },
            keys,
            capsules: Arc::new(StoredCapsules { blobs: store.blobs(), library: store.library() }),
            stores,
            transport: observed,
            memory: memory.clone(),
            directory: directory.clone(),
            clock: Clock::new(now),
            rng: rand::make_rng(),
            blocking: Arc::new(TokioBlocking),
        });

        let router = Router { dht: dht.clone(), replication: replication.clone() };
        let serving = transport.clone();
        let (tasks, stop) = (tracker.clone(), token.child_token());
        tracker.spawn(serving.serve(wrap(router), tasks, stop));
        let board = JobBoard::default();
        let requests = Requests {
            id,
            listen,
            dht: dht.clone(),
            replication: replication.clone(),
            board: board.clone(),
            storage_limit: config.limits.storage,
            min_free_space: config.limits.min_free_space,
            bootstrap_peers: config.bootstrap_peers.clone(),
        };
        tracker.spawn(rpc.run(Arc::new(requests), tracker.clone(), token.child_token()));
        if let Some(http) = http {
            let observed = Observed {
                gauges: Gauges::new(&registry)?,
                registry,
                dht: dht.clone(),
                replication: replication.clone(),
                storage_limit: config.limits.storage,
            };
            tracker.spawn(observe::serve(http, observed, token.child_token()));
        }
        let peers = store.peers();
        let jobs: [Arc<dyn Job>; 6] = [
            Arc::new(Announce {
                replication: replication.clone(),
                directory: directory.clone(),
                dht: dht.clone(),
                done: AtomicBool::new(false),
            }),
            Arc::new(AnnounceNew { replication: replication.clone() }),
            Arc::new(Publish { replication: replication.clone(), again: Mutex::default() }),
            Arc::new(ClockWatch::new(dht.clone())),
            Arc::new(Repair {
                replication: replication.clone(),
                interval: config.repair_interval,
                jitter: config.repair_jitter,
            }),
            Arc::new(Remember {
                dht: dht.clone(),
                directory: directory.clone(),
                peers: peers.clone(),
                memory: memory.clone(),
                replication: replication.clone(),
            }),
        ];
        for job in jobs {
            tracker.spawn(jobs::run_for_ever(job, board.clone(), token.child_token()));
        }
        tracing::info!(node = %id, %listen, "started");
        Ok(Self {
            id,
            transport,
            replication,
            dht,
            directory,
            peers,
            memory,
            metrics,
            token,
            tracker,
            _lock: lock,
        })
    }

    /// Who it is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    /// Where metrics are served.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Its replication.
    pub fn replication(&self) -> &Replication {
        &self.replication
    }

    /// Its DHT.
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Stops accepting, ends what runs within 5 s, and closes all connections.
    pub async fn stop(self) {
        let remember = Remember {
            dht: self.dht.clone(),
            directory: self.directory.clone(),
            peers: self.peers.clone(),
            memory: self.memory.clone(),
            replication: self.replication.clone(),
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), remember.run()).await;
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!("some requests were cut off");
        }
        self.transport.close().await;
        tracing::info!(node = %self.id, "stopped");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

struct Opened {
    store: Store,
    lock: DaemonLock,
    keys: tesseras_crypto::NodeKeys,
    remembered: Vec<Contact>,
    silent: Vec<SilentPeer>,
}

fn open(config: &NodeConfig) -> Result<Opened, StartError> {
    let store = Store::open(&config.data_dir, &config.storage)?;
    let lock = store.lock_daemon()?;
    store.sweep_tmp()?;
    let keys = identity::load_or_create(&config.data_dir, config.work_bits)?;
    let remembered = store.peers().known_peers(REMEMBERED_PEERS)?;
    let silent = store.peers().silent_peers()?;
    Ok(Opened { store, lock, keys, remembered, silent })
}

/// Where this node may be reached, and whom it knows to begin with.
fn bootstrap(
    config: &NodeConfig,
    listen: SocketAddr,
    remembered: Vec<Contact>,
    silent: Vec<SilentPeer>,
) -> Bootstrap {
    let advertised = !config.advertise.is_empty();
    let wildcard = match listen.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    Bootstrap {
        candidates: if advertised { config.advertise.clone() } else { announce_candidates(listen) },
        wildcard_port: (wildcard && !advertised).then(|| listen.port()),
        addresses: config.bootstrap.clone(),
        remembered,
        silent,
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
