//! Who stores how much for whom. It governs what is accepted, never what is kept.

use super::StoreError;
use crate::contact::Subnet;
use crate::ids::{NodeId, TesseraHash};

/// Against whom a held piece counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// The peer that placed it, and the neighbourhood it placed it from.
    Peer {
        /// Who.
        id: NodeId,
        /// From where.
        subnet: Subnet,
    },
    /// The repair share: it belongs to a tessera that other holders attest.
    Repair,
}

/// What this node and one peer store for each other, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// What we store that was placed by the peer.
    pub stored_for: u64,
    /// What the peer acknowledged to store that we placed.
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
    /// Charged to peers whose balance is not positive.
    pub indebted: u64,
    /// Of that, charged to peers of the neighbourhood that was asked about.
    pub indebted_in_subnet: u64,
}

/// Each node's own count of bytes stored for and by each authenticated peer.
pub trait ReciprocityLedger: Send + Sync {
    /// The account of one peer; empty for a stranger.
    fn account(&self, peer: &NodeId) -> Result<Account, StoreError>;

    /// What is stored for others, with the part of one neighbourhood.
    fn usage(&self, subnet: &Subnet) -> Result<Usage, StoreError>;

    /// Whether a peer placed a piece of a tessera here that is still charged to it.
    fn has_placed(&self, peer: &NodeId, tessera: &TesseraHash) -> Result<bool, StoreError>;
}
