//! The pack of a stored capsule, readable at any offset although it is not stored anywhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tesseras_core::ids::ContentHash;
use tesseras_core::lock::lock;
use tesseras_core::manifest::FileEntry;
use tesseras_core::pack::{PackSource, Segment};
use tesseras_core::ports::{BlobReader, BlobStore, StoreError};

use crate::open::StoredCapsule;

/// How many stored objects are kept open between two reads: enough for the 48 columns of the wide
/// code, and the one that is read sequentially at the same time.
const OPEN_OBJECTS: usize = 64;

/// Reads the pack of a stored capsule. The bytes are not verified here: the pack's BLAKE3 or its
/// fragments' checksums do that.
pub struct PackReader {
    capsule: Arc<StoredCapsule>,
    blobs: Arc<dyn BlobStore>,
    /// The most recently read objects, the newest at the end.
    open: Mutex<VecDeque<(ContentHash, Arc<dyn BlobReader>)>>,
}

impl PackReader {
    /// The pack of a capsule whose files are in `blobs`.
    pub fn new(capsule: Arc<StoredCapsule>, blobs: Arc<dyn BlobStore>) -> Self {
        Self { capsule, blobs, open: Mutex::default() }
    }

    /// The capsule of the pack.
    pub fn capsule(&self) -> &StoredCapsule {
        &self.capsule
    }

    fn object(&self, hash: &ContentHash) -> Result<Arc<dyn BlobReader>, StoreError> {
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(|(known, _)| known == hash)
                && let Some(found) = open.remove(at)
            {
                let reader = Arc::clone(&found.1);
                open.push_back(found);
                return Ok(reader);
            }
        }
        let reader: Arc<dyn BlobReader> = Arc::from(self.blobs.open(hash)?);
        let mut open = lock(&self.open);
        if open.len() == OPEN_OBJECTS {
            open.pop_front();
        }
        open.push_back((*hash, Arc::clone(&reader)));
        Ok(reader)
    }

    fn part(&self, source: PackSource) -> Option<&[u8]> {
        match source {
            PackSource::Manifest => Some(self.capsule.manifest_bytes()),
            PackSource::Ed25519Signature => Some(&self.capsule.signatures().ed25519),
            PackSource::MlDsa65Signature => Some(&self.capsule.signatures().ml_dsa_65),
            PackSource::Sums => Some(self.capsule.sums().as_bytes()),
            PackSource::File(_) => None,
        }
    }
}

impl BlobReader for PackReader {
    fn bytes(&self) -> u64 {
        self.capsule.layout().bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let bytes = self.bytes();
        let end = offset.saturating_add(buffer.len() as u64);
        if end > bytes {
            return Err(StoreError::OutOfRange { offset, end, bytes });
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let segment = self.capsule.layout().segment(offset + filled as u64, rest.len() as u64);
            filled += match segment {
                None => return Err(StoreError::OutOfRange { offset, end, bytes }),
                Some(Segment::Header(header)) => {
                    rest[..header.len()].copy_from_slice(&header);
                    header.len()
                }
                Some(Segment::Zeros(n)) => {
                    let n = n as usize;
                    rest[..n].fill(0);
                    n
                }
                Some(Segment::File { source: PackSource::File(hash), offset, bytes }) => {
                    let n = bytes as usize;
                    self.object(&hash)?.read_at(offset, &mut rest[..n])?;
                    n
                }
                Some(Segment::File { source, offset, bytes }) => {
                    // A signature of the wrong length makes the pack unreadable, not this process.
                    let from = offset as usize;
                    let n = bytes as usize;
                    let part = self.part(source).and_then(|part| part.get(from..from + n));
                    let hash = ContentHash::from(self.capsule.hash());
                    rest[..n].copy_from_slice(part.ok_or(StoreError::Corrupt(hash))?);
                    n
                }
            };
        }
        Ok(())
    }
}

/// Reads a stored object from its beginning to its end.
pub(crate) struct Sequential {
    reader: Box<dyn BlobReader>,
    at: u64,
}

impl Sequential {
    /// Opens the object of a file; [`StoreError::Corrupt`] if it has another length.
    pub fn open(blobs: &dyn BlobStore, file: &FileEntry) -> Result<Self, StoreError> {
        let reader = blobs.open(&file.blake3)?;
        if reader.bytes() != file.bytes {
            return Err(StoreError::Corrupt(file.blake3));
        }
        Ok(Self { reader, at: 0 })
    }

    /// Reads on; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let left = usize::try_from(self.reader.bytes() - self.at).unwrap_or(usize::MAX);
        let n = left.min(buffer.len());
        self.reader.read_at(self.at, &mut buffer[..n])?;
        self.at += n as u64;
        Ok(n)
    }
}
