//! Checks whether a capsule is still what its creator signed, and reports the files that are not.

mod directory;
mod listing;
mod stored;

pub use directory::verify_directory;
pub use stored::{verify_opened, verify_stored};

use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::unlisted;
use tesseras_core::ports::StoreError;
use thiserror::Error;

/// The state of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileStatus {
    /// It is intact.
    Ok,
    /// It should be there.
    Missing,
    /// It is damaged, or cannot be read.
    Corrupt,
    /// It does not belong there.
    Unexpected,
}

impl FileStatus {
    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Unexpected => "unexpected",
        }
    }
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureStatus {
    /// The creator signed this MANIFEST.
    Valid,
    /// It does not hold, or cannot be checked for want of the creator's key.
    Invalid,
    /// There is none.
    Missing,
}

impl SignatureStatus {
    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
        }
    }
}

/// What was found out about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its path in the capsule, fit to be printed.
    pub path: String,
    /// What became of it.
    pub status: FileStatus,
    /// What is wrong with it, for a person.
    pub reason: Option<String>,
}

/// What was found out about a capsule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the MANIFEST hashes to now; zeros if there is none to be read.
    pub hash: TesseraHash,
    /// Whether every hash, both signatures and SHA256SUMS are as they must be, and nothing is
    /// missing or unexpected.
    pub valid: bool,
    /// The Ed25519 signature.
    pub ed25519: SignatureStatus,
    /// The ML-DSA-65 signature.
    pub ml_dsa_65: SignatureStatus,
    /// Every file, in byte order of the paths.
    pub files: Vec<FileReport>,
}

/// Why a capsule could not be looked at.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The directory cannot be opened or listed.
    #[error("{path} cannot be read: {source}")]
    Directory {
        /// The path.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory is none that was exported: it has neither MANIFEST nor anything about one.
    #[error("{path} is not a capsule: it holds no MANIFEST")]
    NoCapsule {
        /// The path.
        path: String,
    },
    /// It is not in the library.
    #[error("tessera {0} is not stored here")]
    NotStored(TesseraHash),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Report {
    /// The files that are not as they should be.
    pub fn faults(&self) -> impl Iterator<Item = &FileReport> {
        self.files.iter().filter(|file| file.status != FileStatus::Ok)
    }

    /// Sorts the files and judges the whole.
    fn close(
        hash: TesseraHash,
        expected: Option<&TesseraHash>,
        (ed25519, ml_dsa_65): (SignatureStatus, SignatureStatus),
        mut files: Vec<FileReport>,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let valid = expected.is_none_or(|expected| *expected == hash)
            && ed25519 == SignatureStatus::Valid
            && ml_dsa_65 == SignatureStatus::Valid
            && files.iter().all(|file| file.status == FileStatus::Ok)
            && unlisted::ALL.iter().all(|name| files.iter().any(|file| file.path == *name));
        Self { hash, valid, ed25519, ml_dsa_65, files }
    }
}

impl FileReport {
    fn ok(path: &str) -> Self {
        Self { path: path.to_owned(), status: FileStatus::Ok, reason: None }
    }

    fn fault(path: impl Into<String>, status: FileStatus, reason: impl Into<String>) -> Self {
        Self { path: path.into(), status, reason: Some(reason.into()) }
    }

    fn missing(path: &str) -> Self {
        Self { path: path.to_owned(), status: FileStatus::Missing, reason: None }
    }
}

/// A signature's status, given its bytes and what the check of both found.
fn signature(bytes: Option<&[u8]>, holds: Option<bool>) -> SignatureStatus {
    match (bytes, holds) {
        (None, _) => SignatureStatus::Missing,
        (Some(_), Some(true)) => SignatureStatus::Valid,
        (Some(_), _) => SignatureStatus::Invalid,
    }
}
