//! The boundary to the disk: every write, sync, rename, removal and commit of the store goes
//! through a [`Disk`], so that a test can make each of them fail in turn, or be the last.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What the store does to a disk. SQLite does its own I/O; of it, only the commit and the sync of
/// the WAL pass here.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist yet, for its owner alone.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Appends bytes.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes survive a power cut.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of what may have that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes everything committed so far survive a power cut.
    fn sync_wal(&self, wal: &File) -> io::Result<()>;

    /// Asked right before SQLite commits; an error rolls back instead.
    fn before_commit(&self) -> io::Result<()>;
}

/// The disk as the operating system offers it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_wal(&self, wal: &File) -> io::Result<()> {
        wal.sync_data()
    }

    fn before_commit(&self) -> io::Result<()> {
        Ok(())
    }
}
