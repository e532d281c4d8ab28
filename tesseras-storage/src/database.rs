//! The only module that opens SQLite and configures it. All others receive a transaction.
//!
//! A [`Database`] is one writing connection behind a mutex and a few reading ones; together with
//! those of other databases of this process they share the configured page cache. Writers of all
//! processes take turns (`BEGIN IMMEDIATE`, with the busy timeout); readers never wait for them
//! (WAL).
//!
//! A commit is not durable yet: [`Database::sync`] makes it so, with one sync for all waiting
//! threads. With `synchronous_full` SQLite syncs every commit by itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations, SchemaVersion};
use tesseras_core::lock::{lock, wait};
use tesseras_core::ports::StoreError;

use crate::error::{io_error, sql_error};
use crate::lock::FileLock;
use crate::wal::Wal;
use tesseras_disk::{Disk, OsDisk};

mod condition;
mod read_only;

pub use crate::error::Fault;
pub use crate::wal::Ticket;
pub(crate) use condition::{is_one_set_aside, set_aside_unless_sound};
pub(crate) use read_only::{check_format, open_read_only};

/// Default of [`StorageConfig::cache_size_kb`].
pub const DEFAULT_CACHE_SIZE_KB: u32 = 64_000;
/// Default of [`StorageConfig::busy_timeout`].
pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_millis(5000);
/// Default of [`StorageConfig::wal_autocheckpoint_pages`].
pub const DEFAULT_WAL_AUTOCHECKPOINT_PAGES: u32 = 1000;

/// Read-only connections. Each gets one share of the page cache, the writer two.
const READERS: u32 = 2;
/// Memory of the connections of one database besides pages, in KiB.
const BESIDE_PAGES_KB: i64 = 1024;
/// Prepared statements that each connection keeps; more than the store has.
const STATEMENTS: usize = 128;

/// Settings of SQLite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Page cache in KiB, for all connections of this process together, to any number of databases;
    /// if they are opened with different bounds, the last one counts. More makes a large store
    /// faster and costs that much memory. Default [`DEFAULT_CACHE_SIZE_KB`].
    pub cache_size_kb: u32,
    /// Whether SQLite syncs on every commit. If off, commits are synced in groups, and only before
    /// an acknowledgement; the safety of acknowledged data does not depend on this setting. Default
    /// off.
    pub synchronous_full: bool,
    /// How long to wait for another process that is writing. Default [`DEFAULT_BUSY_TIMEOUT`].
    pub busy_timeout: Duration,
    /// How many pages of 4 KiB the write-ahead log grows to before it is written back into the
    /// database. More means fewer, longer pauses. Default [`DEFAULT_WAL_AUTOCHECKPOINT_PAGES`].
    pub wal_autocheckpoint_pages: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            cache_size_kb: DEFAULT_CACHE_SIZE_KB,
            synchronous_full: false,
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
            wal_autocheckpoint_pages: DEFAULT_WAL_AUTOCHECKPOINT_PAGES,
        }
    }
}

/// Every step of the format, oldest first; a new database runs them all. Their number is the format
/// of the whole store, files included.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_initial.sql")),
    M::up(include_str!("migrations/0002_no_pins.sql")),
    M::up(include_str!("migrations/0003_publications.sql")),
    M::up(include_str!("migrations/0004_signature_files.sql")),
    M::up(include_str!("migrations/0005_silent_peers.sql")),
    M::up(include_str!("migrations/0006_damaged_pieces.sql")),
    M::up(include_str!("migrations/0007_repairers.sql")),
    M::up(include_str!("migrations/0008_dossier_bytes.sql")),
    M::up(include_str!("migrations/0009_removals.sql")),
    M::up(include_str!("migrations/0010_hints.sql")),
    M::up(include_str!("migrations/0011_last_repairs.sql")),
    M::up(include_str!("migrations/0012_scrub.sql")),
];

/// The format this version writes.
pub const FORMAT: u64 = STEPS.len() as u64;

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
        writer: Mutex::new(Some(connection)),
        readers: Mutex::default(),
        reader_is_back: Condvar::new(),
        has_readers: false,
        wal: None,
        syncs_commits: false,
        disk: Arc::new(OsDisk),
        opening: None,
        _copy: copy,
    }
}

