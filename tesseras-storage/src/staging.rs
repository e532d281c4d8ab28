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

use crate::early_sync::EarlySync;
use crate::error::io_error;
use crate::not_removed::NotRemoved;
use crate::parallel::in_parallel;
use tesseras_disk::Disk;

/// The directory below `tmp/` for pieces of unfinished tasks; it belongs to no process.
pub(crate) const TASKS: &str = "tasks";

/// Smaller writes are buffered up to this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// Smaller blobs are not synced early: many of them are faster to sync together.
const EARLY_BYTES: u64 = 64 * 1024;
/// From this many blobs on, one sync of the whole file system replaces one per file.
const MANY: usize = 256;

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
    next: AtomicU64,
    disk: Arc<dyn Disk>,
    early: EarlySync,
    /// This process's directory, locked. It was opened before anything was written to it, so that a
    /// sync of the file system through it reports every error since.
    lock: File,
    /// Whether such a sync has never failed. An error is reported only once, to the first caller.
    sound: Mutex<bool>,
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
                let (next, early) = (AtomicU64::new(0), EarlySync::new(Arc::clone(&disk)));
                let sound = Mutex::new(true);
                return Ok(Self { root, own, next, disk, early, lock: held, sound });
            }
        }
        unreachable!("the numbers below 2^64 do not run out")
    }

    /// Starts a new blob.
    pub(crate) fn stage(self: &Arc<Self>) -> Result<StagingWriter, StoreError> {
        let name = format!("{}/{:08}", self.own, self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.root.join(&name);
        check_not_ending(&path)?;
        let file = self.disk.create(&path).map_err(|e| io_error("creating", &path, e))?;
        Ok(StagingWriter {
            staging: Arc::clone(self),
            name,
            path,
            file,
            buffer: Vec::new(),
            hash: Blake3::default(),
            bytes: 0,
            finished: false,
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

    /// Starts to sync a staged blob that will be adopted later.
    pub(crate) fn sync_early(&self, staged: &StagedBlob) {
        if staged.bytes < EARLY_BYTES {
            return;
        }
        if let Some(path) = self.path(staged) {
            self.early.begin(&staged.name, path);
        }
    }

    /// Makes staged blobs survive a power cut, unless they have already been synced early.
    pub(crate) fn sync<'a>(
        &self,
        staged: impl Iterator<Item = &'a StagedBlob>,
    ) -> Result<(), StoreError> {
        let mut rest = Vec::new();
        for staged in staged {
            let path = self.path(staged).ok_or(StoreError::Missing(staged.hash))?;
            match self.early.finish(&staged.name) {
                Some(outcome) => outcome.map_err(|e| io_error("syncing", &path, e))?,
                None => rest.push(path),
            }
        }
        if rest.len() >= MANY && self.sync_file_system() {
            return Ok(());
        }
        in_parallel(&rest, |path| {
            self.disk.sync_file(path).map_err(|e| io_error("syncing", path, e))
        })
    }

    /// Syncs all staged blobs at once; `false` if each blob has to be synced on its own. An error
    /// may concern any file of the file system, and only individual syncs tell which.
    fn sync_file_system(&self) -> bool {
        let mut sound = lock(&self.sound);
        if !*sound {
            return false;
        }
        match self.disk.sync_file_system(&self.lock) {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(%error, "the file system could not write everything");
                *sound = false;
                false
            }
        }
    }

    /// Removes a staged blob; if that fails it is left to the sweep.
    pub(crate) fn discard(&self, staged: &StagedBlob) {
        if let Some(path) = self.path(staged) {
            // Never removed while it is being synced: the error would be ours.
            let _ = self.early.finish(&staged.name);
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

/// Writes one staged file, and removes it if it is dropped before the end.
pub(crate) struct StagingWriter {
    staging: Arc<Staging>,
    name: String,
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    hash: Blake3,
    bytes: u64,
    finished: bool,
}

impl StagingWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.staging
            .disk
            .write(&mut self.file, bytes)
            .map_err(|e| io_error("writing", &self.path, e))
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
        self.finished = true;
        Ok(StagedBlob {
            hash: self.hash.finish(),
            bytes: self.bytes,
            name: std::mem::take(&mut self.name),
        })
    }
}

impl Drop for StagingWriter {
    fn drop(&mut self) {
        if !self.finished {
            remove_or_warn(&*self.staging.disk, &self.path);
        }
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
