//! Bytes that are staged, and belong to a task until it stores them.

use std::sync::Arc;

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobStore, StagedBlob};

use crate::blocking::Blocking;

/// A staged blob that is discarded, where work may block, unless it is [taken](Staged::take).
pub(crate) struct Staged {
    disk: Blocking,
    blobs: Arc<dyn BlobStore>,
    /// `None` once it was taken.
    blob: Option<StagedBlob>,
}

impl Staged {
    /// Owns `blob`, which was staged in `blobs`.
    pub(crate) fn new(disk: &Blocking, blobs: &Arc<dyn BlobStore>, blob: StagedBlob) -> Self {
        Self { disk: disk.clone(), blobs: blobs.clone(), blob: Some(blob) }
    }

    /// BLAKE3 of its bytes.
    pub(crate) fn hash(&self) -> ContentHash {
        self.blob.as_ref().expect("only take() removes it, and consumes this").hash
    }

    /// The blob, for a store that takes it over.
    pub(crate) fn take(mut self) -> StagedBlob {
        self.blob.take().expect("only this removes it, and consumes this")
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(blob) = self.blob.take() {
            let blobs = self.blobs.clone();
            drop(self.disk.run(move || blobs.discard(blob)));
        }
    }
}
