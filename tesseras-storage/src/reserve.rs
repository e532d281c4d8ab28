//! Reserved space for deletions: on a full disk even a deletion needs some space for the database's
//! log. A dummy file is kept, and removed then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tesseras_core::ports::StoreError;

use tesseras_disk::Disk;

/// Enough for the log of a deletion of some 10,000 objects.
const RESERVE_BYTES: u64 = 1024 * 1024;
/// How much is written at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The file, shared by all processes that use the data directory.
pub(crate) struct Reserve {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Reserve {
    /// The reserve at `path`, written if there is room.
    pub(crate) fn new(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        // Its name in earlier versions; if it does not exist, there is nothing to rename.
        let _ = std::fs::rename(path.with_file_name("ballast"), &path);
        let reserve = Self { path, disk };
        reserve.restore();
        reserve
    }

    /// For a read-only disk: nothing is written, and no deletion will follow.
    pub(crate) fn read_only(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self { path, disk }
    }

    /// Runs a deletion, and again without the reserve if the disk is full.
    pub(crate) fn with_reserve<T>(
        &self,
        mut deletion: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match deletion() {
            Err(StoreError::Full { .. }) if self.give_up() => deletion(),
            outcome => outcome,
        }
    }

    /// Writes the file again, if it is missing and there is room.
    pub(crate) fn restore(&self) {
        if self.path.metadata().is_ok_and(|file| file.len() >= RESERVE_BYTES) {
            return;
        }
        self.give_up();
        if let Err(error) = self.write() {
            self.give_up();
            tracing::debug!(%error, "no room for the reserve");
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut file = match self.disk.create(&self.path) {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            file => file?,
        };
        // Not zeros, which some file systems do not store.
        let chunk = [0x5a; CHUNK_BYTES];
        for _ in 0..RESERVE_BYTES / CHUNK_BYTES as u64 {
            self.disk.write(&mut file, &chunk)?;
        }
        Ok(())
    }

    /// Removes the file; returns whether it existed.
    fn give_up(&self) -> bool {
        self.path.exists() && self.disk.remove(&self.path).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tesseras_disk::OsDisk;

    #[test]
    fn it_is_given_up_once_and_only_for_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let reserve = Reserve::new(path.clone(), Arc::new(OsDisk));
        assert_eq!(path.metadata().unwrap().len(), RESERVE_BYTES);
        let mut runs = 0;
        let mut fail = |error: fn() -> StoreError| {
            runs = 0;
            let outcome: Result<(), _> = reserve.with_reserve(|| {
                runs += 1;
                Err(error())
            });
            outcome.unwrap_err();
            runs
        };
        assert_eq!(fail(|| StoreError::Locked { what: String::new() }), 1);
        assert!(path.exists());
        assert_eq!(fail(|| StoreError::Full { what: String::new() }), 2);
        assert!(!path.exists());
        assert_eq!(fail(|| StoreError::Full { what: String::new() }), 1);
        reserve.restore();
        assert!(path.exists());
    }
}
