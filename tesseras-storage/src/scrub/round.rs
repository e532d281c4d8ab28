//! How far the scrub is that the node does by itself; it goes on there after a restart.

use rusqlite::{OptionalExtension as _, params};
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::StoreError;
use tesseras_core::time::Timestamp;

use crate::cas::Cas;
use crate::columns::{content_hash, count, to_integer};

/// One round through all objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubRound {
    /// When it was begun.
    pub begun: Timestamp,
    /// The last object that was read.
    pub after: Option<ContentHash>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether all objects were read.
    pub complete: bool,
}

impl ScrubRound {
    /// A round that begins now.
    pub fn begin(now: Timestamp) -> Self {
        Self { begun: now, after: None, bytes: 0, complete: false }
    }
}

/// The round that was saved last.
pub(crate) fn round(cas: &Cas) -> Result<Option<ScrubRound>, StoreError> {
    cas.database().read("looking up the scrub", |connection| {
        connection
            .prepare_cached("SELECT begun, bytes, complete, after FROM scrub WHERE one = 1")?
            .query_row([], |row| {
                let is_begun: bool = row.get::<_, Option<Vec<u8>>>(3)?.is_some();
                Ok(ScrubRound {
                    begun: Timestamp(count(row, 0)?),
                    after: if is_begun { Some(content_hash(row, 3)?) } else { None },
                    bytes: count(row, 1)?,
                    complete: row.get(2)?,
                })
            })
            .optional()
    })
}

/// Saves a round in place of the one before. Not synced before the call returns: what a power cut
/// loses is read once more.
pub(crate) fn save_round(cas: &Cas, round: &ScrubRound) -> Result<(), StoreError> {
    cas.database().write_unsynced("saving the scrub", |tx| {
        tx.prepare_cached(
            "REPLACE INTO scrub (one, begun, after, bytes, complete) VALUES (1, ?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            to_integer(round.begun.0),
            round.after.as_ref().map(ContentHash::as_bytes),
            to_integer(round.bytes),
            round.complete,
        ])?;
        Ok(())
    })
}
