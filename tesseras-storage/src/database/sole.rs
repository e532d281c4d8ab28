//! The only connection to a database: nobody else, in this process or another one, has it open.
//!
//! SQLite's own locks say so. A connection holds a shared lock on the database's file from its
//! first read until it is closed, and one in exclusive locking mode needs all of it. So this also
//! sees processes of versions that know nothing of it. Such a connection trusts no shared memory:
//! it reads the log from the beginning, verifies the checksum of each frame, and ignores what
//! follows the first wrong one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tesseras_core::ports::StoreError;
use tesseras_disk::Disk;

use super::config::distrust_schema;
use super::connections::keep_log_on_close;
use super::format::{FORMAT, format_of, has_only_schema_of, migrate};
use super::mark;
use super::paths::{beside, length};
use super::structure::faults;
use crate::error::{io_error, sql_error};
use crate::lock::FileLock;

/// What a process does that waits for others to close the database.
pub(super) const VERIFYING: &str =
    "the database, whose log the disk could not write and which has to be verified alone,";

/// The only connection to a database.
pub(super) struct Sole {
    connection: Connection,
    what: String,
}

impl Sole {
    /// Opens a database that exists, waiting at most `patience` for others to close it;
    /// [`StoreError::Locked`] names `what` otherwise.
    pub(super) fn open(path: &Path, what: &str, patience: Duration) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(patience)?;
            distrust_schema(&connection)?;
            keep_log_on_close(&connection)?;
            connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
            connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
            Ok(connection)
        });
        let connection = opened.map_err(|e| sql_error(what, e))?;
        Ok(Self { connection, what: what.to_owned() })
    }

    /// [`Sole::open`] after the bytes of the log were written to the disk once more, so that what is
    /// verified is what the disk has: the kernel takes what it failed to write for written, and may
    /// have it in memory alone. Where the disk does not take them, that error is returned beside the
    /// connection: what it reads may be gone after a power cut, and is not to be written back, since
    /// that overwrites the database, which nothing but the log could repair.
    pub(super) fn open_on_disk(
        path: &Path,
        what: &str,
        patience: Duration,
        disk: &dyn Disk,
    ) -> Result<(Self, Result<(), StoreError>), StoreError> {
        // Nobody else may write to the log meanwhile; the caller keeps others from opening.
        let alone = Self::open(path, what, patience)?;
        let written = write_again(&beside(path, "-wal"), disk);
        drop(alone);
        Ok((Self::open(path, what, patience)?, written))
    }

    /// Whether it is of a known format, with its schema and all pages intact; each is read.
    pub(super) fn is_sound(&self) -> Result<bool, StoreError> {
        let format = match format_of(&self.connection) {
            Ok(0) => return Ok(false),
            // Only a bit of the number has flipped if the rest is of this version.
            Err(StoreError::NewerFormat { .. })
                if has_only_schema_of(&self.connection, FORMAT)? =>
            {
                return Ok(false);
            }
            format => format?,
        };
        Ok(faults(&self.connection, format)?.is_empty())
    }

    /// The number of intact frames in the log.
    pub(super) fn frames(&self) -> Result<u64, StoreError> {
        frames(&self.connection).map_err(|e| sql_error(&self.what, e))
    }

    /// Writes the intact part of the log back into the database, syncs that, and empties the log.
    pub(super) fn write_back(&self) -> Result<(), StoreError> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| sql_error(&self.what, e))?;
        if busy != 0 {
            return Err(StoreError::Locked { what: self.what.clone() });
        }
        Ok(())
    }
}

/// How much of the log is in memory while it is written again, in bytes.
const PART_BYTES: usize = 64 * 1024;

