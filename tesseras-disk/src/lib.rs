//! The boundary to the disk: the steps on which it depends that nothing stored is lost go through a
//! [`Disk`], so that a test can make each touch fail in turn, or be the last before a power cut.
//!
//! These are all changes of `cas/`, `library/` and `tmp/`, of the database as a file, and the bytes,
//! syncs and final names of an exported or restored folder. Not through it go:
//!
//! - what SQLite writes, but for its commit and the sync of its log;
//! - keys: `tesseras-node/src/identity.rs`, `tesseras-cli/src/identity.rs` and its backup create, sync
//!   and rename them by themselves;
//! - the names in a folder that is exported or restored, before it has its own: they are created by
//!   descriptor, so that no link is followed (`tesseras-capsule/src/dirfd.rs`); and what removes such
//!   a folder, or what is staged, when it is given up;
//! - permissions, dates, lock files, sockets, temporary copies for reading, and what a demo or
//!   `tes man` writes: nothing depends on their survival.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
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

    /// Makes a file's bytes survive a power cut.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Makes everything written to a file system since one of its directories was opened as
    /// `directory` survive a power cut, all at once. `false` if nothing was done, because an error
    /// might go unnoticed here.
    fn sync_file_system(&self, directory: &File) -> io::Result<bool>;

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

/// The directory that a path is in; of a bare name, the current one.
pub fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The disk as the operating system offers it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self, directory: &File) -> io::Result<bool> {
        if !tells_all_errors(directory)? {
            return Ok(false);
        }
        rustix::fs::syncfs(directory)?;
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self, _: &File) -> io::Result<bool> {
        Ok(false)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system does not support that flag. Another process may come between.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match to.symlink_metadata()
            {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
                Err(e) => Err(e),
            },
            renamed => renamed.map_err(io::Error::from),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
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

/// Whether `syncfs` writes all dirty data of this file system, flushes the device, and reports
/// write errors: since Linux 5.8, on local disks. See `syncfs(2)`.
#[cfg(target_os = "linux")]
fn tells_all_errors(directory: &File) -> io::Result<bool> {
    // ext2 to ext4, XFS, Btrfs, F2FS; see `statfs(2)`.
    const LOCAL: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];
    let kernel = rustix::system::uname();
    let mut numbers = kernel.release().to_str().unwrap_or_default().split(['.', '-']);
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or_default();
    let recent = (number(), number()) >= (5, 8);
    let kind = u64::try_from(rustix::fs::fstatfs(directory)?.f_type).unwrap_or_default();
    Ok(recent && LOCAL.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_in_a_directory() {
        for (path, parent) in [("a/b", "a"), ("/a", "/"), ("a", "."), ("", "."), ("/", ".")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent), "{path}");
        }
    }
}
