//! Writes a stored capsule as a directory for people, verifying every byte.
//!
//! It is written beside its final path and renamed when it is complete and on disk, so a directory
//! with its final name is always complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tesseras_core::pack::{PackEntry, PackSource, directory_name};
use tesseras_core::ports::{BlobStore, StoreError};
use tesseras_crypto::Blake3;
use thiserror::Error;

use crate::open::StoredCapsule;
use crate::pack_reader::Sequential;
use crate::partial::{Partial, sync_all, sync_file};
use crate::pump::Pump;
use tesseras_core::progress::Meter;

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
/// nothing existing is overwritten.
pub fn export(
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
    fs::create_dir_all(dest).map_err(failed(dest))?;
    let partial =
        Partial::make(dest, &name).map_err(|(path, source)| ExportError::Write { path, source })?;
    let layout = capsule.layout();
    progress.begin(layout.bytes());
    let mut pump = Pump::new();
    for entry in layout.entries() {
        let relative = &entry.path[name.len() + 1..];
        let target = partial.path().join(relative);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&target)
            .map_err(failed(&target))?;
        write(capsule, blobs, entry, relative, &mut pump, &mut out, &target, progress)?;
        sync_file(&out).map_err(failed(&target))?;
    }
    sync_all(partial.path()).map_err(failed(partial.path()))?;
    partial.rename(&path).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => ExportError::Exists { path: path.clone() },
        _ => failed(&path)(e),
    })?;
    File::open(dest).and_then(|dir| dir.sync_all()).map_err(failed(dest))?;
    Ok(path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Write { path, source }
}

/// Writes one file.
#[expect(clippy::too_many_arguments, reason = "one call; a struct would only rename them")]
fn write(
    capsule: &StoredCapsule,
    blobs: &dyn BlobStore,
    entry: &PackEntry,
    relative: &str,
    pump: &mut Pump,
    out: &mut File,
    target: &Path,
    progress: &Meter,
) -> Result<(), ExportError> {
    let damaged = |reason: &str| ExportError::Damaged {
        path: relative.to_owned(),
        reason: reason.to_owned(),
    };
    let part: &[u8] = match entry.source {
        PackSource::Manifest => capsule.manifest_bytes(),
        PackSource::Ed25519Signature => &capsule.signatures().ed25519,
        PackSource::MlDsa65Signature => &capsule.signatures().ml_dsa_65,
        PackSource::Sums => capsule.sums().as_bytes(),
        PackSource::File(_) => {
            let file = capsule.manifest().file(relative).ok_or_else(|| damaged("not listed"))?;
            let mut reader = match Sequential::open(blobs, file) {
                Err(StoreError::Missing(_)) => return Err(damaged("its stored object is missing")),
                Err(StoreError::Corrupt(_)) => {
                    return Err(damaged("its stored object has another length"));
                }
                other => other?,
            };
            let mut blake3 = Blake3::default();
            let (_, sha256) = pump.run::<ExportError>(
                |buffer| Ok(reader.read(buffer)?),
                |bytes| {
                    blake3.update(bytes);
                    progress.add(bytes.len() as u64);
                    out.write_all(bytes).map_err(failed(target))
                },
            )?;
            if blake3.finish() != file.blake3 || sha256 != file.sha256 {
                return Err(damaged("its stored object is damaged"));
            }
            return Ok(());
        }
    };
    if part.len() as u64 != entry.bytes {
        return Err(damaged("it has another length than every such file"));
    }
    progress.add(entry.bytes);
    out.write_all(part).map_err(failed(target))
}
