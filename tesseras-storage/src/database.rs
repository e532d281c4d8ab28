//! The only module that opens SQLite and configures it. All others receive a transaction.
//!
//! A [`Database`] is one writing connection behind a mutex and a few reading ones; together with
//! those of other databases of this process they share the configured page cache. Writers of all
//! processes take turns (`BEGIN IMMEDIATE`, with the busy timeout); readers never wait for them
//! (WAL).
//!
//! A commit is not durable yet: [`Database::sync`] makes it so, with one sync for all waiting
//! threads. With `synchronous_full` SQLite syncs every commit by itself.
//!
//! Nothing is acknowledged, and nothing removed, by a database that is no longer the one at its path
//! (`database/in_place.rs`).
//!
//! After a sync of the log that failed, all connections are closed, and the log is verified and
//! written back before anything is read or acknowledged again (`database/log.rs`).
//!
//! While a process has a database open, no other one brings it to a newer format
//! (`database/sole.rs`).

use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tesseras_core::lock::lock;
use tesseras_core::ports::StoreError;

use crate::error::{io_error, sql_error};
use crate::lock::FileLock;
use crate::wal::LOST;
use tesseras_disk::{Disk, OsDisk};

mod condition;
mod config;
mod connections;
mod format;
mod in_place;
mod log;
mod lost_index;
mod mark;
mod paths;
mod read_only;
mod sole;
mod structure;

pub use crate::error::Fault;
pub use crate::wal::Ticket;
pub(crate) use condition::set_aside_unless_sound;
pub use config::{
    DEFAULT_BUSY_TIMEOUT, DEFAULT_CACHE_SIZE_KB, DEFAULT_WAL_AUTOCHECKPOINT_PAGES, StorageConfig,
};
pub use format::FORMAT;
pub use lost_index::LostIndex;
pub(crate) use lost_index::{check_finished, forget_unfinished, give_up_missing, lost_index};
pub(crate) use read_only::{check_format, open_read_only};

use config::configure;
use connections::{BorrowedReader, Connections};
use format::{format_of, migrate};
use in_place::Place;
use log::Log;
use paths::{beside, length};
use sole::Left;

/// Opens a database that exists only as long as the value returned.
pub fn open_in_memory(config: &StorageConfig) -> Result<Database, StoreError> {
    let what = "opening a database in memory";
    let mut writer = Connection::open_in_memory().map_err(|e| sql_error(what, e))?;
    configure(&writer, config, config.cache_size_kb).map_err(|e| sql_error(what, e))?;
    migrate(&mut writer)?;
    Ok(without_log_and_readers(writer, None))
}

/// A database of one connection in which nothing is made durable.
fn without_log_and_readers(connection: Connection, copy: Option<tempfile::TempDir>) -> Database {
    Database {
        connections: Connections::of_one(connection),
        log: None,
        place: None,
        disk: Arc::new(OsDisk),
        _copy: copy,
    }
}

/// Opens a database, creating or migrating it if need be. Where there is none yet, `may_begin` is
/// asked before one is created, and its error is returned instead. [`StoreError::NewerFormat`] if a
/// newer version of the software wrote it, [`StoreError::OlderVersionRuns`] if it is of an older
/// format and another process has it open.
pub fn open_database(
    path: &Path,
    config: &StorageConfig,
    disk: Arc<dyn Disk>,
    may_begin: &dyn Fn() -> Result<(), StoreError>,
) -> Result<Database, StoreError> {
    let what = format!("opening the database {}", path.display());
    // The first connection switches to WAL and migrates, the last one removes the WAL. SQLite does
    // not wait for another process that does the same, so a lock orders them.
    let opening = beside(path, "-open");
    let turn = || FileLock::acquire(&opening, &what, config.busy_timeout);
    let verify = || match length(path).map_err(|e| io_error("reading", path, e))? {
        // SQLite takes an empty file for a new database, and removes the log beside it.
        None | Some(0) => may_begin().map(|()| Left::Nothing),
        Some(_) => sole::write_back_what_is_left(path, &opening, &*disk),
    };
    let (_turn, left) = sole::once_others_let(turn, verify, config.busy_timeout)?;
    let writer = open_writer(path, config, &what, may_begin)?;
    let connections = Connections::open(writer, path, config).map_err(|e| sql_error(&what, e))?;
    let place = Some(Place::of(path)?);
    let log = Log::open(path, config, opening.clone(), &*disk).inspect_err(|_| {
        // What it could not sync is not to be written back when the connections are closed.
        mark::set(&opening);
        connections.leave_log();
    })?;
    if left == Left::NotWrittenBack {
        log.was_verified_only()?;
    }
    let log = Some(Box::new(log));
    Ok(Database { connections, log, place, disk, _copy: None })
}

