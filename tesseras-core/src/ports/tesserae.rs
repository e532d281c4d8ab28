//! The capsules in one's own library.

use super::{StagedBlob, StoreError};
use crate::ids::{ContentHash, CreatorId, TesseraHash};
use crate::manifest::Manifest;
use crate::pack::PackLayout;
use crate::signature::SignaturePair;
use crate::time::Timestamp;

/// How a capsule came into the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Created here. This node holds none of its pieces, so that its loss is counted only once.
    Created,
    /// Fetched from the network.
    Fetched,
}

/// A capsule in the library. Everything but `origin` and `added` is also in its MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TesseraRecord {
    /// Its hash; also the content hash under which its MANIFEST is stored.
    pub hash: TesseraHash,
    /// The MANIFEST's title.
    pub title: String,
    /// The MANIFEST's date, RFC 3339.
    pub created: String,
    /// Its creator.
    pub creator: CreatorId,
    /// The number of memories.
    pub memories: u64,
    /// The number of files in the exported directory, including MANIFEST, signatures and
    /// SHA256SUMS.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// The signatures of the MANIFEST.
    pub signatures: SignaturePair,
    /// How it came here.
    pub origin: Origin,
    /// When it was added to the library.
    pub added: Timestamp,
}

impl TesseraRecord {
    /// What is listed of the capsule with this MANIFEST and pack, how it came here and when.
    pub fn of_manifest(
        hash: TesseraHash,
        manifest: &Manifest,
        layout: &PackLayout,
        signatures: SignaturePair,
        origin: Origin,
        added: Timestamp,
    ) -> Self {
        let header = |key| manifest.header(key).unwrap_or_default().to_owned();
        let entries = layout.entries();
        Self {
            hash,
            title: header("title"),
            created: header("created"),
            creator: manifest.creator(),
            memories: manifest.memories(),
            files: entries.len() as u64,
            bytes: entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes)),
            signatures,
            origin,
            added,
        }
    }
}

/// A capsule on its way into the library.
#[derive(Debug)]
pub struct NewTessera {
    /// Its index entry.
    pub record: TesseraRecord,
    /// Every object that it needs: the MANIFEST's hash and each file's, without repetition.
    pub content: Vec<ContentHash>,
    /// The objects that were staged for it. The rest must already be stored.
    pub staged: Vec<StagedBlob>,
}

/// The capsules in one's own library. A capsule that is listed is complete.
pub trait TesseraRepository: Send + Sync {
    /// Adopts the staged blobs, counts a reference to all content, and lists the capsule,
    /// atomically. `false` if it was already listed (the staged blobs are then discarded).
    /// [`StoreError::Missing`] names content that is neither staged nor stored;
    /// [`StoreError::Blocked`] if the tessera is [blocked](super::HoldingRepository::block), which
    /// is looked up in the same transaction.
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError>;

    /// Removes a block: the owner of this node asks for the tessera. Called when the task begins, so
    /// that a drop in the meantime blocks it again.
    fn unblock(&self, hash: &TesseraHash) -> Result<(), StoreError>;

    /// One capsule.
    fn get(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError>;

    /// Up to `limit` capsules whose hash begins with these hex digits.
    fn find(&self, hex_prefix: &str, limit: usize) -> Result<Vec<TesseraHash>, StoreError>;

    /// All capsules, newest first.
    fn list(&self) -> Result<Vec<TesseraRecord>, StoreError>;

    /// Removes a capsule from the library and releases its content; `None` if it was not listed.
    fn remove(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError>;
}
