//! Why nodes did not take what a tessera needs, so that people can be told what to do about it.

use tesseras_core::contact::Contact;

/// At most so many nodes are named.
const NAMED: usize = 4;

/// What nodes near the key said when they were asked for room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes {
    /// How many would take at least one piece, or hold one already.
    pub willing: usize,
    /// How many bytes each of these would have to take at least, so that it can be read back.
    pub bytes_per_node: u64,
    /// How many bytes are lacking for that on nodes whose limits for this node are in the way, all
    /// together.
    pub lacking: u64,
    /// Nodes whose limits for this node are in the way, those with most room first: at most four.
    pub short: Vec<Short>,
}

/// A node that would take too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// Who and where.
    pub contact: Contact,
    /// How many bytes it would take from this node now.
    pub room: u64,
}

impl Causes {
    /// Notes a node whose limits for this node leave too little room.
    pub(super) fn note_short(&mut self, contact: &Contact, room: u64) {
        self.short.push(Short { contact: contact.clone(), room });
    }

    /// Says how much each willing node would have to take of `bytes` in pieces of `piece_bytes`,
    /// and forgets who has enough room.
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
