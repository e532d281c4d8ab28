//! The last observed figures of a tessera.

use tesseras_core::time::Timestamp;

/// The figures of a [`TesseraHealth`](crate::status::TesseraHealth), and when they were true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When its holders were asked.
    pub checked: Timestamp,
    /// How many pieces there should be.
    pub total: usize,
    /// How many of them were attested.
    pub live: usize,
    /// How many are needed to read it.
    pub needed: usize,
    /// How many of the holders, the worst ones, could have been lost.
    pub survives: usize,
}
