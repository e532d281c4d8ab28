//! Which change fails.

use rustix::io::Errno;

/// Which of the counted changes fails. Syncs count as changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// None.
    #[default]
    Never,
    /// Only the one of this number, with this error.
    Once(u64, Errno),
    /// Only the next sync of SQLite's log through the port, with this error, as on Linux: what was
    /// not yet synced of the log stays in memory, counts as written, and is not written unless it
    /// is changed again.
    NextLogSync(Errno),
}

impl Fault {
    /// The error of the change of this number.
    pub(crate) fn at(self, number: u64) -> Option<Errno> {
        match self {
            Self::Once(at, errno) if number == at => Some(errno),
            _ => None,
        }
    }
}
