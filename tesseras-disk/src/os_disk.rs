//! The operating system as a [`Disk`].

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::port::Disk;

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

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn tells_all_errors(&self, directory: &File) -> bool {
        is_recent() && is_local(directory).unwrap_or(false)
    }

    #[cfg(not(target_os = "linux"))]
    fn tells_all_errors(&self, _: &File) -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self, directory: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(directory)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self, _: &File) -> io::Result<()> {
        Ok(())
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

/// Whether `syncfs` reports the write errors since its descriptor was opened: since Linux 5.8. See
/// `syncfs(2)`.
#[cfg(target_os = "linux")]
fn is_recent() -> bool {
    let kernel = rustix::system::uname();
    let mut numbers = kernel.release().to_str().unwrap_or_default().split(['.', '-']);
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or_default();
    (number(), number()) >= (5, 8)
}

/// Whether `syncfs` writes all dirty data of this file system and flushes the device: on local
/// disks.
#[cfg(target_os = "linux")]
fn is_local(directory: &File) -> io::Result<bool> {
    // ext2 to ext4, XFS, Btrfs, F2FS; see `statfs(2)`.
    const LOCAL: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];
    let kind = u64::try_from(rustix::fs::fstatfs(directory)?.f_type).unwrap_or_default();
    Ok(LOCAL.contains(&kind))
}
