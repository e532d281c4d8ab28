//! Reads an exported directory as a capsule. Nothing in it is trusted: all bytes must be hashed,
//! and the signatures identify the creator.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::ContentHash;
use tesseras_core::manifest::{MAX_MANIFEST_BYTES, listed, unlisted};
use tesseras_core::ports::{BlobReader, BlobStore, BlobWriter, FreeSpace, StagedBlob, StoreError};
use tesseras_core::signature::{ED25519_SIGNATURE_BYTES, ML_DSA_65_SIGNATURE_BYTES, SignaturePair};
use tesseras_crypto::{CreatorPems, NamedManifest, SignatureCheck, blake3_of};
use thiserror::Error;

use crate::dirfd::Folder;
use crate::open::{OpenError, StoredCapsule};

/// Why a directory cannot be read as a capsule.
#[derive(Debug, Error)]
pub enum ExportedError {
    /// The directory or its MANIFEST cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// Its path.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// There is no MANIFEST.
    #[error("{path} is not a capsule: it holds no MANIFEST")]
    NoCapsule {
        /// The path of the directory.
        path: String,
    },
    /// The MANIFEST is damaged.
    #[error(transparent)]
    Manifest(#[from] OpenError),
    /// Neither signature of the MANIFEST by its creator is valid.
    #[error("nothing vouches for the MANIFEST in {path}: neither of its signatures is valid")]
    Unsigned {
        /// The path of the directory.
        path: String,
    },
}

/// A capsule in an exported directory.
pub struct ExportedCapsule {
    capsule: Arc<StoredCapsule>,
    blobs: Arc<dyn BlobStore>,
    check: SignatureCheck,
}

impl ExportedCapsule {
    /// Reads the MANIFEST of an exported directory. At least one of its two signatures must be
    /// valid, so that a lost signature does not make the memories unreadable. Its files are not
    /// verified.
    pub fn open(path: &Path) -> Result<Self, ExportedError> {
        let shown = || path.display().to_string();
        let failed = |source| ExportedError::Read { path: shown(), source };
        let folder = Folder::open(path).map_err(failed)?;
        let manifest = match small(&folder, unlisted::MANIFEST, MAX_MANIFEST_BYTES) {
            Ok(manifest) => manifest,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ExportedError::NoCapsule { path: shown() });
            }
            Err(source) => {
                let path = path.join(unlisted::MANIFEST).display().to_string();
                return Err(ExportedError::Read { path, source });
            }
        };
        // An unreadable file proves nothing, like a missing one.
        let optional = |name, limit: usize| small(&folder, name, limit as u64).unwrap_or_default();
        let signatures = SignaturePair {
            ed25519: optional(unlisted::ED25519_SIGNATURE, ED25519_SIGNATURE_BYTES),
            ml_dsa_65: optional(unlisted::ML_DSA_65_SIGNATURE, ML_DSA_65_SIGNATURE_BYTES),
        };
        let pems =
            [listed::ED25519_PEM, listed::ML_DSA_65_PEM].map(|name| optional(name, MAX_PEM_BYTES));
        let (tessera, named) = NamedManifest::of_any(Arc::from(manifest));
        let named = named.map_err(|source| OpenError::Manifest { tessera, source })?;
        let capsule = Arc::new(StoredCapsule::of_manifest(named, signatures)?);
        let pems = CreatorPems { ed25519: &pems[0], ml_dsa_65: &pems[1] };
        let check = capsule.named().check(pems, capsule.signatures());
        let check = check
            .ok()
            .filter(|check| check.ed25519 || check.ml_dsa_65)
            .ok_or_else(|| ExportedError::Unsigned { path: shown() })?;
        let blobs = Arc::new(DirectoryBlobs::new(folder, Arc::clone(&capsule)));
        Ok(Self { capsule, blobs, check })
    }

    /// The capsule of its MANIFEST.
    pub fn capsule(&self) -> &Arc<StoredCapsule> {
        &self.capsule
    }

    /// Its files, by their content hash. Nothing can be stored there.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

    /// Which of its signatures are valid: at least one.
    pub fn signatures(&self) -> SignatureCheck {
        self.check
    }
}

