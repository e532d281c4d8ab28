//! The rounds of a publication: place what is missing, survey again, and stop when nothing more can
//! be placed.

use tesseras_core::code::Piece;
use tesseras_core::placement::{Lack, is_readable};

/// How often pieces that have lost their holder in the meantime are placed again.
const ROUNDS: u32 = 3;

/// The next step of a publication.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is too little room for a readable placement: nothing is sent.
    Refuse,
    /// Places these pieces.
    Place(Vec<Piece>),
    /// Ends with the pieces placed so far.
    End,
}

/// The progress of a publication.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    done: u32,
}

impl Rounds {
    /// The next step, given what is missing now; `k` is that of the coded form, if there is one.
    pub(crate) fn next(&self, lack: &Lack, k: Option<u8>) -> Next {
        if self.done == 0 && !is_readable(&lack.after, k) {
            Next::Refuse
        } else if lack.pieces.is_empty() || self.done >= ROUNDS {
            Next::End
        } else {
            Next::Place(lack.pieces.clone())
        }
    }

    /// A round has ended in which this many pieces were placed. If none could be placed, the
    /// publication ends.
    pub(crate) fn placed(&mut self, pieces: usize) {
        self.done = if pieces == 0 { ROUNDS } else { self.done + 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::{DhtKey, NodeId};
    use tesseras_core::placement::{Assignment, Candidate};

    use super::*;

    fn lack(rooms: &[u64]) -> Lack {
        let candidates = rooms.iter().enumerate().map(|(at, room)| Candidate {
            id: NodeId::new([at as u8 + 1; 20]),
            subnet: Subnet::V4([127, 0, 0]),
            pieces: BTreeSet::new(),
            room: *room,
        });
        Assignment::new(DhtKey::new([0; 20]), 1000, candidates).lack()
    }

    #[test]
    fn nothing_is_sent_that_could_not_be_read_back() {
        assert_eq!(Rounds::default().next(&lack(&[999]), None), Next::Refuse);
        let copies = |n| Next::Place(vec![Piece::Whole; n]);
        assert_eq!(Rounds::default().next(&lack(&[1000, 999, 5000]), None), copies(2));
    }

    #[test]
    fn what_lost_its_holder_is_placed_anew_for_as_long_as_anything_can_be() {
        let room = lack(&[1000]);
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            assert_eq!(rounds.next(&room, None), Next::Place(vec![Piece::Whole]));
            rounds.placed(1);
        }
        assert_eq!(rounds.next(&room, None), Next::End);
        let mut rounds = Rounds::default();
        rounds.placed(0);
        assert_eq!(rounds.next(&room, None), Next::End);
    }
}
