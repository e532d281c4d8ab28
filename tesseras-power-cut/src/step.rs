//! One change of a directory tree.

use std::path::PathBuf;

/// A file, whatever it is named; numbered in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) u64);

/// Who asked for a file to be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncedBy {
    /// [`Disk::sync_file`](tesseras_disk::Disk::sync_file).
    Disk,
    /// [`Disk::sync_wal`](tesseras_disk::Disk::sync_wal).
    Log,
    /// SQLite by itself.
    Sqlite,
}

/// One change, or a sync of changes. Paths are relative to the recorded directory; the empty path is
/// that directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A directory was created.
    CreateDirectory(PathBuf),
    /// A directory was removed.
    RemoveDirectory(PathBuf),
    /// An empty file was created.
    Create {
        /// Its name.
        path: PathBuf,
        /// The file.
        file: FileId,
    },
    /// A file got a second name.
    Link {
        /// The new name.
        path: PathBuf,
        /// The file.
        file: FileId,
    },
    /// A file was renamed.
    Rename {
        /// Its name before.
        from: PathBuf,
        /// Its name now.
        to: PathBuf,
        /// The file.
        file: FileId,
    },
    /// A name was removed.
    Remove(PathBuf),
    /// Bytes of a file were written.
    Write {
        /// The file.
        file: FileId,
        /// Where the first byte is.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The length of a file was set.
    Truncate {
        /// The file.
        file: FileId,
        /// In bytes.
        length: u64,
    },
    /// The bytes of a file were synced.
    SyncFile {
        /// The file.
        file: FileId,
        /// Its name at that time.
        path: PathBuf,
        /// Who asked for it.
        by: SyncedBy,
    },
    /// The names in a directory were synced.
    SyncDirectory(PathBuf),
    /// Everything was synced.
    SyncFileSystem,
    /// A sync of a file failed: what was not yet synced of it is in memory alone.
    Lost(FileId),
    /// A note of the test: for example, that something was acknowledged.
    Mark(usize),
}

impl Step {
    /// Whether it makes other steps survive.
    pub fn is_sync(&self) -> bool {
        matches!(self, Self::SyncFile { .. } | Self::SyncDirectory(_) | Self::SyncFileSystem)
    }
}
