//! A store that keeps nothing: a dry run does all of the work but leaves no trace.

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader, BlobStore, BlobWriter, FreeSpace, StagedBlob, StoreError};
use tesseras_crypto::Blake3;

/// Hashes its input and discards it.
pub(crate) struct NullBlobStore;

struct Hashing {
    hasher: Blake3,
    bytes: u64,
}

impl BlobWriter for Hashing {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<StagedBlob, StoreError> {
        Ok(StagedBlob { hash: self.hasher.finish(), bytes: self.bytes, name: String::new() })
    }
}

impl BlobStore for NullBlobStore {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        Ok(Box::new(Hashing { hasher: Blake3::default(), bytes: 0 }))
    }

    fn discard(&self, _staged: StagedBlob) {}

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        Err(StoreError::Missing(*hash))
    }

    fn contains(&self, _hash: &ContentHash) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        Ok(FreeSpace::UNLIMITED)
    }
}
