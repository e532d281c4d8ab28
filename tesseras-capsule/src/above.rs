//! The directories above one that is written: those that do not exist are created, and removed again
//! if nothing is put into them, also when the process is ended by a signal
//! ([`discard_unfinished`](crate::discard_unfinished)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tesseras_disk::{Disk, parent_of};

use crate::partial::{Failed, forget_above, own};

/// Directories that were created, the uppermost first. Dropped, they are removed as far as they are
/// empty.
pub(crate) struct Above {
    created: Vec<PathBuf>,
}

impl Above {
    /// Makes sure that a directory exists, and those above it.
    pub fn create(path: &Path) -> Result<Self, Failed> {
        let mut above = Self { created: Vec::new() };
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
            .collect();
        for directory in missing.into_iter().rev() {
            // While it is held, the process does not end.
            let mut own = own().map_err(|e| (directory.to_owned(), e))?;
            match fs::create_dir(directory) {
                Ok(()) => {
                    own.created_above(directory);
                    above.created.push(directory.to_owned());
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
                Err(e) => return Err((directory.to_owned(), e)),
            }
        }
        Ok(above)
    }

    /// Makes their names survive a power cut.
    pub fn sync(&self, disk: &dyn Disk) -> Result<(), Failed> {
        for directory in &self.created {
            let parent = parent_of(directory);
            disk.sync_directory(parent).map_err(|e| (parent.to_owned(), e))?;
        }
        Ok(())
    }

    /// They stay.
    pub fn keep(mut self) {
        forget_above(&self.created);
        self.created.clear();
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        for directory in self.created.iter().rev() {
            // Fails if anything is in it.
            let _ = fs::remove_dir(directory);
        }
        forget_above(&self.created);
    }
}
