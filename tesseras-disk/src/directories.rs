//! Directories that are created if they do not exist, and those above them.

use std::io;
use std::path::Path;

use crate::port::Disk;

/// Makes sure that a directory exists, and those above it. New ones are accessible only to their
/// owner; what exists keeps its mode.
pub fn create_directories(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    create(disk, path, &|_| Ok(()))
}

/// [`create_directories`] whose names survive a power cut, and with them what is stored in them.
pub fn create_directories_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    create(disk, path, &|path| disk.sync_directory(parent_of(path)))?;
    match disk.sync_directory(parent_of(path)) {
        // It was not created by this user, and is not about to be lost.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        // It may have existed, and its name may not have been synced before its creator was killed.
        outcome => outcome,
    }
}

fn create(
    disk: &dyn Disk,
    path: &Path,
    created: &dyn Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    match disk.create_directory(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create(disk, parent_of(path), created)?;
            match disk.create_directory(path) {
                // Another thread or process was faster.
                Err(_) if path.is_dir() => return Ok(()),
                outcome => outcome?,
            }
        }
        Err(_) if path.is_dir() => return Ok(()),
        outcome => outcome?,
    }
    created(path)
}

/// The directory that a path is in; of a bare name, the current one.
pub fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::os_disk::OsDisk;

    #[test]
    fn many_may_create_the_same_directories() {
        let root = tempfile::tempdir().unwrap();
        let start = Barrier::new(8);
        for round in 0..100 {
            let path = root.path().join(format!("{round}/above/below"));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        create_directories(&OsDisk, &path).unwrap();
                    });
                }
            });
            assert!(path.is_dir());
        }
    }

    #[test]
    fn every_path_is_in_a_directory() {
        for (path, parent) in [("a/b", "a"), ("/a", "/"), ("a", "."), ("", "."), ("/", ".")] {
            assert_eq!(parent_of(Path::new(path)), Path::new(parent), "{path}");
        }
    }
}
