//! Checks whether a database is intact, and renames a damaged one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use tesseras_core::ports::StoreError;

use super::config::{StorageConfig, distrust_schema};
use super::connections::keep_log_on_close;
use super::format::format_of;
use super::paths::{beside, length};
use crate::error::{io_error, sql_error};
use crate::lock::FileLock;
use tesseras_disk::{Disk, parent_of};

/// What the name of a damaged database continues with, before a label.
const DAMAGED: &str = ".damaged-";
/// The files of one database: itself, its log, its shared memory.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// Renames a damaged database to a name that ends with `label`, and returns it; `None` if it is
/// intact, or does not exist. Every page is read. Must not run while a process has the database
/// open.
pub(crate) fn set_aside_unless_sound(
    path: &Path,
    config: &StorageConfig,
    disk: &dyn Disk,
    label: &str,
) -> Result<Option<PathBuf>, StoreError> {
    let what = format!("checking the database {}", path.display());
    let _turn = FileLock::acquire(&beside(path, "-open"), &what, config.busy_timeout)?;
    match is_sound(path, config, &what) {
        Ok(true) => return Ok(None),
        Ok(false) | Err(StoreError::IndexDamaged { .. }) => {}
        Err(other) => return Err(other),
    }
    let exists = |suffix: &&str| beside(path, suffix).symlink_metadata().is_ok();
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

/// Whether there is a database with all its pages intact.
fn is_sound(path: &Path, config: &StorageConfig, what: &str) -> Result<bool, StoreError> {
    let bytes = length(path).map_err(|e| io_error("reading", path, e))?;
    if bytes.is_none_or(|bytes| bytes == 0) {
        return Ok(false);
    }
    let sql = |e| sql_error(what, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    connection.busy_timeout(config.busy_timeout).map_err(sql)?;
    distrust_schema(&connection).map_err(sql)?;
    // A log must not be written back into a damaged file.
    keep_log_on_close(&connection).map_err(sql)?;
    if format_of(&connection)? == 0 {
        return Ok(false);
    }
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sql)?;
    Ok(verdict == "ok")
}

/// Whether a damaged database was set aside beside this one, and is still there.
pub(crate) fn is_one_set_aside(path: &Path) -> Result<bool, StoreError> {
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
