//! What must hold: which capsules must be readable, who has acknowledged which pieces, and what was
//! dropped where.

use std::collections::{BTreeMap, BTreeSet};

use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};

use crate::disk::{Rows, is_readable};
use crate::goods::Goods;

/// A published capsule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capsule {
    /// Its hash.
    pub hash: TesseraHash,
    /// What is in it.
    pub goods: Goods,
    /// Whether its publication was said to be done. Before, what others acknowledged must be there,
    /// but it need not be readable.
    pub is_complete: bool,
    /// Whether it ever had fewer than k pieces on disks that were not touched, running or not.
    pub fell: bool,
    /// On how many nodes it was dropped while it was wanted.
    pub drops: u8,
    /// Whether it is being dropped everywhere.
    pub retired: bool,
}

/// What is known of a tessera that was dropped on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    /// The command did not say that it was done.
    Begun,
    /// It was, and nothing of it may be there.
    Done,
    /// It was fetched there again.
    LetIn,
}

/// The book of a run.
#[derive(Debug, Default)]
pub struct Book {
    capsules: BTreeMap<TesseraHash, Capsule>,
    busy: BTreeSet<TesseraHash>,
    acknowledged: BTreeMap<NodeId, BTreeSet<(TesseraHash, Piece)>>,
    dropped: BTreeMap<(NodeId, TesseraHash), Dropped>,
}

impl Book {
    /// A capsule is about to be published.
    pub fn begun(&mut self, hash: TesseraHash, goods: Goods) {
        let new =
            Capsule { hash, goods, is_complete: false, fell: false, drops: 0, retired: false };
        self.capsules.entry(hash).or_insert(new);
    }

    /// Its publication is done.
    pub fn completed(&mut self, hash: TesseraHash) {
        if let Some(capsule) = self.capsules.get_mut(&hash) {
            capsule.is_complete = true;
        }
    }

    /// Every capsule that is not retired.
    pub fn living(&self) -> Vec<Capsule> {
        self.capsules.values().filter(|capsule| !capsule.retired).copied().collect()
    }

    /// Every capsule that is retired.
    pub fn retired(&self) -> Vec<TesseraHash> {
        let retired = self.capsules.values().filter(|capsule| capsule.retired);
        retired.map(|capsule| capsule.hash).collect()
    }

    /// Capsules that nobody works on just now and that are not retired.
    pub fn idle(&self) -> Vec<Capsule> {
        self.living().into_iter().filter(|capsule| !self.busy.contains(&capsule.hash)).collect()
    }

    /// Somebody works on a capsule; false if somebody does already.
    pub fn take(&mut self, hash: TesseraHash) -> bool {
        self.busy.insert(hash)
    }

    /// Nobody works on it any more.
    pub fn give_back(&mut self, hash: TesseraHash) {
        self.busy.remove(&hash);
    }

    /// It is to be dropped everywhere.
    pub fn retire(&mut self, hash: TesseraHash) {
        if let Some(capsule) = self.capsules.get_mut(&hash) {
            capsule.retired = true;
        }
    }

    /// A drop begins on a node.
    pub fn drop_begins(&mut self, id: NodeId, hash: TesseraHash) {
        self.dropped.insert((id, hash), Dropped::Begun);
        if let Some(capsule) = self.capsules.get_mut(&hash) {
            capsule.drops = capsule.drops.saturating_add(1);
        }
        if let Some(pieces) = self.acknowledged.get_mut(&id) {
            pieces.retain(|(tessera, _)| *tessera != hash);
        }
    }

    /// The drop said that it is done.
    pub fn drop_done(&mut self, id: NodeId, hash: TesseraHash) {
        self.dropped.insert((id, hash), Dropped::Done);
    }

    /// A fetch lets it in again, if it was dropped there.
    pub fn let_in(&mut self, id: NodeId, hash: TesseraHash) {
        self.dropped.entry((id, hash)).and_modify(|dropped| *dropped = Dropped::LetIn);
    }

    /// Whether it was dropped on a node, and nothing of it may be there.
    pub fn is_dropped(&self, id: NodeId, hash: TesseraHash) -> bool {
        self.dropped.get(&(id, hash)) == Some(&Dropped::Done)
    }

    /// The disk of a node was erased.
    pub fn forget(&mut self, id: NodeId) {
        self.acknowledged.remove(&id);
        self.dropped.retain(|(node, _), _| *node != id);
    }

