//! The one module that opens SQLite and sets its knobs. Everybody else is handed a transaction.
//!
//! A [`Database`] is one writing connection behind a mutex and a few reading ones; together, and
//! with those of any other database of this process, they have the page cache that the
//! configuration allows. Writers of all processes take turns
//! (`BEGIN IMMEDIATE`, with the busy timeout); readers never wait for them (WAL).
//!
//! A commit is not yet durable: [`Database::sync`] makes it so, one sync for all who wait. With
//! `synchronous_full` SQLite syncs every commit by itself.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations, SchemaVersion};
use tesseras_core::ports::StoreError;

use crate::columns::to_integer;
use crate::disk::{Disk, OsDisk};
use crate::error::{Fault, io_error, sql_error};
use crate::lock::FileLock;
use crate::wal::{Ticket, Wal};

mod condition;
mod read_only;

pub(crate) use condition::set_aside_unless_sound;
pub(crate) use read_only::open_read_only;

/// Default of [`StorageConfig::cache_size_kb`].
pub const DEFAULT_CACHE_SIZE_KB: u32 = 64_000;
/// Default of [`StorageConfig::busy_timeout`].
pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_millis(5000);
/// Default of [`StorageConfig::wal_autocheckpoint_pages`].
pub const DEFAULT_WAL_AUTOCHECKPOINT_PAGES: u32 = 1000;

/// Connections that only read. Each gets one share of the page cache, the writer two.
const READERS: u32 = 2;
/// What the connections of one database need beside pages, in KiB.
const BESIDE_PAGES_KB: i64 = 1024;
/// Prepared statements that each connection keeps; more than the store has.
const STATEMENTS: usize = 128;

/// SQLite's knobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Page cache in KiB, for all connections of this process together, to however many databases;
    /// where they are opened with different bounds, the last one counts. More makes a large store
    /// faster and costs that much memory. Default [`DEFAULT_CACHE_SIZE_KB`].
    pub cache_size_kb: u32,
    /// Whether SQLite syncs on every commit. Off, commits are synced in groups, and only where
    /// something is acknowledged; nothing acknowledged depends on this knob. Default off.
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

/// Every step of the format, oldest first; a fresh database takes them all. Their number is the
/// format of the whole store, files included.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_initial.sql")),
    M::up(include_str!("migrations/0002_no_pins.sql")),
    M::up(include_str!("migrations/0003_publications.sql")),
    M::up(include_str!("migrations/0004_signature_files.sql")),
];

/// The format this version writes.
pub const FORMAT: u64 = STEPS.len() as u64;

/// Opens a database, creating or migrating it if need be. [`StoreError::NewerFormat`] if a newer
/// version of the software wrote it.
pub fn open_database(path: &Path, config: &StorageConfig) -> Result<Database, StoreError> {
    open_on(path, config, Arc::new(OsDisk), &|| Ok(()))
}

/// Opens a database that lives and dies with the value returned.
pub fn open_in_memory(config: &StorageConfig) -> Result<Database, StoreError> {
    let what = "opening a database in memory";
    let mut writer = Connection::open_in_memory().map_err(|e| sql_error(what, e))?;
    configure(&writer, config, config.cache_size_kb).map_err(|e| sql_error(what, e))?;
    migrate(&mut writer)?;
    Ok(without_log_and_readers(writer, None))
}

/// A database in which nothing is ever made durable, of one connection.
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

/// Opens a database as SQLite does it by itself: a rollback journal, a sync of every commit, a
/// page cache of 2 MB, and one connection. Only the schema is ours, and the busy timeout, since
/// SQLite's own is not to wait at all. For comparison alone.
#[cfg(feature = "baseline")]
pub(crate) fn open_with_sqlite_defaults(
    path: &Path,
    busy_timeout: Duration,
) -> Result<Database, StoreError> {
    let what = format!("opening the database {}", path.display());
    let lock_path = beside(path, "-open");
    let _turn = FileLock::acquire(&lock_path, &what, busy_timeout)?;
    let mut writer = Connection::open(path).map_err(|e| sql_error(&what, e))?;
    writer.busy_timeout(busy_timeout).map_err(|e| sql_error(&what, e))?;
    migrate(&mut writer)?;
    Ok(Database {
        writer: Mutex::new(Some(writer)),
        readers: Mutex::default(),
        reader_is_back: Condvar::new(),
        has_readers: false,
        wal: None,
        syncs_commits: true,
        disk: Arc::new(OsDisk),
        opening: Some((lock_path, busy_timeout)),
        _copy: None,
    })
}

