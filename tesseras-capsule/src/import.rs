//! Adds an exported directory to the library as the tessera that it is.
//!
//! The directory is verified as a whole, then read as a pack and unpacked like one from the
//! network: the bytes stored are those hashed in that pass.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tesseras_core::ids::{ContentHash, CreatorId, TesseraHash};
use tesseras_core::lock::lock;
use tesseras_core::ports::{BlobReader, BlobStore, Origin, StoreError, TesseraRepository};
use tesseras_core::time::Timestamp;
use thiserror::Error;

use crate::exported::{ExportedCapsule, ExportedError};
use crate::pack_reader::PackReader;
use crate::unpack::{UnpackError, unpack};
use crate::verify::{
    FileReport, FileStatus, Report, SignatureStatus, VerifyError, verify_directory, verify_stored,
};
use tesseras_core::progress::Meter;

/// How many faults of a damaged capsule an error names.
const SHOWN_FAULTS: usize = 5;

/// A capsule that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its hash.
    pub hash: TesseraHash,
    /// The number of memories.
    pub memories: u64,
    /// The number of files in its exported directory.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// Its state in the library before.
    pub before: Before,
    /// Files in the directory that do not belong to the capsule; they were left there.
    pub ignored: Vec<String>,
}

/// The state of a capsule in the library before it was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It was not there.
    Absent,
    /// It was there and intact.
    Whole,
    /// It was there, and damaged files of it were repaired.
    Damaged,
}

/// Why a capsule was not imported. Nothing of it is stored then.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The directory cannot be read, or is not a capsule.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It differs from what its creator signed.
    #[error("the capsule is damaged and was not imported: {}", faults.join("; "))]
    Damaged {
        /// Its first faults, and how many more there are.
        faults: Vec<String>,
        /// Whether its MANIFEST can be read and one of its signatures is valid, so that its intact
        /// files can be restored.
        is_signed: bool,
    },
    /// It changed after it was verified.
    #[error("the capsule changed while it was read: {0}")]
    Changed(#[source] ExportedError),
    /// A file of it vanished or changed after it was verified: its path, and what happened.
    #[error("the capsule changed while it was read: {0}; nothing was stored")]
    ChangedFile(String),
    /// It could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Imports the capsule in a directory. `own` is the identity of this data directory, if it has one.
///
/// Additional files in the directory (usually side files of the system) do no harm and are
/// reported; all files of the capsule must be intact. If the capsule is already in the library, its
/// damaged files are repaired.
pub fn import(
    directory: &Path,
    own: Option<CreatorId>,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    added: Timestamp,
    progress: &Meter,
) -> Result<Imported, ImportError> {
    let report = verify_directory(directory, None, progress)?;
    let ignored = check(&report).map_err(|faults| ImportError::Damaged {
        faults,
        is_signed: ExportedCapsule::open(directory).is_ok(),
    })?;
    let exported = ExportedCapsule::open(directory).map_err(ImportError::Changed)?;
    let capsule = exported.capsule();
    let hash = capsule.hash();
    let known = repository.get(&hash)?.is_some();
    if known && verify_stored(blobs, repository, &hash, &Meter::silent())?.valid {
        let layout = capsule.layout();
        let bytes = layout.entries().iter().fold(0_u64, |sum, e| sum.saturating_add(e.bytes));
        return Ok(Imported {
            hash,
            memories: capsule.manifest().memories(),
            files: layout.entries().len() as u64,
            bytes,
            before: Before::Whole,
            ignored,
        });
    }
    // Its creator's own node holds no pieces of it and attests none, so that the loss of one
    // machine counts only once. This must also be so when the creator imports it again.
    let own = own == Some(capsule.manifest().creator());
    let origin = if own { Origin::Created } else { Origin::Fetched };
    repository.unblock(&hash)?;
    let pack = PackReader::new(Arc::clone(capsule), Arc::clone(exported.blobs()));
    let pack = Watched { pack, changed: Mutex::new(None) };
    let done = unpack(&pack, &hash, blobs, repository, origin, added, progress)
        .map_err(|error| pack.explain(error))?;
    Ok(Imported {
        hash,
        memories: done.memories,
        files: done.files,
        bytes: done.bytes,
        before: if known { Before::Damaged } else { Before::Absent },
        ignored,
    })
}

/// The pack of an exported directory, which remembers what is no longer as it was verified: to the
/// unpacking, a file that vanished there looks like one that is missing in the store.
struct Watched {
    pack: PackReader,
    changed: Mutex<Option<String>>,
}

impl BlobReader for Watched {
    fn bytes(&self) -> u64 {
        self.pack.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.pack.read_at(offset, buffer).inspect_err(|error| {
            *lock(&self.changed) = self.change(error);
        })
    }
}

impl Watched {
    /// What an error of reading says about the directory; `None` if only this machine failed.
    fn change(&self, error: &StoreError) -> Option<String> {
        let path = |hash: &ContentHash| {
            let files = self.pack.capsule().files();
            files.iter().find(|file| file.blake3 == *hash).map(|file| file.path.to_string())
        };
        match error {
            StoreError::Missing(hash) => path(hash).map(|path| format!("{path} is gone")),
            StoreError::Corrupt(hash) => path(hash).map(|path| format!("{path} has other bytes")),
            _ => None,
        }
    }

    /// Why unpacking failed, if a file of the directory is the reason.
    fn explain(&self, error: UnpackError) -> ImportError {
        match (lock(&self.changed).take(), error) {
            (Some(changed), _) => ImportError::ChangedFile(changed),
            (None, UnpackError::File { path, .. }) => {
                ImportError::ChangedFile(format!("{path} has other bytes"))
            }
            (None, error) => error.into(),
        }
    }
}

/// The additional files in the directory; its first faults if anything else is wrong with it.
fn check(report: &Report) -> Result<Vec<String>, Vec<String>> {
    let (unexpected, bad): (Vec<&FileReport>, Vec<&FileReport>) =
        report.faults().partition(|fault| fault.status == FileStatus::Unexpected);
    let signatures = [("Ed25519", report.ed25519), ("ML-DSA-65", report.ml_dsa_65)];
    let mut faults: Vec<String> = signatures
        .iter()
        .filter(|(_, status)| *status != SignatureStatus::Valid)
        .map(|(name, status)| format!("its {name} signature is {}", status.as_str()))
        .collect();
    let named = bad.iter().take(SHOWN_FAULTS).map(|fault| match &fault.reason {
        Some(reason) => format!("{} is {} ({reason})", fault.path, fault.status.as_str()),
        None => format!("{} is {}", fault.path, fault.status.as_str()),
    });
    faults.extend(named);
    if bad.len() > SHOWN_FAULTS {
        faults.push(format!("and {} more", bad.len() - SHOWN_FAULTS));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(unexpected.into_iter().map(|fault| fault.path.clone()).collect())
}
