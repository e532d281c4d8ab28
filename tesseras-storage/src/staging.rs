//! `tmp/`: received bytes that nothing refers to yet.
//!
//! Each process that stages has a directory of its own there, `tmp/<pid>-<n>/`, and holds a lock
//! (`flock`) on it for as long as it lives. So the sweep distinguishes dead from live processes by
//! the lock alone: no clock, no boot id, no guess at reused process ids, and correctly across
//! containers with different ids. The pid in the name is for people.

use std::fs::{DirEntry, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tesseras_core::lock::lock;
use tesseras_core::ports::{BlobWriter, StagedBlob, StoreError};
use tesseras_crypto::hash::Blake3;

use crate::error::io_error;
use crate::not_removed::NotRemoved;
use crate::parallel::in_parallel;
use crate::unsynced::{Taken, Unsynced};
use tesseras_disk::Disk;

/// The directory below `tmp/` for pieces of unfinished tasks; it belongs to no process.
pub(crate) const TASKS: &str = "tasks";

/// Smaller writes are buffered up to this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// Smaller blobs are not synced early: many of them are faster to sync together.
const EARLY_BYTES: u64 = 64 * 1024;

/// The directories that this process has in any `tmp/`.
static OWN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether this process stages nothing any more, because it is about to exit.
static ENDING: AtomicBool = AtomicBool::new(false);

/// How often it is tried to remove a directory in which files appear meanwhile. Each thread can add
/// at most the one that it was about to create.
const REMOVALS: usize = 1000;

/// Removes what this process has staged and not stored, in all data directories. For a process that
/// is about to exit without dropping its stores: afterwards it can stage nothing, and open no store
/// for writing. What cannot be removed is left to the sweep.
pub fn discard_staged() {
    let mut own = lock(&OWN);
    ENDING.store(true, Ordering::SeqCst);
    for directory in own.drain(..) {
        for _ in 0..REMOVALS {
            match std::fs::remove_dir_all(&directory) {
                // Another thread had begun to create a file.
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                _ => break,
            }
        }
    }
}

/// Fails once this process is about to exit.
fn check_not_ending(path: &Path) -> Result<(), StoreError> {
    if ENDING.load(Ordering::SeqCst) {
        return Err(io_error("creating", path, io::ErrorKind::Interrupted.into()));
    }
    Ok(())
}

/// What a sweep removed, and what it could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many files.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// What is left.
    pub failed: NotRemoved,
}

/// This process's part of `tmp/`.
pub(crate) struct Staging {
    root: PathBuf,
    /// The name of this process's directory below the root.
    own: String,
    /// The number of the next blob.
    next: AtomicU64,
    disk: Arc<dyn Disk>,
    unsynced: Unsynced,
    /// This process's directory, locked. It was opened before anything was written to it, so that a
    /// sync of the file system through it reports every error since.
    lock: File,
    /// Whether it does: only then are files closed that were not synced.
    tells_all: bool,
    /// The first number that was not given out when such a sync last failed. An error is reported
    /// only once, and may concern any file that was begun before.
    told: Mutex<u64>,
}

impl Staging {
    /// Creates a directory below `root` and locks it.
    pub(crate) fn open(root: PathBuf, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        for n in 0_u64.. {
            let own = format!("{}-{n}", std::process::id());
            let path = root.join(&own);
            // Kept, so that no directory is created that a discard in progress does not know.
            let mut known = lock(&OWN);
            check_not_ending(&path)?;
            match disk.create_directory(&path) {
                Ok(()) => {}
                // Another handle's, or left by a dead process with the same id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(io_error("creating", &path, e)),
            }
            if let Some(held) = lock_directory(&path)? {
                known.push(path);
                let (next, told) = (AtomicU64::new(0), Mutex::new(0));
                let unsynced = Unsynced::new(Arc::clone(&disk));
                let tells_all = disk.tells_all_errors(&held);
                return Ok(Self { root, own, next, disk, unsynced, lock: held, tells_all, told });
            }
        }
        unreachable!("the numbers below 2^64 do not run out")
    }

    /// Starts a new blob.
    pub(crate) fn stage(self: &Arc<Self>) -> Result<StagingWriter, StoreError> {
        let name = format!("{}/{:08}", self.own, self.next.fetch_add(1, Ordering::SeqCst));
        let path = self.root.join(&name);
        check_not_ending(&path)?;
        let file = self.disk.create(&path).map_err(|e| io_error("creating", &path, e))?;
        Ok(StagingWriter {
            staging: Arc::clone(self),
            name,
            file,
            begun: Begun { disk: Arc::clone(&self.disk), path, finished: false },
            buffer: Vec::new(),
            hash: Blake3::default(),
            bytes: 0,
        })
    }

    /// The path of a staged blob; `None` if its name was not assigned here.
    pub(crate) fn path(&self, staged: &StagedBlob) -> Option<PathBuf> {
        let mut components = Path::new(&staged.name).components();
        let plain = |c| matches!(c, Some(Component::Normal(_)));
        let valid =
            plain(components.next()) && plain(components.next()) && components.next().is_none();
        valid.then(|| self.root.join(&staged.name))
    }

