//! Errors of creating a capsule.

use tesseras_core::manifest::{MAX_FILES, MAX_MANIFEST_BYTES, ManifestError};
use tesseras_core::path::TextError;
use tesseras_core::ports::{NoSpace, StoreError};
use tesseras_core::words::{count, size};
use thiserror::Error;

use crate::walk::{Skipped, WalkError};

/// Why a capsule was not created. Nothing is stored then.
#[derive(Debug, Error)]
pub enum CreateError {
    /// The folder cannot be opened.
    #[error("{folder} cannot be opened: {source}")]
    Folder {
        /// The folder.
        folder: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The folder vanished before all of it was read.
    #[error(
        "{folder} is gone: it was removed, moved or unmounted before all of it was read; nothing \
         was stored"
    )]
    Gone {
        /// The folder.
        folder: String,
    },
    /// The folder cannot be walked.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// No file in the folder is kept.
    #[error(
        "there is nothing to keep: {}, all left out",
        count(skipped.len() as u64, "entry", "entries")
    )]
    Nothing {
        /// All files, with the reasons.
        skipped: Vec<Skipped>,
    },
    /// More than one tessera can hold.
    #[error(
        "{memories} memories are too many for one tessera: {files} files (at most {MAX_FILES}) and \
         a MANIFEST of about {} (at most {}); make several \
         tesserae of its parts",
        size(*manifest_bytes),
        size(MAX_MANIFEST_BYTES)
    )]
    TooMuch {
        /// How many memories there would be.
        memories: usize,
        /// How many files.
        files: usize,
        /// The length of the MANIFEST, in bytes.
        manifest_bytes: u64,
    },
    /// The disk has too little free space.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// A title, tag, language, location or name is not allowed in a MANIFEST.
    #[error("the {what} {value:?} cannot be stored: {source}")]
    Header {
        /// Which of them.
        what: &'static str,
        /// The value.
        value: String,
        /// The reason.
        source: TextError,
    },
    /// A tag with a comma would be read as two.
    #[error("the tag {0:?} holds a comma")]
    TagWithComma(String),
    /// The MANIFEST cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
