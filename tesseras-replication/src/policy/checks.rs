//! How often a check asks all possible holders of a tessera, although the recorded ones attest all of
//! it.
//!
//! An attestation is a claim, and a check that ends with the claims of recorded holders hears of no
//! others. So that a check never ends like that for ever, every seventh one is a full survey.

use std::collections::BTreeMap;

use tesseras_core::ids::TesseraHash;

/// At least one of so many checks in a row is a full survey.
const FULL_EVERY: u8 = 7;

/// How many checks in a row have ended with the claims of recorded holders, for each tessera. Kept
/// in memory only. After a start, each begins at another number, so that a node with thousands of
/// tesserae does not survey all of them in one round; the first check may always end with claims.
#[derive(Debug, Default)]
pub(crate) struct Checks(BTreeMap<TesseraHash, u8>);

impl Checks {
    /// Whether the next check of a tessera may end with the claims of its recorded holders.
    pub(crate) fn may_end_with_claims(&self, tessera: &TesseraHash) -> bool {
        self.in_a_row(tessera) + 1 < FULL_EVERY
    }

    /// A check has ended so.
    pub(crate) fn ended_with_claims(&mut self, tessera: TesseraHash) {
        let in_a_row = self.in_a_row(&tessera).saturating_add(1);
        self.0.insert(tessera, in_a_row);
    }

    /// All possible holders have been asked.
    pub(crate) fn surveyed(&mut self, tessera: TesseraHash) {
        self.0.insert(tessera, 0);
    }

    fn in_a_row(&self, tessera: &TesseraHash) -> u8 {
        let at_start = tessera.as_bytes()[0] % (FULL_EVERY - 1);
        self.0.get(tessera).copied().unwrap_or(at_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seventh_check_is_a_full_survey_and_the_first_ones_are_spread_over_the_rounds() {
        let mut checks = Checks::default();
        let mut first = BTreeMap::<usize, usize>::new();
        for seed in 0..120 {
            let tessera = TesseraHash::new([seed; 32]);
            let mut full = Vec::new();
            for check in 1..=21_usize {
                if checks.may_end_with_claims(&tessera) {
                    checks.ended_with_claims(tessera);
                } else {
                    checks.surveyed(tessera);
                    full.push(check);
                }
            }
            assert!((2..=7).contains(&full[0]), "{full:?}");
            assert!(full.windows(2).all(|pair| pair[1] - pair[0] == 7), "{full:?}");
            *first.entry(full[0]).or_default() += 1;
        }
        assert!(first.len() == 6 && first.values().all(|n| *n == 20), "{first:?}");
    }

    #[test]
    fn a_survey_that_failed_is_due_again() {
        let (mut checks, tessera) = (Checks::default(), TesseraHash::new([0; 32]));
        (0..6).for_each(|_| checks.ended_with_claims(tessera));
        assert!(!checks.may_end_with_claims(&tessera));
        assert!(!checks.may_end_with_claims(&tessera), "nothing was surveyed since");
    }
}
