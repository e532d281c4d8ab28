//! The files of the objects, `<2 hex>/<hash>.blob`, and where they are staged. Knows no reference.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{FreeSpace, StagedBlob, StoreError};
use tesseras_disk::Disk;

use crate::error::io_error;
use crate::free_space::free_space;
use crate::parallel::in_parallel;
use crate::staging::Staging;

/// Which file it is, whatever its names are: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self(file.dev(), file.ino()))
    }
}

/// The files below one directory.
pub(crate) struct ObjectFiles {
    root: PathBuf,
    /// `None` if the disk is read-only.
    staging: Option<Arc<Staging>>,
    disk: Arc<dyn Disk>,
}

impl std::fmt::Debug for ObjectFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectFiles").field("root", &self.root).finish_non_exhaustive()
    }
}

impl ObjectFiles {
    /// The files below `root`, which exists; `staging` is `None` if the disk is read-only.
    pub(super) fn new(root: PathBuf, staging: Option<Arc<Staging>>, disk: Arc<dyn Disk>) -> Self {
        Self { root, staging, disk }
    }

    /// Where bytes are staged.
    pub(super) fn staging(&self) -> Result<&Arc<Staging>, StoreError> {
        let what = || format!("storing bytes in {}", self.root.display());
        self.staging.as_ref().ok_or_else(|| StoreError::ReadOnly { what: what() })
    }

    /// The path of an object, whether it exists or not.
    pub(crate) fn path(&self, hash: &ContentHash) -> PathBuf {
        self.shard(hash.as_bytes()[0]).join(format!("{hash}.blob"))
    }

    fn shard(&self, first: u8) -> PathBuf {
        self.root.join(hex_byte(first))
    }

    /// The path of a staged blob; `None` if it was not staged here.
    pub(crate) fn staged_path(&self, staged: &StagedBlob) -> Option<PathBuf> {
        self.staging.as_ref()?.path(staged)
    }

    /// Starts to sync a staged blob.
    pub(super) fn sync_early(&self, staged: &StagedBlob) {
        if let Some(staging) = &self.staging {
            staging.sync_early(staged);
        }
    }

    /// Makes a staged blob survive a power cut that is put into place by the caller.
    pub(crate) fn sync_staged(&self, staged: &StagedBlob) -> Result<(), StoreError> {
        self.staging()?.sync(std::iter::once(staged))
    }

    /// For a staged blob that is put into place by the caller, and need not survive a power cut.
    pub(crate) fn leave_unsynced(&self, staged: &StagedBlob) -> Result<(), StoreError> {
        self.staging()?.leave_unsynced(staged)
    }

    /// Discards a staged blob.
    pub(super) fn discard(&self, staged: &StagedBlob) {
        if let Some(staging) = &self.staging {
            staging.discard(staged);
        }
    }

    /// The disk below.
    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the directory entries of all current objects survive a power cut.
    pub(crate) fn sync_all_names(&self) -> Result<(), StoreError> {
        self.sync_directories((0..=u8::MAX).map(|first| self.shard(first)).collect())
    }

    /// Makes the directory entries of these objects survive a power cut.
    pub(super) fn sync_names_of(&self, hashes: &[ContentHash]) -> Result<(), StoreError> {
        let shards: BTreeSet<u8> = hashes.iter().map(|hash| hash.as_bytes()[0]).collect();
        self.sync_directories(shards.into_iter().map(|first| self.shard(first)).collect())
    }

    fn sync_directories(&self, paths: Vec<PathBuf>) -> Result<(), StoreError> {
        in_parallel(&paths, |path| {
            self.disk.sync_directory(path).map_err(|e| io_error("syncing", path, e))
        })
    }

    /// Calls `visit` for every file among the objects, with the hash that it is named after; the
    /// first error ends it. While others write to the store, the files are seen at different
    /// moments.
    pub(crate) fn visit(
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

    /// Renames a staged file to its object's name.
    pub(super) fn put_into_place(&self, from: &Path, hash: &ContentHash) -> Result<(), StoreError> {
        let to = self.path(hash);
        self.disk.rename(from, &to).map_err(|e| io_error("moving into place", &to, e))
    }

    /// Gives a staged file its object's name, too, and returns which file that is. `None` if there is
    /// a file of that name.
    pub(super) fn link(
        &self,
        from: &Path,
        hash: &ContentHash,
    ) -> Result<Option<FileId>, StoreError> {
        let to = self.path(hash);
        let linked = FileId::of(from).and_then(|file| self.disk.link(from, &to).map(|()| file));
        match linked {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(io_error("linking into place", &to, e)),
        }
    }

    /// Whether an object's name is that of this file.
    pub(super) fn is_in_place(&self, hash: &ContentHash, file: FileId) -> Result<bool, StoreError> {
        let path = self.path(hash);
        match FileId::of(&path) {
            Ok(there) => Ok(there == file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error("reading", &path, e)),
        }
    }

    /// Removes an object's file, if it exists.
    pub(super) fn remove(&self, hash: &ContentHash) -> Result<(), StoreError> {
        let path = self.path(hash);
        match self.disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("removing", &path, e)),
            _ => Ok(()),
        }
    }

    /// Whether an object's file exists with its full length.
    pub(crate) fn has(&self, hash: &ContentHash, bytes: u64) -> Result<bool, StoreError> {
        let path = self.path(hash);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error("reading", &path, e)),
        }
    }

    /// Fails if none of the directories is there, all of which are made when a store is opened.
    pub(super) fn check_mounted(&self) -> Result<(), StoreError> {
        let fail = |e| io_error("reading", &self.root, e);
        match std::fs::read_dir(&self.root).map_err(fail)?.next() {
            Some(_) => Ok(()),
            None => Err(fail(io::ErrorKind::NotFound.into())),
        }
    }

    /// What the disk has left.
    pub(super) fn free_space(&self) -> Result<FreeSpace, StoreError> {
        free_space(&self.root)
    }
}

/// Creates the directories of the objects below `root` that do not exist.
pub(super) fn create_shards(root: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    let present: BTreeSet<_> = std::fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(|e| io_error("reading", root, e))?;
    let shards = (0..=u8::MAX).map(hex_byte);
    let absent: Vec<String> = shards.filter(|s| !present.contains(OsStr::new(s))).collect();
    for shard in &absent {
        let path = root.join(shard);
        match disk.create_directory(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io_error("creating", &path, e));
            }
            _ => {}
        }
    }
    // Those that are there may have been created by a process that was killed before it synced them.
    disk.sync_directory(root).map_err(|e| io_error("syncing", root, e))
}

fn hex_byte(byte: u8) -> String {
    format!("{byte:02x}")
}
