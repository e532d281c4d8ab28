//! A mark that the log of a database may not be what was written to it, for those who open the
//! database after the process has ended that was told so: the length of the file whose lock orders
//! opening and closing. Changing a length needs no room on the disk. After a power cut it may be
//! gone, and is not needed: what is left of the log is then what the disk has.

use std::fs::File;
use std::path::Path;

use tesseras_core::ports::StoreError;

use super::paths::length;
use crate::error::io_error;

/// Sets the mark in the file `opening`.
pub(super) fn set(opening: &Path) {
    if let Err(error) = set_length(opening, 1) {
        tracing::warn!(%error, "others do not learn that the log of the database is not trusted");
    }
}

/// Whether the mark is set. If that cannot be found out, it may be.
pub(super) fn is_set(opening: &Path) -> bool {
    length(opening).map_or(true, |bytes| bytes.is_some_and(|bytes| bytes > 0))
}

/// Takes the mark away. The caller holds the lock, and has verified the log alone.
pub(super) fn clear(opening: &Path) -> Result<(), StoreError> {
    if is_set(opening) { set_length(opening, 0) } else { Ok(()) }
}

fn set_length(opening: &Path, bytes: u64) -> Result<(), StoreError> {
    let file = File::options().write(true).open(opening);
    file.and_then(|file| file.set_len(bytes)).map_err(|e| io_error("marking", opening, e))
}