/// [`open_database`] on a disk of one's own. Where there is no database yet, `may_begin` is asked
/// before one is made, and its error is returned instead.
pub(crate) fn open_on(
    path: &Path,
    config: &StorageConfig,
    disk: Arc<dyn Disk>,
    may_begin: &dyn Fn() -> Result<(), StoreError>,
) -> Result<Database, StoreError> {
    let what = format!("opening the database {}", path.display());
    let sql = |e| sql_error(&what, e);
    // The first connection switches to WAL and migrates, the last one removes the WAL. Neither
    // waits by itself for another process that does the same, so we take turns.
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
        // Read once: from here on this process keeps the log from being removed by others.
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

/// Opens the log, and makes its name and what migrations wrote to it survive a power cut.
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

/// How long a file is; `None` if it is not there. It is not opened, which would let go of SQLite's
/// locks on it.
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
    // For the whole process: whichever connection needs a page beyond this, of whatever database,
    // takes the one that was used longest ago, instead of new memory. It limits all of SQLite's
    // memory, so that statements and schemas have a share of their own.
    let heap = (i64::from(config.cache_size_kb) + BESIDE_PAGES_KB) * 1024;
    connection.pragma_update(None, "soft_heap_limit", heap)?;
    connection.pragma_update(None, "wal_autocheckpoint", config.wal_autocheckpoint_pages)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// What a foreign or damaged file has in its schema may run none but harmless functions.
fn distrust_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)
}

/// The format that a database has; 0 if nothing was ever written to it. A newer one than is known
/// here is refused.
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
pub(crate) struct WriteError {
    /// Why.
    pub(crate) error: StoreError,
    /// Whether it is certain that nothing was committed, now or after a crash.
    pub(crate) rolled_back: bool,
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        error.error
    }
}

/// The connections of one process to one database.
pub struct Database {
    /// `None` only while it is dropped.
    writer: Mutex<Option<Connection>>,
    readers: Mutex<Vec<Connection>>,
    reader_is_back: Condvar,
    has_readers: bool,
    /// `None` in memory, where nothing is ever durable, and where nothing can be written.
    wal: Option<Wal>,
    /// Whether SQLite syncs our own commits; those of other processes it may not.
    syncs_commits: bool,
    disk: Arc<dyn Disk>,
    /// The lock under which connections are opened and closed.
    opening: Option<(PathBuf, Duration)>,
    /// Where the database lies if it is a copy, which is removed with this.
    _copy: Option<tempfile::TempDir>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Reads; sees everything that was committed before, and one state of it throughout.
    pub(crate) fn read<T>(
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

    /// Runs one transaction that no other writer of any process overlaps. An error of `body` rolls
    /// it back.
    pub(crate) fn write<T>(
        &self,
        what: &str,
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
        tx.commit().map_err(|e| WriteError { error: sql_error(what, e), rolled_back: false })?;
        let ticket = self.wal.as_ref().map_or_else(Ticket::none, Wal::committed);
        Ok((value, ticket))
    }

    /// [`Database::write`], durable.
    pub(crate) fn write_durably<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (value, ticket) = self.write(what, body)?;
        self.sync(ticket)?;
        Ok(value)
    }

