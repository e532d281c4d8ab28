//! Objects: files named after the hash of their content, `cas/<2 hex>/<hash>.blob`, one per content
//! however many references it has. The table `objects` counts the references; it is authoritative.
//!
//! The order of steps that guarantees "never a row without its file", whatever fails when:
//!
//! - *In.* A staged file is synced, linked to its object's name, and the directory is synced, while
//!   others write. Until a row refers to it, anyone may remove it again. Then, inside one
//!   transaction that excludes all other writers of all processes, it is checked that the name is
//!   still that of this very file, and the row is written. Where another file has the name, or
//!   none, or the file system has no links, the staged file is renamed within the transaction
//!   instead, and its directory synced. The commit is synced before it is acknowledged; last, the
//!   staged name is removed.
//! - *Out.* One transaction removes the row, notes that the file is to be removed, and is synced. A
//!   second one excludes all other writers, checks whether the row has been added again in the
//!   meantime, syncs what they committed, and only then removes the file. Its directory is synced
//!   before the note is removed. What was interrupted is continued when the store is next opened.
//!
//! What an unclean stop loses: nothing acknowledged. What it leaves: files in `tmp/`, some with a
//! second name here (removed by the sweep), and at worst files here that no row refers to, which a later put of the same content
//! takes over, or [garbage collection](crate::gc) removes.

mod files;
mod read;
mod references;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction};
use tesseras_core::ids::ContentHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{BlobReader, BlobStore, BlobWriter, FreeSpace, StagedBlob, StoreError};

use crate::columns::{content_hash, count};
use crate::database::Database;
use crate::error::Fault;
use crate::metrics::{self, ObjectCounters, ObjectCounts};
use crate::not_removed::{NotRemoved, is_gone};
use crate::reserve::Reserve;
use crate::staging::{Staging, Swept};
use tesseras_disk::Disk;

use files::{ObjectFiles, create_shards};
pub(crate) use read::{FileReader, check_range};
use references::is_named;
pub(crate) use references::{
    Placing, Released, names_of_object, object_bytes, recount, set_damaged,
};

/// Files that are removed in one transaction, during which no other process can write.
const REMOVE_BATCH: usize = 64;
/// Files of failed commits that are remembered for removal; more are left on disk.
const MAX_DOUBTFUL: usize = 16 * 1024;

/// Content-addressed files and their counted references.
pub struct Cas {
    files: ObjectFiles,
    database: Arc<Database>,
    reserve: Reserve,
    /// Files whose rows may or may not reappear after a failed commit; see [`Cas::clean_up`].
    doubtful: Mutex<Vec<ContentHash>>,
    pub(crate) counters: ObjectCounters,
}

