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
    let code = failure_of(&error).map(|failure| (failure.code, failure.extended_code));
    match code {
        Some((ErrorCode::DiskFull, _)) => StoreError::Full { what },
        // The shared-memory file beside the WAL could not grow: the disk has no room.
        Some((_, ffi::SQLITE_IOERR_SHMSIZE)) => StoreError::Full { what },
        Some((ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _)) => {
            StoreError::Locked { what }
        }
        Some((ErrorCode::ReadOnly, _)) => StoreError::ReadOnly { what },
        _ if is_damage(&error) => StoreError::IndexDamaged { what, source: Box::new(error) },
        _ => StoreError::Backend { what, source: Box::new(error) },
    }
}

fn failure_of(error: &rusqlite::Error) -> Option<&ffi::Error> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure),
        rusqlite::Error::SqlInputError { error, .. } => Some(error),
        _ => None,
    }
}

/// Whether the database is not what this software wrote. All SQL is fixed, so what SQLite does not
/// find or know, as a table, was lost with the schema; and no column was ever written with a value
/// that cannot be read.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    match error {
        FromSqlConversionFailure(..)
        | IntegralValueOutOfRange(..)
        | InvalidColumnType(..)
        | Utf8Error(..) => true,
        other => failure_of(other).is_some_and(|failure| {
            let general = failure.extended_code & 0xff == ffi::SQLITE_ERROR;
            let codes = [
                ErrorCode::DatabaseCorrupt,
                ErrorCode::NotADatabase,
                ErrorCode::TooBig,
                ErrorCode::TypeMismatch,
            ];
            general || codes.contains(&failure.code)
        }),
    }
}

/// Whether a new database may do where this one failed: it is damaged, its rows contradict each
/// other, or a part of its file cannot be read.
pub(crate) fn may_be_damage(error: &StoreError) -> bool {
    let source = match error {
        StoreError::IndexDamaged { .. } => return true,
        StoreError::Backend { source, .. } => source.downcast_ref::<rusqlite::Error>(),
        _ => None,
    };
    let unreadable =
        [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_IOERR_CORRUPTFS];
    source.and_then(failure_of).is_some_and(|failure| {
        failure.code == ErrorCode::ConstraintViolation
            || unreadable.contains(&failure.extended_code)
    })
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
