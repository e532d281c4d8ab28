//! The disk of the operating system, with one operation replaced.

use std::fs::File;
use std::io;
use std::path::Path;

use tesseras_disk::{Disk, OsDisk};

type SyncLog = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;
type Link = Box<dyn Fn(&Path, &Path) -> io::Result<()> + Send + Sync>;
type OnPath = Box<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// A disk with operations of its own.
pub struct Hooked {
    pub sync_log: SyncLog,
    pub link: Link,
    pub sync_directory: OnPath,
    pub remove: OnPath,
}

impl Default for Hooked {
    fn default() -> Self {
        Self {
            sync_log: Box::new(|log| OsDisk.sync_wal(log)),
            link: Box::new(|from, to| OsDisk.link(from, to)),
            sync_directory: Box::new(|path| OsDisk.sync_directory(path)),
            remove: Box::new(|path| OsDisk.remove(path)),
        }
    }
}

/// With another sync of the log.
pub fn with_log(sync_log: impl Fn(&File) -> io::Result<()> + Send + Sync + 'static) -> Hooked {
    Hooked { sync_log: Box::new(sync_log), ..Hooked::default() }
}

/// With another way to link.
pub fn with_link(link: impl Fn(&Path, &Path) -> io::Result<()> + Send + Sync + 'static) -> Hooked {
    Hooked { link: Box::new(link), ..Hooked::default() }
}

impl Disk for Hooked {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OsDisk.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        OsDisk.write(file, bytes)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        OsDisk.sync_file(file)
    }

    fn tells_all_errors(&self, directory: &File) -> bool {
        OsDisk.tells_all_errors(directory)
    }

    fn sync_file_system(&self, directory: &File) -> io::Result<()> {
        OsDisk.sync_file_system(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.link)(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        (self.sync_directory)(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.remove)(path)
    }

    fn sync_wal(&self, wal: &File) -> io::Result<()> {
        (self.sync_log)(wal)
    }

    fn before_commit(&self) -> io::Result<()> {
        OsDisk.before_commit()
    }
}