    /// Takes down what the index of a node says: what it holds it must hold from now on, and so must
    /// others hold what they acknowledged to it. What was dropped on a node counts only by that node's
    /// own index: nobody else knows of it. Returns what is there although it was dropped.
    pub fn note(&mut self, id: NodeId, rows: &Rows) -> Vec<TesseraHash> {
        for (holder, tessera, piece) in &rows.placed {
            if !self.dropped.contains_key(&(*holder, *tessera)) {
                self.acknowledged.entry(*holder).or_default().insert((*tessera, *piece));
            }
        }
        let own = self.acknowledged.entry(id).or_default();
        own.extend(rows.held.keys().copied());
        let there = rows.held.keys().map(|(tessera, _)| tessera).chain(&rows.library);
        let there: BTreeSet<TesseraHash> = there.copied().collect();
        there.into_iter().filter(|tessera| self.is_dropped(id, *tessera)).collect()
    }

    /// What a node must hold.
    pub fn acknowledged(&self, id: NodeId) -> BTreeSet<(TesseraHash, Piece)> {
        self.acknowledged.get(&id).cloned().unwrap_or_default()
    }

    /// Which pieces of each tessera are on disks that were not touched: which capsules have too few
    /// for the first time.
    pub fn measure(&mut self, there: &BTreeMap<TesseraHash, BTreeSet<Piece>>) -> Vec<TesseraHash> {
        let none = BTreeSet::new();
        let mut fallen = Vec::new();
        let mut wanted = self.capsules.values_mut().filter(|c| c.is_complete && !c.retired);
        for capsule in &mut wanted {
            if !capsule.fell && !is_readable(there.get(&capsule.hash).unwrap_or(&none)) {
                capsule.fell = true;
                fallen.push(capsule.hash);
            }
        }
        fallen
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::ids::ContentHash;

    use super::*;
    use crate::goods::Size;

    const TESSERA: TesseraHash = TesseraHash::new([7; 32]);
    const HERE: NodeId = NodeId::new([1; 20]);
    const THERE: NodeId = NodeId::new([2; 20]);

    fn holding(pieces: &[Piece]) -> Rows {
        let held = pieces.iter().map(|piece| ((TESSERA, *piece), ContentHash::new([9; 32])));
        Rows { held: held.collect(), ..Rows::default() }
    }

    #[test]
    fn what_was_seen_or_acknowledged_to_another_must_stay_until_it_is_dropped() {
        let mut book = Book::default();
        book.note(HERE, &holding(&[Piece::Index(3)]));
        let placed = vec![(HERE, TESSERA, Piece::Whole)];
        book.note(THERE, &Rows { placed: placed.clone(), ..Rows::default() });
        book.note(HERE, &Rows::default());
        let both = BTreeSet::from([(TESSERA, Piece::Index(3)), (TESSERA, Piece::Whole)]);
        assert_eq!(book.acknowledged(HERE), both);
        book.drop_begins(HERE, TESSERA);
        assert!(book.note(HERE, &holding(&[Piece::Whole])).is_empty(), "it may have been cut off");
        book.drop_begins(HERE, TESSERA);
        book.drop_done(HERE, TESSERA);
        book.note(THERE, &Rows { placed, ..Rows::default() });
        assert!(book.acknowledged(HERE).is_empty());
        assert_eq!(book.note(HERE, &holding(&[Piece::Whole])), [TESSERA], "it came back");
        book.let_in(HERE, TESSERA);
        assert!(book.note(HERE, &holding(&[Piece::Whole])).is_empty(), "it was fetched again");
    }

    #[test]
    fn a_capsule_with_fewer_than_k_pieces_is_named_once() {
        let mut book = Book::default();
        book.begun(TESSERA, Goods::new(1, Size::Coded));
        let of = |count: u8| {
            let pieces = (0..count).map(Piece::Index).collect();
            BTreeMap::from([(TESSERA, pieces)])
        };
        assert!(book.measure(&of(2)).is_empty(), "it is not published yet");
        book.completed(TESSERA);
        assert!(book.measure(&of(16)).is_empty());
        let whole = BTreeMap::from([(TESSERA, BTreeSet::from([Piece::Whole]))]);
        assert!(book.measure(&whole).is_empty());
        assert_eq!(book.measure(&of(15)), [TESSERA]);
        assert!(book.measure(&of(15)).is_empty() && book.living()[0].fell);
    }
}
