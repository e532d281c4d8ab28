//! A real directory whose changes are recorded, and one of which may fail.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tesseras_disk::{Disk, OsDisk};

use crate::fault::Fault;
use crate::step::{FileId, Step, SyncedBy};

/// Everything below a directory, recorded. Changes made while this exists by other means than the
/// port [`Disk`] and SQLite are not seen.
pub struct RecordingDisk {
    root: PathBuf,
    tape: Mutex<Tape>,
}

#[derive(Debug, Default)]
struct Tape {
    steps: Vec<Step>,
    /// What each name refers to now.
    files: BTreeMap<PathBuf, FileId>,
    /// The file with this inode.
    inodes: HashMap<u64, FileId>,
    next: u64,
    fault: Fault,
    /// How many changes were counted.
    touches: u64,
}

impl RecordingDisk {
    /// Records what goes through the port below `root`, which is empty.
    pub(crate) fn new(root: &Path, fault: Fault) -> io::Result<Arc<Self>> {
        // SQLite resolves links in the paths that it opens.
        let root = root.canonicalize()?;
        let tape = Tape { fault, ..Tape::default() };
        Ok(Arc::new(Self { root, tape: Mutex::new(tape) }))
    }

    /// Notes that something is so from here on.
    pub fn mark(&self, number: usize) {
        self.tape().steps.push(Step::Mark(number));
    }

    /// What was recorded so far.
    pub fn steps(&self) -> Vec<Step> {
        self.tape().steps.clone()
    }

    /// What was recorded since this was last called. [`Self::steps`] no longer has it.
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.tape().steps)
    }

    /// How many changes and syncs were counted so far, failed ones included.
    pub fn touches(&self) -> u64 {
        self.tape().touches
    }

    /// From now on, changes fail like this; the count goes on.
    pub fn set_fault(&self, fault: Fault) {
        self.tape().fault = fault;
    }

    /// The recorded directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path below the root; `None` for any other.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        if let Ok(inside) = path.strip_prefix(&self.root) {
            return Some(inside.to_owned());
        }
        let (above, name) = (path.parent()?, path.file_name()?);
        let above = above.canonicalize().ok()?;
        Some(above.join(name).strip_prefix(&self.root).ok()?.to_owned())
    }

    /// Counts a change, makes it unless it is to fail, and records it if it was made.
    fn change<T>(
        &self,
        make: impl FnOnce() -> io::Result<T>,
        record: impl FnOnce(&mut Tape, &T),
    ) -> io::Result<T> {
        let mut tape = self.tape();
        tape.count()?;
        let made = make()?;
        record(&mut tape, &made);
        Ok(made)
    }

    /// A change by SQLite, which `make` makes and reports whether it did.
    pub(crate) fn sqlite_change(
        &self,
        step: Step,
        make: impl FnOnce() -> bool,
    ) -> Result<(), Errno> {
        let mut tape = self.tape();
        tape.count()?;
        if make() {
            tape.record(step);
        }
        Ok(())
    }

    /// SQLite has opened a file, and may have created it.
    pub(crate) fn sqlite_opened(&self, path: &Path) -> Option<FileId> {
        let inside = self.inside(path)?;
        let inode = std::fs::metadata(path).ok()?.ino();
        let mut tape = self.tape();
        Some(match tape.files.get(&inside) {
            Some(known) => *known,
            None => tape.create(inside, inode),
        })
    }

    /// The name of a file for [`Step::Remove`] and [`Step::SyncDirectory`].
    pub(crate) fn name(&self, path: &Path) -> Option<PathBuf> {
        self.inside(path)
    }

    /// Renames a file. A renamed directory is not recorded.
    fn renamed(
        &self,
        from: &Path,
        to: &Path,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.change(rename, |tape, ()| {
            if let (Some(from), Some(to)) = (self.inside(from), self.inside(to))
                && let Some(file) = tape.files.get(&from).copied()
            {
                tape.record(Step::Rename { from, to, file });
            }
        })
    }
}

