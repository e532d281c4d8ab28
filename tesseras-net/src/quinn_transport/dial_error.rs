//! Why an address gave no connection.

use std::net::SocketAddr;

use tesseras_core::ids::NodeId;
use tesseras_wire::RequestError;

/// Why an address gave no connection; the same for all who wait for it.
#[derive(Debug, Clone)]
pub(super) enum DialError {
    /// No handshake, and why.
    Connect(String),
    /// Somebody else answered.
    WrongNode(NodeId),
}

impl DialError {
    /// The same for one who dialled this address and expected this node there.
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
