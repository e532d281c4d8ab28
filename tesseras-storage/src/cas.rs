//! Objects: files named after the hash of their content, `cas/<2 hex>/<hash>.blob`, one per content
//! however many references it has. The table `objects` counts the references; it is authoritative.
//!
//! The order of steps that guarantees "never a row without its file", whatever fails when:
//!
//! - *In.* A staged file is synced. Then, inside one transaction that excludes all other writers of
//!   all processes, it is renamed into place, its directory is synced, and the row is written. The
//!   commit is synced before it is acknowledged.
//! - *Out.* One transaction removes the row, notes that the file is to be removed, and is synced. A
//!   second one excludes all other writers, checks whether the row has been added again in the
//!   meantime, syncs what they committed, and only then removes the file. What was interrupted is
//!   continued when the store is next opened.
//!
//! What an unclean stop loses: nothing acknowledged. What it leaves: files in `tmp/` (removed by
//! the sweep), and at worst files here that no row refers to, which a later put of the same content
//! takes over, or [garbage collection](crate::gc) removes.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tesseras_core::ids::ContentHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{BlobReader, BlobStore, BlobWriter, FreeSpace, StagedBlob, StoreError};

use crate::columns::{content_hash, count, to_integer};
use crate::database::Database;
use crate::disk::{Disk, free_space};
use crate::error::{Fault, io_error};
use crate::metrics::{self, ObjectCounters, ObjectCounts};
use crate::parallel::in_parallel;
use crate::regular;
use crate::reserve::Reserve;
use crate::staging::{Staging, Swept};

/// Files that are removed in one turn, during which no other process can write.
const REMOVE_BATCH: usize = 64;
/// Files of failed commits that are remembered for removal; more are left on disk.
const MAX_DOUBTFUL: usize = 16 * 1024;

/// Content-addressed files and their counted references.
pub struct Cas {
    root: PathBuf,
    /// `None` if the disk is read-only.
    staging: Option<Arc<Staging>>,
    database: Arc<Database>,
    disk: Arc<dyn Disk>,
    reserve: Reserve,
    /// Files whose rows may or may not reappear after a failed commit; see [`Cas::clean_up`].
    doubtful: Mutex<Vec<ContentHash>>,
    pub(crate) counters: ObjectCounters,
}