impl std::fmt::Debug for Cas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cas").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Cas {
    /// Objects below `root`, an existing directory, and what is to become objects.
    pub(crate) fn open(
        root: PathBuf,
        staging: Arc<Staging>,
        reserve: Reserve,
        database: Arc<Database>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        create_shards(&root, &*disk)?;
        let files = ObjectFiles::new(root, Some(staging), disk);
        Ok(Self::over(files, reserve, database))
    }

    /// Objects below `root`, on a read-only disk.
    pub(crate) fn open_read_only(
        root: PathBuf,
        reserve: Reserve,
        database: Arc<Database>,
        disk: Arc<dyn Disk>,
    ) -> Self {
        Self::over(ObjectFiles::new(root, None, disk), reserve, database)
    }

    fn over(files: ObjectFiles, reserve: Reserve, database: Arc<Database>) -> Self {
        let (doubtful, counters) = Default::default();
        Self { files, database, reserve, doubtful, counters }
    }

    /// The files of the objects.
    pub(crate) fn files(&self) -> &ObjectFiles {
        &self.files
    }

    /// The database that refers to the objects.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// What is stored now, and what happened since this was opened.
    pub(crate) fn counts(&self) -> Result<ObjectCounts, StoreError> {
        let totals = |c: &Connection| {
            c.prepare_cached("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM objects")?
                .query_row([], |row| Ok((count(row, 0)?, count(row, 1)?)))
        };
        let (objects, bytes) = self.database.read("counting objects", totals)?;
        Ok(self.counters.with(objects, bytes))
    }

    /// Like [`ObjectFiles::visit`], for the files that no row refers to.
    pub(crate) fn visit_orphans(
        &self,
        mut visit: impl FnMut(Option<ContentHash>, PathBuf) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.files.visit(|hash, path| {
            let bytes =
                |hash| self.database.read("looking up an object", |c| object_bytes(c, hash));
            match hash.as_ref().map(bytes).transpose()?.flatten() {
                Some(_) => Ok(()),
                None => visit(hash, path),
            }
        })
    }

    /// Removes the files that dead processes left in `tmp/`.
    pub(crate) fn sweep(&self) -> Result<Swept, StoreError> {
        self.files.staging()?.sweep()
    }

    /// Adopts staged blobs. `name` runs in a transaction and writes the rows that refer to them,
    /// acquiring each through [`Placing`]; blobs that it does not acquire are discarded. Atomic;
    /// durable when it returns.
    pub(crate) fn adopt<T>(
        &self,
        what: &str,
        staged: Vec<StagedBlob>,
        name: impl FnOnce(&Transaction<'_>, &mut Placing<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut placing = Placing::new(&self.files, staged);
        if let Err(error) = placing.prepare() {
            placing.discard_rest();
            self.clean_up(placing.all_in_place(), true);
            return Err(error);
        }
        let outcome = self.database.write(what, |tx| {
            let value = name(tx, &mut placing)?;
            placing.sync_names()?;
            Ok(value)
        });
        let (value, ticket) = match outcome {
            Ok(committed) => committed,
            Err(failed) => {
                placing.discard_rest();
                self.clean_up(placing.all_in_place(), failed.rolled_back);
                return Err(failed.error);
            }
        };
        let synced = self.database.sync(ticket);
        placing.discard_rest();
        self.remove_unnamed(&placing.unused()).warn();
        synced?;
        metrics::add(&self.counters.dedup_hits, placing.known);
        metrics::add(&self.counters.bytes_saved, placing.known_bytes);
        self.remove_doubtful();
        Ok(value)
    }

    /// Removes the files that were put into place for a transaction that failed, unless another
    /// process has referred to them since. If the commit itself failed, its rows might still
    /// reappear after a crash; until that is ruled out, an extra file is better than a missing one.
    fn clean_up(&self, placed: Vec<ContentHash>, rolled_back: bool) {
        if placed.is_empty() {
            return;
        }
        if rolled_back || self.settle().is_ok() {
            self.remove_unnamed(&placed).warn();
            self.reserve.take_back();
        } else {
            let mut doubtful = lock(&self.doubtful);
            let room = MAX_DOUBTFUL.saturating_sub(doubtful.len());
            doubtful.extend(placed.into_iter().take(room));
        }
    }

    /// Makes sure that no row reappears after a crash that a failed commit left in the log.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        self.reserve.with_reserve(|| self.database.settle())
    }

    /// Runs after a successful commit, which has overwritten what an earlier failed one left in the
    /// log.
    fn remove_doubtful(&self) {
        let doubtful = {
            let mut doubtful = lock(&self.doubtful);
            std::mem::take(&mut *doubtful)
        };
        self.remove_unnamed(&doubtful).warn();
    }

    /// Removes references. `unname` runs in a transaction, removes the rows that refer to objects,
    /// and [releases](Released::release) each. Durable when it returns; files without a reference
    /// are then gone, or left for the next sweep.
    pub(crate) fn release<T>(
        &self,
        what: &str,
        unname: impl Fn(&Transaction<'_>, &mut Released) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (value, released, ticket) = self.reserve.with_reserve(|| {
            let mut released = Released::default();
            let (value, ticket) = self.database.write(what, |tx| unname(tx, &mut released))?;
            Ok((value, released, ticket))
        })?;
        // On its own: once committed, the transaction would find nothing to remove.
        self.reserve.with_reserve(|| self.database.sync(ticket))?;
        self.finish_removal(&released.unnamed).warn();
        self.remove_doubtful();
        self.reserve.restore();
        Ok(value)
    }

    /// Runs a small step towards a deletion, without the reserve if the disk is full.
    pub(crate) fn with_reserve<T>(
        &self,
        step: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.reserve.with_reserve(step)
    }

    /// Writes what was used of the reserve again, if there is room for all of it.
    pub(crate) fn restore_reserve(&self) {
        self.reserve.restore();
    }

    /// Whether an object's file is still to be removed.
    pub(crate) fn is_removal_due(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        self.database.read("looking for removals", |connection| {
            connection
                .prepare_cached("SELECT 1 FROM object_removals WHERE object = ?1")?
                .exists([hash.as_bytes()])
        })
    }

    /// Continues the removals that were interrupted. What cannot be removed now stays noted, and is
    /// returned.
    pub(crate) fn finish_removals(&self) -> Result<NotRemoved, StoreError> {
        let due: Vec<ContentHash> = self.database.read("looking for removals", |connection| {
            connection
                .prepare_cached("SELECT object FROM object_removals")?
                .query_map([], |row| content_hash(row, 0))?
                .collect()
        })?;
        Ok(self.finish_removal(&due))
    }

    /// Removes the files of these objects, unless they are referenced again, and forgets that they
    /// are to be removed.
    fn finish_removal(&self, hashes: &[ContentHash]) -> NotRemoved {
        let mut failed = NotRemoved::default();
        let remove = |batch| self.remove_batch(batch, &mut failed);
        let removed: Vec<ContentHash> = hashes.chunks(REMOVE_BATCH).flat_map(remove).collect();
        metrics::add(&self.counters.deletions, removed.len() as u64);
        // Otherwise a power cut could bring back files that nothing remembers to remove.
        let forgotten = self.files.sync_names_of(&removed).and_then(|()| self.forget(&removed));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "removed objects are looked for again at the next start");
        }
        failed
    }

    /// Forgets that these objects are to be removed. If the disk loses that, they are looked for
    /// once more. The note of another process that stored and dropped one in the meantime stays.
    fn forget(&self, removed: &[ContentHash]) -> Result<(), StoreError> {
        for batch in removed.chunks(REMOVE_BATCH) {
            self.database.write_unsynced("forgetting removals", |tx| {
                let mut forget =
                    tx.prepare_cached("DELETE FROM object_removals WHERE object = ?1")?;
                for hash in batch {
                    if object_bytes(tx, hash)?.is_some() || is_gone(&self.files.path(hash)) {
                        forget.execute([hash.as_bytes()])?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Removes the files of these objects, unless they are referenced again. Files that cannot be
    /// removed now stay: an extra file is waste, not loss.
    pub(crate) fn remove_unnamed(&self, hashes: &[ContentHash]) -> NotRemoved {
        let mut failed = NotRemoved::default();
        for batch in hashes.chunks(REMOVE_BATCH) {
            self.remove_batch(batch, &mut failed);
        }
        failed
    }

    /// Removes the files of so many objects that others may wait for it; returns those that have
    /// none any more, or need theirs.
    fn remove_batch(&self, hashes: &[ContentHash], failed: &mut NotRemoved) -> Vec<ContentHash> {
        let removed = self.database.alone("removing objects", |connection| {
            let (mut done, mut left) = (Vec::new(), NotRemoved::default());
            for hash in hashes {
                let outcome = match is_named(connection, hash)? {
                    true => Ok(()),
                    false => self.files.remove(hash),
                };
                match outcome {
                    Ok(()) => done.push(*hash),
                    Err(error) => left.add(1, &error),
                }
            }
            Ok((done, left))
        });
        match removed {
            Ok((done, left)) => {
                failed.merge(left);
                done
            }
            Err(error) => {
                let here = |hash: &&ContentHash| self.files.path(hash).exists();
                failed.add(hashes.iter().filter(here).count() as u64, &error);
                Vec::new()
            }
        }
    }

    /// Opens a stored object. If all directories are away, as when a disk is not mounted, that it is
    /// not found says nothing about the object.
    pub(crate) fn open_object(&self, hash: &ContentHash) -> Result<FileReader, StoreError> {
        let bytes = self.database.read("looking up an object", |c| object_bytes(c, hash))?;
        self.open_of_length(hash, bytes.ok_or(StoreError::Missing(*hash))?)
    }

    /// The same, for one that the index says to have so many bytes.
    pub(crate) fn open_of_length(
        &self,
        hash: &ContentHash,
        bytes: u64,
    ) -> Result<FileReader, StoreError> {
        let reader = match FileReader::open(hash, self.files.path(hash)) {
            Err(damage) if damage.is_damage() => {
                self.files.check_mounted()?;
                return Err(damage);
            }
            opened => opened?,
        };
        if reader.bytes() == bytes { Ok(reader) } else { Err(StoreError::Corrupt(*hash)) }
    }
}

impl BlobStore for Cas {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        Ok(Box::new(self.files.staging()?.stage()?))
    }

    fn sync_early(&self, staged: &StagedBlob) {
        self.files.sync_early(staged);
    }

    fn discard(&self, staged: StagedBlob) {
        self.files.discard(&staged);
    }

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        Ok(Box::new(self.open_object(hash)?))
    }

    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        let bytes = self.database.read("looking up an object", |c| object_bytes(c, hash))?;
        bytes.map_or(Ok(false), |bytes| self.files.has(hash, bytes))
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        self.files.free_space()
    }
}
