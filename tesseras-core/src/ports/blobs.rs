//! Content-addressed bytes.

use bytes::Bytes;

use super::{FreeSpace, StoreError};
use crate::buffer::PageBuffer;
use crate::ids::ContentHash;

/// Bytes on disk that nothing refers to yet. A repository turns it into a stored object;
/// [`BlobStore::discard`] removes it. If the process dies first, it is later removed from `tmp/`.
#[derive(Debug, PartialEq, Eq)]
pub struct StagedBlob {
    /// BLAKE3-256 of its bytes.
    pub hash: ContentHash,
    /// Its length.
    pub bytes: u64,
    /// The store's own name for it.
    pub name: String,
}

/// Receives bytes and hashes them. Dropped before it is finished, it leaves nothing behind.
pub trait BlobWriter: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Ends the blob. It becomes durable only when it is adopted.
    fn finish(self: Box<Self>) -> Result<StagedBlob, StoreError>;
}

/// Reads a stored object at any offset.
pub trait BlobReader: Send + Sync {
    /// Its length.
    fn bytes(&self) -> u64;

    /// Fills the buffer from `offset` on; [`StoreError::OutOfRange`] if the object ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

    /// Whether its bytes are in memory, and were hashed on their way there.
    fn is_verified(&self) -> bool {
        false
    }

    /// All of it in memory; `None` if it is longer than `limit` bytes. For what is short by its
    /// nature.
    fn read_whole(&self, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.bytes();
        let Some(length) = usize::try_from(bytes).ok().filter(|_| bytes <= limit) else {
            return Ok(None);
        };
        let mut whole = vec![0; length];
        self.read_at(0, &mut whole)?;
        Ok(Some(whole))
    }

    /// The bytes from `offset` on, at most `limit` of them and less only where the object ends:
    /// none at its end, [`StoreError::OutOfRange`] beyond it. A reader that has them in memory
    /// already overrides this and hands out what it has; otherwise they are read into a buffer of
    /// their own.
    fn read_chunk(&self, offset: u64, limit: usize) -> Result<Bytes, StoreError> {
        let bytes = self.bytes();
        let Some(rest) = bytes.checked_sub(offset) else {
            return Err(StoreError::OutOfRange { offset, end: offset, bytes });
        };
        let mut buffer =
            PageBuffer::new(usize::try_from(rest).map_or(limit, |rest| rest.min(limit)));
        self.read_at(offset, &mut buffer)?;
        Ok(Bytes::from_owner(buffer))
    }
}

/// Objects by the hash of their content; one stored object for equal content.
pub trait BlobStore: Send + Sync {
    /// Starts a new blob.
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError>;

    /// Starts to sync a blob that will be adopted later, so that adopting it is faster. A hint:
    /// errors are reported when the blob is adopted.
    fn sync_early(&self, staged: &StagedBlob) {
        let _ = staged;
    }

    /// Removes a staged blob that was not adopted.
    fn discard(&self, staged: StagedBlob);

    /// Opens a stored object; [`StoreError::Missing`] if there is none. The bytes are not verified:
    /// callers that need certainty hash them.
    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError>;

    /// Whether an object is stored.
    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError>;

    /// What is free on the disk for this process.
    fn free_space(&self) -> Result<FreeSpace, StoreError>;
}
