//! Restores a folder: the files of a capsule's memories with their names and dates, and nothing
//! else.
//!
//! Every byte is verified against the MANIFEST while it is written. Damaged files are reported and
//! left out, so that one bad file does not cost the others. The folder gets its name when it is
//! complete and on disk.

mod places;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tesseras_core::ids::ContentHash;
use tesseras_core::manifest::FileEntry;
use tesseras_core::pack::directory_name;
use tesseras_core::path::CapsulePath;
use tesseras_core::ports::{BlobStore, StoreError};
use tesseras_core::progress::Meter;
use tesseras_crypto::{Blake3, blake3};
use tesseras_disk::{Disk, OsDisk, parent_of};
use thiserror::Error;

use crate::above::Above;
use crate::dirfd::Folder;
use crate::meta::{Meta, point_in_time, spelled};
use crate::open::{OpenError, StoredCapsule};
use crate::pack_reader::Sequential;
use crate::partial::{Failed, Partial, remove_abandoned_alone};
use crate::pump::Pump;
use crate::walk::printable_path;
use places::{Placed, Places};

/// The result of restoring a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The directory with the tree of the original folder.
    pub path: PathBuf,
    /// How many files are in it.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// Files that have a different name than before.
    pub renamed: Vec<Renamed>,
    /// Files of the capsule that are lost or damaged. Memories among them are not in the folder.
    pub damaged: Vec<Damaged>,
    /// Files whose date is unknown, or cannot be set here: their paths in the folder.
    pub undated: Vec<String>,
}

/// A file that could not be restored under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// Its original path, safe to print; its path in the capsule, if that is unknown.
    pub path: String,
    /// Its path now.
    pub now: String,
    /// The reason.
    pub reason: String,
}

