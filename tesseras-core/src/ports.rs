//! What the floors above need of a disk, as traits. Implementations live in `tesseras-storage`.
//!
//! Every call may block on a disk: async code makes it off its threads. Every call that changes
//! something is durable when it returns (it survives a power cut) unless it says otherwise.

#[cfg(feature = "conformance")]
pub mod conformance;

mod blobs;
mod fragments;
mod holdings;
mod ledger;
mod peers;
mod tesserae;
mod workbench;

pub use blobs::{BlobReader, BlobStore, BlobWriter, StagedBlob};
pub use fragments::{FragmentStore, HeldPiece};
pub use holdings::{HoldingRepository, PlacedPiece};
pub use ledger::{Account, Charge, ReciprocityLedger, Usage};
pub use peers::PeerRepository;
pub use tesserae::{NewTessera, Origin, TesseraRecord, TesseraRepository};
pub use workbench::Workbench;

use thiserror::Error;

use crate::ids::ContentHash;

/// Why a store could not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full. Nothing that was acknowledged is lost.
    #[error("the disk is full: {what}")]
    Full {
        /// What was being done.
        what: String,
    },
    /// Something that should be stored is not.
    #[error("{0} is not stored here")]
    Missing(ContentHash),
    /// Stored bytes are not what they were.
    #[error("stored object {0} is damaged: its bytes no longer match its hash")]
    Corrupt(ContentHash),
    /// A range that does not lie in the object.
    #[error("bytes {offset} to {end} do not lie in an object whose length is {bytes} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// One past the last byte asked for.
        end: u64,
        /// The object's length.
        bytes: u64,
    },
    /// The bytes offered do not have the hash or length that they are stored under.
    #[error("expected {expected}, got {found}")]
    Mismatch {
        /// What was promised.
        expected: ContentHash,
        /// What was given.
        found: ContentHash,
    },
    /// The store was written by a newer version of the software.
    #[error("the store has format {found}; this version of the software knows up to {known}")]
    NewerFormat {
        /// On disk.
        found: u64,
        /// Known here.
        known: u64,
    },
    /// Another process has it, and did not let go in time.
    #[error("{what} is busy: another process holds it")]
    Busy {
        /// What.
        what: String,
    },
    /// The database is missing or empty, while there are stored files that it should name.
    #[error("the index {path} is missing, but files that it should name are stored beside it")]
    IndexMissing {
        /// Where it should be.
        path: String,
    },
    /// The database can no longer be read.
    #[error("the index is damaged: {what}: {source}")]
    IndexDamaged {
        /// What was being done.
        what: String,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is on a disk that cannot be written, or was opened for reading only.
    #[error("{what}: this can only be read, not written")]
    ReadOnly {
        /// What was being done.
        what: String,
    },
    /// The data directory, or what lies in it, belongs to another user, who could replace it.
    #[error("{path} belongs to another user (uid {owner}), and this runs as uid {caller}")]
    NotOwned {
        /// What.
        path: String,
        /// Whose it is.
        owner: u32,
        /// The effective user of this process.
        caller: u32,
    },
    /// The data directory is one that several users share.
    #[error("{path} is shared by several users, as its mode says")]
    Shared {
        /// Which.
        path: String,
    },
    /// Disk or database failed.
    #[error("{what}: {source}")]
    Backend {
        /// What was being done, and to which file.
        what: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