/// The connection that writes, to a database of the format of this version.
fn open_writer(
    path: &Path,
    config: &StorageConfig,
    what: &str,
    may_begin: &dyn Fn() -> Result<(), StoreError>,
) -> Result<Connection, StoreError> {
    let sql = |e| sql_error(what, e);
    let open = || {
        let writer = Connection::open(path)?;
        writer.busy_timeout(config.busy_timeout)?;
        Ok(writer)
    };
    let mut writer = open().map_err(sql)?;
    let found = format_of(&writer)?;
    if found == 0 {
        may_begin()?;
    } else if found < FORMAT {
        drop(writer);
        sole::migrate_alone(path, found, config.busy_timeout)?;
        writer = open().map_err(sql)?;
    }
    let mode: String = writer
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(sql)?;
    if mode != "wal" {
        let source = io::Error::other("the file system cannot share memory, which WAL needs");
        return Err(StoreError::Backend { what: what.to_owned(), source: Box::new(source) });
    }
    if found == 0 {
        configure(&writer, config, config.cache_size_kb).map_err(sql)?;
        migrate(&mut writer)?;
    }
    Ok(writer)
}

/// What went wrong in [`Database::write`].
pub struct WriteError {
    /// The error.
    pub error: StoreError,
    /// Whether it is certain that nothing was committed, now or after a crash.
    pub rolled_back: bool,
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        error.error
    }
}

