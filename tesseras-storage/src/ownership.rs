//! Whose a data directory is. What another user owns or can write to, that user can replace: keys
//! in it need not be those that its user made.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tesseras_core::ports::StoreError;

use crate::error::io_error;

/// Group and others may write.
const OTHERS_WRITE: u32 = 0o022;
/// Others may write, each to what is theirs, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// Refuses, with [`StoreError::NotOwned`], what does not belong to the user that this process runs
/// as. `found` is the metadata of `path`.
pub fn check_owner(path: &Path, found: &Metadata) -> Result<(), StoreError> {
    let (owner, caller) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == caller {
        return Ok(());
    }
    Err(StoreError::NotOwned { path: path.display().to_string(), owner, caller })
}

/// Makes sure that a directory, if it is there, belongs to the user that this process runs as, and
/// takes the permission to write to it away from everybody else.
///
/// [`StoreError::NotOwned`] if it belongs to another user, [`StoreError::Shared`] if users share it
/// as they share `/tmp`.
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
        // Where nobody can write, nobody else can.
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        outcome => outcome.map_err(|e| io_error("protecting", directory, e)),
    }
}

/// Whether a directory belongs to the user that this process runs as, or is not there.
pub(crate) fn is_own(directory: &Path) -> bool {
    fs::metadata(directory).map_or(true, |found| check_owner(directory, &found).is_ok())
}