/// Opens a database, creating or migrating it if need be. Where there is none yet, `may_begin` is
/// asked before one is created, and its error is returned instead. [`StoreError::NewerFormat`] if a
/// newer version of the software wrote it.
pub fn open_database(
    path: &Path,
    config: &StorageConfig,
    disk: Arc<dyn Disk>,
    may_begin: &dyn Fn() -> Result<(), StoreError>,
) -> Result<Database, StoreError> {
    let what = format!("opening the database {}", path.display());
    let sql = |e| sql_error(&what, e);
    // The first connection switches to WAL and migrates, the last one removes the WAL. SQLite does
    // not wait for another process that does the same, so a lock orders them.
    let lock_path = beside(path, "-open");
    let _turn = FileLock::acquire(&lock_path, &what, config.busy_timeout)?;

    // SQLite takes an empty file for a new database, and removes the log beside it.
    if length(path).map_err(|e| io_error("reading", path, e))?.is_none_or(|bytes| bytes == 0) {
        may_begin()?;
    }
    let share = config.cache_size_kb / (READERS + 2);
    let mut writer = Connection::open(path).map_err(sql)?;
    writer.busy_timeout(config.busy_timeout).map_err(sql)?;
    if format_of(&writer)? == 0 {
        may_begin()?;
    }
    let mode: String = writer
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(sql)?;
    if mode != "wal" {
        let source = io::Error::other("the file system cannot share memory, which WAL needs");
        return Err(StoreError::Backend { what, source: Box::new(source) });
    }
    configure(&writer, config, config.cache_size_kb - READERS * share).map_err(sql)?;
    migrate(&mut writer)?;

    let mut readers = Vec::new();
    for _ in 0..READERS {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags).map_err(sql)?;
        configure(&reader, config, share).map_err(sql)?;
        reader.pragma_update(None, "query_only", true).map_err(sql)?;
        // One read: from here on this process keeps others from removing the log.
        reader.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(())).map_err(sql)?;
        readers.push(reader);
    }

    let wal = Some(Wal::new(open_wal(path, &*disk)?));
    Ok(Database {
        writer: Mutex::new(Some(writer)),
        readers: Mutex::new(readers),
        reader_is_back: Condvar::new(),
        has_readers: true,
        wal,
        syncs_commits: config.synchronous_full,
        disk,
        opening: Some((lock_path, config.busy_timeout)),
        _copy: None,
    })
}

/// Opens the log, and makes its name and the writes of migrations survive a power cut.
fn open_wal(path: &Path, disk: &dyn Disk) -> Result<File, StoreError> {
    let wal_path = beside(path, "-wal");
    // For writing, since not every system syncs a file that was opened for reading.
    let wal = File::options()
        .read(true)
        .write(true)
        .open(&wal_path)
        .map_err(|e| io_error("opening", &wal_path, e))?;
    disk.sync_wal(&wal).map_err(|e| io_error("syncing", &wal_path, e))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    disk.sync_directory(directory).map_err(|e| io_error("syncing", directory, e))?;
    Ok(wal)
}

/// The path of a file that belongs to the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The length of a file; `None` if it does not exist. It is not opened, because closing it would
/// release SQLite's locks on it.
fn length(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some(file.len())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn configure(connection: &Connection, config: &StorageConfig, kb: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(config.busy_timeout)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    distrust_schema(connection)?;
    let synchronous = if config.synchronous_full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Negative: KiB, not pages. Zero would be SQLite's default, not nothing.
    connection.pragma_update(None, "cache_size", -i64::from(kb.max(1)))?;
    // For the whole process: a connection that needs a page beyond this limit reuses the least
    // recently used page of any database instead of new memory. The limit covers all of SQLite's
    // memory, so statements and schemas get a share of their own.
    let heap = (i64::from(config.cache_size_kb) + BESIDE_PAGES_KB) * 1024;
    connection.pragma_update(None, "soft_heap_limit", heap)?;
    connection.pragma_update(None, "wal_autocheckpoint", config.wal_autocheckpoint_pages)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// The schema of a foreign or damaged file may call only harmless functions.
fn distrust_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)
}

