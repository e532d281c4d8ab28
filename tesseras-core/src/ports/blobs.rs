//! Content-addressed bytes.

use bytes::Bytes;

use super::StoreError;
use crate::buffer::PageBuffer;
use crate::ids::ContentHash;

/// Bytes on disk that nothing names yet. Given to a repository it becomes a stored object; given
/// to [`BlobStore::discard`] it goes away. If it is forgotten (the process dies), it is swept from
/// `tmp/` later.
#[derive(Debug, PartialEq, Eq)]
pub struct StagedBlob {
    /// BLAKE3-256 of its bytes.
    pub hash: ContentHash,
    /// Its length.
    pub bytes: u64,
    /// The store's own name for it.
    pub name: String,
}

/// Takes bytes, hashing them on the way. Dropped before it is finished, it leaves nothing.
pub trait BlobWriter: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Ends the blob. Not yet durable: adopting it makes it so.
    fn finish(self: Box<Self>) -> Result<StagedBlob, StoreError>;
}

/// Reads a stored object at any offset.
pub trait BlobReader: Send + Sync {
    /// Its length.
    fn bytes(&self) -> u64;

    /// Fills the buffer from `offset` on; [`StoreError::OutOfRange`] if the object ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

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

    /// Begins to make durable what will be adopted later, so that adopting it has less to wait
    /// for. A hint: what fails here is told when the blob is adopted.
    fn sync_early(&self, staged: &StagedBlob) {
        let _ = staged;
    }

    /// Removes a staged blob that nobody adopted.
    fn discard(&self, staged: StagedBlob);

    /// Opens a stored object; [`StoreError::Missing`] if there is none. What is read is as it is
    /// on disk: anyone who needs certainty hashes it.
    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError>;

    /// Whether an object is stored.
    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError>;

    /// Bytes free on the disk for this process.
    fn free_bytes(&self) -> Result<u64, StoreError>;
}