/// A file of a capsule that differs from its MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its path in the capsule.
    pub path: String,
    /// Its path in its owner's folder, if known.
    pub original: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a folder was not restored. Nothing of it is left at the destination then.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The destination is not an empty directory.
    #[error("{} is not an empty directory; it is left as it is", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// A file or directory cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No memory is intact.
    #[error("none of the memories can be restored: {} files are damaged", damaged.len())]
    Nothing {
        /// What is wrong with each.
        damaged: Vec<Damaged>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the original folder of a capsule to `dest`, which must not exist or be an empty
/// directory.
///
/// Names that the file system refuses, or that are not allowed, are replaced by safe ones and
/// listed in [`Restored::renamed`]. Memory: the MANIFEST, a few buffers, and the report. When it
/// returns, the folder survives a power cut.
pub fn restore(
    capsule: &StoredCapsule,
    blobs: &dyn BlobStore,
    dest: &Path,
    progress: &Meter,
) -> Result<Restored, RestoreError> {
    restore_on_disk(&OsDisk, capsule, blobs, dest, progress)
}

/// [`restore`] on a given disk, for tests in which disks fail.
pub fn restore_on_disk(
    disk: &dyn Disk,
    capsule: &StoredCapsule,
    blobs: &dyn BlobStore,
    dest: &Path,
    progress: &Meter,
) -> Result<Restored, RestoreError> {
    remove_abandoned_alone(dest);
    // An existing directory may be a mount point, which cannot be replaced by renaming: then the
    // partial one is created inside it, otherwise beside it.
    let into_existing = is_empty_directory(dest)?;
    let parent = if into_existing { dest } else { parent_of(dest) };
    let above = Above::create(parent)?;
    let partial = Partial::make(disk, parent, &directory_name(&capsule.hash()))?;
    let folder = Folder::open(partial.path()).map_err(failed(partial.path()))?;
    let memories: Vec<&FileEntry> = capsule.files().iter().filter(|f| is_memory(f)).collect();
    let bytes = memories.iter().fold(0_u64, |sum, f| sum.saturating_add(f.bytes));
    progress.begin(bytes);

    let mut restoring = Restoring {
        disk,
        capsule,
        blobs,
        partial: &partial,
        folder: &folder,
        places: Places::new(&folder),
        contexts: HashSet::new(),
        pump: Pump::new(),
        progress,
        out: Restored {
            path: dest.to_owned(),
            files: 0,
            bytes: 0,
            renamed: Vec::new(),
            damaged: Vec::new(),
            undated: Vec::new(),
        },
    };
    for memory in memories.chunk_by(|a, b| directory_of(a) == directory_of(b)) {
        restoring.memory(memory)?;
    }
    let out = restoring.out;
    if out.files == 0 {
        return Err(RestoreError::Nothing { damaged: out.damaged });
    }
    above.sync(disk)?;
    let finished = match into_existing {
        true => partial.finish_into(disk, dest),
        false => partial.finish(disk, dest),
    };
    finished.map_err(|(path, source)| match source.kind() {
        io::ErrorKind::AlreadyExists => RestoreError::Exists { path: dest.to_owned() },
        _ => (path, source).into(),
    })?;
    above.keep();
    Ok(out)
}

impl From<Failed> for RestoreError {
    fn from((path, source): Failed) -> Self {
        Self::Write { path, source }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::Write { path, source }
}

/// Whether a destination exists and is empty. An error if it exists and is anything else.
fn is_empty_directory(dest: &Path) -> Result<bool, RestoreError> {
    let exists = || RestoreError::Exists { path: dest.to_owned() };
    match fs::read_dir(dest) {
        Ok(mut entries) => match entries.next() {
            None => Ok(true),
            Some(_) => Err(exists()),
        },
        Err(_) if dest.symlink_metadata().is_ok_and(|found| !found.is_dir()) => Err(exists()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(dest)(e)),
    }
}

const MEMORIES: &str = "memories/";

/// Whether a file is a memory's medium or context.
fn is_memory(file: &FileEntry) -> bool {
    let inner = file.path.as_str().strip_prefix(MEMORIES).and_then(|path| path.split_once('/'));
    inner.is_some_and(|(_, name)| !name.contains('/') && (is_medium(name) || is_context(name)))
}

fn is_medium(name: &str) -> bool {
    name.starts_with("media.")
}

fn is_context(name: &str) -> bool {
    name == "context.txt"
}

fn directory_of(file: &FileEntry) -> &str {
    file.path.as_str().rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// A folder that is being restored.
struct Restoring<'a> {
    disk: &'a dyn Disk,
    capsule: &'a StoredCapsule,
    blobs: &'a dyn BlobStore,
    partial: &'a Partial,
    folder: &'a Folder,
    places: Places<'a>,
    /// Contexts already written, by the digests of their path and content: one text may be that of
    /// several memories.
    contexts: HashSet<(ContentHash, ContentHash)>,
    pump: Pump,
    progress: &'a Meter,
    out: Restored,
}

/// Untrusted metadata of the original file.
#[derive(Clone, Copy, Default)]
struct Before<'a> {
    path: Option<&'a str>,
    /// The path in another normalization form.
    spelling: Option<&'a str>,
    modified: Option<&'a str>,
}

/// Why a file's content is not written.
enum Stop {
    Damaged(&'static str),
    Fail(RestoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match fault_of(&error) {
            Some(fault) => Self::Damaged(fault),
            None => Self::Fail(error.into()),
        }
    }
}

/// The fault of one object in an error; `None` if it concerns the whole store.
fn fault_of(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Missing(_) => Some("it is missing"),
        StoreError::Corrupt(_) => Some("it is damaged"),
        StoreError::OutOfRange { .. } => Some("it is too short"),
        StoreError::Backend { .. } => Some("it cannot be read"),
        _ => None,
    }
}

impl Restoring<'_> {
    /// Writes the files of one memory.
    fn memory(&mut self, files: &[&FileEntry]) -> Result<(), RestoreError> {
        let Some(first) = files.first() else { return Ok(()) };
        let directory = directory_of(first);
        let meta = self.meta(&format!("{directory}/meta.json"))?;
        for file in files {
            let name = &file.path.as_str()[directory.len() + 1..];
            // Without a name of its own, a file is named after its memory.
            let extension = name.rsplit_once('.').map_or("bin", |(_, extension)| extension);
            let spare = format!("{}.{extension}", &directory[MEMORIES.len()..]);
            let before = match &meta {
                None => Before::default(),
                Some(meta) if is_medium(name) => Before {
                    path: Some(&meta.original),
                    spelling: meta.original_spelling.as_deref(),
                    modified: meta.modified.as_deref(),
                },
                Some(meta) => Before {
                    path: meta.context.as_deref(),
                    spelling: meta.context_spelling.as_deref(),
                    modified: meta.context_modified.as_deref(),
                },
            };
            if is_context(name) {
                let path = before.spelling.or(before.path).unwrap_or(file.path.as_str());
                if !self.contexts.insert((blake3(path.as_bytes()), file.blake3)) {
                    self.progress.add(file.bytes);
                    continue;
                }
            }
            self.file(file, before, &spare)?;
        }
        Ok(())
    }

    /// The metadata of a memory; `None`, and reported, if it is damaged.
    fn meta(&mut self, path: &str) -> Result<Option<Meta>, RestoreError> {
        let reason = match self.capsule.meta(self.blobs, path) {
            Ok(meta) => return Ok(Some(meta)),
            Err(OpenError::Store(error)) => match fault_of(&error) {
                Some(fault) => fault.to_owned(),
                None => return Err(error.into()),
            },
            Err(OpenError::Meta { reason, .. }) => reason,
            Err(other) => other.to_string(),
        };
        self.out.damaged.push(Damaged { path: path.to_owned(), original: None, reason });
        Ok(None)
    }

    /// Writes one file under its name or a safe one, unless it is damaged.
    fn file(&mut self, file: &FileEntry, before: Before, spare: &str) -> Result<(), RestoreError> {
        let Before { path: original, spelling, modified } = before;
        let wanted = match original {
            None => Err("its name is not known".to_owned()),
            Some(text) => CapsulePath::new(text)
                .map(|path| spelled(&path, spelling).to_owned())
                .map_err(|e| format!("its name is not allowed in a capsule: {e}")),
        };
        let spare = original.and_then(|text| text.rsplit('/').next()).unwrap_or(spare);
        let Placed { file: mut target, path, reason } =
            self.places.make(wanted, spare).map_err(|(path, source)| {
                let path = self.partial.path().join(path);
                RestoreError::Write { path, source }
            })?;
        match self.write(file, &mut target, &path) {
            Ok(()) => {}
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Damaged(reason)) => {
                let removed = self.folder.remove_file(path.as_bytes());
                removed.map_err(failed(&self.partial.path().join(&path)))?;
                self.out.damaged.push(Damaged {
                    path: file.path.as_str().to_owned(),
                    original: original.map(|text| printable_path(text.as_bytes())),
                    reason: reason.to_owned(),
                });
                return Ok(());
            }
        }
        // The file is kept even if this file system cannot store its date.
        let dated =
            modified.and_then(point_in_time).is_some_and(|at| target.set_modified(at).is_ok());
        let synced = self.partial.written(self.disk, &target);
        synced.map_err(failed(&self.partial.path().join(&path)))?;
        self.out.files += 1;
        self.out.bytes += file.bytes;
        if let Some(reason) = reason {
            let before = original.map_or_else(
                || file.path.as_str().to_owned(),
                |text| printable_path(text.as_bytes()),
            );
            self.out.renamed.push(Renamed { path: before, now: path.clone(), reason });
        }
        if !dated {
            self.out.undated.push(path);
        }
        Ok(())
    }

    /// Copies a file's content, and verifies it.
    fn write(&mut self, file: &FileEntry, target: &mut File, path: &str) -> Result<(), Stop> {
        let mut reader = Sequential::open(self.blobs, file)?;
        let mut blake3 = Blake3::default();
        let (disk, progress) = (self.disk, self.progress);
        let full = self.partial.path().join(path);
        let (_, sha256) = self.pump.run::<Stop>(
            |buffer| Ok(reader.read(buffer)?),
            |bytes| {
                blake3.update(bytes);
                progress.add(bytes.len() as u64);
                disk.write(target, bytes).map_err(|e| Stop::Fail(failed(&full)(e)))
            },
        )?;
        if blake3.finish() == file.blake3 && sha256 == file.sha256 {
            Ok(())
        } else {
            Err(Stop::Damaged("it is damaged"))
        }
    }
}
