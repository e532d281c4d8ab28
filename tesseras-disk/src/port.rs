//! The port.

use std::fs::File;
use std::io;
use std::path::Path;

/// What is done to a disk. SQLite does its own I/O; only its commit and the sync of its log pass
/// through here.
pub trait Disk: Send + Sync {
    /// Creates a directory that must not exist yet, accessible only to its owner. Its parent exists.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Creates a file that must not exist yet, accessible only to its owner.
    fn create(&self, path: &Path) -> io::Result<File>;

    /// Appends bytes.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes survive a power cut. `file` is the one that they were written to, not
    /// one that was opened later: that might not be told of an error.
    fn sync_file(&self, file: &File) -> io::Result<()>;

    /// Whether [`Self::sync_file_system`] is enough for everything on the file system of a
    /// directory: it then writes all and tells every error. Otherwise each file and directory is to
    /// be synced.
    fn tells_all_errors(&self, directory: &File) -> bool;

    /// Makes everything written to a file system survive a power cut, all at once, where
    /// [`Self::tells_all_errors`] says so. Elsewhere it may do nothing. An error says that
    /// something could not be written since `directory` was opened, or was noted before and not
    /// yet told to anybody; whose file it is remains unknown, and the next call does not tell it
    /// again.
    fn sync_file_system(&self, directory: &File) -> io::Result<()>;

    /// Renames a file, replacing an existing one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file or directory without replacing anything; [`io::ErrorKind::AlreadyExists`] if
    /// there is something at `to`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist yet. Not every file system can.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the entries of a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes everything committed so far survive a power cut.
    fn sync_wal(&self, wal: &File) -> io::Result<()>;

    /// Called right before SQLite commits; an error rolls back instead.
    fn before_commit(&self) -> io::Result<()>;
}
