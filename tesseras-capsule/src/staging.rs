//! Blobs that are being added to the library: each content once, and none left behind after an
//! error.

use std::collections::HashSet;
use std::ops::Deref;

use tesseras_core::ids::{ContentHash, Sha256Digest};
use tesseras_core::ports::{BlobStore, StagedBlob, StoreError};

use crate::pump::Pump;

/// The result of staging bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub blake3: ContentHash,
    pub sha256: Sha256Digest,
    pub bytes: u64,
}

/// All blobs staged for one capsule. They are discarded on drop unless taken.
pub(crate) struct Staging<B: Deref<Target: BlobStore>> {
    blobs: B,
    staged: Vec<StagedBlob>,
    known: HashSet<ContentHash>,
}

impl<B: Deref<Target: BlobStore>> Staging<B> {
    pub fn new(blobs: B) -> Self {
        Self { blobs, staged: Vec::new(), known: HashSet::new() }
    }

    /// The store.
    pub fn blobs(&self) -> &B::Target {
        &self.blobs
    }

    /// Stages a stream in one pass. Nothing is left behind if the stream fails.
    pub fn stream<E: From<StoreError>>(
        &mut self,
        pump: &mut Pump,
        read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        mut also: impl FnMut(u64),
    ) -> Result<(Stored, StagedBlob), E> {
        let mut writer = self.blobs.stage()?;
        let (bytes, sha256) = pump.run(read, |chunk| {
            writer.write(chunk)?;
            also(chunk.len() as u64);
            Ok(())
        })?;
        let staged = writer.finish()?;
        Ok((Stored { blake3: staged.hash, sha256, bytes }, staged))
    }

    /// Stages bytes at hand.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<Stored, StoreError> {
        let mut writer = self.blobs.stage()?;
        writer.write(bytes)?;
        let staged = writer.finish()?;
        let stored = Stored {
            blake3: staged.hash,
            sha256: tesseras_crypto::sha256(bytes),
            bytes: bytes.len() as u64,
        };
        self.keep(staged);
        Ok(stored)
    }

    /// Keeps a staged blob, unless the same content is kept already.
    pub fn keep(&mut self, staged: StagedBlob) {
        if self.known.insert(staged.hash) {
            self.blobs.sync_early(&staged);
            self.staged.push(staged);
        } else {
            self.blobs.discard(staged);
        }
    }

    /// Removes a staged blob that turned out to be unnecessary.
    pub fn discard(&self, staged: StagedBlob) {
        self.blobs.discard(staged);
    }

    /// Returns everything that is kept: the contents, sorted, and their blobs.
    pub fn take(mut self) -> (Vec<ContentHash>, Vec<StagedBlob>) {
        let mut content: Vec<ContentHash> = self.known.drain().collect();
        content.sort_unstable();
        (content, std::mem::take(&mut self.staged))
    }
}

impl<B: Deref<Target: BlobStore>> Drop for Staging<B> {
    fn drop(&mut self) {
        for staged in self.staged.drain(..) {
            self.blobs.discard(staged);
        }
    }
}
