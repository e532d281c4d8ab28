//! Which nodes have shown by its bytes that they have a piece that is a draft here and that another
//! node has placed: they may say that its tessera is published, as if they had placed it.

use std::collections::{BTreeMap, VecDeque};

use tesseras_core::contact::Subnet;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::PeerAt;

/// How many are remembered.
const MOST: usize = 1024;

/// Who has shown a piece of which tessera, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Shown(VecDeque<(TesseraHash, PeerAt)>);

impl Shown {
    /// Records that a node has shown a piece. When there are too many, the oldest of the
    /// neighbourhood that has most is forgotten: names cost nothing, so those of one neighbourhood
    /// must not displace the others.
    pub(crate) fn note(&mut self, tessera: TesseraHash, by: PeerAt) {
        self.0.retain(|(of, peer)| (*of, peer.id) != (tessera, by.id));
        self.0.push_back((tessera, by));
        if self.0.len() <= MOST {
            return;
        }
        let mut near: BTreeMap<Subnet, usize> = BTreeMap::new();
        for (_, peer) in &self.0 {
            *near.entry(peer.subnet).or_default() += 1;
        }
        let fullest = near.into_iter().max_by_key(|(_, count)| *count).map(|(subnet, _)| subnet);
        let oldest = self.0.iter().position(|(_, peer)| Some(peer.subnet) == fullest);
        if let Some(oldest) = oldest {
            self.0.remove(oldest);
        }
    }

    /// Whether a node has shown a piece of a tessera.
    pub(crate) fn contains(&self, tessera: TesseraHash, by: NodeId) -> bool {
        self.0.iter().any(|(of, peer)| (*of, peer.id) == (tessera, by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(near: u8, number: u16) -> PeerAt {
        let mut id = [near; 20];
        id[..2].copy_from_slice(&number.to_be_bytes());
        PeerAt { id: NodeId::new(id), subnet: Subnet::V4([8, 8, near]) }
    }

    const TESSERA: TesseraHash = TesseraHash::new([7; 32]);

    #[test]
    fn names_of_one_neighbourhood_displace_each_other_and_nobody_else() {
        let (mut shown, owner) = (Shown::default(), peer(1, 0));
        shown.note(TESSERA, owner);
        let crowd = MOST as u16 + 10;
        (0..crowd).for_each(|number| shown.note(TESSERA, peer(2, number)));
        assert_eq!(shown.0.len(), MOST);
        assert!(shown.contains(TESSERA, owner.id));
        assert!(!shown.contains(TESSERA, peer(2, 0).id));
        assert!(shown.contains(TESSERA, peer(2, crowd - 1).id));
        assert!(!shown.contains(TesseraHash::new([8; 32]), owner.id));
    }

    #[test]
    fn one_that_shows_a_piece_twice_counts_once() {
        let mut shown = Shown::default();
        shown.note(TESSERA, peer(1, 0));
        shown.note(TESSERA, peer(1, 0));
        assert_eq!(shown.0.len(), 1);
    }
}
