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
    /// Made here. This node holds none of its pieces: its loss must count once.
    Created,
    /// Brought here from the network.
    Fetched,
}

/// A capsule in the library. Everything but `origin` and `added` is in its MANIFEST, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TesseraRecord {
    /// Its name; also the content hash under which its MANIFEST is stored.
    pub hash: TesseraHash,
    /// The MANIFEST's title.
    pub title: String,
    /// The MANIFEST's date, RFC 3339.
    pub created: String,
    /// Who made it.
    pub creator: CreatorId,
    /// How many memories.
    pub memories: u64,
    /// How many files in the exported directory, MANIFEST, signatures and SHA256SUMS included.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// Over the MANIFEST.
    pub signatures: SignaturePair,
    /// How it came here.
    pub origin: Origin,
    /// When it came here.
    pub added: Timestamp,
}

impl TesseraRecord {
    /// What is listed of the capsule with this MANIFEST and pack, how it came here and when.
    pub fn of_manifest(
        hash: TesseraHash,
        manifest: &Manifest,
        layout: &PackLayout,
        signatures: SignaturePair,
        (origin, added): (Origin, Timestamp),
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
    /// What to index.
    pub record: TesseraRecord,
    /// Every object that it needs: the MANIFEST's hash and each file's, without repetition.
    pub content: Vec<ContentHash>,
    /// Those that were staged for it. The rest must be stored already.
    pub staged: Vec<StagedBlob>,
}

/// The capsules in one's own library. A capsule that is listed is complete.
pub trait TesseraRepository: Send + Sync {
    /// Adopts the staged blobs, counts a reference to all content, and lists the capsule: all or
    /// nothing. `false` if it was listed already (staged blobs are discarded then).
    /// [`StoreError::Missing`] names content that is neither staged nor stored.
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError>;

    /// One capsule.
    fn get(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError>;

    /// Up to `limit` capsules whose hash begins with these hex digits.
    fn find(&self, hex_prefix: &str, limit: usize) -> Result<Vec<TesseraHash>, StoreError>;

    /// All capsules, newest first.
    fn list(&self) -> Result<Vec<TesseraRecord>, StoreError>;

    /// Takes a capsule from the library and releases its content; `None` if it was not listed.
    fn remove(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError>;
}