    /// The number of a blob that was staged here.
    fn number(&self, staged: &StagedBlob) -> Option<u64> {
        let (own, number) = staged.name.split_once('/')?;
        if own == self.own { number.parse().ok() } else { None }
    }

    /// Keeps a written file open until it is synced. If too many are open, it is synced now, or
    /// closed where a sync of the file system tells what was lost.
    fn keep(&self, name: &str, file: File) {
        if self.tells_all {
            // Dropped, it is closed.
            let _ = self.unsynced.keep(name, file);
        } else {
            self.unsynced.keep_or_sync(name, file);
        }
    }

    /// Starts to sync a staged blob that will be adopted later.
    pub(crate) fn sync_early(&self, staged: &StagedBlob) {
        if staged.bytes >= EARLY_BYTES {
            self.unsynced.sync_early(&staged.name);
        }
    }

    /// Makes staged blobs survive a power cut, unless they have already been synced. To be called
    /// once for each blob.
    pub(crate) fn sync<'a>(
        &self,
        staged: impl Iterator<Item = &'a StagedBlob>,
    ) -> Result<(), StoreError> {
        let (mut open, mut all_open, mut oldest) = (Vec::new(), true, u64::MAX);
        for staged in staged {
            let missing = || StoreError::Missing(staged.hash);
            let path = self.path(staged).ok_or_else(missing)?;
            let number = self.number(staged).ok_or_else(missing)?;
            match self.unsynced.take(&staged.name) {
                Some(Taken::Synced(outcome)) => {
                    outcome.map_err(|e| io_error("syncing", &path, e))?;
                    continue;
                }
                Some(Taken::Unsynced(file)) => open.push((path, file)),
                None if self.tells_all => all_open = false,
                None => return Err(missing()),
            }
            oldest = oldest.min(number);
        }
        if !all_open {
            return self.sync_file_system(oldest);
        }
        in_parallel(&open, |(path, file)| {
            self.disk.sync_file(file).map_err(|e| io_error("syncing", path, e))
        })
    }

    /// Syncs all staged blobs at once, of which `oldest` is the first number. An error may be about
    /// any of them, and files that are closed cannot be asked any more.
    fn sync_file_system(&self, oldest: u64) -> Result<(), StoreError> {
        let fail = |e| io_error("syncing the file system of", &self.root, e);
        let mut told = lock(&self.told);
        if oldest < *told {
            return Err(fail(io::Error::other("something was lost while this was written")));
        }
        self.disk.sync_file_system(&self.lock).map_err(|error| {
            *told = self.next.load(Ordering::SeqCst);
            fail(error)
        })
    }

    /// For a staged blob that need not survive a power cut. An error if it is known to be damaged.
    pub(crate) fn leave_unsynced(&self, staged: &StagedBlob) -> Result<(), StoreError> {
        match (self.unsynced.take(&staged.name), self.path(staged)) {
            (Some(Taken::Synced(Err(e))), Some(path)) => Err(io_error("syncing", &path, e)),
            _ => Ok(()),
        }
    }

    /// Removes a staged blob; if that fails it is left to the sweep.
    pub(crate) fn discard(&self, staged: &StagedBlob) {
        if let Some(path) = self.path(staged) {
            // Never removed while it is being synced: the error would be ours.
            drop(self.unsynced.take(&staged.name));
            remove_or_warn(&*self.disk, &path);
        }
    }

    /// Removes the files that dead processes left behind. What cannot be removed holds up nothing
    /// else.
    pub(crate) fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let fail = |e| io_error("reading", &self.root, e);
        for entry in std::fs::read_dir(&self.root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if name != *self.own && name != TASKS {
                let outcome = self.sweep_directory(&entry, &mut swept);
                outcome.unwrap_or_else(|error| swept.failed.add(1, &error));
            }
        }
        Ok(swept)
    }

    /// Removes the directory of a dead process; anything else is left.
    fn sweep_directory(&self, of: &DirEntry, swept: &mut Swept) -> Result<(), StoreError> {
        let path = of.path();
        let fail = |e| io_error("sweeping", &path, e);
        if !of.file_type().map_err(fail)?.is_dir() {
            return Ok(());
        }
        // Held until the directory is gone, so that no process starts to use it in the meantime.
        let Some(_lock) = lock_directory(&path)? else { return Ok(()) };
        let mut is_empty = true;
        for entry in std::fs::read_dir(&path).map_err(fail)? {
            match self.remove_stale(&entry.map_err(fail)?) {
                Ok(bytes) => {
                    swept.files += 1;
                    swept.bytes += bytes;
                }
                Err(error) => {
                    swept.failed.add(1, &error);
                    is_empty = false;
                }
            }
        }
        if is_empty { self.disk.remove_directory(&path).map_err(fail) } else { Ok(()) }
    }

    /// Removes one file, and returns its length in bytes.
    fn remove_stale(&self, file: &DirEntry) -> Result<u64, StoreError> {
        let path = file.path();
        let fail = |e| io_error("removing", &path, e);
        let bytes = file.metadata().map_err(fail)?.len();
        self.disk.remove(&path).map_err(fail)?;
        Ok(bytes)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let path = self.root.join(&self.own);
        // Fails if there are still staged blobs; those are left to the sweep.
        let _ = self.disk.remove_directory(&path);
        lock(&OWN).retain(|own| *own != path);
    }
}

