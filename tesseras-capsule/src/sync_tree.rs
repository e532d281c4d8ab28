//! Makes the names in a new directory survive a power cut.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tesseras_disk::Disk;

/// Syncs the directories of a tree. The files in them are synced before they are closed.
///
/// The error contains the path that could not be synced.
pub(crate) fn sync_directories(disk: &dyn Disk, root: &Path) -> Result<(), (PathBuf, io::Error)> {
    let mut above = vec![root.to_owned()];
    let mut directories = Vec::new();
    while let Some(directory) = above.pop() {
        let fail = |e| (directory.clone(), e);
        for entry in fs::read_dir(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if entry.file_type().map_err(fail)?.is_dir() {
                above.push(entry.path());
            }
        }
        directories.push(directory);
    }
    for directory in directories.into_iter().rev() {
        disk.sync_directory(&directory).map_err(|e| (directory, e))?;
    }
    Ok(())
}
