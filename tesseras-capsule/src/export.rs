//! Writes a stored capsule as a directory for people, verifying every byte.
//!
//! It is written beside its final path and renamed when it is complete and on disk, so a directory
//! with its final name is always complete.

use std::io;
use std::path::{Path, PathBuf};

use tesseras_core::manifest::unlisted;
use tesseras_core::pack::{PackEntry, PackSource, directory_name};
use tesseras_core::ports::{BlobStore, StoreError};
use tesseras_core::progress::Meter;
use tesseras_crypto::Blake3;
use tesseras_disk::{Disk, OsDisk};
use thiserror::Error;

use crate::above::Above;
use crate::dirfd::Folder;
use crate::hash_file::hash_line;
use crate::open::StoredCapsule;
use crate::pack_reader::Sequential;
use crate::partial::{Failed, Partial};
use crate::pump::Pump;

/// Why a capsule was not exported. Nothing of it is left at the destination then.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The destination already exists.
    #[error("{} exists already; it is left as it is", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// A stored file is missing or damaged.
    #[error("{path} cannot be exported: {reason}")]
    Damaged {
        /// The file of the capsule.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a capsule to `dest/tessera-<16 hex>/` and returns that path. `dest` is created if needed;
/// nothing existing is overwritten. When it returns, the directory survives a power cut.
pub fn export(
    capsule: &StoredCapsule,
    blobs: &dyn BlobStore,
    dest: &Path,
    progress: &Meter,
) -> Result<PathBuf, ExportError> {
    export_on_disk(&OsDisk, capsule, blobs, dest, progress)
}

/// [`export`] on a given disk, for tests in which disks fail.
pub fn export_on_disk(
    disk: &dyn Disk,
    capsule: &StoredCapsule,
    blobs: &dyn BlobStore,
    dest: &Path,
    progress: &Meter,
) -> Result<PathBuf, ExportError> {
    let name = directory_name(&capsule.hash());
    let path = dest.join(&name);
    if path.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path });
    }
    let above = Above::create(dest)?;
    let partial = Partial::make(disk, dest, &name)?;
    let layout = capsule.layout();
    progress.begin(layout.bytes());
    let mut exporting = Exporting {
        disk,
        capsule,
        blobs,
        partial: &partial,
        folder: Folder::open(partial.path()).map_err(failed(partial.path()))?,
        pump: Pump::new(),
        progress,
    };
    for entry in layout.entries() {
        exporting.write(entry, &entry.path[name.len() + 1..])?;
    }
    exporting.write_bytes(unlisted::HASH, hash_line(&capsule.hash()).as_bytes())?;
    drop(exporting);
    above.sync(disk)?;
    partial.finish(disk, &path).map_err(|(at, source)| match source.kind() {
        io::ErrorKind::AlreadyExists => ExportError::Exists { path: path.clone() },
        _ => (at, source).into(),
    })?;
    above.keep();
    Ok(path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Write { path, source }
}

impl From<Failed> for ExportError {
    fn from((path, source): Failed) -> Self {
        Self::Write { path, source }
    }
}

/// A capsule that is being exported.
struct Exporting<'a> {
    disk: &'a dyn Disk,
    capsule: &'a StoredCapsule,
    blobs: &'a dyn BlobStore,
    partial: &'a Partial,
    folder: Folder,
    pump: Pump,
    progress: &'a Meter,
}

impl Exporting<'_> {
    /// Writes one file of the pack, at a path below the folder.
    fn write(&mut self, entry: &PackEntry, relative: &str) -> Result<(), ExportError> {
        let root = self.partial.path();
        if let Some((parent, _)) = relative.rsplit_once('/') {
            let made = self.folder.make_directories(parent.as_bytes());
            made.map_err(failed(&root.join(parent)))?;
        }
        let capsule = self.capsule;
        let part: &[u8] = match entry.source {
            PackSource::Manifest => capsule.manifest_bytes(),
            PackSource::Ed25519Signature => &capsule.signatures().ed25519,
            PackSource::MlDsa65Signature => &capsule.signatures().ml_dsa_65,
            PackSource::Sums => capsule.sums().as_bytes(),
            PackSource::File(_) => return self.copy(relative),
        };
        if part.len() as u64 != entry.bytes {
            return Err(damaged(relative, "it has another length than every such file"));
        }
        self.progress.add(entry.bytes);
        self.write_bytes(relative, part)
    }

    /// Writes a file in a directory that is there.
    fn write_bytes(&mut self, relative: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let target = self.partial.path().join(relative);
        let mut out = self.folder.make_file(relative.as_bytes()).map_err(failed(&target))?;
        self.disk.write(&mut out, bytes).map_err(failed(&target))?;
        self.partial.written(self.disk, &out).map_err(failed(&target))
    }

    /// Copies a stored object, and verifies it.
    fn copy(&mut self, relative: &str) -> Result<(), ExportError> {
        let target = self.partial.path().join(relative);
        let mut out = self.folder.make_file(relative.as_bytes()).map_err(failed(&target))?;
        let file = self.capsule.manifest().file(relative);
        let file = file.ok_or_else(|| damaged(relative, "not listed"))?;
        let mut reader = match Sequential::open(self.blobs, file) {
            Err(StoreError::Missing(_)) => {
                return Err(damaged(relative, "its stored object is missing"));
            }
            Err(StoreError::Corrupt(_)) => {
                return Err(damaged(relative, "its stored object has another length"));
            }
            other => other?,
        };
        let mut blake3 = Blake3::default();
        let (disk, progress) = (self.disk, self.progress);
        let (_, sha256) = self.pump.run::<ExportError>(
            |buffer| Ok(reader.read(buffer)?),
            |bytes| {
                blake3.update(bytes);
                progress.add(bytes.len() as u64);
                disk.write(&mut out, bytes).map_err(failed(&target))
            },
        )?;
        if blake3.finish() != file.blake3 || sha256 != file.sha256 {
            return Err(damaged(relative, "its stored object is damaged"));
        }
        self.partial.written(self.disk, &out).map_err(failed(&target))
    }
}

fn damaged(path: &str, reason: &str) -> ExportError {
    ExportError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}
