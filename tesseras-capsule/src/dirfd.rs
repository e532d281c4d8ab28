//! Opens paths beneath a directory and nothing outside it: every component of a path is opened
//! relative to the handle of the previous one, and symbolic links are never followed.
//!
//! So neither a link in a hostile capsule nor one that appears during the work leads outside. Files
//! and directories are created in the same way, and only where none exists yet.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, Stat, fstat, mkdirat, openat, statat,
    unlinkat,
};
use tesseras_core::lock::lock;

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Symlink,
    /// A pipe, a socket or a device.
    Special,
    /// It was removed while the directory was listed.
    Gone,
}

/// One entry of a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
    pub bytes: u64,
}

/// Identifies the state of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    pub bytes: u64,
    /// Seconds since 1970.
    pub modified: i64,
    /// And the nanoseconds after that, 0 to 999,999,999.
    pub nanoseconds: i64,
    inode: u64,
}

/// A directory and all beneath it. Paths are relative bytes with `/` between components; an empty
/// path is the directory itself.
pub(crate) struct Folder {
    root: Arc<OwnedFd>,
    /// The directory that was opened last: neighbouring files are usually opened one after another.
    last: Mutex<Option<(Vec<u8>, Arc<OwnedFd>)>>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a directory given by the user. The path itself may be a symbolic link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = Arc::new(openat(CWD, path, DIRECTORY, Mode::empty())?);
        Ok(Self { root, last: Mutex::new(None) })
    }

    /// Whether the directory is no longer at the path at which it was opened: it was removed, moved
    /// or unmounted.
    pub fn has_left(&self, path: &Path) -> bool {
        let place = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        let there = openat(CWD, path, DIRECTORY, Mode::empty()).ok();
        let there = there.and_then(|there| place(&there));
        there.is_none() || there != place(&self.root)
    }

    fn directory(&self, path: &[u8]) -> io::Result<Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some((known, handle)) = &*lock(&self.last)
            && known == path
        {
            return Ok(Arc::clone(handle));
        }
        let mut handle = Arc::clone(&self.root);
        for name in path.split(|b| *b == b'/') {
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            handle = Arc::new(openat(&*handle, name, flags, Mode::empty())?);
        }
        *lock(&self.last) = Some((path.to_vec(), Arc::clone(&handle)));
        Ok(handle)
    }

    /// The entries of a directory in byte order of their names; `None` if there are more than
    /// `limit`.
    pub fn list(&self, path: &[u8], limit: usize) -> io::Result<Option<Vec<Entry>>> {
        let handle = self.directory(path)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&*handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if entries.len() == limit {
                return Ok(None);
            }
            let (kind, bytes) = match statat(&*handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => (kind_of(&stat), u64::try_from(stat.st_size).unwrap_or(0)),
                Err(rustix::io::Errno::NOENT) => (Kind::Gone, 0),
                Err(e) => return Err(e.into()),
            };
            entries.push(Entry { name: name.to_vec(), kind, bytes });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(entries))
    }

    /// Reads a short file; `None` if it is longer than `limit` bytes.
    pub fn read_whole(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.file(path.as_bytes())?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= limit))
    }

    /// Opens a regular file for reading. A link, pipe or device is refused without waiting for
    /// anybody at its other end.
    pub fn file(&self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = parent_and_name(path);
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(&*self.directory(parent)?, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(file)
    }

    /// Creates a directory; its parent exists, and the name is unused.
    pub fn make_directory(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = parent_and_name(path);
        Ok(mkdirat(&*self.directory(parent)?, name, Mode::RWXU | Mode::RWXG | Mode::RWXO)?)
    }

    /// Ensures that a directory exists, and those above it.
    pub fn make_directories(&self, path: &[u8]) -> io::Result<()> {
        let ends = (0..path.len()).filter(|at| path[*at] == b'/').chain([path.len()]);
        for end in ends {
            match self.make_directory(&path[..end]) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Creates a file and opens it for writing; its parent exists, and the name is unused.
    pub fn make_file(&self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = parent_and_name(path);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        Ok(File::from(openat(&*self.directory(parent)?, name, flags, mode)?))
    }

    /// Removes a file.
    pub fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = parent_and_name(path);
        Ok(unlinkat(&*self.directory(parent)?, name, AtFlags::empty())?)
    }
}

fn kind_of(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode as RawMode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    }
}

fn parent_and_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    }
}

/// The state of an open file, to be compared with a later one.
pub(crate) fn state(file: &File) -> io::Result<FileState> {
    let stat = fstat(file)?;
    Ok(FileState {
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified: stat.st_mtime,
        nanoseconds: stat.st_mtime_nsec as i64,
        inode: stat.st_ino,
    })
}