impl std::fmt::Debug for Cas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cas").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Cas {
    /// Objects below `root`, staged in `tmp`; both directories exist.
    pub(crate) fn open(
        root: PathBuf,
        tmp: PathBuf,
        reserve: Reserve,
        database: Arc<Database>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        let present: BTreeSet<_> = std::fs::read_dir(&root)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(|e| io_error("reading", &root, e))?;
        let shards = (0..=u8::MAX).map(hex_byte);
        let absent: Vec<String> = shards.filter(|s| !present.contains(OsStr::new(s))).collect();
        for shard in &absent {
            let path = root.join(shard);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error("creating", &path, e));
                }
                _ => {}
            }
        }
        if !absent.is_empty() {
            disk.sync_directory(&root).map_err(|e| io_error("syncing", &root, e))?;
        }
        let staging =
            Arc::new(reserve.with_reserve(|| Staging::open(tmp.clone(), Arc::clone(&disk)))?);
        let staging = Some(staging);
        let (doubtful, counters) = Default::default();
        Ok(Self { root, staging, database, disk, reserve, doubtful, counters })
    }

    /// Objects below `root`, on a read-only disk.
    pub(crate) fn open_read_only(
        root: PathBuf,
        reserve: Reserve,
        database: Arc<Database>,
        disk: Arc<dyn Disk>,
    ) -> Self {
        let (doubtful, counters) = Default::default();
        Self { root, staging: None, database, disk, reserve, doubtful, counters }
    }

    /// Where bytes are staged.
    fn staging(&self) -> Result<&Arc<Staging>, StoreError> {
        let what = || format!("storing bytes in {}", self.root.display());
        self.staging.as_ref().ok_or_else(|| StoreError::ReadOnly { what: what() })
    }

    /// The database that refers to the objects.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// The path of an object, whether it exists or not.
    pub(crate) fn path(&self, hash: &ContentHash) -> PathBuf {
        self.root.join(hex_byte(hash.as_bytes()[0])).join(format!("{hash}.blob"))
    }

    /// The path of a staged blob; `None` if it was not staged here.
    pub(crate) fn staged_path(&self, staged: &StagedBlob) -> Option<PathBuf> {
        self.staging.as_ref()?.path(staged)
    }

    /// The disk below.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the directory entries of all current objects survive a power cut.
    pub(crate) fn sync_all_names(&self) -> Result<(), StoreError> {
        let shards: Vec<PathBuf> = (0..=u8::MAX).map(|n| self.root.join(hex_byte(n))).collect();
        in_parallel(&shards, |path| {
            self.disk.sync_directory(path).map_err(|e| io_error("syncing", path, e))
        })
    }

    /// Calls `visit` for every file among the objects, with the hash that it is named after; the
    /// first error ends it. While others write to the store, the files are seen at different
    /// moments.
    pub(crate) fn visit_files(
        &self,
        mut visit: impl FnMut(Option<ContentHash>, PathBuf) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fail = |e| io_error("reading", &self.root, e);
        for shard in std::fs::read_dir(&self.root).map_err(fail)? {
            let shard = shard.map_err(fail)?;
            if !shard.file_type().map_err(fail)?.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(shard.path()).map_err(fail)? {
                let path = entry.map_err(fail)?.path();
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                let hash = stem.and_then(|stem| stem.parse().ok());
                visit(hash.filter(|hash| self.path(hash) == path), path)?;
            }
        }
        Ok(())
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

    /// Like [`Cas::visit_files`], for the files that no row refers to.
    pub(crate) fn visit_orphans(
        &self,
        mut visit: impl FnMut(Option<ContentHash>, PathBuf) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.visit_files(|hash, path| {
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
        self.staging()?.sweep()
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
        let mut placing = Placing::new(self, staged);
        if let Err(error) = placing.sync_files() {
            placing.discard_rest();
            return Err(error);
        }
        let outcome = self.database.write(what, |tx| {
            let value = name(tx, &mut placing)?;
            placing.sync_directories()?;
            Ok(value)
        });
        placing.discard_rest();
        match outcome {
            Ok((value, ticket)) => {
                self.database.sync(ticket)?;
                metrics::add(&self.counters.dedup_hits, placing.known);
                metrics::add(&self.counters.bytes_saved, placing.known_bytes);
                self.remove_doubtful();
                Ok(value)
            }
            Err(failed) => {
                self.clean_up(placing.moved, failed.rolled_back);
                Err(failed.error)
            }
        }
    }

    /// Removes the files that were moved into place for a transaction that failed. If the commit
    /// itself failed, its rows might still reappear after a crash; until that is ruled out, an
    /// extra file is better than a missing one.
    fn clean_up(&self, moved: Vec<ContentHash>, rolled_back: bool) {
        if moved.is_empty() {
            return;
        }
        if rolled_back || self.settle().is_ok() {
            self.remove_unnamed(&moved);
            self.reserve.restore();
        } else {
            let mut doubtful = lock(&self.doubtful);
            let room = MAX_DOUBTFUL.saturating_sub(doubtful.len());
            doubtful.extend(moved.into_iter().take(room));
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
        self.remove_unnamed(&doubtful);
    }

    /// Removes references. `unname` runs in a transaction, removes the rows that refer to objects,
    /// and [releases](Released::release) each. Durable when it returns; files without a reference
    /// are then gone, or left for the next sweep.
    pub(crate) fn release<T>(
        &self,
        what: &str,
        unname: impl Fn(&Transaction<'_>, &mut Released) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let (value, released) = self.reserve.with_reserve(|| {
            let mut released = Released::default();
            let value = self.database.write_durably(what, |tx| unname(tx, &mut released))?;
            Ok((value, released))
        })?;
        self.finish_removal(&released.unnamed);
        self.remove_doubtful();
        self.reserve.restore();
        Ok(value)
    }

    /// Continues the removals that were interrupted.
    pub(crate) fn finish_removals(&self) -> Result<(), StoreError> {
        let due: Vec<ContentHash> = self.database.read("looking for removals", |connection| {
            connection
                .prepare_cached("SELECT object FROM object_removals")?
                .query_map([], |row| content_hash(row, 0))?
                .collect()
        })?;
        self.finish_removal(&due);
        Ok(())
    }

    /// Removes the files of these objects, unless they are referenced again, and forgets that they
    /// are to be removed.
    fn finish_removal(&self, hashes: &[ContentHash]) {
        for batch in hashes.chunks(REMOVE_BATCH) {
            if !self.remove_unnamed(batch) {
                continue;
            }
            metrics::add(&self.counters.deletions, batch.len() as u64);
            // If the disk loses this, they are looked for once more.
            let forgotten = self.database.write_unsynced("forgetting removals", |tx| {
                let mut forget =
                    tx.prepare_cached("DELETE FROM object_removals WHERE object = ?1")?;
                for hash in batch {
                    forget.execute([hash.as_bytes()])?;
                }
                Ok(())
            });
            if let Err(error) = forgotten {
                tracing::warn!(%error, "removed objects are looked for again at the next start");
            }
        }
    }

    /// Removes the files of these objects, unless they are referenced again; returns whether that
    /// was done. Files that cannot be removed now stay: an extra file is waste, not loss.
    pub(crate) fn remove_unnamed(&self, hashes: &[ContentHash]) -> bool {
        let mut all = true;
        for batch in hashes.chunks(REMOVE_BATCH) {
            if let Err(error) = self.remove_batch(batch) {
                tracing::warn!(%error, "unnamed objects are left on the disk");
                all = false;
            }
        }
        all
    }

    fn remove_batch(&self, hashes: &[ContentHash]) -> Result<(), StoreError> {
        self.database.alone("removing objects", |connection| {
            for hash in hashes {
                if object_bytes(connection, hash)?.is_none() {
                    let path = self.path(hash);
                    match self.disk.remove(&path) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => {
                            return Err(io_error("removing", &path, e).into());
                        }
                        _ => {}
                    }
                }
            }
            Ok(())
        })
    }

    /// Whether an object's file exists with its full length.
    pub(crate) fn has_file(&self, hash: &ContentHash, bytes: u64) -> Result<bool, StoreError> {
        let path = self.path(hash);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error("reading", &path, e)),
        }
    }

    /// Fails if none of the directories is there, all of which are made when a store is opened.
    fn check_mounted(&self) -> Result<(), StoreError> {
        let fail = |e| io_error("reading", &self.root, e);
        match std::fs::read_dir(&self.root).map_err(fail)?.next() {
            Some(_) => Ok(()),
            None => Err(fail(io::ErrorKind::NotFound.into())),
        }
    }

    /// Opens a stored object. If all directories are away, as when a disk is not mounted, that it is
    /// not found says nothing about the object.
    pub(crate) fn open_object(&self, hash: &ContentHash) -> Result<FileReader, StoreError> {
        let bytes = self.database.read("looking up an object", |c| object_bytes(c, hash))?;
        let bytes = bytes.ok_or(StoreError::Missing(*hash))?;
        let reader = match FileReader::open(hash, self.path(hash)) {
            Err(damage) if damage.is_damage() => {
                self.check_mounted()?;
                return Err(damage);
            }
            opened => opened?,
        };
        if reader.bytes == bytes { Ok(reader) } else { Err(StoreError::Corrupt(*hash)) }
    }
}

