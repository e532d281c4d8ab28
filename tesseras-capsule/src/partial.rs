//! A directory in progress: it gets its final name when it is complete and on disk, and is removed
//! otherwise.
//!
//! A process that is killed leaves its directory behind. The name contains the process id, and the
//! process holds a lock (`flock`) on it, so the next process that works in the same place can
//! remove abandoned ones.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use rustix::process::{Pid, geteuid, test_kill_process};

/// A directory that is removed unless it is renamed.
pub(crate) struct Partial {
    path: PathBuf,
    renamed: bool,
    /// `None` if the file system does not support locks.
    _lock: Option<File>,
}

impl Partial {
    /// Creates a directory in `parent` for exclusive use, whose name says that it is incomplete.
    /// `name` is the [`directory_name`](tesseras_core::pack::directory_name) of a tessera.
    /// Directories that killed processes left in `parent` are removed. The error contains the path
    /// that could not be created.
    pub fn make(parent: &Path, name: &str) -> Result<Self, (PathBuf, io::Error)> {
        remove_abandoned(parent);
        let process = std::process::id();
        let mut attempt = 0;
        loop {
            let path = parent.join(match attempt {
                0 => format!(".{name}.partial-{process}"),
                n => format!(".{name}.partial-{process}-{n}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => {
                    let lock = File::open(&path).ok().filter(|made| made.try_lock().is_ok());
                    return Ok(Self { path, renamed: false, _lock: lock });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(e) => return Err((path, e)),
            }
        }
    }

    /// Its path while it is incomplete.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it to its final name; [`io::ErrorKind::AlreadyExists`] if that exists.
    pub fn rename(mut self, to: &Path) -> io::Result<()> {
        rename_new(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }

    /// Moves its content to the directory `to`, where none of these names exists yet.
    pub fn empty_into(self, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            rename_new(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Removes the partial directories in `parent` whose processes are gone: real directories of this
/// user, with a name from [`Partial::make`]. Best effort: nothing depends on it.
pub(crate) fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if maker(&entry.file_name()).is_some_and(is_gone)
            && let Some(_lock) = lock_own(&entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process id in a directory name; `None` for any other name.
fn maker(name: &OsStr) -> Option<Pid> {
    let (hash, rest) = name.to_str()?.strip_prefix(".tessera-")?.split_at_checked(16)?;
    let rest = rest.strip_prefix(".partial-")?;
    let (process, attempt) = rest.split_once('-').unwrap_or((rest, "1"));
    let number = |text: &str| text.parse::<i32>().ok().filter(|n| *n > 0 && n.to_string() == text);
    let is_ours = hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && number(attempt).is_some();
    if is_ours { Pid::from_raw(number(process)?) } else { None }
}

fn is_gone(process: Pid) -> bool {
    test_kill_process(process) == Err(rustix::io::Errno::SRCH)
}

/// Locks a directory of this user, without following a link; `None` if it is anything else, or if a
/// process holds the lock, possibly in another pid namespace.
fn lock_own(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let is_own = directory.metadata().ok()?.uid() == geteuid().as_raw();
    (is_own && directory.try_lock().is_ok()).then_some(directory)
}

/// Renames without replacing anything.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not support that flag: the check before it must suffice.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS)
            if to.symlink_metadata().is_err() =>
        {
            fs::rename(from, to)
        }
        other => other.map_err(io::Error::from),
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// If available, one system call flushes all files of a new directory at its end.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn sync_all(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// Flushes one file, where [`sync_all`] does not.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn sync_file(_file: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn sync_all(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}