impl Tape {
    fn count(&mut self) -> Result<(), Errno> {
        let number = self.touches;
        self.touches += 1;
        match self.fault.at(number) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    fn record(&mut self, step: Step) {
        match &step {
            Step::Rename { from, to, file } => {
                self.files.remove(from);
                self.files.insert(to.clone(), *file);
            }
            Step::Link { path, file } => {
                self.files.insert(path.clone(), *file);
            }
            Step::Remove(path) => {
                self.files.remove(path);
            }
            _ => {}
        }
        self.steps.push(step);
    }

    fn create(&mut self, path: PathBuf, inode: u64) -> FileId {
        let file = FileId(self.next);
        self.next += 1;
        self.files.insert(path.clone(), file);
        // The number of a file that is gone may be used again.
        self.inodes.insert(inode, file);
        self.steps.push(Step::Create { path, file });
        file
    }

    /// Fails once with [`Fault::NextLogSync`].
    fn fail_log_sync(&mut self, wal: &File) -> Result<(), Errno> {
        let Fault::NextLogSync(errno) = self.fault else { return Ok(()) };
        self.fault = Fault::Never;
        self.touches += 1;
        let file = self.file_of(wal);
        self.steps.extend(file.map(Step::Lost));
        Err(errno)
    }

    fn synced(&mut self, file: &File, by: SyncedBy) {
        let Some(file) = self.file_of(file) else { return };
        let path = self.files.iter().find(|(_, id)| **id == file);
        let path = path.map(|(path, _)| path.clone()).unwrap_or_default();
        self.record(Step::SyncFile { file, path, by });
    }

    fn file_of(&self, file: &File) -> Option<FileId> {
        self.inodes.get(&file.metadata().ok()?.ino()).copied()
    }
}

impl std::fmt::Debug for RecordingDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingDisk").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Disk for RecordingDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.change(
            || OsDisk.create_directory(path),
            |tape, ()| {
                tape.steps.extend(self.inside(path).map(Step::CreateDirectory));
            },
        )
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.change(
            || OsDisk.remove_directory(path),
            |tape, ()| {
                tape.steps.extend(self.inside(path).map(Step::RemoveDirectory));
            },
        )
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.change(
            || OsDisk.create(path),
            |tape, file| {
                if let (Some(inside), Ok(made)) = (self.inside(path), file.metadata()) {
                    tape.create(inside, made.ino());
                }
            },
        )
    }

    /// A write that fails has written the first half.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let at = file.stream_position()?;
        let mut tape = self.tape();
        let outcome = tape.count();
        let written = if outcome.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        OsDisk.write(file, written)?;
        if let Some(id) = tape.file_of(file) {
            tape.record(Step::Write { file: id, at, bytes: written.to_vec() });
        }
        Ok(outcome?)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        self.change(|| OsDisk.sync_file(file), |tape, ()| tape.synced(file, SyncedBy::Disk))
    }

    fn tells_all_errors(&self, _: &File) -> bool {
        true
    }

    fn sync_file_system(&self, directory: &File) -> io::Result<()> {
        self.change(
            || OsDisk.sync_file_system(directory),
            |tape, ()| tape.record(Step::SyncFileSystem),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.renamed(from, to, || OsDisk.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.renamed(from, to, || OsDisk.rename_new(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(
            || OsDisk.link(from, to),
            |tape, ()| {
                if let (Some(from), Some(path)) = (self.inside(from), self.inside(to))
                    && let Some(file) = tape.files.get(&from).copied()
                {
                    tape.record(Step::Link { path, file });
                }
            },
        )
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(
            || OsDisk.sync_directory(path),
            |tape, ()| {
                let inside = match path.canonicalize() {
                    Ok(path) => path.strip_prefix(&self.root).map(Path::to_owned).ok(),
                    Err(_) => None,
                };
                tape.steps.extend(inside.map(Step::SyncDirectory));
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(
            || OsDisk.remove(path),
            |tape, ()| {
                if let Some(inside) = self.inside(path) {
                    tape.record(Step::Remove(inside));
                }
            },
        )
    }

    fn sync_wal(&self, wal: &File) -> io::Result<()> {
        self.tape().fail_log_sync(wal)?;
        self.change(|| OsDisk.sync_wal(wal), |tape, ()| tape.synced(wal, SyncedBy::Log))
    }

    fn before_commit(&self) -> io::Result<()> {
        self.change(|| Ok(()), |_, ()| {})
    }
}