impl BlobStore for Cas {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        Ok(Box::new(self.staging()?.stage()?))
    }

    fn sync_early(&self, staged: &StagedBlob) {
        if let Some(staging) = &self.staging {
            staging.sync_early(staged);
        }
    }

    fn discard(&self, staged: StagedBlob) {
        if let Some(staging) = &self.staging {
            staging.discard(&staged);
        }
    }

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        Ok(Box::new(self.open_object(hash)?))
    }

    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        let bytes = self.database.read("looking up an object", |c| object_bytes(c, hash))?;
        bytes.map_or(Ok(false), |bytes| self.has_file(hash, bytes))
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        free_space(&self.root)
    }
}

/// The length of an object in bytes; `None` if nothing refers to it.
pub(crate) fn object_bytes(
    connection: &Connection,
    hash: &ContentHash,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT bytes FROM objects WHERE hash = ?1")?
        .query_row([hash.as_bytes()], |row| count(row, 0))
        .optional()
}

fn hex_byte(byte: u8) -> String {
    format!("{byte:02x}")
}

/// Staged blobs that are being adopted, within one transaction.
pub(crate) struct Placing<'a> {
    cas: &'a Cas,
    staged: HashMap<ContentHash, StagedBlob>,
    /// Staged more than once, or not requested.
    surplus: Vec<StagedBlob>,
    /// Renamed into place.
    moved: Vec<ContentHash>,
    /// How many of those that were acquired had been objects already, and their bytes.
    known: u64,
    known_bytes: u64,
}

