//! Pieces on their way: rebuilt or fetched for a task that is not finished yet.

use super::{StagedBlob, StoreError};
use crate::ids::{ContentHash, TesseraHash};
use crate::time::Timestamp;

/// Objects that are kept only until a task on their tessera ends, so that it can go on where it
/// was after an interruption. While pinned they are stored objects like any other, and found by
/// their hash.
pub trait Workbench: Send + Sync {
    /// Turns a staged blob into a stored object that stays until the tessera is unpinned. Pinning
    /// the same content twice changes nothing. Survives a crash of the process; not synced.
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The objects pinned for a tessera.
    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError>;

    /// Releases everything pinned for a tessera.
    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError>;

    /// Releases everything pinned before a point in time: tasks that nobody went on with.
    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError>;
}
