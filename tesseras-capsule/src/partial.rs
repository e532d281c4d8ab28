//! A directory in the making: it gets its final name when it is complete and on the disk, and goes
//! away again if it never is.
//!
//! A process that is killed leaves its own behind. The name says which process makes it, and the
//! process holds a lock (`flock`) on it, so the next one that works in the same place removes what
//! nobody completes any more.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use rustix::process::{Pid, geteuid, test_kill_process};

/// A directory that goes away again unless it is renamed.
pub(crate) struct Partial {
    path: PathBuf,
    renamed: bool,
    /// Where the file system knows locks.
    _lock: Option<File>,
}

impl Partial {
    /// Makes a directory in `parent` that nobody else uses, and whose name says that it is not
    /// complete. `name` is the [`directory_name`](tesseras_core::pack::directory_name) of a tessera.
    /// What killed processes left in `parent` is removed. The error names what could not be made.
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

    /// Where it is as long as it is not complete.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name; [`io::ErrorKind::AlreadyExists`] if something stands there.
    pub fn rename(mut self, to: &Path) -> io::Result<()> {
        rename_new(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }

    /// Moves all that is in it to the directory `to`, where nothing of these names is yet.
    pub fn empty_into(self, to: &Path) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            rename_new(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Removes the partial directories in `parent` whose processes are gone: real directories of this
/// user, with a name that [`Partial::make`] gives. Best effort: nothing depends on it.
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

/// The process that makes a directory of this name; `None` if it is the name of anything else.
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
/// process holds the lock, which may run where its number is another one.
fn lock_own(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let is_own = directory.metadata().ok()?.uid() == geteuid().as_raw();
    (is_own && directory.try_lock().is_ok()).then_some(directory)
}

/// Renames, but never over anything.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without that flag: the check before it must do.
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

/// One system call flushes all files of a new directory at its end, where there is such a call.
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
