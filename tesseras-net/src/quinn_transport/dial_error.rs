//! Why a dial failed.

use std::net::SocketAddr;

use tesseras_core::ids::NodeId;
use tesseras_wire::RequestError;

/// Why an address could not be connected to; shared by all requests that wait for it.
#[derive(Debug, Clone)]
pub(super) enum DialError {
    /// The handshake failed; the reason.
    Connect(String),
    /// Another node answered.
    WrongNode(NodeId),
}

impl DialError {
    /// The error for a caller that dialled this address and expected this node.
    pub(super) fn at(self, address: SocketAddr, expected: Option<NodeId>) -> RequestError {
        match (self, expected) {
            (Self::Connect(reason), _) => RequestError::Connect { address, reason },
            (Self::WrongNode(found), Some(expected)) => {
                RequestError::WrongNode { address, expected, found }
            }
            (Self::WrongNode(found), None) => {
                RequestError::Connect { address, reason: format!("refused as node {found}") }
            }
        }
    }
}
