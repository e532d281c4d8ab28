//! Pieces on their way: rebuilt or fetched for a task that is not finished yet.

use super::{BlobReader, StagedBlob, StoreError};
use crate::ids::{ContentHash, TesseraHash};
use crate::time::Timestamp;

/// Bytes that are kept only until a task on their tessera ends, so that it can go on where it was
/// after an interruption. They are not stored objects: no [`super::BlobStore`] finds them.
///
/// What is pinned survives a crash of the process, but it is not synced. After a power cut it may
/// be gone, short, or anything: anyone who goes on with it hashes it first.
pub trait Workbench: Send + Sync {
    /// Keeps a staged blob until the tessera is unpinned. Pinning the same content again replaces
    /// the bytes.
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Opens what was pinned under this hash; [`StoreError::Missing`] if nothing was.
    fn open(
        &self,
        tessera: &TesseraHash,
        hash: &ContentHash,
    ) -> Result<Box<dyn BlobReader>, StoreError>;

    /// What is pinned for a tessera.
    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError>;

    /// Releases everything pinned for a tessera.
    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError>;

    /// Releases what belongs to tasks that pinned nothing since a point in time.
    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError>;
}
