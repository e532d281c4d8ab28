//! Reserved space for deletions: on a full disk even a deletion needs some space for the database's
//! log. A dummy file is kept, and cut shorter then, by as much as is needed. What only reads
//! leaves it alone, and so does what adds, except to undo what failed: somebody else may fill the
//! disk again at once.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tesseras_core::ports::StoreError;

use tesseras_disk::Disk;

/// Enough for the log of a deletion of some 10,000 objects.
const RESERVE_BYTES: u64 = 1024 * 1024;
/// By how much it is cut shorter at a time: enough to open the store.
const STEP_BYTES: u64 = 256 * 1024;
/// How much is written at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

const _: () = assert!(RESERVE_BYTES.is_multiple_of(STEP_BYTES), "it is used up in whole steps");

/// What opening a store does on a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFullDisk {
    /// It fails.
    Fail,
    /// It uses some of the reserve.
    UseReserve,
}

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

    /// Runs what opens the store.
    pub(crate) fn opening<T>(
        &self,
        on_full_disk: OnFullDisk,
        mut open: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match on_full_disk {
            OnFullDisk::Fail => open(),
            OnFullDisk::UseReserve => self.with_reserve(open),
        }
    }

    /// Runs a deletion, and again with less of the reserve as long as the disk is full.
    pub(crate) fn with_reserve<T>(
        &self,
        mut deletion: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match deletion() {
                Err(StoreError::Full { .. }) if self.shrink() => {}
                outcome => return outcome,
            }
        }
    }

    /// Writes what is missing of the file, if there is room for all of it; otherwise the room is left
    /// to others.
    pub(crate) fn restore(&self) {
        let before = self.bytes();
        if let Err(error) = self.extend(before) {
            self.cut(before);
            tracing::debug!(%error, "no room for the reserve");
        }
    }

    /// Writes as much of the file as there is room for, after the reserve made that room.
    pub(crate) fn take_back(&self) {
        if let Err(error) = self.extend(self.bytes()) {
            tracing::debug!(%error, "no room for all of the reserve");
        }
    }

    /// Makes a file of this length a whole one.
    fn extend(&self, from: u64) -> io::Result<()> {
        if from >= RESERVE_BYTES {
            return Ok(());
        }
        let mut file = match File::options().append(true).open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => match self.disk.create(&self.path) {
                // Another process was faster.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                file => file?,
            },
            file => file?,
        };
        // Not zeros, which some file systems do not store.
        let chunk = [0x5a; CHUNK_BYTES as usize];
        for _ in 0..(RESERVE_BYTES - from).div_ceil(CHUNK_BYTES) {
            self.disk.write(&mut file, &chunk)?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }

    /// Makes the file shorter by a step; returns whether there was anything of it.
    fn shrink(&self) -> bool {
        self.path.exists() && self.cut(self.bytes().saturating_sub(STEP_BYTES))
    }

    /// Makes the file at most this long; returns whether that was possible.
    fn cut(&self, bytes: u64) -> bool {
        match bytes {
            0 => self.disk.remove(&self.path).is_ok(),
            _ => {
                let file = File::options().write(true).open(&self.path);
                // Another process may have cut it shorter: a hole would reserve nothing.
                let shorten = |file: File| match file.metadata()?.len() > bytes {
                    true => file.set_len(bytes),
                    false => Ok(()),
                };
                file.and_then(shorten).is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tesseras_disk::OsDisk;

    #[test]
    fn it_is_given_up_by_steps_and_only_for_a_full_disk() {
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
        assert_eq!(fail(|| StoreError::Full { what: String::new() }), 5);
        assert!(!path.exists());
        assert_eq!(fail(|| StoreError::Full { what: String::new() }), 1);
        reserve.restore();
        assert_eq!(reserve.bytes(), RESERVE_BYTES);
        let mut is_full = true;
        let freed = reserve.with_reserve(|| match std::mem::take(&mut is_full) {
            true => Err(StoreError::Full { what: String::new() }),
            false => Ok(reserve.bytes()),
        });
        assert_eq!(freed.unwrap(), RESERVE_BYTES - STEP_BYTES);
        reserve.restore();
        assert_eq!(reserve.bytes(), RESERVE_BYTES);
    }
}
