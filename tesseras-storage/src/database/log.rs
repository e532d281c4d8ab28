//! The write-ahead log of a database that this process has open: its syncs, when it is written back
//! into the database, and what happens after a sync that failed.
//!
//! Linux reports that it could not write a page to whoever syncs next, once, and takes it for
//! written from then on. So a log whose sync failed is not synced again. All connections are
//! closed, and one that is [alone](Sole) verifies the log: SQLite does that only for the first
//! connection. It writes the intact part back into the database, syncs that, and empties the log.
//! Until then nothing is read, nothing is acknowledged, and no other process opens the database. If
//! a frame turns out to be damaged, what was committed and not yet synced is never acknowledged.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tesseras_core::lock::lock;
use tesseras_core::ports::StoreError;
use tesseras_disk::{Disk, parent_of};

use super::config::StorageConfig;
use super::connections::Connections;
use super::mark;
use super::paths::beside;
use super::sole::{self, Sole, VERIFYING};
use crate::error::{io_error, sql_error};
use crate::lock::FileLock;
use crate::wal::{Ticket, Wal};

/// The log of a database, and what is needed to open it again.
pub(super) struct Log {
    /// Who waits for which sync.
    pub(super) wal: Wal,
    path: PathBuf,
    config: StorageConfig,
    /// The lock under which connections are opened and closed.
    opening: PathBuf,
    mending: Mutex<Mending>,
    /// How many attempts to mend the log ended because another process has the database open.
    refused: AtomicU64,
}

/// What a failed sync leaves to do.
#[derive(Default)]
struct Mending {
    /// Meanwhile nobody opens the database and adds to a log that is not verified.
    nobody_opens: Option<FileLock>,
    /// Where the log ended when the connections were closed; `None` once that is compared with what
    /// is left of it.
    end: Option<LogEnd>,
}

/// Where a log ends: the salts of its header, which change when it begins anew, and its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogEnd {
    salts: [u8; 8],
    frames: u64,
}

impl LogEnd {
    /// Whether all of a log with this end is still in one with that end.
    fn is_in(&self, found: &Self) -> bool {
        self.frames == 0 || (self.salts == found.salts && self.frames <= found.frames)
    }
}