/// The format of a database; 0 if nothing was ever written to it. A newer one than is known here is
/// refused.
fn format_of(connection: &Connection) -> Result<u64, StoreError> {
    let version = Migrations::from_slice(STEPS).current_version(connection);
    match version.map_err(migration_error)? {
        SchemaVersion::NoneSet => Ok(0),
        SchemaVersion::Inside(found) => Ok(found.get() as u64),
        SchemaVersion::Outside(found) => {
            Err(StoreError::NewerFormat { found: found.get() as u64, known: FORMAT })
        }
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    Migrations::from_slice(STEPS).to_latest(connection).map_err(migration_error)
}

fn migration_error(error: rusqlite_migration::Error) -> StoreError {
    let what = "migrating the database";
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => sql_error(what, err),
        other => StoreError::Backend { what: what.to_owned(), source: Box::new(other) },
    }
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
    /// `None` only during drop.
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
    reader_is_back: Condvar,
    has_readers: bool,
    /// `None` in memory, where nothing is durable, and for a read-only database.
    wal: Option<Wal>,
    /// Whether SQLite syncs our own commits; it may not sync those of other processes.
    syncs_commits: bool,
    disk: Arc<dyn Disk>,
    /// The lock under which connections are opened and closed.
    opening: Option<(PathBuf, Duration)>,
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
        if self.has_readers {
            let reader = self.borrow_reader();
            snapshot(reader.connection()).map_err(|e| sql_error(what, e))
        } else {
            let guard = lock(&self.writer);
            snapshot(open_connection(guard.as_ref())).map_err(|e| sql_error(what, e))
        }
    }

    /// [`Database::read`], of which all that is returned survives a power cut, except for what was
    /// written with [`Database::write_unsynced`]. Of what another process has just committed, that
    /// process sees to it.
    pub(crate) fn read_durable<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let value = self.read(what, body)?;
        self.sync(self.wal.as_ref().map_or_else(Ticket::none, Wal::newest_awaited))?;
        Ok(value)
    }

    /// Runs one transaction that no other writer of any process overlaps. An error of `body` rolls
    /// it back.
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
        let mut guard = lock(&self.writer);
        let connection = open_connection_mut(guard.as_mut());
        let tx = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| before(sql_error(what, e)))?;
        let value = body(&tx).map_err(|fault| before(fault.into_error(what)))?;
        self.disk.before_commit().map_err(|e| before(io_error(what, Path::new(""), e)))?;
        let commit = || tx.commit();
        let committed = match &self.wal {
            Some(wal) => wal.commit(awaited, commit),
            None => commit().map(|()| Ticket::none()),
        };
        let ticket =
            committed.map_err(|e| WriteError { error: sql_error(what, e), rolled_back: false })?;
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
        if let Some(wal) = self.wal.as_ref().filter(|wal| wal.is_broken()) {
            self.mend(wal)?;
        }
        let mut guard = lock(&self.writer);
        let tx = open_connection_mut(guard.as_mut())
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| sql_error(what, e))?;
        if let Some(wal) = &self.wal {
            // Together with those who wait for their commits: an error is reported only once.
            wal.sync(wal.committed_elsewhere(), |file| self.disk.sync_wal(file))
                .map_err(wal_error)?;
        }
        let value = body(&tx).map_err(|fault| fault.into_error(what))?;
        tx.rollback().map_err(|e| sql_error(what, e))?;
        Ok(value)
    }

    /// Returns once the transaction survives a power cut.
    pub fn sync(&self, ticket: Ticket) -> Result<(), StoreError> {
        let Some(wal) = &self.wal else { return Ok(()) };
        if self.syncs_commits {
            return Ok(());
        }
        if wal.is_broken() {
            self.mend(wal)?;
        }
        wal.sync(ticket, |file| self.disk.sync_wal(file)).map_err(wal_error)
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

    /// After a failed sync, writes the log back into the database, syncs that, and restarts the
    /// log, since the state of the old one in the kernel is unknown.
    fn mend(&self, wal: &Wal) -> Result<(), StoreError> {
        let what = "writing back the database's log";
        let guard = lock(&self.writer);
        let connection = open_connection(guard.as_ref());
        let busy: i64 = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| sql_error(what, e))?;
        if busy != 0 {
            return Err(StoreError::Locked { what: what.to_owned() });
        }
        wal.mended();
        Ok(())
    }

    fn borrow_reader(&self) -> BorrowedReader<'_> {
        let mut readers = lock(&self.readers);
        loop {
            if let Some(reader) = readers.pop() {
                return BorrowedReader { database: self, reader: Some(reader) };
            }
            readers = wait(&self.reader_is_back, readers);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _turn = self
            .opening
            .as_ref()
            .map(|(path, patience)| FileLock::acquire(path, "closing the database", *patience));
        lock(&self.readers).clear();
        lock(&self.writer).take();
    }
}

/// A reading connection that is returned on drop, even after a panic.
struct BorrowedReader<'a> {
    database: &'a Database,
    reader: Option<Connection>,
}

impl BorrowedReader<'_> {
    fn connection(&self) -> &Connection {
        open_connection(self.reader.as_ref())
    }
}

impl Drop for BorrowedReader<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            lock(&self.database.readers).push(reader);
            self.database.reader_is_back.notify_one();
        }
    }
}

fn open_connection(connection: Option<&Connection>) -> &Connection {
    connection.expect("a connection is taken only while its owner is dropped")
}

fn open_connection_mut(connection: Option<&mut Connection>) -> &mut Connection {
    connection.expect("a connection is taken only while its owner is dropped")
}

fn wal_error(error: io::Error) -> StoreError {
    io_error("syncing the log of", Path::new("the database"), error)
}

#[cfg(test)]
mod tests;
