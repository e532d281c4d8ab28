//! One running node: it connects its parts and owns all tasks.
//!
//! A start has five steps: open the data directory (`open`), bind the sockets (`sockets`), connect
//! the parts (`wiring`), answer requests, and run the jobs.

mod log_keeper;
mod open;
mod sockets;
mod tasks;
mod wiring;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tesseras_core::ids::NodeId;
use tesseras_dht::Dht;
use tesseras_net::QuinnTransport;
use tesseras_replication::Replication;
use tesseras_rpc::Server;
use tesseras_storage::DaemonLock;
use tesseras_wire::Service;
use tokio::net::TcpListener;

use crate::config::NodeConfig;
use crate::jobs::{self, Job as _, JobBoard};
use crate::machine::Machine;
use crate::observe::{self, Gauges, Observed};
use crate::requests::Requests;
use crate::router::Router;
use crate::start_error::StartError;

use log_keeper::look_after_log;
use open::{Opened, open};
use sockets::Sockets;
use tasks::Tasks;
use wiring::Wiring;

/// How long running tasks may take to end when the node stops.
const GRACE: Duration = Duration::from_secs(4);
/// How long storing the known peers may take when the node stops.
const REMEMBER_DEADLINE: Duration = Duration::from_millis(500);

/// One running node. If it is dropped without [`Node::stop`], it stops without waiting.
pub struct Node {
    transport: Arc<QuinnTransport>,
    wiring: Wiring,
    board: JobBoard,
    metrics: Option<SocketAddr>,
    tasks: Tasks,
    _lock: DaemonLock,
}

impl Node {
    /// Starts a node. When this returns, QUIC and RPC accept requests; joining continues.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with(config, |router| Arc::new(router)).await
    }

    /// Starts a node whose service for other nodes is wrapped, to observe requests or, in tests, to
    /// simulate a malicious node.
    pub async fn start_with(
        config: NodeConfig,
        wrap: impl FnOnce(Router) -> Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        Self::start_on(config, Machine::this(), wrap).await
    }

    /// As [`Node::start_with`], on a machine whose clock is wrong or whose disk fails.
    pub async fn start_on(
        config: NodeConfig,
        machine: Machine,
        wrap: impl FnOnce(Router) -> Arc<dyn Service>,
    ) -> Result<Self, StartError> {
        let Machine { clock, disk } = machine;
        let opened = open(&config, disk).await?;
        let registry = Registry::new();
        let tasks = Tasks::default();
        let sockets = Sockets::bind(&config, &opened.keys, &registry, &tasks).await?;
        let metrics = sockets.metrics();
        let Sockets { transport, rpc, http } = sockets;
        let wiring = Wiring::new(&config, &opened, &transport, clock.clone(), &registry, &tasks)?;
        let Opened { lock, .. } = opened;
        let board = JobBoard::new(clock);
        let node = Self { transport, wiring, board, metrics, tasks, _lock: lock };
        node.answer_nodes(wrap);
        node.answer_tes(rpc, &config);
        if let Some(http) = http {
            node.show_metrics(http, registry, &config)?;
        }
        node.run_jobs(&config);
        node.tasks.spawn(look_after_log(node.wiring.store.clone(), node.tasks.token()));
        tracing::info!(node = %node.id(), listen = %node.listen(), "started");
        Ok(node)
    }

    fn answer_nodes(&self, wrap: impl FnOnce(Router) -> Arc<dyn Service>) {
        let (dht, replication) = (self.wiring.dht.clone(), self.wiring.replication.clone());
        let service = wrap(Router { dht, replication });
        let serving = self.transport.clone();
        self.tasks.spawn(serving.serve(service));
    }

    fn answer_tes(&self, rpc: Server, config: &NodeConfig) {
        let requests = Requests {
            id: self.id(),
            listen: self.listen(),
            dht: self.wiring.dht.clone(),
            replication: self.wiring.replication.clone(),
            store: self.wiring.store.clone(),
            memory: self.wiring.memory.clone(),
            scrubber: self.wiring.scrubber.clone(),
            board: self.board.clone(),
            storage_limit: config.replication.limits.storage,
            min_free_space: config.replication.limits.min_free_space,
            bootstrap: config.bootstrap.clone(),
        };
        self.tasks.spawn(rpc.run(Arc::new(requests), self.tasks.tracker(), self.tasks.token()));
    }

    fn show_metrics(
        &self,
        http: TcpListener,
        registry: Registry,
        config: &NodeConfig,
    ) -> Result<(), StartError> {
        let observed = Observed {
            gauges: Gauges::new(&registry)?,
            registry,
            dht: self.wiring.dht.clone(),
            replication: self.wiring.replication.clone(),
            store: self.wiring.store.clone(),
            board: self.board.clone(),
            storage_limit: config.replication.limits.storage,
        };
        self.tasks.spawn(observe::serve(http, observed, self.tasks.token()));
        Ok(())
    }

    fn run_jobs(&self, config: &NodeConfig) {
        for job in self.wiring.jobs(config) {
            self.tasks.spawn(jobs::run_for_ever(job, self.board.clone(), self.tasks.token()));
        }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.wiring.id
    }

    /// The address at which it listens for other nodes.
    pub fn listen(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    /// The address at which metrics are served.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Its replication.
    pub fn replication(&self) -> &Replication {
        &self.wiring.replication
    }

    /// Its DHT.
    pub fn dht(&self) -> &Dht {
        &self.wiring.dht
    }

    /// Stops accepting requests, ends running tasks within 5 s, and closes all connections.
    pub async fn stop(self) {
        let remember = self.wiring.remember();
        let _ = tokio::time::timeout(REMEMBER_DEADLINE, remember.run()).await;
        if !self.tasks.end(GRACE).await {
            tracing::warn!("some requests were cut off");
        }
        self.transport.close().await;
        tracing::info!(node = %self.id(), "stopped");
    }
}