/// Whether any live process has a directory in this `tmp/`, as each has that opened a store for
/// writing.
pub(crate) fn is_in_use(root: &Path) -> Result<bool, StoreError> {
    let fail = |e| io_error("reading", root, e);
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        let a_process = entry.file_type().map_err(fail)?.is_dir() && entry.file_name() != TASKS;
        if a_process && lock_directory(&path)?.is_none() && path.exists() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Locks a directory of `tmp/`; `None` if a live process has it, or if it is gone.
fn lock_directory(path: &Path) -> Result<Option<File>, StoreError> {
    let directory = match File::open(path) {
        Ok(directory) => directory,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("opening", path, e)),
    };
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(io_error("locking", path, e)),
    }
    // Between opening and locking, a sweep may have removed it.
    let opened = directory.metadata().map_err(|e| io_error("reading", path, e))?;
    let still_there = std::fs::metadata(path)
        .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
    Ok(still_there.then_some(directory))
}

fn remove_or_warn(disk: &dyn Disk, path: &Path) {
    match disk.remove(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "left for the sweep"),
    }
}

/// A staged file that is removed if it is dropped before its end.
struct Begun {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    finished: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.finished {
            remove_or_warn(&*self.disk, &self.path);
        }
    }
}

/// Writes one staged file.
pub(crate) struct StagingWriter {
    /// Dropped first: the directory is removed when the staging is dropped, if it is empty.
    begun: Begun,
    staging: Arc<Staging>,
    name: String,
    file: File,
    buffer: Vec<u8>,
    hash: Blake3,
    bytes: u64,
}

impl StagingWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.staging
            .disk
            .write(&mut self.file, bytes)
            .map_err(|e| io_error("writing", &self.begun.path, e))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.append(&buffer)?;
            buffer.clear();
        }
        self.buffer = buffer;
        Ok(())
    }
}

impl BlobWriter for StagingWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.append(bytes)
        } else {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn finish(mut self: Box<Self>) -> Result<StagedBlob, StoreError> {
        self.flush()?;
        let Self { staging, name, file, mut begun, hash, bytes, .. } = *self;
        staging.keep(&name, file);
        begun.finished = true;
        Ok(StagedBlob { hash: hash.finish(), bytes, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tesseras_disk::OsDisk;

    fn staging(root: &Path) -> Arc<Staging> {
        Arc::new(Staging::open(root.to_owned(), Arc::new(OsDisk)).unwrap())
    }

    fn stage(staging: &Arc<Staging>, bytes: &[u8]) -> StagedBlob {
        let mut writer = Box::new(staging.stage().unwrap());
        writer.write(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_the_dead_left_is_swept_and_what_the_living_hold_is_not() {
        let root = tempfile::tempdir().unwrap();
        let dead = staging(root.path());
        stage(&dead, b"left behind");
        let dead_dir = root.path().join(&dead.own);
        drop(dead);
        assert!(dead_dir.exists());

        let living = staging(root.path());
        let kept = stage(&living, b"on its way");
        let sweeper = staging(root.path());
        let mine = stage(&sweeper, b"mine");
        assert_eq!(sweeper.sweep().unwrap(), Swept { files: 1, bytes: 11, ..Swept::default() });
        assert!(!dead_dir.exists());
        assert!(living.path(&kept).unwrap().exists());
        assert!(sweeper.path(&mine).unwrap().exists());
        assert_eq!(sweeper.sweep().unwrap(), Swept::default());
    }

    #[test]
    fn a_writer_that_is_dropped_leaves_nothing_and_an_empty_directory_goes_too() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let mut writer = staging.stage().unwrap();
        writer.write(&[7; 3 * BUFFER_BYTES]).unwrap();
        drop(staging);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        drop(writer);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn bytes_arrive_in_order_however_they_are_cut() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let bytes: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        for step in [1000, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, bytes.len()] {
            let mut writer = Box::new(staging.stage().unwrap());
            for chunk in bytes.chunks(step) {
                writer.write(chunk).unwrap();
            }
            let staged = writer.finish().unwrap();
            assert_eq!(staged.bytes, bytes.len() as u64);
            assert_eq!(staged.hash, tesseras_crypto::hash::blake3(&bytes));
            assert!(std::fs::read(staging.path(&staged).unwrap()).unwrap() == bytes);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let staging = staging(root.path());
        let mut staged = stage(&staging, b"x");
        for name in ["../../etc/passwd", "/etc/passwd", "a/../b", "a", "a/b/c", ""] {
            staged.name = name.to_owned();
            assert_eq!(staging.path(&staged), None, "{name}");
        }
    }
}
