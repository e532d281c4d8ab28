//! Makes a new directory survive a power cut, with everything in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tesseras_disk::Disk;

/// Syncs the files and directories of a tree: all at once where errors are sure to be reported then,
/// else each by itself. `opened` is the root, opened before anything was written to it.
///
/// The error contains the path that could not be synced.
pub(crate) fn sync_tree(
    disk: &dyn Disk,
    root: &Path,
    opened: &File,
) -> Result<(), (PathBuf, io::Error)> {
    // An error may concern any file of the file system. Whether it concerns one of these, only
    // their own syncs tell.
    if disk.sync_file_system(opened).unwrap_or(false) {
        return Ok(());
    }
    let mut above = vec![root.to_owned()];
    let mut directories = Vec::new();
    while let Some(directory) = above.pop() {
        let fail = |e| (directory.clone(), e);
        for entry in fs::read_dir(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_dir() {
                above.push(entry.path());
            } else if kind.is_file() {
                disk.sync_file(&entry.path()).map_err(|e| (entry.path(), e))?;
            }
        }
        directories.push(directory);
    }
    for directory in directories.into_iter().rev() {
        disk.sync_directory(&directory).map_err(|e| (directory, e))?;
    }
    Ok(())
}
