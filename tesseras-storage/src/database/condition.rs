//! Checks whether a database is intact, and renames a damaged one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tesseras_core::ports::StoreError;

use super::config::StorageConfig;
use super::lost_index::{
    DAMAGED, LostIndex, check_finished, lost_index, note_begun_anew, note_unfinished,
};
use super::paths::{beside, length};
use super::sole::Sole;
use crate::error::{io_error, may_be_damage};
use crate::lock::FileLock;
use tesseras_disk::{Disk, parent_of};

/// The files of one database: itself, its log, its shared memory.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// Prepares that the library is listed again. Renames a damaged database to a name that ends with
/// `label`, and returns it; `None` if it is intact, or does not exist. Every page is read; but one that
/// is `known_damaged` is renamed in any case. If it does
/// not exist although there are `stored` files, that is noted for good; and if there are, that the
/// next one is not finished until [`forget_unfinished`](super::forget_unfinished). [`StoreError::Locked`] while a
/// process has the database open, and the error of `unused`, which is asked while no process can
/// open it.
pub(crate) fn set_aside_unless_sound(
    path: &Path,
    config: &StorageConfig,
    disk: &dyn Disk,
    label: &str,
    stored: bool,
    known_damaged: bool,
    unused: &dyn Fn() -> Result<(), StoreError>,
) -> Result<Option<PathBuf>, StoreError> {
    let what = format!("the database {}", path.display());
    let _turn = FileLock::acquire(&beside(path, "-open"), &what, config.busy_timeout)?;
    unused()?;
    match is_sound(path, &what) {
        Ok(true) if !known_damaged => return Ok(None),
        Ok(_) => {}
        Err(error) if may_be_damage(&error) => {}
        // The files can be written, so it is the header that forbids it.
        Err(StoreError::ReadOnly { .. }) if are_writable(path) => {}
        Err(other) => return Err(other),
    }
    let was_unfinished = check_finished(path).is_err();
    let exists = |suffix: &&str| {
        // An empty file may be what an earlier attempt began.
        let is_something = |file: std::fs::Metadata| file.len() > 0 || !was_unfinished;
        beside(path, suffix).symlink_metadata().is_ok_and(is_something)
    };
    // An earlier attempt may have set it aside already.
    let may_be_aside = was_unfinished && lost_index(path)? == Some(LostIndex::SetAside);
    if stored && !exists(&"") && !may_be_aside {
        note_begun_anew(path, disk)?;
    }
    if stored {
        note_unfinished(path, disk)?;
    }
    let Some(first) = FILES.iter().find(|suffix| exists(suffix)) else { return Ok(None) };
    let aside = free_name(path, label);
    for suffix in FILES.iter().filter(|suffix| exists(suffix)) {
        let from = beside(path, suffix);
        disk.rename(&from, &beside(&aside, suffix))
            .map_err(|e| io_error("setting aside", &from, e))?;
    }
    let directory = parent_of(path);
    disk.sync_directory(directory).map_err(|e| io_error("syncing", directory, e))?;
    Ok(Some(beside(&aside, first)))
}

/// Whether there is a database with all its pages intact. A process that is about to use it may have
/// nothing but the database open yet, so this needs to be the only connection. A log is not written
/// back into a damaged file.
fn is_sound(path: &Path, what: &str) -> Result<bool, StoreError> {
    let bytes = length(path).map_err(|e| io_error("reading", path, e))?;
    if bytes.is_none_or(|bytes| bytes == 0) {
        return Ok(false);
    }
    Sole::open(path, what, Duration::ZERO)?.is_sound()
}

/// Whether the files of a database can be written, as far as they exist, and their directory.
fn are_writable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let is_writable = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let exist = FILES.map(|suffix| beside(path, suffix)).into_iter().filter(|file| file.exists());
    is_writable(parent_of(path)) && exist.into_iter().all(|file| is_writable(&file))
}

/// An unused name beside `path`.
fn free_name(path: &Path, label: &str) -> PathBuf {
    let taken =
        |name: &Path| FILES.iter().any(|suffix| beside(name, suffix).symlink_metadata().is_ok());
    let mut name = beside(path, &format!("{DAMAGED}{label}"));
    let mut number = 1;
    while taken(&name) {
        number += 1;
        name = beside(path, &format!("{DAMAGED}{label}-{number}"));
    }
    name
}
