//! Nodes that may be given pieces.

use std::collections::BTreeSet;

use crate::code::Piece;
use crate::contact::Subnet;
use crate::ids::NodeId;

/// The most holders of one tessera that share a /24 or /48, if there are enough others.
pub const HOLDERS_PER_SUBNET: usize = 2;

/// A node that may be given pieces, and what it already has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: NodeId,
    /// Its neighbourhood.
    pub subnet: Subnet,
    /// The pieces it holds, or was just given.
    pub pieces: BTreeSet<Piece>,
    /// How many more bytes it accepts; 0 if none, [`u64::MAX`] if unknown.
    pub room: u64,
}

impl Candidate {
    /// Whether it accepts so many more bytes.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.room > 0 && self.room >= bytes
    }
}
