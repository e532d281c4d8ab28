//! Opens only regular files: it follows no link, and never waits for the other end of a pipe.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tesseras_core::ports::StoreError;

use crate::error::io_error;

/// Opens a file for reading; `None` if it is not a regular file. A missing file is an error of the
/// kind `NotFound`.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // A link, or a socket.
        Err(Errno::LOOP | Errno::NXIO | Errno::OPNOTSUPP) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// A whole file; `None` if it is not there, longer than `limit` bytes, or not a regular file.
pub(crate) fn read_whole(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let bytes = read_start(path, limit + 1)?;
    Ok(bytes.filter(|bytes| bytes.len() as u64 <= limit))
}

/// The first `limit` bytes of a file; `None` if it is not there, or not a regular file.
pub(crate) fn read_start(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("opening", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| io_error("reading", path, e))?;
    Ok(Some(bytes))
}
