//! Bytes that are staged, and belong to a task until it stores them.

use std::ops::Deref;
use std::sync::Arc;

use tesseras_core::ports::{BlobStore, StagedBlob};

use crate::blocking::Blocking;

/// A staged blob that is discarded on drop, unless it is [taken](Staged::take).
pub struct Staged {
    blobs: Arc<dyn BlobStore>,
    /// Where it is discarded; `None` if it is dropped only where work may block.
    disk: Option<Blocking>,
    /// `None` once it was taken.
    blob: Option<StagedBlob>,
}

impl Staged {
    /// Owns `blob`, which was staged in `blobs`. It is to be dropped where work may block.
    pub(crate) fn new(blobs: &Arc<dyn BlobStore>, blob: StagedBlob) -> Self {
        Self { blobs: blobs.clone(), disk: None, blob: Some(blob) }
    }

    /// From now on it may be dropped anywhere, and is discarded on `disk`.
    pub(crate) fn discarded_on(self, disk: &Blocking) -> Self {
        self.discarded(Some(disk.clone()))
    }

    /// From now on it is dropped only where work may block, and is discarded there.
    pub(crate) fn discarded_here(self) -> Self {
        self.discarded(None)
    }

    fn discarded(mut self, disk: Option<Blocking>) -> Self {
        self.disk = disk;
        self
    }

    /// The blob, for a store that takes it over.
    pub fn take(mut self) -> StagedBlob {
        self.blob.take().expect("only this removes it, and consumes this")
    }
}

impl Deref for Staged {
    type Target = StagedBlob;

    fn deref(&self) -> &StagedBlob {
        self.blob.as_ref().expect("only take() removes it, and consumes this")
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(blob) = self.blob.take() else { return };
        match &self.disk {
            Some(disk) => {
                let blobs = self.blobs.clone();
                drop(disk.run(move || blobs.discard(blob)));
            }
            None => self.blobs.discard(blob),
        }
    }
}