impl Log {
    /// The log of a database that was just opened.
    pub(super) fn open(
        path: &Path,
        config: &StorageConfig,
        opening: PathBuf,
        disk: &dyn Disk,
    ) -> Result<Self, StoreError> {
        let file = open_file(path)?;
        sync_file(&file, path, disk)?;
        Ok(Self {
            wal: Wal::new(file),
            path: path.to_owned(),
            config: config.clone(),
            opening,
            mending: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// Notes that the log was verified and could not be written back: it can be read, and nothing
    /// is acknowledged until it is written back.
    pub(super) fn was_verified_only(&self) -> Result<(), StoreError> {
        self.wal.distrust();
        self.wal.verified(open_file(&self.path)?);
        Ok(())
    }

    /// Distrusts the log if another process was told that it could not be written, and has ended:
    /// as long as this one has the database open, nobody else can verify it.
    pub(super) fn heed_mark(&self) {
        if self.wal.is_broken() || !mark::is_set(&self.opening) {
            return;
        }
        let Ok(mut mending) = self.mending.try_lock() else { return };
        // The process that was told holds this as long as it goes on, and mends the log itself.
        let Ok(turn) = FileLock::acquire(&self.opening, VERIFYING, Duration::ZERO) else { return };
        if mark::is_set(&self.opening) {
            self.wal.distrust();
            mending.nobody_opens = Some(turn);
        }
    }

    /// Whether SQLite syncs the commits of this process; it may not sync those of others.
    pub(super) fn is_synced_by_sqlite(&self) -> bool {
        self.config.synchronous_full
    }

    /// Returns once the transaction is durable.
    pub(super) fn sync(&self, ticket: Ticket, disk: &dyn Disk) -> Result<(), StoreError> {
        self.wal.sync(ticket, |file| disk.sync_wal(file)).map_err(|error| {
            self.keep_others_out();
            failed(error)
        })
    }

    /// Fails if the transaction may be lost, although SQLite synced it.
    pub(super) fn check_not_lost(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.wal.check_not_lost(ticket).map_err(failed)
    }

    /// Writes the log back into the database if it is long, as SQLite does by itself after a
    /// commit, except that a failure is noticed. `writer` is in no transaction.
    pub(super) fn write_back_if_long(&self, writer: &Connection) {
        let limit = u64::from(self.config.wal_autocheckpoint_pages);
        let is_long = || sole::frames(writer).is_ok_and(|frames| frames >= limit);
        if limit == 0 || self.wal.is_broken() || !is_long() {
            return;
        }
        let written = writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        match written.map_err(|e| sql_error("writing back the log of the database", e)) {
            // It is tried again after the next commit.
            Ok(()) | Err(StoreError::Locked { .. } | StoreError::Full { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "the log of the database has to be verified");
                self.wal.distrust();
                self.keep_others_out();
            }
        }
    }

    /// Notes that a commit failed. If SQLite was to sync it, that may be what failed, and what
    /// others had committed before is as uncertain.
    pub(super) fn commit_failed(&self) {
        if self.is_synced_by_sqlite() {
            self.wal.distrust();
            self.keep_others_out();
        }
    }

    /// After a failed sync, verifies the log and writes it back; see the head of this file.
    /// [`StoreError::Locked`] while another process has the database open. Must not be called with
    /// a connection in use by the same thread.
    pub(super) fn mend(
        &self,
        connections: &Connections,
        disk: &dyn Disk,
    ) -> Result<(), StoreError> {
        let refused = self.refused.load(Ordering::SeqCst);
        let mut mending = lock(&self.mending);
        if !self.wal.is_broken() {
            return Ok(());
        }
        // One attempt is enough for all who wait for it.
        if self.refused.load(Ordering::SeqCst) != refused {
            return Err(StoreError::Locked { what: VERIFYING.to_owned() });
        }
        let outcome = self.verify_and_write_back(&mut mending, connections, disk);
        match &outcome {
            Ok(()) => mending.nobody_opens = None,
            Err(StoreError::Locked { .. }) => _ = self.refused.fetch_add(1, Ordering::SeqCst),
            Err(_) => {}
        }
        outcome
    }

    fn verify_and_write_back(
        &self,
        mending: &mut Mending,
        connections: &Connections,
        disk: &dyn Disk,
    ) -> Result<(), StoreError> {
        let sql = |e| sql_error("verifying the log of the database", e);
        self.wal.distrust();
        mark::set(&self.opening);
        let mut writer = lock(&connections.writer);
        if let Some(open) = &*writer {
            mending.end = self.end_seen_by(open);
            connections.close(&mut writer, false).map_err(sql)?;
        }
        let patience = self.config.busy_timeout;
        // Only after that: of two processes that mend at once, each would wait for the other.
        if mending.nobody_opens.is_none() {
            let lock = FileLock::acquire(&self.opening, VERIFYING, patience)?;
            mending.nobody_opens = Some(lock);
        }
        let (sole, on_disk) = Sole::open_on_disk(&self.path, VERIFYING, patience, disk)?;
        if let Some(end) = &mending.end {
            let found = LogEnd { salts: self.salts()?, frames: sole.frames()? };
            if !end.is_in(&found) {
                tracing::error!(?end, ?found, "{}", crate::wal::LOST);
                self.wal.lose_unsynced();
            }
            mending.end = None;
        }
        let written_back = on_disk.and_then(|()| sole.write_back());
        drop(sole);
        connections.reopen(&mut writer, &self.path, &self.config).map_err(sql)?;
        self.wal.verified(open_file(&self.path)?);
        // If the disk cannot be written, what is stored can still be read; and if it is only full,
        // deleted in the end.
        written_back?;
        sync_file(&self.wal.file(), &self.path, disk)?;
        mark::clear(&self.opening)?;
        self.wal.mended();
        Ok(())
    }

    /// Where the log ends for a connection. If that cannot be found out, all that is not synced
    /// counts as lost.
    fn end_seen_by(&self, connection: &Connection) -> Option<LogEnd> {
        let frames =
            sole::frames(connection).map_err(|e| sql_error("reading the log of the database", e));
        match frames.and_then(|frames| Ok(LogEnd { salts: self.salts()?, frames })) {
            Ok(end) => Some(end),
            Err(error) => {
                tracing::error!(%error, "{}", crate::wal::LOST);
                self.wal.lose_unsynced();
                None
            }
        }
    }

    /// The salts in the header of the log, zeros if it has none.
    fn salts(&self) -> Result<[u8; 8], StoreError> {
        // SQLite's "WAL File Format": bytes 16 to 24 of the file.
        let log = beside(&self.path, "-wal");
        let mut header = [0; 24];
        match File::open(&log).and_then(|mut file| file.read_exact(&mut header)) {
            Err(e)
                if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
            {
                return Err(io_error("reading", &log, e));
            }
            _ => {}
        }
        let [.., a, b, c, d, e, f, g, h] = header;
        Ok([a, b, c, d, e, f, g, h])
    }

    /// After a failed sync, takes the lock under which others would open the database, as mending
    /// does, and marks the log for those who open it when this process has ended.
    fn keep_others_out(&self) {
        // Whoever holds this is mending the log, and has marked it.
        let Ok(mut mending) = self.mending.try_lock() else { return };
        if !self.wal.is_broken() {
            return;
        }
        mark::set(&self.opening);
        if mending.nobody_opens.is_none() {
            let taken = FileLock::acquire(&self.opening, VERIFYING, Duration::ZERO);
            mending.nobody_opens = taken.ok();
        }
    }

    /// Closes the connections for good. A log that is not trusted is left to whoever opens the
    /// database next.
    pub(super) fn close(&self, connections: &Connections) {
        let mending = lock(&self.mending);
        let patience = self.config.busy_timeout;
        let _turn = match mending.nobody_opens {
            Some(_) => None,
            None => FileLock::acquire(&self.opening, "closing the database", patience).ok(),
        };
        let mut writer = lock(&connections.writer);
        // It may be another process that knows that the log is not to be trusted.
        let is_trusted = !self.wal.is_broken() && !mark::is_set(&self.opening);
        if let Err(error) = connections.close(&mut writer, is_trusted) {
            tracing::warn!(%error, "the database is closed as it is");
        }
    }
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    let log = beside(path, "-wal");
    // For writing, since not every system syncs a file that was opened for reading.
    let file = File::options().read(true).write(true).open(&log);
    file.map_err(|e| io_error("opening", &log, e))
}

/// Makes the log, its name and what SQLite wrote to it survive a power cut.
fn sync_file(file: &File, path: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    disk.sync_wal(file).map_err(|e| io_error("syncing", &beside(path, "-wal"), e))?;
    let directory = parent_of(path);
    disk.sync_directory(directory).map_err(|e| io_error("syncing", directory, e))
}

fn failed(error: io::Error) -> StoreError {
    io_error("syncing the log of", Path::new("the database"), error)
}
