//! What could not be removed.

use std::io;
use std::path::Path;

use tesseras_core::ports::StoreError;

/// How many reasons are kept.
const REASONS: usize = 8;

/// Files that nothing needs and that could not be removed. They take space and do no other harm:
/// they stay, and removing them is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotRemoved {
    /// How many.
    pub files: u64,
    /// The first reasons, at most eight, as messages for people that name the file.
    pub reasons: Vec<String>,
}

/// Whether it is certain that there is nothing of this name.
pub(crate) fn is_gone(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

impl NotRemoved {
    /// Adds this many files that were not removed for one reason.
    pub(crate) fn add(&mut self, files: u64, error: &StoreError) {
        self.files += files;
        if self.reasons.len() < REASONS {
            self.reasons.push(error.to_string());
        }
    }

    /// Adds those of another step.
    pub(crate) fn merge(&mut self, other: Self) {
        self.files += other.files;
        let room = REASONS.saturating_sub(self.reasons.len());
        self.reasons.extend(other.reasons.into_iter().take(room));
    }

    /// Logs them, if there are any.
    pub fn warn(&self) {
        if self.files > 0 {
            let (files, reasons) = (self.files, self.reasons.join("; "));
            tracing::warn!(files, reasons, "files that nothing needs could not be removed");
        }
    }
}
