//! The partial directories of this process, so that they can be removed when it is ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use tesseras_core::lock::lock;

/// How often it is tried to remove a directory in which files appear meanwhile. Each thread can add
/// at most the one that it was about to create.
const REMOVALS: usize = 1000;

static OWN: Mutex<Own> = Mutex::new(Own {
    unfinished: Vec::new(),
    above: Vec::new(),
    finished: Vec::new(),
    is_ending: false,
});

/// The directories that this process writes or has written.
pub(crate) struct Own {
    unfinished: Vec<PathBuf>,
    /// Those that were created for them, the uppermost first.
    above: Vec<PathBuf>,
    finished: Vec<PathBuf>,
    /// Whether this process writes none any more, because it is about to exit.
    is_ending: bool,
}

/// What there is of the directories that this process was writing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Complete ones.
    pub finished: Vec<PathBuf>,
    /// Partial ones that could not be removed.
    pub left: Vec<PathBuf>,
}

/// Removes the directories that this process is writing by [`export`](crate::export()) or
/// [`restore`](crate::restore()), of which nothing is left then, neither partial nor under its final
/// name; and the directories that it created above them, if nothing else is in them. For a process that is about to exit while another thread writes: afterwards it can begin
/// and finish none.
pub fn discard_unfinished() -> Discarded {
    let mut own = lock(&OWN);
    own.is_ending = true;
    let mut left = std::mem::take(&mut own.unfinished);
    left.retain(|directory| !is_removed(directory));
    for directory in std::mem::take(&mut own.above).iter().rev() {
        // Fails if anything is in it.
        let _ = fs::remove_dir(directory);
    }
    Discarded { finished: std::mem::take(&mut own.finished), left }
}

fn is_removed(directory: &Path) -> bool {
    // Another thread may create a file, or remove one, at any moment.
    (0..REMOVALS).any(|_| {
        let _ = fs::remove_dir_all(directory);
        directory.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    })
}

/// All of them. While this is held, none begins and none is finished. An error once this process is
/// about to exit.
pub(crate) fn own() -> io::Result<MutexGuard<'static, Own>> {
    let own = lock(&OWN);
    if own.is_ending { Err(io::ErrorKind::Interrupted.into()) } else { Ok(own) }
}

/// It was removed, or the process is about to exit and removes it.
pub(super) fn forget(directory: &Path) {
    lock(&OWN).unfinished.retain(|own| own != directory);
}

/// Directories that this process created are not removed any more when it is ended.
pub(crate) fn forget_above(created: &[PathBuf]) {
    lock(&OWN).above.retain(|own| !created.contains(own));
}

impl Own {
    /// This process has created a directory above one that it is about to write.
    pub(crate) fn created_above(&mut self, directory: &Path) {
        self.above.push(directory.to_owned());
    }

    pub(super) fn begin(&mut self, directory: &Path) {
        self.unfinished.push(directory.to_owned());
    }

    /// It has its final place now.
    pub(super) fn finish(&mut self, directory: &Path, place: &Path) {
        self.unfinished.retain(|own| own != directory);
        self.finished.push(place.to_owned());
    }
}
