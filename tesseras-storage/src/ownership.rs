//! The ownership of a data directory. Another user who owns it or can write to it can replace its
//! files, including keys.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tesseras_core::ports::StoreError;

use crate::error::io_error;

/// Group and others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Group and others may do anything.
const OTHERS: u32 = 0o077;
/// Others may write, each only to their own files, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// Refuses, with [`StoreError::NotOwned`], a path that does not belong to the user that this
/// process runs as. `found` is the metadata of `path`.
pub fn check_owner(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let (owner, caller) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == caller {
        return Ok(());
    }
    Err(StoreError::NotOwned { path: path.display().to_string(), owner, caller })
}

/// Ensures that a directory, if it exists, belongs to the user that this process runs as, and
/// removes write permission for all others.
///
/// [`StoreError::NotOwned`] if it belongs to another user, [`StoreError::Shared`] if it is shared
/// by several users like `/tmp`.
pub fn keep_to_owner(directory: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| io_error("reading", directory, e))?,
    };
    if !found.is_dir() {
        return Ok(());
    }
    check_owner(directory, &found)?;
    let mode = found.mode() & 0o7777;
    if mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    if mode & STICKY != 0 {
        return Err(StoreError::Shared { path: directory.display().to_string() });
    }
    match fs::set_permissions(directory, Permissions::from_mode(mode & !OTHERS_WRITE)) {
        // On a read-only file system no other user can write either.
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        outcome => outcome.map_err(|e| io_error("protecting", directory, e)),
    }
}

/// Takes all permissions of other users from a directory of secrets and from the files in it, as far as
/// they belong to the user that this process runs as. Nothing is done if it does not exist.
pub fn keep_secret(directory: &Path) -> Result<(), StoreError> {
    let failed = |e| io_error("protecting", directory, e);
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let caller = rustix::process::geteuid().as_raw();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let found = match entry.metadata() {
            // Another process has renamed or removed it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(failed)?,
        };
        if found.is_file() && found.uid() == caller {
            close_to_others(&entry.path(), &found)?;
        }
    }
    let found = fs::metadata(directory).map_err(failed)?;
    check_owner(directory, &found)?;
    close_to_others(directory, &found)
}

fn close_to_others(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let mode = found.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        // Nothing can be changed on a read-only file system, nor in what another process has removed.
        Err(e)
            if matches!(e.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound) =>
        {
            Ok(())
        }
        outcome => outcome.map_err(|e| io_error("protecting", path, e)),
    }
}

/// Whether a directory belongs to the user that this process runs as, or does not exist.
pub(crate) fn is_own(directory: &Path) -> bool {
    fs::metadata(directory).map_or(true, |found| check_owner(directory, &found).is_ok())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn files_of_secrets_may_come_and_go_while_they_are_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, is_over) = (dir.path().join("name.new"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    fs::write(&file, b"Ana").unwrap();
                    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
                    fs::remove_file(&file).unwrap();
                }
            });
            let closed: Result<(), _> = (0..5000).try_for_each(|_| keep_secret(dir.path()));
            is_over.store(true, Ordering::SeqCst);
            closed.unwrap();
        });
    }
}
