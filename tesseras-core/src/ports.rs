//! The storage that the layers above need, as traits. Implementations are in `tesseras-storage`.
//!
//! Every call may block on a disk: async code calls it on blocking threads. Every call that changes
//! something is durable when it returns (it survives a power cut) unless documented otherwise.

#[cfg(feature = "conformance")]
pub mod conformance;

mod blobs;
mod fragments;
mod holdings;
mod ledger;
mod peers;
mod space;
mod tesserae;
mod workbench;

pub use blobs::{BlobReader, BlobStore, BlobWriter, StagedBlob};
pub use fragments::{FragmentStore, HeldPiece};
pub use holdings::{
    HintBy, HoldingRepository, KnownHolder, MAX_HINTS, MAX_HINTS_OF_STRANGERS, MAX_KNOWN_HOLDERS,
    PlacedPiece, RepairReason, RepairRecord,
};
pub use ledger::{Account, Charge, PeerAt, ReciprocityLedger, Usage};
pub use peers::PeerRepository;
pub use space::{FreeSpace, NoSpace, PER_FILE_BYTES};
pub use tesserae::{NewTessera, Origin, TesseraRecord, TesseraRepository};
pub use workbench::Workbench;

use std::io;

use thiserror::Error;

use crate::ids::{ContentHash, TesseraHash};

/// Why a store operation failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk is full. Nothing acknowledged is lost.
    #[error("the disk is full: {what}")]
    Full {
        /// The operation.
        what: String,
    },
    /// An object that should be stored is missing.
    #[error("{0} is not stored here")]
    Missing(ContentHash),
    /// This node's owner dropped the tessera, and has not asked for it since.
    #[error("{0} was dropped here, and is kept out")]
    Blocked(TesseraHash),
    /// Stored bytes no longer match their hash.
    #[error("stored object {0} is damaged: its bytes no longer match its hash")]
    Corrupt(ContentHash),
    /// A range outside the object.
    #[error("bytes {offset} to {end} are outside an object of {bytes} bytes")]
    OutOfRange {
        /// First byte requested.
        offset: u64,
        /// One past the last byte requested.
        end: u64,
        /// The object's length.
        bytes: u64,
    },
    /// The bytes given do not have the hash or length under which they should be stored.
    #[error("expected {expected}, got {found}")]
    Mismatch {
        /// The expected hash.
        expected: ContentHash,
        /// The actual hash.
        found: ContentHash,
    },
    /// The store was written by a newer version of the software.
    #[error("the store has format {found}; this version of the software knows up to {known}")]
    NewerFormat {
        /// The format on disk.
        found: u64,
        /// The newest known format.
        known: u64,
    },
    /// The store is of an older format, and is not brought to a newer one beneath a process that
    /// has it open.
    #[error(
        "{path} has format {found} and would be brought to format {known}, but another process, of \
         an older version, has it open"
    )]
    OlderVersionRuns {
        /// The database.
        path: String,
        /// The format on disk.
        found: u64,
        /// The format of this version.
        known: u64,
    },
    /// Another process holds a lock, and did not release it in time.
    #[error("{what} is busy: another process holds it")]
    Locked {
        /// The locked resource.
        what: String,
    },
    /// The database is missing or empty, although there are stored files that it should list.
    #[error("the index {path} is missing, but files that it should name are stored beside it")]
    IndexMissing {
        /// Its path.
        path: String,
    },
    /// The database was removed or replaced while it is open. What is committed would be lost with the
    /// end of this process.
    #[error(
        "the index {path} was removed or replaced while it is in use: nothing is stored or \
         acknowledged until it is back, or this is started again"
    )]
    IndexGone {
        /// Where it was.
        path: String,
    },
    /// The database can no longer be read.
    #[error("the index is damaged: {what}: {source}")]
    IndexDamaged {
        /// The operation.
        what: String,
        /// The database's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is on a read-only disk, or was opened read-only.
    #[error("{what}: this can only be read, not written")]
    ReadOnly {
        /// The operation.
        what: String,
    },
    /// The data directory, or a file in it, belongs to another user, who could replace it.
    #[error("{path} belongs to another user (uid {owner}), and this runs as uid {caller}")]
    NotOwned {
        /// Its path.
        path: String,
        /// The uid of its owner.
        owner: u32,
        /// The effective user of this process.
        caller: u32,
    },
    /// The data directory is one that several users share.
    #[error("{path} is shared by several users, as its mode says")]
    Shared {
        /// Its path.
        path: String,
    },
    /// A disk or database operation failed.
    #[error("{what}: {source}")]
    Backend {
        /// The operation, and the file.
        what: String,
        /// The system's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A sector cannot be read; the same number on every Unix.
const EIO: i32 = 5;

impl StoreError {
    /// What an error of the system says of the object `hash` that was opened or read: that it is
    /// missing, or damaged, because it ends too early or a sector cannot be read (`EIO`). `None` if
    /// it says something of this machine, such as too many open files or no permission; then
    /// nothing is known about the object.
    pub fn damage(hash: &ContentHash, error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::NotFound => Some(Self::Missing(*hash)),
            io::ErrorKind::UnexpectedEof => Some(Self::Corrupt(*hash)),
            _ => (error.raw_os_error() == Some(EIO)).then_some(Self::Corrupt(*hash)),
        }
    }

    /// Whether what should be stored is missing or damaged, so that it can be replaced from
    /// elsewhere; otherwise the store itself failed, and nothing is known about the object.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Corrupt(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_error_says_of_the_object_is_its_damage() {
        let hash = ContentHash::new([7; 32]);
        let damage = |error: &io::Error| StoreError::damage(&hash, error);
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof] {
            assert!(damage(&kind.into()).unwrap().is_damage(), "{kind}");
        }
        let of_a_sector = damage(&io::Error::from_raw_os_error(EIO));
        assert!(matches!(of_a_sector, Some(StoreError::Corrupt(found)) if found == hash));
        for kind in [
            io::ErrorKind::NotADirectory,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::StorageFull,
            io::ErrorKind::Other,
        ] {
            assert!(damage(&kind.into()).is_none(), "{kind}");
        }
    }
}
