//! Locks between processes: `flock` on a file, released by the kernel however its owner ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tesseras_core::ports::StoreError;

use crate::error::io_error;

/// How long to sleep between two attempts at a lock.
const RETRY: Duration = Duration::from_millis(5);

/// A locked file; released on drop.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Locks `path`, waiting at most `patience`; [`StoreError::Locked`] names `what` otherwise.
    pub(crate) fn acquire(path: &Path, what: &str, patience: Duration) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|e| io_error("opening", path, e))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if waited < patience => {
                    std::thread::sleep(RETRY);
                    waited += RETRY;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked { what: what.to_owned() });
                }
                Err(TryLockError::Error(e)) => return Err(io_error("locking", path, e)),
            }
        }
    }
}

/// Held by the one `tesd` of a data directory for as long as it runs.
#[derive(Debug)]
pub struct DaemonLock {
    _lock: FileLock,
}

impl DaemonLock {
    /// Takes the lock of a data directory, or fails at once if it is taken.
    pub(crate) fn acquire(data_dir: &Path) -> Result<Self, StoreError> {
        let path: PathBuf = data_dir.join("daemon.lock");
        let what = format!("the data directory {}", data_dir.display());
        Ok(Self { _lock: FileLock::acquire(&path, &what, Duration::ZERO)? })
    }
}
