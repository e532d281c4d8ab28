//! A directory in the making: it gets its final name when it is complete and on the disk, and goes
//! away again if it never is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// A directory that goes away again unless it is renamed.
pub(crate) struct Partial {
    path: PathBuf,
    renamed: bool,
}

impl Partial {
    /// Makes a directory in `parent` that nobody else uses, and whose name says that it is not
    /// complete. One left by a killed process is left alone. The error names what could not be
    /// made.
    pub fn make(parent: &Path, name: &str) -> Result<Self, (PathBuf, io::Error)> {
        let process = std::process::id();
        let mut attempt = 0;
        loop {
            let path = parent.join(match attempt {
                0 => format!(".{name}.partial-{process}"),
                n => format!(".{name}.partial-{process}-{n}"),
            });
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, renamed: false }),
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