/// Reads a short file; an error if it is longer than `limit`.
fn small(folder: &Folder, path: &str, limit: u64) -> io::Result<Vec<u8>> {
    folder.read_whole(path, limit)?.ok_or_else(|| {
        let why = format!("it is longer than {limit} bytes");
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// The files of an exported directory, by the hash that its MANIFEST gives them.
struct DirectoryBlobs {
    folder: Folder,
    capsule: Arc<StoredCapsule>,
    /// The indices of files in the MANIFEST, sorted by their hashes.
    by_hash: Vec<(ContentHash, u32)>,
}

impl DirectoryBlobs {
    fn new(folder: Folder, capsule: Arc<StoredCapsule>) -> Self {
        let mut by_hash: Vec<_> = capsule.files().iter().map(|f| f.blake3).zip(0..).collect();
        by_hash.sort_unstable();
        Self { folder, capsule, by_hash }
    }

    /// The paths of all files that have this content.
    fn paths(&self, hash: &ContentHash) -> Vec<&str> {
        let first = self.by_hash.partition_point(|(known, _)| known < hash);
        let same = self.by_hash[first..].iter().take_while(|(known, _)| known == hash);
        same.map(|(_, index)| self.capsule.files()[*index as usize].path.as_str()).collect()
    }

    fn open_path(&self, hash: &ContentHash, path: &str) -> Result<FileInDirectory, StoreError> {
        let failed = |e| read_error(hash, path, e);
        let file = self.folder.file(path.as_bytes()).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(FileInDirectory { hash: *hash, path: path.to_owned(), file, bytes })
    }
}

impl BlobStore for DirectoryBlobs {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        Err(StoreError::Backend {
            what: "writing to an exported capsule".to_owned(),
            source: Box::new(io::Error::from(io::ErrorKind::Unsupported)),
        })
    }

    fn discard(&self, _staged: StagedBlob) {}

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        let paths = self.paths(hash);
        let mut outcome = Err(StoreError::Missing(*hash));
        for path in &paths {
            outcome = self.open_path(hash, path);
            // If several files have the same content, any intact one suffices.
            if outcome.as_ref().is_ok_and(|file| paths.len() == 1 || file.is_intact()) {
                break;
            }
        }
        Ok(Box::new(outcome?))
    }

    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        Ok(self.paths(hash).iter().any(|path| self.open_path(hash, path).is_ok()))
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        Ok(FreeSpace { bytes: 0, block_bytes: 1, files: 0 })
    }
}

/// One file of the directory.
struct FileInDirectory {
    hash: ContentHash,
    path: String,
    file: File,
    bytes: u64,
}

impl FileInDirectory {
    fn is_intact(&self) -> bool {
        blake3_of(self).is_ok_and(|found| found == self.hash)
    }
}

impl BlobReader for FileInDirectory {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.bytes {
            // Readers go by the MANIFEST, so it is the file that is too short.
            return Err(StoreError::Corrupt(self.hash));
        }
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|e| read_error(&self.hash, &self.path, e))
    }
}

/// Translates an error that occurred while a file was opened or read.
fn read_error(hash: &ContentHash, path: &str, error: io::Error) -> StoreError {
    StoreError::damage(hash, &error).unwrap_or_else(|| StoreError::Backend {
        what: format!("reading {path}"),
        source: Box::new(error),
    })
}

#[cfg(test)]
mod tests {
    /// The first page of an address space is never mapped, so reading it fails with `EIO`.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_with_bytes_that_cannot_be_read_is_damaged() {
        use super::*;
        let hash = ContentHash::new([7; 32]);
        let path = "/proc/self/mem".to_owned();
        let file = FileInDirectory { hash, file: File::open(&path).unwrap(), path, bytes: 100 };
        let error = file.read_at(0, &mut [0; 100]).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(found) if found == hash), "{error}");
    }
}