impl<'a> Placing<'a> {
    fn new(cas: &'a Cas, blobs: Vec<StagedBlob>) -> Self {
        let mut staged = HashMap::with_capacity(blobs.len());
        let mut surplus = Vec::new();
        for blob in blobs {
            surplus.extend(staged.insert(blob.hash, blob));
        }
        Self { cas, staged, surplus, moved: Vec::new(), known: 0, known_bytes: 0 }
    }

    /// Counts one more reference to an object, which was staged or is already stored.
    pub(crate) fn acquire(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
    ) -> Result<(), Fault> {
        let known = object_bytes(tx, hash)?;
        let bytes = self.ensure_file(hash, known)?;
        self.known += u64::from(known.is_some());
        self.known_bytes += known.unwrap_or(0);
        count_name(tx, hash, bytes)
    }

    /// Counts one more reference to a file that is already among the objects, whether it had a
    /// reference or not. [`StoreError::Missing`] if it does not exist with this length.
    pub(crate) fn acquire_file(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
        bytes: u64,
    ) -> Result<(), Fault> {
        let named = object_bytes(tx, hash)?.is_none_or(|counted| counted == bytes);
        if !named || !self.cas.has_file(hash, bytes)? {
            return Err(StoreError::Missing(*hash).into());
        }
        count_name(tx, hash, bytes)
    }

    /// Replaces a stored file, which may be lost or damaged, by a staged one, whose bytes were just
    /// hashed. Objects that are not stored or were not staged are left unchanged.
    pub(crate) fn heal(&mut self, tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Fault> {
        if self.staged.contains_key(hash) && object_bytes(tx, hash)?.is_some() {
            self.put_into_place(hash)?;
        }
        Ok(())
    }

    /// Ensures that an object's file is in place, and returns its length.
    fn ensure_file(&mut self, hash: &ContentHash, known: Option<u64>) -> Result<u64, Fault> {
        match known {
            // The staged bytes were just hashed; those on disk were not.
            Some(bytes) if !self.staged.contains_key(hash) && self.cas.has_file(hash, bytes)? => {
                Ok(bytes)
            }
            _ => self.put_into_place(hash),
        }
    }

    /// Renames a staged file to its object's name.
    fn put_into_place(&mut self, hash: &ContentHash) -> Result<u64, Fault> {
        let from = self.staged_path(hash)?;
        let to = self.cas.path(hash);
        // Recorded first: if the rename fails midway, its result is still cleaned up.
        self.moved.push(*hash);
        self.cas.disk.rename(&from, &to).map_err(|e| io_error("moving into place", &to, e))?;
        let staged = self.staged.remove(hash);
        Ok(staged.map_or(0, |staged| staged.bytes))
    }

    fn staged_path(&self, hash: &ContentHash) -> Result<PathBuf, StoreError> {
        let path = self.staged.get(hash).and_then(|staged| self.cas.staged_path(staged));
        path.ok_or(StoreError::Missing(*hash))
    }

    fn sync_files(&self) -> Result<(), StoreError> {
        self.cas.staging()?.sync(self.staged.values())
    }

    fn sync_directories(&self) -> Result<(), StoreError> {
        let shards: BTreeSet<u8> = self.moved.iter().map(|hash| hash.as_bytes()[0]).collect();
        let paths: Vec<PathBuf> =
            shards.into_iter().map(|shard| self.cas.root.join(hex_byte(shard))).collect();
        in_parallel(&paths, |path| {
            self.cas.disk.sync_directory(path).map_err(|e| io_error("syncing", path, e))
        })
    }

    fn discard_rest(&mut self) {
        let rest = self.staged.drain().map(|(_, staged)| staged);
        for staged in rest.chain(self.surplus.drain(..)) {
            self.cas.discard(staged);
        }
    }
}

fn count_name(tx: &Transaction<'_>, hash: &ContentHash, bytes: u64) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO objects (hash, bytes, refs) VALUES (?1, ?2, 1)
         ON CONFLICT (hash) DO UPDATE SET refs = refs + 1",
    )?
    .execute(params![hash.as_bytes(), to_integer(bytes)])?;
    Ok(())
}

