//! The target form: how many whole copies beside which coded form, for a pack of a given length on
//! a given number of holders. Publish, repair and status all use it.

use crate::code::{CodedForm, Shape, WHOLE_COPIES};

/// This many holders, the worst ones, may be lost if there are more holders than that. Below the
/// full coded form this is reached with whole copies.
pub const SURVIVES_AT_LEAST: usize = 5;

/// The form in which the available holders should keep a pack.
///
/// As the number of holders grows, [`TargetForm::survives`] never falls, and it is at least
/// min(holders − 1, [`SURVIVES_AT_LEAST`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetForm {
    /// Whole copies, each on a holder without fragments.
    pub whole: usize,
    /// The coded form beside them, its fragments spread evenly over all other holders.
    pub coded: Option<CodedForm>,
    /// How many holders, the worst ones, may be lost when it is placed like this.
    pub survives: usize,
}

impl TargetForm {
    /// The target form of a pack of `pack_bytes` bytes on `holders` independent holders.
    ///
    /// Whole copies alone below [`crate::code::CODED_FROM_BYTES`] (at most [`WHOLE_COPIES`]) and on
    /// few holders (one each). Otherwise the coded form, beside the smallest number of whole copies
    /// with which [`SURVIVES_AT_LEAST`] holders may be lost.
    pub fn of(pack_bytes: u64, holders: usize) -> Self {
        let copies = |whole: usize| Self { whole, coded: None, survives: whole.saturating_sub(1) };
        let Some(coded) = CodedForm::of_pack(pack_bytes) else {
            return copies(holders.min(WHOLE_COPIES));
        };
        if holders <= SURVIVES_AT_LEAST + 1 {
            return copies(holders);
        }
        let beside = |whole: usize| {
            let survives = whole + tolerates(coded.shape, holders - whole)?;
            let enough = survives >= SURVIVES_AT_LEAST;
            enough.then_some(Self { whole, coded: Some(coded), survives })
        };
        (0..=SURVIVES_AT_LEAST).find_map(beside).unwrap_or_else(|| copies(holders))
    }

    /// How many bytes an owner sends to place all of it, without dossiers.
    pub fn upload_bytes(&self, pack_bytes: u64) -> u64 {
        let whole = pack_bytes.saturating_mul(self.whole as u64);
        let fragments =
            self.coded.map_or(0, |form| form.fragment_bytes.saturating_mul(form.shape.n().into()));
        whole.saturating_add(fragments)
    }
}

/// How many of `holders` holders, the fullest ones, may be lost with k fragments left, when all n
/// are spread over them as evenly as possible. `None` without any holder.
pub(super) fn tolerates(shape: Shape, holders: usize) -> Option<usize> {
    let (k, n) = (usize::from(shape.k), usize::from(shape.n()));
    let each = n.checked_div(holders)?;
    let mut left = n;
    for gone in 0..holders {
        left -= each + usize::from(gone < n % holders);
        if left < k {
            return Some(gone);
        }
    }
    // Unreachable: with all of them gone no fragment is left, which is fewer than any k.
    Some(holders)
}