/// The connections of one process to one database.
pub struct Database {
    connections: Connections,
    /// `None` in memory, where nothing is durable, and for a read-only database: both have one
    /// connection.
    log: Option<Box<Log>>,
    /// Where the database was when it was opened; `None` where there is no log.
    place: Option<Place>,
    disk: Arc<dyn Disk>,
    /// The directory of the database if it is a copy, which is removed together with this.
    _copy: Option<tempfile::TempDir>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Reads; sees everything that was committed before, and one state of it throughout.
    pub fn read<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let snapshot = |connection: &Connection| {
            let tx = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
            body(&tx)
        };
        match &self.log {
            Some(log) => snapshot(self.reader(log)?.connection()),
            None => snapshot(open_connection(lock(&self.connections.writer).as_ref())),
        }
        .map_err(|e| sql_error(what, e))
    }

    /// [`Database::read`], of which all that is returned survives a power cut, except for what was
    /// written with [`Database::write_unsynced`]. Of what another process has just committed, that
    /// process sees to it.
    pub(crate) fn read_durable<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(log) = &self.log else { return self.read(what, body) };
        // What is lost before it is read is not in the value.
        self.make_readable(log)?;
        let losses = log.wal.losses();
        let value = self.read(what, body)?;
        self.sync(log.wal.newest_awaited())?;
        if log.wal.losses() != losses {
            let source = io::Error::other(LOST);
            return Err(StoreError::Backend { what: what.to_owned(), source: Box::new(source) });
        }
        Ok(value)
    }

    /// Runs one transaction that no other writer of any process overlaps. An error of `body` rolls
    /// it back. `body` must not use this database but through its transaction.
    pub fn write<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<(T, Ticket), WriteError> {
        self.transaction(what, true, body)
    }

    /// [`Database::write`] of what may be lost in a power cut, as it can be found out again.
    pub(crate) fn write_unsynced<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (value, _) = self.transaction(what, false, body)?;
        Ok(value)
    }

    fn transaction<T>(
        &self,
        what: &str,
        awaited: bool,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<(T, Ticket), WriteError> {
        let before = |error| WriteError { error, rolled_back: true };
        self.check_in_place().map_err(before)?;
        let mut guard = self.writer().map_err(before)?;
        let connection = open_connection_mut(guard.as_mut());
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| before(sql_error(what, e)))?;
        let value = body(&tx).map_err(|fault| before(fault.into_error(what)))?;
        self.disk.before_commit().map_err(|e| before(io_error(what, Path::new(""), e)))?;
        let commit = || tx.commit();
        let committed = match &self.log {
            Some(log) => log.wal.commit(awaited, commit),
            None => commit().map(|()| Ticket::none()),
        };
        let ticket = committed.map_err(|e| {
            self.log.iter().for_each(|log| log.commit_failed());
            WriteError { error: sql_error(what, e), rolled_back: false }
        })?;
        if let Some(log) = &self.log {
            log.write_back_if_long(connection);
        }
        Ok((value, ticket))
    }

    /// [`Database::write`], durable.
    pub fn write_durably<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (value, ticket) = self.write(what, body)?;
        self.sync(ticket)?;
        Ok(value)
    }

    /// Runs `body` while no process can write, and writes nothing. Before that, everything
    /// committed by any process is made durable.
    pub(crate) fn alone<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        if let Some(log) = self.log.as_ref().filter(|log| log.wal.is_broken()) {
            log.mend(&self.connections, &*self.disk)?;
        }
        let mut guard = self.writer()?;
        let tx = open_connection_mut(guard.as_mut())
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| sql_error(what, e))?;
        if let Some(log) = &self.log {
            // Together with those who wait for their commits: an error is reported only once.
            log.sync(log.wal.committed_elsewhere(), &*self.disk)?;
        }
        self.check_in_place()?;
        let value = body(&tx).map_err(|fault| fault.into_error(what))?;
        tx.rollback().map_err(|e| sql_error(what, e))?;
        Ok(value)
    }

    /// Returns once the transaction survives a power cut. After a sync that failed, the log is
    /// verified and written back first; [`StoreError::Locked`] while another process has the
    /// database open. [`StoreError::IndexGone`] if the database was removed or replaced since.
    pub fn sync(&self, ticket: Ticket) -> Result<(), StoreError> {
        let Some(log) = &self.log else { return Ok(()) };
        if log.wal.is_broken() {
            log.mend(&self.connections, &*self.disk)?;
        }
        match log.is_synced_by_sqlite() {
            true => log.check_not_lost(ticket),
            false => log.sync(ticket, &*self.disk),
        }?;
        self.check_in_place()
    }

    /// [`StoreError::IndexGone`] if another database is at the path of this one, or none.
    pub(crate) fn check_in_place(&self) -> Result<(), StoreError> {
        match (&self.place, &self.log) {
            (Some(place), Some(log)) => place.check(&log.wal.file()),
            _ => Ok(()),
        }
    }

    /// After a failed commit, ensures that nothing of it can reappear. Its last page may be in the
    /// log and valid, with only the report of it lost; after a crash it would be found committed.
    /// Another commit overwrites it.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let ((), ticket) = self.write("settling the database's log", |tx| {
            // Sets it to its current value, which writes exactly one page. A newer version of the
            // software may have migrated the database since it was opened here.
            let format: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok(tx.pragma_update(None, "user_version", format)?)
        })?;
        self.sync(ticket)
    }

    /// What is wrong with the structure of the database, as sentences; none if it is intact. Every
    /// page is read.
    pub(crate) fn faults(&self) -> Result<Vec<String>, StoreError> {
        self.read("checking the database", |connection| Ok(structure::faults(connection, FORMAT)))?
    }

    /// A reading connection, as soon as one is free and the log can be trusted.
    fn reader(&self, log: &Log) -> Result<BorrowedReader<'_>, StoreError> {
        loop {
            self.make_readable(log)?;
            if let Some(reader) = self.connections.borrow_reader() {
                return Ok(reader);
            }
        }
    }

    /// The writing connection, which is open.
    fn writer(&self) -> Result<MutexGuard<'_, Option<Connection>>, StoreError> {
        loop {
            if let Some(log) = &self.log {
                self.make_readable(log)?;
            }
            let writer = lock(&self.connections.writer);
            if writer.is_some() {
                return Ok(writer);
            }
        }
    }

    /// Verifies the log and writes it back if a sync of it has failed, here or in a process that
    /// has ended, and is to be called now and then: until then nobody else can open the database.
    /// Returns whether that was so.
    pub(crate) fn look_after_log(&self) -> Result<bool, StoreError> {
        let Some(log) = &self.log else { return Ok(false) };
        log.heed_mark();
        match log.wal.is_broken() {
            true => log.mend(&self.connections, &*self.disk).map(|()| true),
            false => Ok(false),
        }
    }

    /// Returns once the log holds what was written to it. It need not be written back for that,
    /// which on a full disk may be impossible.
    fn make_readable(&self, log: &Log) -> Result<(), StoreError> {
        log.heed_mark();
        if log.wal.is_readable() {
            return Ok(());
        }
        match log.mend(&self.connections, &*self.disk) {
            Err(_) if log.wal.is_readable() => Ok(()),
            outcome => outcome,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.close(&self.connections);
        }
    }
}

fn open_connection(connection: Option<&Connection>) -> &Connection {
    connection.expect("without a log, it is never closed")
}

fn open_connection_mut(connection: Option<&mut Connection>) -> &mut Connection {
    connection.expect("it was found open under this guard")
}

#[cfg(test)]
mod tests;
