//! The open connections of one process to one database: one that writes, and a few that read.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tesseras_core::lock::{lock, wait};

use super::config::{StorageConfig, configure};

/// Read-only connections. Each gets one share of the page cache, the writer two.
const READERS: u32 = 2;

/// One writing connection, and reading ones that are lent.
pub(super) struct Connections {
    /// `None` while they are closed.
    pub(super) writer: Mutex<Option<Connection>>,
    readers: Mutex<Readers>,
    reader_is_back: Condvar,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    /// How many there are, lent ones included; none while they are closed.
    open: usize,
}

impl Connections {
    /// A writing connection that is already configured, and no reading ones.
    pub(super) fn of_one(writer: Connection) -> Self {
        Self {
            writer: Mutex::new(Some(writer)),
            readers: Mutex::default(),
            reader_is_back: Condvar::new(),
        }
    }

    /// Configures the writing connection, and opens the reading ones beside it.
    pub(super) fn open(
        writer: Connection,
        path: &Path,
        config: &StorageConfig,
    ) -> rusqlite::Result<Self> {
        let connections = Self::of_one(writer);
        let readers = match &*lock(&connections.writer) {
            Some(writer) => beside_writer(writer, path, config)?,
            None => Vec::new(),
        };
        connections.fill(readers);
        Ok(connections)
    }

    /// Opens them again. `writer` is the guard of the writing one.
    pub(super) fn reopen(
        &self,
        writer: &mut MutexGuard<'_, Option<Connection>>,
        path: &Path,
        config: &StorageConfig,
    ) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags)?;
        self.fill(beside_writer(&opened, path, config)?);
        **writer = Some(opened);
        Ok(())
    }

    fn fill(&self, idle: Vec<Connection>) {
        *lock(&self.readers) = Readers { open: idle.len(), idle };
        self.reader_is_back.notify_all();
    }

    /// A reading connection, as soon as one is free; `None` if they are closed.
    pub(super) fn borrow_reader(&self) -> Option<BorrowedReader<'_>> {
        let mut readers = lock(&self.readers);
        while readers.open > 0 {
            if let Some(reader) = readers.idle.pop() {
                return Some(BorrowedReader { connections: self, reader: Some(reader) });
            }
            readers = wait(&self.reader_is_back, readers);
        }
        None
    }

    /// Closes all, once those that were lent are back. `writer` is the guard of the writing one. If
    /// the log is not `trusted`, it is not written back into the database, even if no other process
    /// has it open.
    pub(super) fn close(
        &self,
        writer: &mut MutexGuard<'_, Option<Connection>>,
        trusted: bool,
    ) -> rusqlite::Result<()> {
        let mut readers = lock(&self.readers);
        while readers.idle.len() < readers.open {
            readers = wait(&self.reader_is_back, readers);
        }
        if !trusted {
            for connection in readers.idle.iter().chain(writer.iter()) {
                keep_log_on_close(connection)?;
            }
        }
        *readers = Readers::default();
        // The last one, whose sync of the log no other has spoken for.
        **writer = None;
        self.reader_is_back.notify_all();
        Ok(())
    }

    /// Closes all without writing the log back; nobody has borrowed one.
    pub(super) fn leave_log(&self) {
        if let Err(error) = self.close(&mut lock(&self.writer), false) {
            tracing::warn!(%error, "the database is closed as it is");
        }
    }

    #[cfg(test)]
    pub(super) fn each(&self, mut visit: impl FnMut(&Connection)) {
        lock(&self.writer).iter().for_each(&mut visit);
        lock(&self.readers).idle.iter().for_each(&mut visit);
    }
}

/// Closing this connection does not write the log back, even if it is the last one.
pub(super) fn keep_log_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(|_| ())
}

/// Configures a writing connection, and returns reading ones.
fn beside_writer(
    writer: &Connection,
    path: &Path,
    config: &StorageConfig,
) -> rusqlite::Result<Vec<Connection>> {
    let share = config.cache_size_kb / (READERS + 2);
    configure(writer, config, config.cache_size_kb - READERS * share)?;
    let reader = |_| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(path, flags)?;
        configure(&reader, config, share)?;
        reader.pragma_update(None, "query_only", true)?;
        // One read: from here on this process keeps others from removing the log.
        reader.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(reader)
    };
    (0..READERS).map(reader).collect()
}

/// A reading connection that is returned on drop, even after a panic.
pub(super) struct BorrowedReader<'a> {
    connections: &'a Connections,
    reader: Option<Connection>,
}

impl BorrowedReader<'_> {
    /// The connection.
    pub(super) fn connection(&self) -> &Connection {
        self.reader.as_ref().expect("it is taken only on drop")
    }
}

impl Drop for BorrowedReader<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            lock(&self.connections.readers).idle.push(reader);
            // All: one may wait for a reader, another for all of them.
            self.connections.reader_is_back.notify_all();
        }
    }
}
