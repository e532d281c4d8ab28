//! Translates errors of the system and of SQLite into [`StoreError`].

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;
use tesseras_core::ports::StoreError;

/// A failure inside a transaction: of SQL, or an error that is already translated.
#[derive(Debug)]
pub enum Fault {
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// Anything else.
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// The port's error, given the operation.
    pub(crate) fn into_error(self, what: &str) -> StoreError {
        match self {
            Self::Sql(error) => sql_error(what, error),
            Self::Store(error) => error,
        }
    }
}

/// Translates an error of the file system, for an action on a path.
pub(crate) fn io_error(action: &str, path: &Path, error: io::Error) -> StoreError {
    let what = format!("{action} {}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { what },
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { what },
        _ => StoreError::Backend { what, source: Box::new(error) },
    }
}

/// Translates an error of SQLite.
pub(crate) fn sql_error(what: &str, error: rusqlite::Error) -> StoreError {
    let what = what.to_owned();
    match &error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::Full { what },
            // The shared-memory file beside the WAL could not grow: the disk has no room.
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full { what },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked { what },
            ErrorCode::ReadOnly => StoreError::ReadOnly { what },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                StoreError::IndexDamaged { what, source: Box::new(error) }
            }
            _ => StoreError::Backend { what, source: Box::new(error) },
        },
        _ => StoreError::Backend { what, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_called_full_whoever_notices() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            let error = io_error("writing", Path::new("x"), errno.into());
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert!(matches!(sql_error("x", error), StoreError::Full { .. }));
        }
        let busy = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None);
        assert!(matches!(sql_error("x", busy), StoreError::Locked { .. }));
    }
}
