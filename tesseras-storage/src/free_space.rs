//! How much room a disk has.

use std::path::Path;

use tesseras_core::ports::{FreeSpace, StoreError};

use crate::error::io_error;

/// What is free on the file system of a path, for a process without special rights.
pub(crate) fn free_space(path: &Path) -> Result<FreeSpace, StoreError> {
    let disk = rustix::fs::statvfs(path)
        .map_err(|e| io_error("asking for the room on", path, e.into()))?;
    Ok(FreeSpace {
        bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        block_bytes: disk.f_frsize,
        // Btrfs and others have no number of files, and say 0 for all and for the free ones.
        files: if disk.f_files == 0 { u64::MAX } else { disk.f_favail },
    })
}
