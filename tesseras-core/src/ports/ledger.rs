//! How much each peer stores for this node, and this node for each peer. The ledger governs
//! admission, never what is kept.

use super::StoreError;
use crate::contact::Subnet;
use crate::ids::{NodeId, TesseraHash};

/// The account that a held piece is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The peer that placed it, and the neighbourhood that it was placed from.
    Peer {
        /// The peer.
        id: NodeId,
        /// The neighbourhood.
        subnet: Subnet,
    },
    /// The repair share: it belongs to a tessera that other holders attest.
    Repair,
}

/// What this node and one peer store for each other, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Bytes stored here that the peer placed.
    pub stored_for: u64,
    /// Bytes that the peer acknowledged and this node placed.
    pub stored_by: u64,
}

impl Account {
    /// Whether the peer stores more for us than we for it.
    pub fn is_positive(&self) -> bool {
        self.stored_by > self.stored_for
    }
}

/// What this node stores for others, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// Charged to the repair share.
    pub repair: u64,
    /// Charged to peers without a positive balance.
    pub indebted: u64,
    /// Of that, charged to peers of the requested neighbourhood.
    pub indebted_in_subnet: u64,
}

/// Each node's own count of bytes stored for and by each authenticated peer.
pub trait ReciprocityLedger: Send + Sync {
    /// The account of one peer; empty for a stranger.
    fn account(&self, peer: &NodeId) -> Result<Account, StoreError>;

    /// The storage used by others, with the part of one neighbourhood.
    fn usage(&self, subnet: &Subnet) -> Result<Usage, StoreError>;

    /// Whether a peer placed a piece of a tessera here that is still charged to it.
    fn has_placed(&self, peer: &NodeId, tessera: &TesseraHash) -> Result<bool, StoreError>;
}
