//! Pieces of unfinished tasks: `tmp/tasks/<tessera>/<hash>`, files that no row names.
//!
//! They are neither synced nor counted, for they can be obtained again. A file's date of
//! modification is when it was pinned. Of a tessera that is blocked nothing stays: whoever drops it
//! blocks it first and removes what is here then, and whoever adds a file looks afterwards whether it
//! is blocked.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{BlobReader, BlobStore as _, StagedBlob, StoreError, Workbench};
use tesseras_core::time::Timestamp;

use crate::blocked::is_blocked;
use crate::cas::{Cas, FileReader};
use crate::error::io_error;
use crate::staging::TASKS;
use tesseras_disk::{create_directories, parent_of};

/// Pinned files. Clones share one store.
#[derive(Debug, Clone)]
pub struct FsWorkbench {
    root: PathBuf,
    cas: Arc<Cas>,
}

impl FsWorkbench {
    /// Below `tmp`, for what `cas` stages.
    pub(crate) fn new(tmp: &Path, cas: Arc<Cas>) -> Self {
        Self { root: tmp.join(TASKS), cas }
    }

    fn directory(&self, tessera: &TesseraHash) -> PathBuf {
        self.root.join(tessera.to_string())
    }

    fn take(&self, from: &Path, to: &Path, now: Timestamp) -> Result<(), StoreError> {
        let fail = |e| io_error("pinning", to, e);
        create_directories(self.cas.files().disk(), parent_of(to)).map_err(fail)?;
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(now.0);
        File::options().write(true).open(from).and_then(|f| f.set_modified(date)).map_err(fail)?;
        self.cas.files().disk().rename(from, to).map_err(fail)
    }

    fn is_blocked(&self, tessera: &TesseraHash) -> Result<bool, StoreError> {
        self.cas.database().read("looking up a dropped tessera", |c| is_blocked(c, tessera))
    }

    /// When a task pinned something last; of one that has pinned nothing yet, when its directory
    /// was made: it is about to.
    fn last_pinned(&self, task: &std::fs::DirEntry) -> Result<Timestamp, StoreError> {
        let pieces = entries(&task.path())?;
        let dated = if pieces.is_empty() { std::slice::from_ref(task) } else { &pieces };
        let mut last = Timestamp(0);
        for entry in dated {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let modified = modified.map_err(|e| io_error("reading", &entry.path(), e))?;
            let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            last = last.max(Timestamp(since.as_secs()));
        }
        Ok(last)
    }
}

impl Workbench for FsWorkbench {
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let from = self.cas.files().staged_path(&staged).ok_or(StoreError::Missing(staged.hash))?;
        let to = self.directory(tessera).join(staged.hash.to_string());
        let outcome =
            self.cas.files().leave_unsynced(&staged).and_then(|()| self.take(&from, &to, now));
        if outcome.is_err() {
            self.cas.discard(staged);
        }
        // Also after a failure: the directory may have been removed because it was blocked.
        match self.is_blocked(tessera)? {
            true => self.unpin(tessera).and(Err(StoreError::Blocked(*tessera))),
            false => outcome,
        }
    }

    fn open(
        &self,
        tessera: &TesseraHash,
        hash: &ContentHash,
    ) -> Result<Box<dyn BlobReader>, StoreError> {
        let path = self.directory(tessera).join(hash.to_string());
        Ok(Box::new(FileReader::open(hash, path)?))
    }

    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError> {
        Ok(entries(&self.directory(tessera))?.iter().filter_map(|e| name(&e.file_name())).collect())
    }

    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError> {
        let directory = self.directory(tessera);
        for entry in entries(&directory)? {
            match self.cas.files().disk().remove(&entry.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("removing", &entry.path(), e));
                }
                _ => {}
            }
        }
        // A task may have added something meanwhile, which stays unless it is blocked.
        match self.cas.files().disk().remove_directory(&directory) {
            Err(e)
                if !matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(io_error("removing", &directory, e))
            }
            _ => Ok(()),
        }
    }

    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for entry in entries(&self.root)? {
            let Some(tessera) = name(&entry.file_name()) else { continue };
            let is_due = match self.is_blocked(&tessera) {
                Ok(false) => self.last_pinned(&entry).map(|last| last < time),
                blocked => blocked,
            };
            let unpinned = is_due.and_then(|due| if due { self.unpin(&tessera) } else { Ok(()) });
            outcome = outcome.and(unpinned);
        }
        outcome
    }
}

/// What lies in a directory; nothing if it is not there.
fn entries(directory: &Path) -> Result<Vec<std::fs::DirEntry>, StoreError> {
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect);
    match listed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|e| io_error("reading", directory, e)),
    }
}

/// The hash that a file or directory is named after.
fn name<T: FromStr>(file: &OsStr) -> Option<T> {
    file.to_str()?.parse().ok()
}
