//! Why nodes did not accept the pieces of a tessera, so that people can be told what to do about
//! it.

use tesseras_core::contact::Contact;

/// The most nodes that are named.
const NAMED: usize = 4;

/// The answers of nodes near the key to offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes {
    /// How many would accept at least one piece, or already hold one.
    pub willing: usize,
    /// How many bytes each of these would have to accept at least for the tessera to be readable.
    pub bytes_per_node: u64,
    /// How many bytes are missing for that on nodes whose limits for this node are reached, in
    /// total.
    pub lacking: u64,
    /// Nodes whose limits for this node are too low, those with most room first: at most four.
    pub short: Vec<Short>,
}

/// A node that would accept too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// Its id and addresses.
    pub contact: Contact,
    /// How many bytes it would accept from this node now.
    pub room: u64,
}

impl Causes {
    /// Records a node whose limits for this node leave too little room.
    pub(super) fn note_short(&mut self, contact: &Contact, room: u64) {
        self.short.push(Short { contact: contact.clone(), room });
    }

    /// Computes how many bytes each willing node would have to accept, for `pieces` pieces of
    /// `piece_bytes`, and removes the nodes with enough room.
    pub(super) fn need(&mut self, pieces: u64, piece_bytes: u64) {
        let nodes = (self.willing.max(self.short.len()) as u64).max(1);
        self.bytes_per_node = pieces.div_ceil(nodes).saturating_mul(piece_bytes);
        let needed = self.bytes_per_node;
        self.short.retain(|short| short.room < needed);
        let lacking = self.short.iter().map(|short| needed - short.room);
        self.lacking = lacking.fold(0, u64::saturating_add);
        self.short.sort_by_key(|short| std::cmp::Reverse(short.room));
        self.short.truncate(NAMED);
    }
}