    /// Runs `body` while no process can write, and writes nothing. Before it is called, everything
    /// committed by any process has been made durable.
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
            if wal.is_broken() {
                return Err(wal_error(io::Error::other("an earlier sync of this log failed")));
            }
            self.disk.sync_wal(wal.file()).map_err(|e| {
                wal.broke();
                wal_error(e)
            })?;
        }
        let value = body(&tx).map_err(|fault| fault.into_error(what))?;
        tx.rollback().map_err(|e| sql_error(what, e))?;
        Ok(value)
    }

    /// Returns once the transaction survives a power cut.
    pub(crate) fn sync(&self, ticket: Ticket) -> Result<(), StoreError> {
        let Some(wal) = &self.wal else { return Ok(()) };
        if self.syncs_commits {
            return Ok(());
        }
        if wal.is_broken() {
            self.mend(wal)?;
        }
        wal.sync(ticket, |file| self.disk.sync_wal(file)).map_err(wal_error)
    }

    /// After a failed commit: makes sure that nothing of it can come back. Its last page may lie in
    /// the log, valid, and only the news of it have failed; a crash now would find it committed.
    /// One more commit is written over it.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let ((), ticket) = self.write("settling the database's log", |tx| {
            // To the value that it has: one page, and no more.
            Ok(tx.pragma_update(None, "user_version", to_integer(FORMAT))?)
        })?;
        self.sync(ticket)
    }

    /// After a failed sync: writes the log back into the database, syncs that, and begins the log
    /// anew, since what the kernel did with the old one is unknown.
    fn mend(&self, wal: &Wal) -> Result<(), StoreError> {
        let what = "writing back the database's log";
        let guard = lock(&self.writer);
        let connection = open_connection(guard.as_ref());
        let busy: i64 = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| sql_error(what, e))?;
        if busy != 0 {
            return Err(StoreError::Busy { what: what.to_owned() });
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
            readers = self.reader_is_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
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

/// A reading connection that returns to the others when dropped, also by a panic.
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

/// A panic in a transaction rolled it back, so what the lock guards is as it should be.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wal_error(error: io::Error) -> StoreError {
    io_error("syncing the log of", Path::new("the database"), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(config: &StorageConfig) -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = open_database(&dir.path().join("t.db"), config).unwrap();
        (dir, database)
    }

    fn value<T: rusqlite::types::FromSql>(connection: &Connection, pragma: &str) -> T {
        connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
    }

    /// The knob's value on every connection, the writer's first.
    fn values<T: rusqlite::types::FromSql>(database: &Database, pragma: &str) -> Vec<T> {
        let writer = lock(&database.writer);
        let readers = lock(&database.readers);
        writer.iter().chain(readers.iter()).map(|c| value(c, pragma)).collect()
    }

    #[test]
    fn foreign_keys_are_enforced() {
        let (_dir, database) = on_disk(&StorageConfig::default());
        assert_eq!(values::<i64>(&database, "foreign_keys"), [1, 1, 1]);
        let orphan = database.write("x", |tx| {
            tx.execute(
                "INSERT INTO fragments (tessera, piece, checksum, bytes)
                 VALUES (zeroblob(32), 0, zeroblob(32), 1)",
                [],
            )?;
            Ok(())
        });
        assert!(orphan.is_err_and(|e| e.rolled_back));
    }

    #[test]
    fn no_schema_is_trusted() {
        let (dir, database) = on_disk(&StorageConfig::default());
        assert_eq!(values::<i64>(&database, "trusted_schema"), [0, 0, 0]);
        drop(database);
        let path = dir.path().join("t.db");
        let read_only = open_read_only(&path, &StorageConfig::default());
        let read_only = read_only.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(values::<i64>(&read_only, "trusted_schema"), [0]);
    }

    #[test]
    fn the_busy_timeout_is_waited_for() {
        let config =
            StorageConfig { busy_timeout: Duration::from_millis(30), ..StorageConfig::default() };
        let (dir, one) = on_disk(&config);
        let two = open_database(&dir.path().join("t.db"), &config).unwrap();
        assert_eq!(values::<i64>(&one, "busy_timeout"), [30, 30, 30]);
        assert_eq!(values::<i64>(&on_disk(&StorageConfig::default()).1, "busy_timeout")[0], 5000);
        let (refused, _) = one
            .write("x", |_| Ok(two.write("y", |_| Ok(())).map_err(|e| e.error)))
            .unwrap_or_else(|e| panic!("{}", e.error));
        assert!(matches!(refused, Err(StoreError::Busy { .. })), "{refused:?}");
    }

    #[test]
    fn the_journal_is_a_wal_on_disk_and_memory_in_memory() {
        let (dir, database) = on_disk(&StorageConfig::default());
        assert_eq!(values::<String>(&database, "journal_mode"), ["wal", "wal", "wal"]);
        assert!(dir.path().join("t.db-wal").exists());
        let memory = open_in_memory(&StorageConfig::default()).unwrap();
        assert_eq!(values::<String>(&memory, "journal_mode"), ["memory"]);
    }

    fn schema(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
            .unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_fresh_schema_equals_all_migrations() {
        Migrations::from_slice(STEPS).validate().unwrap();
        let fresh = open_in_memory(&StorageConfig::default()).unwrap();
        assert_eq!(values::<i64>(&fresh, "user_version"), [FORMAT as i64]);
        let mut stepwise = Connection::open_in_memory().unwrap();
        for version in 1..=STEPS.len() {
            Migrations::from_slice(STEPS).to_version(&mut stepwise, version).unwrap();
        }
        assert_eq!(schema(lock(&fresh.writer).as_ref().unwrap()), schema(&stepwise));
        assert!(schema(&stepwise).len() > 10);
    }

    #[test]
    fn what_format_1_had_pinned_is_named_no_more() {
        let mut connection = Connection::open_in_memory().unwrap();
        Migrations::from_slice(STEPS).to_version(&mut connection, 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO objects VALUES (zeroblob(32), 7, 2), (randomblob(32), 8, 3);
                 INSERT INTO pins SELECT CAST(x'01' || zeroblob(31) AS BLOB), hash, 5 FROM objects;
                 INSERT INTO pins SELECT CAST(x'02' || zeroblob(31) AS BLOB), hash, 5 FROM objects;",
            )
            .unwrap();
        Migrations::from_slice(STEPS).to_version(&mut connection, 2).unwrap();
        let left: Vec<(i64, i64)> = connection
            .prepare("SELECT bytes, refs FROM objects")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(left, [(8, 1)]);
    }

    #[test]
    fn what_format_2_held_is_confirmed_and_what_it_had_placed_is_published() {
        let mut connection = Connection::open_in_memory().unwrap();
        Migrations::from_slice(STEPS).to_version(&mut connection, 2).unwrap();
        connection
            .execute_batch(
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 3)
                 INSERT INTO objects SELECT unhex(printf('%064d', n)), 7, 2 FROM numbers;
                 INSERT INTO fragments
                     SELECT hash, -1, hash, 7, NULL, NULL FROM objects LIMIT 2;
                 INSERT INTO placements
                     SELECT hash, 0, zeroblob(20), 7, 1 FROM objects LIMIT 2 OFFSET 1;",
            )
            .unwrap();
        Migrations::from_slice(STEPS).to_version(&mut connection, 3).unwrap();
        let states: Vec<i64> = connection
            .prepare("SELECT state FROM publications ORDER BY tessera")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(states, [1, 3, 2]);
    }

    #[test]
    #[cfg(feature = "baseline")]
    fn the_baseline_is_what_sqlite_does_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let database = open_with_sqlite_defaults(&path, Duration::from_millis(70)).unwrap();
        let plain = Connection::open(dir.path().join("plain.db")).unwrap();
        for knob in ["synchronous", "cache_size", "wal_autocheckpoint", "foreign_keys"] {
            assert_eq!(values::<i64>(&database, knob), [value::<i64>(&plain, knob)], "{knob}");
        }
        assert_eq!(values::<i64>(&database, "synchronous"), [2]);
        assert_eq!(values::<String>(&database, "journal_mode"), ["delete"]);
        assert_eq!(values::<i64>(&database, "busy_timeout"), [70]);
        let fresh = open_in_memory(&StorageConfig::default()).unwrap();
        let of = |database: &Database| schema(lock(&database.writer).as_ref().unwrap());
        assert_eq!(of(&database), of(&fresh), "the same tables");
    }

    #[test]
    fn opening_again_changes_nothing() {
        let (dir, database) = on_disk(&StorageConfig::default());
        let before = schema(lock(&database.writer).as_ref().unwrap());
        drop(database);
        let again = open_database(&dir.path().join("t.db"), &StorageConfig::default()).unwrap();
        assert_eq!(schema(lock(&again.writer).as_ref().unwrap()), before);
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let (dir, database) = on_disk(&StorageConfig::default());
        drop(database);
        let path = dir.path().join("t.db");
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", FORMAT as i64 + 1).unwrap();
        drop(newer);
        let bytes = std::fs::read(&path).unwrap();
        match open_database(&path, &StorageConfig::default()) {
            Err(StoreError::NewerFormat { found, known }) => {
                assert_eq!((found, known), (FORMAT + 1, FORMAT));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn both_synchronous_modes_are_set() {
        let (_dir, normal) = on_disk(&StorageConfig::default());
        assert_eq!(values::<i64>(&normal, "synchronous"), [1, 1, 1]);
        assert!(!normal.syncs_commits);
        let config = StorageConfig { synchronous_full: true, ..StorageConfig::default() };
        let (_dir, full) = on_disk(&config);
        assert_eq!(values::<i64>(&full, "synchronous"), [2, 2, 2]);
        assert!(full.syncs_commits);
        full.write_durably("x", |_| Ok(())).unwrap();
    }

    #[test]
    fn the_page_cache_is_shared_out_among_all_connections() {
        for kb in [DEFAULT_CACHE_SIZE_KB, 10_001, 2000] {
            let config = StorageConfig { cache_size_kb: kb, ..StorageConfig::default() };
            let (_dir, database) = on_disk(&config);
            let sizes = values::<i64>(&database, "cache_size");
            assert_eq!(-sizes.iter().sum::<i64>(), i64::from(kb), "{sizes:?}");
            let memory = open_in_memory(&config).unwrap();
            assert_eq!(values::<i64>(&memory, "cache_size"), [-i64::from(kb)]);
        }
    }

    #[test]
    fn the_autocheckpoint_is_set() {
        let config = StorageConfig { wal_autocheckpoint_pages: 77, ..StorageConfig::default() };
        let (_dir, database) = on_disk(&config);
        assert_eq!(values::<i64>(&database, "wal_autocheckpoint"), [77, 77, 77]);
    }

    #[test]
    fn readers_do_not_wait_for_a_writer_and_cannot_write() {
        let (_dir, database) = on_disk(&StorageConfig::default());
        let count =
            |c: &Connection| c.query_row("SELECT COUNT(*) FROM peers", [], |r| r.get::<_, i64>(0));
        let insert = "INSERT INTO peers VALUES (zeroblob(20), '', 1)";
        let (inside, ticket) = database
            .write("x", |tx| {
                tx.execute(insert, [])?;
                Ok(database.read("y", count)?)
            })
            .unwrap_or_else(|e| panic!("{}", e.error));
        assert_eq!(inside, 0);
        assert_eq!(database.read("z", count).unwrap(), 1);
        database.sync(ticket).unwrap();
        assert!(database.read("w", |c| c.execute("DELETE FROM peers", [])).is_err());
    }

    #[test]
    fn a_log_that_could_not_be_synced_is_written_back_before_it_is_trusted_again() {
        let (dir, database) = on_disk(&StorageConfig::default());
        let (_, ticket) = database
            .write("x", |tx| Ok(tx.execute("INSERT INTO peers VALUES (zeroblob(20), '', 1)", [])?))
            .unwrap_or_else(|e| panic!("{}", e.error));
        let wal = dir.path().join("t.db-wal");
        assert!(wal.metadata().unwrap().len() > 0);
        database.wal.as_ref().unwrap().broke();
        database.sync(ticket).unwrap();
        assert_eq!(wal.metadata().unwrap().len(), 0);
    }

    #[test]
    fn settling_writes_a_page_over_what_a_failed_commit_left() {
        let (dir, database) = on_disk(&StorageConfig::default());
        let wal = dir.path().join("t.db-wal");
        let before = wal.metadata().unwrap().len();
        database.settle().unwrap();
        assert!(wal.metadata().unwrap().len() > before, "a commit of nothing overwrites nothing");
        assert_eq!(values::<i64>(&database, "user_version"), [FORMAT as i64; 3]);
    }

    const OWN_PROCESS: &str = "TESSERAS_TEST_PAGE_CACHE";

    /// Memory of this process in KiB.
    #[cfg(target_os = "linux")]
    fn resident_kb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[ignore = "the other side of the_page_cache_is_bounded_for_the_whole_process"]
    fn reads_and_writes_eight_databases() {
        if std::env::var_os(OWN_PROCESS).is_none() {
            return;
        }
        const CACHE_KB: u32 = 6000;
        let config = StorageConfig { cache_size_kb: CACHE_KB, ..StorageConfig::default() };
        let all: Vec<_> = (0..8).map(|_| on_disk(&config)).collect();
        let before = resident_kb();
        for (_, database) in &all {
            // 8 MB of rows, which every connection would gladly keep.
            let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 8000)
                        INSERT INTO peers SELECT randomblob(20), hex(zeroblob(500)), i FROM n";
            database.write_durably("x", |tx| Ok(tx.execute(rows, [])?)).unwrap();
            let both = [database.borrow_reader(), database.borrow_reader()];
            for connection in both.iter().map(BorrowedReader::connection) {
                let sum = "SELECT SUM(LENGTH(addresses)) FROM peers";
                let bytes: i64 = connection.query_row(sum, [], |row| row.get(0)).unwrap();
                assert_eq!(bytes, 8_000_000);
            }
        }
        let grown = resident_kb().saturating_sub(before);
        // All 24 connections together; each of them alone would take 1500 or 3000.
        assert!(grown < 2 * u64::from(CACHE_KB), "{grown} KiB more");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_page_cache_is_bounded_for_the_whole_process() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "database::tests::reads_and_writes_eight_databases", "--ignored"])
            .env(OWN_PROCESS, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}
