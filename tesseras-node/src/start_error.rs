//! Why a node does not start.

use std::net::SocketAddr;

use tesseras_core::ports::StoreError;
use tesseras_net::BindError;
use tesseras_rpc::ServerError;
use thiserror::Error;

use crate::identity::IdentityError;

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used, or another node uses it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node key cannot be used or generated.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The QUIC socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The socket for `tes` cannot be bound.
    #[error(transparent)]
    Rpc(#[from] ServerError),
    /// Metrics cannot be served.
    #[error("cannot serve metrics on {address}: {source}")]
    Metrics {
        /// The address that cannot be bound.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// Two metrics have the same name; a bug.
    #[error("metrics: {0}")]
    Registry(#[from] prometheus::Error),
}
