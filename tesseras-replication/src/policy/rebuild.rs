//! Which fragments repair has to compute.

use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::plan::Plan;

/// The fragments to compute so that all missing pieces are at hand: the missing ones themselves,
/// and for a whole copy all data.
pub(crate) fn to_rebuild(plan: &Plan, missing: &[Piece], have: &BTreeSet<Piece>) -> Vec<u8> {
    let Some(form) = plan.coded() else { return Vec::new() };
    let whole_is_here = have.contains(&Piece::Whole);
    let whole_is_missing = missing.contains(&Piece::Whole);
    let is_wanted = |index: &u8| {
        let is_data = *index < form.shape.k;
        let is_here = have.contains(&Piece::Index(*index)) || (is_data && whole_is_here);
        !is_here && (missing.contains(&Piece::Index(*index)) || (is_data && whole_is_missing))
    };
    (0..form.shape.n()).filter(is_wanted).collect()
}

#[cfg(test)]
mod tests {
    use tesseras_core::code::CODED_FROM_BYTES;
    use tesseras_core::ids::{ContentHash, TesseraHash};

    use super::*;

    #[test]
    fn what_is_rebuilt_follows_from_what_is_missing_and_what_is_at_hand() {
        let hash = ContentHash::new([1; 32]);
        let tessera = TesseraHash::new([2; 32]);
        let plan = Plan::new(tessera, CODED_FROM_BYTES, hash, vec![hash; 24]).expect("a plan");
        let pieces = |range: std::ops::Range<u8>| range.map(Piece::Index);
        let rebuilt = |missing: &[Piece], have: BTreeSet<Piece>| to_rebuild(&plan, missing, &have);
        let lost = [Piece::Index(3), Piece::Index(20)];
        assert_eq!(rebuilt(&lost, [Piece::Whole].into()), [20], "data are ranges of the whole");
        assert_eq!(rebuilt(&lost, pieces(4..20).collect()), [3, 20]);
        assert_eq!(rebuilt(&lost, pieces(3..21).collect()), [0u8; 0]);
        // A whole copy and a fragment at once: all data, and the fragment.
        let both = [Piece::Whole, Piece::Index(20)];
        assert_eq!(rebuilt(&both, pieces(2..18).collect()), [0, 1, 20]);
        assert_eq!(rebuilt(&both, [Piece::Whole].into()), [20]);
        let short = Plan::new(tessera, 1000, hash, Vec::new()).expect("a plan");
        assert!(to_rebuild(&short, &[Piece::Whole], &[Piece::Whole].into()).is_empty());
    }
}
