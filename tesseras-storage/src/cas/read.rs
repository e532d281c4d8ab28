//! Reading an object's file, and what an error says about the object.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader, StoreError};

use crate::error::io_error;
use crate::regular;

/// Reads bytes from a file that is named after their hash.
#[derive(Debug)]
pub(crate) struct FileReader {
    hash: ContentHash,
    bytes: u64,
    file: File,
    path: PathBuf,
}

impl FileReader {
    /// Opens a file; [`StoreError::Missing`] if it does not exist, [`StoreError::Corrupt`] if it is
    /// not a regular file.
    pub(crate) fn open(hash: &ContentHash, path: PathBuf) -> Result<Self, StoreError> {
        let file = match regular::open(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(StoreError::Corrupt(*hash)),
            Err(e) => return Err(read_error(hash, "opening", &path, e)),
        };
        let bytes = file.metadata().map_err(|e| read_error(hash, "reading", &path, e))?.len();
        Ok(Self { hash: *hash, bytes, file, path })
    }

    /// Whether no other file has taken the place of this one since it was opened.
    pub(crate) fn is_in_place(&self) -> Result<bool, StoreError> {
        let fail = |e| io_error("reading", &self.path, e);
        let mine = self.file.metadata().map_err(fail)?;
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (mine.dev(), mine.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) => Err(fail(e)),
        }
    }
}

impl BlobReader for FileReader {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(offset, buffer.len(), self.bytes)?;
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|e| read_error(&self.hash, "reading", &self.path, e))
    }
}

/// Translates an error that occurred while a stored object was opened or read.
fn read_error(hash: &ContentHash, action: &str, path: &Path, error: io::Error) -> StoreError {
    let Some(damage) = StoreError::damage(hash, &error) else {
        return io_error(action, path, error);
    };
    if matches!(damage, StoreError::Corrupt(_)) {
        tracing::warn!(path = %path.display(), %error, "a stored object cannot be read");
    }
    damage
}

/// Checks that a range is inside an object of `bytes` bytes.
pub(crate) fn check_range(offset: u64, length: usize, bytes: u64) -> Result<(), StoreError> {
    let end = offset.saturating_add(length as u64);
    if end > bytes {
        return Err(StoreError::OutOfRange { offset, end, bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// The first page of an address space is never mapped, so reading it fails with `EIO`.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_object_with_bytes_that_cannot_be_read_is_damaged() {
        let path = PathBuf::from("/proc/self/mem");
        let file = File::open(&path).unwrap();
        let hash = ContentHash::from_slice(&[7; 32]).unwrap();
        let reader = FileReader { hash, bytes: 100, file, path };
        let error = reader.read_at(0, &mut [0; 100]).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(found) if found == hash), "{error}");
    }

    #[test]
    fn what_this_machine_lacks_says_nothing_about_an_object() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
            let hash = ContentHash::from_slice(&[7; 32]).unwrap();
            let error = read_error(&hash, "opening", Path::new("x"), errno.into());
            assert!(!error.is_damage(), "{error}");
        }
    }
}
