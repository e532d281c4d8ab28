//! How much each peer stores for this node, and this node for each peer. The ledger governs
//! admission, never what is kept. What is stored here is counted with the dossiers, each on the
//! account of the first piece of its tessera.

use super::StoreError;
use crate::contact::Subnet;
use crate::ids::{NodeId, TesseraHash};

/// Another node, and the neighbourhood from which it was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAt {
    /// The id.
    pub id: NodeId,
    /// From where.
    pub subnet: Subnet,
}

/// Against whom a piece counts, from the offer to the ledger of its holder. `P` is what is known of
/// who places it: nothing has to be said where that is the node that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge<P = PeerAt> {
    /// The one who places it.
    Peer(P),
    /// The repair share, and in it the part of the one who places it: it belongs to a tessera that
    /// other holders attest.
    Repair(P),
}

impl Charge<()> {
    /// Of what this node places for its owner.
    pub const OWN: Self = Self::Peer(());

    /// Of what this node places as a repair.
    pub const REPAIR: Self = Self::Repair(());

    /// The same, as the holder sees it.
    pub fn of(self, placer: PeerAt) -> Charge {
        match self {
            Self::Peer(()) => Charge::Peer(placer),
            Self::Repair(()) => Charge::Repair(placer),
        }
    }
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
    /// Of that, placed by the requested peer.
    pub repair_by_peer: u64,
    /// Of that, placed from the requested neighbourhood.
    pub repair_in_subnet: u64,
    /// Charged to peers without a positive balance.
    pub indebted: u64,
    /// Of that, charged to peers of the requested neighbourhood.
    pub indebted_in_subnet: u64,
}

/// Each node's own count of bytes stored for and by each authenticated peer.
pub trait ReciprocityLedger: Send + Sync {
    /// The account of one peer; empty for a stranger.
    fn account(&self, peer: &NodeId) -> Result<Account, StoreError>;

    /// The storage used by others, with the parts of one peer and of its neighbourhood.
    fn usage(&self, peer: &PeerAt) -> Result<Usage, StoreError>;

    /// Whether a peer placed a piece of a tessera here, on its own account or as a repair.
    fn has_placed(&self, peer: &NodeId, tessera: &TesseraHash) -> Result<bool, StoreError>;
}
