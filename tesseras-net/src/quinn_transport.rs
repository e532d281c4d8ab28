//! The [`Transport`] port over QUIC: one socket, a pool of outgoing connections, and the incoming
//! side.
//!
//! To follow a request: [`dial`] finds a connection in the [`pool`] or makes one; [`exchange`]
//! opens a stream and writes a frame and a body ([`stream`]); on the other node [`inbound`] reads
//! it, calls the service and writes the answer, and [`outbox`] keeps the last answers until they
//! have arrived. [`window`] and [`rate`] bound the memory and work that peers can cause;
//! [`endpoint`] has the sockets and QUIC's settings.
//!
//! Tasks belong to the tracker that [`QuinnTransport::bind`] is given. To shut down, cancel its
//! token, which stops new connections and requests; wait for the tracker for the grace period;
//! [`QuinnTransport::close`] ends the rest.

mod connection;
mod dial;
mod dial_backoff;
mod dial_error;
mod endpoint;
mod exchange;
mod inbound;
mod last_address;
mod outbox;
mod pool;
mod rate;
mod stream;
mod tasks;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tesseras_crypto::NodeKeys;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::endpoint::BindError;

use self::connection::code;
use self::dial::Dialler;
use self::dial_backoff::DialBackoff;
use self::endpoint::Endpoints;
use self::exchange::exchange;
use self::inbound::Inbound;
use self::last_address::LastAddress;
use self::pool::Pool;
use self::tasks::Tasks;
use self::window::Widths;
use crate::metrics::NetMetrics;
use crate::settings::{BindConfig, InboundConfig, RateLimit};
use tesseras_wire::{
    BoxFuture, MAX_FRAME_BYTES, Reply, Request, RequestError, Service, Target, Transport,
};

/// How long [`QuinnTransport::close`] waits for the peers to be notified.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A request with at least this deadline that received nothing marks its connection as dead.
const SILENCE: Duration = Duration::from_secs(1);

/// A node's access to the network, over QUIC.
#[derive(Debug)]
pub struct QuinnTransport {
    endpoints: Arc<Endpoints>,
    local_addr: SocketAddr,
    pool: Arc<Pool>,
    dialler: Dialler,
    widths: Widths,
    metrics: NetMetrics,
    inbound: InboundConfig,
    rate_limit: RateLimit,
    tasks: Tasks,
}

impl QuinnTransport {
    /// Opens the socket, with metrics that are not registered. Must be called in a Tokio runtime,
    /// which drives the socket from then on. No request is answered until [`Self::serve`] runs.
    ///
    /// All tasks of the transport run on `tracker`. Once `cancel` is cancelled, it accepts no new
    /// connections and requests; those in progress continue until they end, or until
    /// [`Self::close`].
    pub fn bind(
        config: BindConfig,
        keys: &NodeKeys,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Arc<Self>, BindError> {
        Self::bind_with_metrics(config, keys, NetMetrics::unregistered(), tracker, cancel)
    }

    /// Opens the socket and counts in `metrics`; see [`Self::bind`].
    pub fn bind_with_metrics(
        config: BindConfig,
        keys: &NodeKeys,
        metrics: NetMetrics,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Arc<Self>, BindError> {
        let endpoints = Arc::new(Endpoints::bind(&config, keys)?);
        let local_addr = endpoints
            .main
            .local_addr()
            .map_err(|source| BindError::Socket { address: config.listen, source })?;
        let pool = Pool::start(config.pool, metrics.clone(), tracker, &cancel);
        let (widths, closed) = (Widths::default(), CancellationToken::new());
        let dialler = Dialler {
            endpoints: endpoints.clone(),
            pool: pool.clone(),
            widths: widths.clone(),
            backoff: DialBackoff::default(),
            last_address: LastAddress::default(),
            connect_deadline: config.connect_deadline,
            closed: closed.clone(),
        };
        Ok(Arc::new(Self {
            endpoints,
            local_addr,
            pool,
            dialler,
            widths,
            metrics,
            inbound: config.inbound,
            rate_limit: config.rate_limit,
            tasks: Tasks { tracker: tracker.clone(), cancel, closed },
        }))
    }

    /// Answers other nodes with `service` until the token of [`Self::bind`] is cancelled. Call it
    /// once; a node that has stopped serving refuses new connections permanently.
    pub async fn serve(self: Arc<Self>, service: Arc<dyn Service>) {
        let inbound = Inbound::new(
            service,
            self.tasks.clone(),
            self.widths.clone(),
            self.metrics.inbound_connections.clone(),
            self.inbound,
            self.rate_limit,
        );
        let accepting = async {
            while let Some(incoming) = self.endpoints.main.accept().await {
                self.dialler.backoff.heard(incoming.remote_address());
                inbound.admit(incoming);
            }
        };
        tokio::select! {
            () = self.tasks.cancel.cancelled() => {}
            () = self.tasks.closed.cancelled() => {}
            () = accepting => {}
        }
        self.endpoints.main.set_server_config(None);
    }

    /// The listening address, with the actual port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The metrics of its connections.
    pub fn metrics(&self) -> &NetMetrics {
        &self.metrics
    }

    /// Ends everything that still runs, closes all connections, and waits up to a second until the
    /// peers have been notified. Requests then fail as unavailable. It may be called more than
    /// once.
    pub async fn close(&self) {
        self.tasks.closed.cancel();
        self.endpoints.close(code::SHUTDOWN, b"shutting down", CLOSE_PATIENCE).await;
        self.pool.close();
    }

    async fn ask(&self, target: &Target, request: Request) -> Result<Reply, RequestError> {
        let Request { frame, mut body, deadline, .. } = request;
        if frame.len() > MAX_FRAME_BYTES {
            return Err(RequestError::FrameTooLong(frame.len()));
        }
        let until = Instant::now() + deadline;
        let mut retried = false;
        loop {
            let (lease, reused) = self.dialler.connect(target, until).await?;
            let connection = lease.clone();
            let failed = match exchange(lease, &frame, &mut body, deadline, until).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            // A connection that received nothing during a whole request is treated as dead, so that
            // the next request does not wait for it as well.
            let silent = failed.silent && deadline >= SILENCE && connection.idle_since().is_some();
            if connection.is_dead() || silent {
                self.pool.forget(&connection);
            }
            if !(reused && failed.untouched && !retried) {
                return Err(failed.error);
            }
            retried = true;
        }
    }
}

impl Transport for QuinnTransport {
    fn request<'a>(
        &'a self,
        target: &'a Target,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>> {
        Box::pin(async move {
            // Closing ends every connection and every handshake, and so every request. Waiting for
            // it here as well would take a lock that all requests share.
            let reply = self.ask(target, request).await;
            if reply.is_err() && self.tasks.closed.is_cancelled() {
                return Err(RequestError::Unavailable("the node is shutting down"));
            }
            reply
        })
    }
}
