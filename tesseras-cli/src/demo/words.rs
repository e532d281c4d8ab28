//! The sentences of the demo about a tessera, from what its nodes attested.

use tesseras_core::placement::{distinct_fragments, whole_copies};
use tesseras_replication::status::TesseraHealth;

use crate::human::count;

/// What is held, how much of it is enough, and on how many nodes it is.
pub fn held(health: &TesseraHealth) -> String {
    let whole = whole_copies(&health.placement) as u64;
    let distinct = distinct_fragments(&health.placement).len();
    let copies = count(whole, "whole copy", "whole copies");
    let pieces = count(distinct as u64, "piece", "pieces");
    // Where too few pieces live to be read, only the copies count.
    let enough = if health.needed > 1 && distinct >= health.needed {
        format!(", any {} of which are enough,", health.needed)
    } else {
        String::new()
    };
    let what = match (whole, distinct) {
        (0, _) => format!("{pieces}{enough}"),
        (1, 0) => copies,
        (_, 0) => format!("{copies}, each of which is enough,"),
        _ => format!("{copies} and {pieces}{enough}"),
    };
    format!("{what} on {}", count(health.placement.len() as u64, "node", "nodes"))
}

/// How many of the whole copies and of the pieces live, where it is not all of them. What would be
/// there with the nodes that died does not count.
pub fn not_all(health: &TesseraHealth) -> Option<String> {
    let form = (health.live, health.total);
    let copies = (health.copies.live, health.copies.total);
    let (copies, pieces) = match health.needed {
        1 => (form, (0, 0)),
        _ => (copies, form),
    };
    let part = |(live, total): (usize, usize), one, many| {
        (live < total).then(|| format!("{live} of {}", count(total as u64, one, many)))
    };
    let copies = part(copies, "whole copy", "whole copies");
    let pieces = part(pieces, "piece", "pieces");
    match (copies, pieces) {
        (Some(copies), Some(pieces)) => Some(format!("{copies} and {pieces}")),
        (copies, pieces) => copies.or(pieces),
    }
}

/// How much loss it stands, after "The nodes say: ".
pub fn may_die(survives: usize) -> String {
    match survives {
        0 => "not one of them may die yet.".to_owned(),
        1 => "any one of them may die, and nothing is lost.".to_owned(),
        n => format!("any {n} of them may die at once, and nothing is lost."),
    }
}

/// The end of the owner's computer and of so many others.
pub fn dies(others: u64) -> String {
    match others {
        0 => "Ana's computer dies. Its disk is erased.".to_owned(),
        1 => "Ana's computer dies, and with it 1 more node, the one that held most. Their disks \
              are erased."
            .to_owned(),
        n => format!(
            "Ana's computer dies, and with it {n} more nodes, those that held most. Their disks \
             are erased."
        ),
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::code::Piece;
    use tesseras_core::ids::NodeId;
    use tesseras_core::placement::Placement;
    use tesseras_replication::status::{Copies, HealthState};

    use super::*;

    fn health(whole: u8, pieces: u8, needed: usize) -> TesseraHealth {
        let mut placement = Placement::new();
        for n in 0..whole {
            placement.entry(NodeId::new([n; 20])).or_default().insert(Piece::Whole);
        }
        for index in 0..pieces {
            let holder = NodeId::new([100 + index % 8; 20]);
            placement.entry(holder).or_default().insert(Piece::Index(index));
        }
        TesseraHealth {
            state: HealthState::Healthy,
            total: 0,
            live: 0,
            needed,
            copies: Copies::default(),
            survives: 0,
            placement,
            uncounted: 0,
            only_silent: 0,
            in_library: false,
        }
    }

    #[test]
    fn only_what_is_not_back_is_told_copies_and_pieces_apart() {
        let seen = |needed, (live, total), copies: (usize, usize)| {
            let copies = Copies { live: copies.0, total: copies.1 };
            not_all(&TesseraHealth { live, total, copies, ..health(0, 0, needed) })
        };
        assert_eq!(seen(1, (3, 3), (3, 3)), None, "the state may be degraded all the same");
        assert_eq!(seen(16, (24, 24), (4, 4)), None);
        assert_eq!(seen(1, (2, 3), (2, 3)).as_deref(), Some("2 of 3 whole copies"));
        assert_eq!(seen(16, (20, 24), (4, 4)).as_deref(), Some("20 of 24 pieces"));
        assert_eq!(
            seen(16, (20, 24), (1, 4)).as_deref(),
            Some("1 of 4 whole copies and 20 of 24 pieces")
        );
    }

    #[test]
    fn what_is_held_is_said_for_every_form() {
        for (health, text) in [
            (health(1, 0, 1), "1 whole copy on 1 node"),
            (health(7, 0, 1), "7 whole copies, each of which is enough, on 7 nodes"),
            (health(0, 24, 16), "24 pieces, any 16 of which are enough, on 8 nodes"),
            (
                health(3, 24, 16),
                "3 whole copies and 24 pieces, any 16 of which are enough, on 11 nodes",
            ),
            (health(2, 1, 1), "2 whole copies and 1 piece on 3 nodes"),
        ] {
            assert_eq!(held(&health), text);
        }
    }
}
