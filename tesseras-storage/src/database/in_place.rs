//! Whether the files of a database that a process has open are still those at its path. If they were
//! removed or replaced, what is committed goes to files that nobody finds again, and what is read is
//! not what the next process will read: nothing may be acknowledged, and nothing removed, by them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tesseras_core::ports::StoreError;

use super::paths::beside;
use crate::error::io_error;

/// Device and inode of a file.
type FileId = (u64, u64);

/// The file of a database when it was opened. Only its name is looked up: opening and closing it
/// would release SQLite's locks on it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    database: FileId,
}

impl Place {
    /// The database at `path`, which was just opened.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let database = std::fs::metadata(path).map_err(|e| io_error("reading", path, e))?;
        Ok(Self { path: path.to_owned(), database: id(&database) })
    }

    /// [`StoreError::IndexGone`] unless the database and its log, which is open as `log`, are at
    /// their paths.
    pub(super) fn check(&self, log: &File) -> Result<(), StoreError> {
        let log_path = beside(&self.path, "-wal");
        let open = log.metadata().map_err(|e| io_error("reading", &log_path, e))?;
        match is_at(&self.path, self.database)? && is_at(&log_path, id(&open))? {
            true => Ok(()),
            false => Err(StoreError::IndexGone { path: self.path.display().to_string() }),
        }
    }
}

fn id(file: &Metadata) -> FileId {
    (file.dev(), file.ino())
}

fn is_at(path: &Path, open: FileId) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(there) => Ok(id(&there) == open),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(e) => Err(io_error("reading", path, e)),
    }
}