/// Writes the bytes of the log over themselves, which needs no room, and syncs them through the same
/// descriptor, which is told of every error.
fn write_again(log: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    let again = || {
        let mut file = match File::options().read(true).write(true).open(log) {
            // SQLite has removed it, as it belongs to no database.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        let mut part = vec![0; PART_BYTES];
        let mut at = 0;
        loop {
            let read = file.read_at(&mut part, at)?;
            if read == 0 {
                return disk.sync_wal(&file);
            }
            disk.write(&mut file, &part[..read])?;
            at += read as u64;
        }
    };
    again().map_err(|error| io_error("writing again", log, error))
}

/// How many frames the log has, as this connection sees it.
pub(super) fn frames(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let frames = |row: &rusqlite::Row<'_>| row.get::<_, i64>(1);
    // -1 if there is no log.
    statement.query_row([], frames).map(|frames| u64::try_from(frames).unwrap_or_default())
}

/// What [`write_back_what_is_left`] leaves of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing that this process would have to verify.
    Nothing,
    /// An intact log that may be in the memory of the kernel alone: the disk is full.
    NotWrittenBack,
}

/// How long those who have the database open are given to look after its log, before each attempt
/// but the first.
const TURN_OF_OTHERS: Duration = Duration::from_millis(50);

/// Takes a turn and verifies the log. While others have the database open that must verify it
/// first, they are given the turn, for at most `patience`.
pub(super) fn once_others_let<T>(
    turn: impl Fn() -> Result<FileLock, StoreError>,
    verify: impl Fn() -> Result<T, StoreError>,
    patience: Duration,
) -> Result<(FileLock, T), StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        let taken = turn()?;
        match verify() {
            Err(StoreError::Locked { .. }) if waited < patience => {}
            verified => return verified.map(|verified| (taken, verified)),
        }
        drop(taken);
        std::thread::sleep(TURN_OF_OTHERS);
        waited += TURN_OF_OTHERS;
    }
}

/// Verifies and writes back what a process left in the log that ended without closing it, unless
/// others have the database open. What it had not synced may be in the memory of the kernel alone,
/// and reported as written: it is not to be built upon. [`StoreError::Locked`] if it is known that
/// the log must be verified, while others have the database open.
pub(super) fn write_back_what_is_left(
    path: &Path,
    opening: &Path,
    disk: &dyn Disk,
) -> Result<Left, StoreError> {
    let log = beside(path, "-wal");
    if length(&log).map_err(|e| io_error("reading", &log, e))?.is_none_or(|bytes| bytes == 0) {
        return mark::clear(opening).map(|()| Left::Nothing);
    }
    let (sole, on_disk) = match Sole::open_on_disk(path, VERIFYING, Duration::ZERO, disk) {
        // Those who have it open look after their log, unless another one knew more about it.
        Err(StoreError::Locked { .. }) if !mark::is_set(opening) => return Ok(Left::Nothing),
        sole => sole?,
    };
    format_of(&sole.connection)?;
    match on_disk.and_then(|()| sole.write_back()) {
        // The store must open so that space can be freed.
        Err(StoreError::Full { what }) => {
            tracing::warn!(what, "no room to write the log back into the database");
            Ok(Left::NotWrittenBack)
        }
        written => written.and_then(|()| mark::clear(opening)).map(|()| Left::Nothing),
    }
}

/// Brings a database of the older format `found` to the format of this version, once nobody else
/// has it open. [`StoreError::OlderVersionRuns`] if it is still open after `patience`; nothing is
/// changed then.
pub(super) fn migrate_alone(path: &Path, found: u64, patience: Duration) -> Result<(), StoreError> {
    let what = format!("migrating the database {}", path.display());
    let mut sole = match Sole::open(path, &what, patience) {
        Err(StoreError::Locked { .. }) => {
            let path = path.display().to_string();
            return Err(StoreError::OlderVersionRuns { path, found, known: FORMAT });
        }
        sole => sole?,
    };
    sole.connection.pragma_update(None, "foreign_keys", true).map_err(|e| sql_error(&what, e))?;
    migrate(&mut sole.connection)
}