/// Objects that lost a reference, within one transaction.
#[derive(Debug, Default)]
pub(crate) struct Released {
    unnamed: Vec<ContentHash>,
}

impl Released {
    /// Counts one reference less.
    pub(crate) fn release(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
    ) -> Result<(), Fault> {
        let others = tx
            .prepare_cached("UPDATE objects SET refs = refs - 1 WHERE hash = ?1 AND refs > 1")?
            .execute([hash.as_bytes()])?;
        if others == 0 {
            self.remove(tx, hash)?;
        }
        Ok(())
    }

    /// Makes the count of references right that an object has; one without any is removed.
    pub(crate) fn recount(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
        refs: u64,
    ) -> Result<(), Fault> {
        if refs == 0 {
            return self.remove(tx, hash);
        }
        tx.prepare_cached("UPDATE objects SET refs = ?2 WHERE hash = ?1")?
            .execute(params![hash.as_bytes(), to_integer(refs)])?;
        Ok(())
    }

    fn remove(&mut self, tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Fault> {
        tx.prepare_cached("DELETE FROM objects WHERE hash = ?1")?.execute([hash.as_bytes()])?;
        tx.prepare_cached("INSERT INTO object_removals VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([hash.as_bytes()])?;
        self.unnamed.push(*hash);
        Ok(())
    }
}

/// Reads bytes from a file that is named after their hash.
#[derive(Debug)]
pub(crate) struct FileReader {
    hash: ContentHash,
    bytes: u64,
    file: File,
    path: PathBuf,
}

impl FileReader {
    /// Opens a file; [`StoreError::Missing`] if it does not exist, [`StoreError::Corrupt`] if it is
    /// not a regular file.
    pub(crate) fn open(hash: &ContentHash, path: PathBuf) -> Result<Self, StoreError> {
        let file = match regular::open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(StoreError::Corrupt(*hash)),
            Err(e) => return Err(read_error(hash, "opening", &path, e)),
        };
        let bytes = file.metadata().map_err(|e| read_error(hash, "reading", &path, e))?.len();
        Ok(Self { hash: *hash, bytes, file, path })
    }
}

impl BlobReader for FileReader {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(offset, buffer.len(), self.bytes)?;
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|e| read_error(&self.hash, "reading", &self.path, e))
    }
}

/// Translates an error that occurred while a stored object was opened or read.
fn read_error(hash: &ContentHash, action: &str, path: &Path, error: io::Error) -> StoreError {
    let Some(damage) = StoreError::damage(hash, &error) else {
        return io_error(action, path, error);
    };
    if matches!(damage, StoreError::Corrupt(_)) {
        tracing::warn!(path = %path.display(), %error, "a stored object cannot be read");
    }
    damage
}

/// Checks that a range is inside an object of `bytes` bytes.
pub(crate) fn check_range(offset: u64, length: usize, bytes: u64) -> Result<(), StoreError> {
    let end = offset.saturating_add(length as u64);
    if end > bytes {
        return Err(StoreError::OutOfRange { offset, end, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// The first page of an address space is never mapped, so reading it fails with `EIO`.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_object_with_bytes_that_cannot_be_read_is_damaged() {
        let path = PathBuf::from("/proc/self/mem");
        let file = File::open(&path).unwrap();
        let hash = ContentHash::from_slice(&[7; 32]).unwrap();
        let reader = FileReader { hash, bytes: 100, file, path };
        let error = reader.read_at(0, &mut [0; 100]).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(found) if found == hash), "{error}");
    }

    #[test]
    fn what_this_machine_lacks_says_nothing_about_an_object() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
            let hash = ContentHash::from_slice(&[7; 32]).unwrap();
            let error = read_error(&hash, "opening", Path::new("x"), errno.into());
            assert!(!error.is_damage(), "{error}");
        }
    }
}
