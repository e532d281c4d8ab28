//! A directory in progress: it gets its final name when it is complete and on disk, and is removed
//! otherwise.
//!
//! A process that is killed leaves its directory behind. The name contains the process id, and the
//! process holds a lock (`flock`) on it, so the next process that works in the same place can
//! remove abandoned ones. A process that is ended by a signal removes its own
//! ([`discard_unfinished`]).

mod abandoned;
mod unfinished;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tesseras_disk::{Disk, parent_of};

use crate::sync_tree::sync_directories;

use abandoned::remove_abandoned;
pub(crate) use abandoned::remove_abandoned_alone;
pub use unfinished::{Discarded, discard_unfinished};
pub(crate) use unfinished::{forget_above, own};

/// How many names are tried for one directory.
const ATTEMPTS: u32 = 100;

/// The path that could not be written, and why.
pub(crate) type Failed = (PathBuf, io::Error);

/// A directory that is removed unless it gets its final place.
pub(crate) struct Partial {
    path: PathBuf,
    /// The directory, locked if the file system supports that. It was opened before anything was
    /// written to it, so that a sync of the file system through it reports every error since.
    directory: File,
    /// Whether it does. Otherwise each file and directory is synced.
    tells_all: bool,
    is_finished: bool,
}

impl Partial {
    /// Creates a directory in `parent` for exclusive use, whose name says that it is incomplete.
    /// `name` is the [`directory_name`](tesseras_core::pack::directory_name) of a tessera.
    /// Directories that killed processes left in `parent` are removed.
    pub fn make(disk: &dyn Disk, parent: &Path, name: &str) -> Result<Self, Failed> {
        remove_abandoned(parent);
        let mut own = unfinished::own().map_err(|e| (parent.to_owned(), e))?;
        let mut attempt = 0;
        let path = loop {
            let path = parent.join(abandoned::name_of(name, attempt));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(e) => return Err((path, e)),
            }
        };
        let directory = match File::open(&path) {
            Ok(directory) => directory,
            Err(e) => {
                let _ = fs::remove_dir(&path);
                return Err((path, e));
            }
        };
        let _ = directory.try_lock();
        own.begin(&path);
        let tells_all = disk.tells_all_errors(&directory);
        Ok(Self { path, directory, tells_all, is_finished: false })
    }

    /// Its path while it is incomplete.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To be called with each file that was written, before it is closed: makes it survive a power
    /// cut, unless [`Self::finish`] does that for all at once.
    pub fn written(&self, disk: &dyn Disk, file: &File) -> io::Result<()> {
        if self.tells_all { Ok(()) } else { disk.sync_file(file) }
    }

    /// Makes it survive a power cut, with everything in it, under its final name `to`, which is in
    /// the same directory. [`io::ErrorKind::AlreadyExists`] if that exists. After an error nothing
    /// is left of it.
    pub fn finish(mut self, disk: &dyn Disk, to: &Path) -> Result<(), Failed> {
        self.sync(disk)?;
        let parent = parent_of(to);
        let mut own = unfinished::own().map_err(|e| (to.to_owned(), e))?;
        disk.rename_new(&self.path, to).map_err(|e| (to.to_owned(), e))?;
        if let Err(e) = disk.sync_directory(parent) {
            take_back(to, &self.path);
            return Err((parent.to_owned(), e));
        }
        own.finish(&self.path, to);
        self.is_finished = true;
        Ok(())
    }

    /// As [`Self::finish`], by moving its content to the directory that it is in, where none of
    /// these names exists yet.
    pub fn finish_into(mut self, disk: &dyn Disk, to: &Path) -> Result<(), Failed> {
        self.sync(disk)?;
        let mut own = unfinished::own().map_err(|e| (to.to_owned(), e))?;
        let mut moved = Vec::new();
        let outcome = self
            .move_content(disk, to, &mut moved)
            .and_then(|()| disk.sync_directory(to).map_err(|e| (to.to_owned(), e)));
        if outcome.is_err() {
            for name in moved {
                take_back(&to.join(&name), &self.path.join(&name));
            }
            return outcome;
        }
        own.finish(&self.path, to);
        let _ = fs::remove_dir(&self.path);
        self.is_finished = true;
        Ok(())
    }

    /// Everything in it survives a power cut; of the files that were [written](Self::written), each
    /// may do so already.
    fn sync(&self, disk: &dyn Disk) -> Result<(), Failed> {
        if !self.tells_all {
            sync_directories(disk, &self.path)?;
        }
        // Where it writes nothing, it may still tell of what was lost.
        disk.sync_file_system(&self.directory).map_err(|e| (self.path.clone(), e))
    }

    fn move_content(
        &self,
        disk: &dyn Disk,
        to: &Path,
        moved: &mut Vec<OsString>,
    ) -> Result<(), Failed> {
        let listed = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        for name in listed.map_err(|e| (self.path.clone(), e))? {
            let place = to.join(&name);
            disk.rename_new(&self.path.join(&name), &place).map_err(|e| (place, e))?;
            moved.push(name);
        }
        Ok(())
    }
}

/// Moves a file or directory back that must not keep its final place. Best effort, and not through
/// the port: the error that led here is the one to report.
fn take_back(from: &Path, to: &Path) {
    if fs::rename(from, to).is_err() {
        let _ = fs::remove_dir_all(from).or_else(|_| fs::remove_file(from));
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_finished {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.path);
            unfinished::forget(&self.path);
        }
    }
}
