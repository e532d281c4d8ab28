//! Binds the sockets of a node: QUIC for other nodes, a Unix socket for `tes`, HTTP for
//! metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::Registry;
use tesseras_crypto::NodeKeys;
use tesseras_net::settings::BindConfig;
use tesseras_net::{NetMetrics, QuinnTransport};
use tesseras_rpc::{Server, socket_path};
use tokio::net::TcpListener;

use super::tasks::Tasks;
use crate::config::NodeConfig;
use crate::observe;
use crate::start_error::StartError;

/// All sockets of a node; no request is answered yet.
pub struct Sockets {
    pub transport: Arc<QuinnTransport>,
    pub rpc: Server,
    pub http: Option<TcpListener>,
}

impl Sockets {
    /// Binds all of them, or none. The transport's tasks are among `tasks`.
    pub async fn bind(
        config: &NodeConfig,
        keys: &NodeKeys,
        registry: &Registry,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let bind = BindConfig {
            work_bits: config.dht.work_bits,
            pool: config.pool,
            inbound: config.inbound,
            rate_limit: config.rate_limit,
            ..BindConfig::new(config.listen)
        };
        let metrics = NetMetrics::with_metrics(registry)?;
        let (tracker, token) = (tasks.tracker(), tasks.token());
        let transport = QuinnTransport::bind_with_metrics(bind, keys, metrics, &tracker, token)?;
        let rpc = Server::bind(&socket_path(&config.data_dir)).await?;
        let http = match config.metrics {
            None => None,
            Some(address) => {
                let bound = observe::bind(address).await;
                Some(bound.map_err(|source| StartError::Metrics { address, source })?)
            }
        };
        Ok(Self { transport, rpc, http })
    }

    /// The address of the metrics endpoint.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}
