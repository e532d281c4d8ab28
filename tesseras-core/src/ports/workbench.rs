//! Temporary pieces: rebuilt or fetched for a task that is not finished yet.

use super::{BlobReader, StagedBlob, StoreError};
use crate::ids::{ContentHash, TesseraHash};
use crate::time::Timestamp;

/// Bytes that are kept only until a task on their tessera ends, so that it can continue after an
/// interruption. They are not stored objects: no [`super::BlobStore`] finds them.
///
/// Pinned bytes survive a crash of the process, but they are not synced. After a power cut they may
/// be missing, truncated or corrupt: a task that continues with them hashes them first.
pub trait Workbench: Send + Sync {
    /// Keeps a staged blob until the tessera is unpinned. Pinning the same content again replaces
    /// the bytes. [`StoreError::Blocked`] if the tessera is [blocked](super::HoldingRepository::block):
    /// then nothing stays pinned for it. It is looked up once the blob is in its place, so nothing
    /// stays either if the tessera is blocked, and then unpinned, at any time meanwhile.
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Opens the bytes pinned under this hash; [`StoreError::Missing`] if there are none.
    fn open(
        &self,
        tessera: &TesseraHash,
        hash: &ContentHash,
    ) -> Result<Box<dyn BlobReader>, StoreError>;

    /// The hashes of everything pinned for a tessera.
    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError>;

    /// Releases everything that is pinned for a tessera now.
    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError>;

    /// Releases the bytes of tasks that have pinned nothing since a point in time, and of all whose
    /// tessera is blocked.
    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError>;
}
