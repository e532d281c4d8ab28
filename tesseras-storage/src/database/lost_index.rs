//! Whether an index may be lost, or away, that knew of files which this one does not know, and whether
//! this one is being made again.
//!
//! A damaged index is set aside, and a missing one is begun anew, only when the library is listed
//! again. The latter is noted in an empty file beside the index, not in it: the note must be there
//! before the index is, and goes with it when the directory of the lost one comes back. Another such
//! file is there until a new index lists all that is stored.

use std::io;
use std::path::{Path, PathBuf};

use tesseras_core::ports::StoreError;
use tesseras_disk::{Disk, parent_of};

use super::paths::{beside, length};
use crate::error::io_error;

/// What the name of a damaged database continues with, before a label.
pub(super) const DAMAGED: &str = ".damaged-";

/// Why files without a row may be needed nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostIndex {
    /// A damaged index is set aside beside this one.
    SetAside,
    /// The index was missing when the library was listed again, and this one was begun.
    Missing,
}

fn begun_anew(path: &Path) -> PathBuf {
    beside(path, "-begun-anew")
}

fn unfinished(path: &Path) -> PathBuf {
    beside(path, "-unfinished")
}

/// Notes that the index at `path` is begun although files are stored. Survives a power cut.
pub(super) fn note_begun_anew(path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    leave(begun_anew(path), path, disk)
}

/// Notes that the index at `path` will not list all that is stored until
/// [`forget_unfinished`]. Survives a power cut.
pub(super) fn note_unfinished(path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    leave(unfinished(path), path, disk)
}

/// Notes that the index at `path` lists all that is stored.
pub(crate) fn forget_unfinished(path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    remove(unfinished(path), path, disk)
}

/// [`StoreError::IndexDamaged`] if the index at `path` does not list all that is stored yet. To be
/// asked once it is open: it cannot be set aside from then on.
pub(crate) fn check_finished(path: &Path) -> Result<(), StoreError> {
    let note = unfinished(path);
    match length(&note).map_err(|e| io_error("reading", &note, e))? {
        None => Ok(()),
        Some(_) => Err(StoreError::IndexDamaged {
            what: path.display().to_string(),
            source: Box::new(io::Error::other(
                "what is stored is being listed again, or that was interrupted",
            )),
        }),
    }
}

fn leave(note: PathBuf, path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    match disk.create(&note) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(io_error("writing", &note, e)),
        _ => sync_names(path, disk),
    }
}

/// Gives up an index that was missing when the one at `path` was begun.
pub(crate) fn give_up_missing(path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    remove(begun_anew(path), path, disk)
}

fn remove(note: PathBuf, path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    match disk.remove(&note) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error("removing", &note, e)),
        Ok(()) => sync_names(path, disk),
    }
}

fn sync_names(path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    let directory = parent_of(path);
    disk.sync_directory(directory).map_err(|e| io_error("syncing", directory, e))
}

/// Whether another index than the one at `path` may refer to stored files.
pub(crate) fn lost_index(path: &Path) -> Result<Option<LostIndex>, StoreError> {
    if is_one_set_aside(path)? {
        return Ok(Some(LostIndex::SetAside));
    }
    let note = begun_anew(path);
    let found = length(&note).map_err(|e| io_error("reading", &note, e))?;
    Ok(found.map(|_| LostIndex::Missing))
}

/// Whether a damaged database was set aside beside this one, and is still there.
fn is_one_set_aside(path: &Path) -> Result<bool, StoreError> {
    let fail = |e| io_error("reading", path, e);
    let aside = beside(path, DAMAGED);
    let prefix = aside.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in std::fs::read_dir(parent_of(path)).map_err(fail)? {
        if entry.map_err(fail)?.file_name().as_encoded_bytes().starts_with(prefix) {
            return Ok(true);
        }
    }
    Ok(false)
}
