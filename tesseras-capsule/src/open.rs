//! Reads a stored capsule: verifies its MANIFEST against its hash, and lists its memories.

use std::sync::Arc;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{FileEntry, MAX_MANIFEST_BYTES, Manifest, ManifestError, listed};
use tesseras_core::pack::PackLayout;
use tesseras_core::ports::{BlobStore, StoreError, TesseraRecord, TesseraRepository};
use tesseras_core::signature::SignaturePair;
use tesseras_core::sums::{self, UnlistedDigests};
use tesseras_core::words::{one_line, printable};
use tesseras_crypto::signed_manifest::NameError;
use tesseras_crypto::{NamedManifest, blake3, sha256};
use thiserror::Error;

use crate::meta::{MAX_META_BYTES, MemoryType, Meta, Place};

/// Why a capsule cannot be read from the library.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It is not in the library.
    #[error("tessera {0} is not stored here")]
    NotStored(TesseraHash),
    /// Its MANIFEST does not match its hash.
    #[error("the stored MANIFEST of tessera {0} is damaged")]
    Damaged(TesseraHash),
    /// Its MANIFEST has the right hash but is not valid.
    #[error("tessera {tessera}: {source}")]
    Manifest {
        /// The tessera.
        tessera: TesseraHash,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// A description of a memory is damaged.
    #[error("{path}: {reason}")]
    Meta {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The files that it names are longer than any pack.
    #[error("tessera {0} names files that are too long for any pack")]
    TooLong(TesseraHash),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A capsule whose MANIFEST matches its hash. Its files are not verified.
///
/// Memory: the MANIFEST and what is derived from it, in the worst case (16 MiB, 100,000 files)
/// about 80 MiB.
#[derive(Debug, Clone)]
pub struct StoredCapsule {
    manifest: NamedManifest<Arc<[u8]>>,
    signatures: SignaturePair,
    sums: Arc<str>,
    layout: PackLayout,
}

/// One memory, as `tes show` lists it. Its strings are safe to show: one line each, whatever the
/// capsule contains.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorySummary {
    /// Its directory in the capsule.
    pub path: String,
    /// What kind of memory it is.
    pub memory_type: MemoryType,
    /// Its path in its owner's folder.
    pub original: String,
    /// The file's media type.
    pub mime: String,
    /// The file's length in bytes.
    pub bytes: u64,
    /// When it was taken, as its EXIF says.
    pub taken: Option<String>,
    /// Where it was taken.
    pub place: Option<Place>,
    /// Whether there is a context beside it.
    pub has_context: bool,
    /// Whether a page of `decode/` describes the format of the file.
    pub described: bool,
}

impl StoredCapsule {
    /// Opens a capsule of the library.
    pub fn open(
        blobs: &dyn BlobStore,
        library: &dyn TesseraRepository,
        hash: &TesseraHash,
    ) -> Result<Self, OpenError> {
        let record = library.get(hash)?.ok_or(OpenError::NotStored(*hash))?;
        Self::of_record(blobs, &record)
    }

    /// Opens a capsule whose record is at hand.
    pub fn of_record(blobs: &dyn BlobStore, record: &TesseraRecord) -> Result<Self, OpenError> {
        let hash = record.hash;
        let reader = blobs.open(&ContentHash::from(hash))?;
        let bytes = reader.read_whole(MAX_MANIFEST_BYTES)?.ok_or(OpenError::Damaged(hash))?;
        Self::new(hash, bytes, record.signatures.clone())
    }

    /// Builds a capsule from its MANIFEST and signatures. The MANIFEST must match the hash; the
    /// signatures are not verified.
    pub fn new(
        hash: TesseraHash,
        manifest_bytes: Vec<u8>,
        signatures: SignaturePair,
    ) -> Result<Self, OpenError> {
        let named = NamedManifest::read(Arc::from(manifest_bytes), &hash);
        let named = named.map_err(|error| match error {
            NameError::WrongTessera { .. } => OpenError::Damaged(hash),
            NameError::Malformed(source) => OpenError::Manifest { tessera: hash, source },
        })?;
        Self::of_manifest(named, signatures)
    }

    /// Puts a capsule together from a MANIFEST that was read already, and signatures, which are not
    /// checked.
    pub(crate) fn of_manifest(
        manifest: NamedManifest<Arc<[u8]>>,
        signatures: SignaturePair,
    ) -> Result<Self, OpenError> {
        let hash = manifest.tessera();
        let length = manifest.bytes().len() as u64;
        let layout =
            PackLayout::new(&hash, manifest.manifest(), length).ok_or(OpenError::TooLong(hash))?;
        let digests = UnlistedDigests {
            manifest: sha256(manifest.bytes()),
            ed25519_signature: sha256(&signatures.ed25519),
            ml_dsa_65_signature: sha256(&signatures.ml_dsa_65),
        };
        let sums = sums::render(manifest.manifest(), &digests).into();
        Ok(Self { manifest, signatures, sums, layout })
    }

    /// Its hash.
    pub fn hash(&self) -> TesseraHash {
        self.manifest.tessera()
    }

    /// Its parsed MANIFEST.
    pub fn manifest(&self) -> &Manifest {
        self.manifest.manifest()
    }

    /// The MANIFEST as it was signed.
    pub fn manifest_bytes(&self) -> &[u8] {
        self.manifest.bytes()
    }

    /// Both: the MANIFEST that the name names.
    pub fn named(&self) -> &NamedManifest<Arc<[u8]>> {
        &self.manifest
    }

    /// The creator's signatures over it.
    pub fn signatures(&self) -> &SignaturePair {
        &self.signatures
    }

    /// The text of SHA256SUMS.
    pub fn sums(&self) -> &str {
        &self.sums
    }

    /// The layout of its pack.
    pub fn layout(&self) -> &PackLayout {
        &self.layout
    }

    /// The files that the MANIFEST lists.
    pub fn files(&self) -> &[FileEntry] {
        self.manifest().files()
    }

    /// The creator's public keys as PEM, Ed25519 first, as holders keep them beside their pieces.
    pub fn creator_pems(&self, blobs: &dyn BlobStore) -> Result<(Vec<u8>, Vec<u8>), OpenError> {
        let read = |path: &'static str| {
            self.small_file(blobs, path, tesseras_core::dossier::MAX_PEM_BYTES as u64)
        };
        Ok((read(listed::ED25519_PEM)?, read(listed::ML_DSA_65_PEM)?))
    }

    /// Lists the memories in the order of their numbers, reading each one's `meta.json`.
    pub fn memories(&self, blobs: &dyn BlobStore) -> Result<Vec<MemorySummary>, OpenError> {
        let mut memories = Vec::new();
        for entry in self.files() {
            let path = entry.path.as_str();
            let Some(directory) = path.strip_suffix("/meta.json") else { continue };
            if !directory.starts_with("memories/") {
                continue;
            }
            let meta = self.meta(blobs, path)?;
            memories.push(MemorySummary {
                path: directory.to_owned(),
                memory_type: meta.memory_type,
                original: printable(&meta.original),
                mime: one_line(&meta.mime),
                bytes: meta.bytes,
                taken: meta.taken.as_deref().map(one_line),
                place: meta.place,
                has_context: self.manifest().file(&format!("{directory}/context.txt")).is_some(),
                described: meta.described,
            });
        }
        Ok(memories)
    }

    /// The original paths of the memories that contain a GPS location, which would become public
    /// with them.
    pub fn gps_files(&self, blobs: &dyn BlobStore) -> Result<Vec<String>, OpenError> {
        let memories = self.memories(blobs)?.into_iter();
        Ok(memories.filter(|m| m.place.is_some()).map(|m| m.original).collect())
    }

    /// Reads the `meta.json` at a path, and verifies it.
    pub(crate) fn meta(&self, blobs: &dyn BlobStore, path: &str) -> Result<Meta, OpenError> {
        let text = self.small_file(blobs, path, MAX_META_BYTES)?;
        serde_json::from_slice(&text).map_err(|e| OpenError::Meta {
            path: path.to_owned(),
            reason: one_line(&format!("it does not describe a memory: {e}")),
        })
    }

    /// Reads a short file of the capsule, and verifies it.
    fn small_file(
        &self,
        blobs: &dyn BlobStore,
        path: &str,
        limit: u64,
    ) -> Result<Vec<u8>, OpenError> {
        let refuse =
            |reason: &str| OpenError::Meta { path: path.to_owned(), reason: reason.into() };
        let entry = self.manifest().file(path).ok_or_else(|| refuse("it is not listed"))?;
        let reader = blobs.open(&entry.blake3)?;
        let bytes = reader.read_whole(limit)?.ok_or_else(|| refuse("it is too long"))?;
        if blake3(&bytes) != entry.blake3 {
            return Err(StoreError::Corrupt(entry.blake3).into());
        }
        Ok(bytes)
    }
}
