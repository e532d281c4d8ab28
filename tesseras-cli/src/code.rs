//! What kind of failure ended a command: one word for scripts, which stays the same between versions.

use std::error::Error;
use std::io;

use tesseras_core::ports::StoreError;
use tesseras_rpc::Cause;

/// What kind of failure it is: one of the constants, or what the node named ([`Cause::code`]). Codes
/// with the same word are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(&'static str);

/// Defines the constants, and the list of them from the same lines.
macro_rules! codes {
    ($($(#[$about:meta])* $name:ident = $word:literal,)*) => {
        impl Code {
            $($(#[$about])* pub const $name: Self = Self($word);)*

            /// All but those of the node ([`Cause::CODES`]).
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

codes! {
    /// It was tried, and failed; the message says why.
    FAILED = "failed",
    /// The command was used wrongly: nothing was tried.
    USAGE = "usage",
    /// A signal ended the command before it was done.
    INTERRUPTED = "interrupted",
    /// No node runs on the data directory.
    NOT_RUNNING = "not_running",
    /// The node ended, or no longer answers.
    NO_ANSWER = "no_answer",
    /// The node is of another version.
    OTHER_VERSION = "other_version",
    /// This user has no permission for it.
    NOT_ALLOWED = "not_allowed",
    /// There is no data directory at this path.
    NO_DATA_DIR = "no_data_dir",
    /// There is no identity yet.
    NO_IDENTITY = "no_identity",
    /// The tessera is not in the library.
    NOT_IN_LIBRARY = "not_in_library",
    /// The text is no hash and no code; perhaps a character is wrong.
    NOT_A_HASH = "not_a_hash",
    /// The first digits name more than one tessera.
    AMBIGUOUS = "ambiguous",
    /// What is stored is damaged.
    DAMAGED = "damaged",
    /// What was to be kept or imported changed or vanished while it was read.
    CHANGED = "changed",
    /// The destination exists already; it is left as it is.
    EXISTS = "exists",
    /// The directory is not an exported capsule.
    NO_CAPSULE = "no_capsule",
    /// The tessera is not published.
    NOT_PUBLISHED = "not_published",
    /// The tessera is being published already.
    IN_PROGRESS = "in_progress",
    /// The index of the data directory is missing or damaged.
    INDEX_DAMAGED = "index_damaged",
    /// The disk is full.
    DISK_FULL = "disk_full",
    /// The disk has too little room for what was to be done.
    NO_SPACE = "no_space",
    /// The passphrase does not open the file.
    WRONG_PASSPHRASE = "wrong_passphrase",
}

impl Code {
    /// The word.
    pub fn word(self) -> &'static str {
        self.0
    }

    /// The code of a store error. Those that only opening a data directory meets are here, the others
    /// in [`Cause::of_store`].
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. } => {
                Self::INDEX_DAMAGED
            }
            StoreError::ReadOnly { .. }
            | StoreError::NotOwned { .. }
            | StoreError::Shared { .. } => Self::NOT_ALLOWED,
            StoreError::Backend { source, .. } if is_denied(&**source) => Self::NOT_ALLOWED,
            StoreError::NewerFormat { .. } | StoreError::OlderVersionRuns { .. } => {
                Self::OTHER_VERSION
            }
            StoreError::Full { .. }
            | StoreError::Blocked(_)
            | StoreError::Missing(_)
            | StoreError::Corrupt(_)
            | StoreError::OutOfRange { .. }
            | StoreError::Mismatch { .. }
            | StoreError::Locked { .. }
            | StoreError::IndexGone { .. }
            | StoreError::Backend { .. } => (&Cause::of_store(error)).into(),
        }
    }
}

/// Whether the system refused this user.
fn is_denied(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

impl From<&Cause> for Code {
    fn from(cause: &Cause) -> Self {
        Self(cause.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::command_error::CommandError;

    #[test]
    fn the_manual_lists_every_code_and_no_other() {
        let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
        let manual = std::fs::read_to_string(manual).expect("the manual");
        let section = manual.split("\n## ").find(|text| text.starts_with("Codes of failures\n"));
        let rows = section.expect("a section").lines().filter_map(|line| {
            line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code.to_owned())
        });
        let rows: Vec<String> = rows.collect();
        let listed: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
        assert_eq!(listed.len(), rows.len(), "none is listed twice");
        let known =
            Code::ALL.iter().map(|code| code.word()).chain(Cause::CODES.iter().copied()).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn a_failure_has_one_code_wherever_it_is_met() {
        let locked = StoreError::Locked { what: "the database".to_owned() };
        assert_eq!(Code::of_store(&locked), Code::from(&Cause::of_store(&locked)));
        assert_eq!(Code::of_store(&locked).word(), "locked");
        assert_ne!(Code::of_store(&locked), Code::from(&Cause::Busy), "a node at its limit");
        assert_eq!(Code::from(&Cause::Damaged), Code::DAMAGED);
    }

    #[test]
    fn an_index_that_an_older_version_has_open_is_of_another_version() {
        let older =
            StoreError::OlderVersionRuns { path: "/srv/x".to_owned(), found: 11, known: 12 };
        assert_eq!(Code::of_store(&older), Code::OTHER_VERSION);
        let shown = CommandError::from(older);
        assert!(shown.message().contains("format 11") && shown.message().contains("older version"));
        assert!(shown.hint().is_some_and(|hint| hint.contains("stop tesd")));
    }

    #[test]
    fn a_data_directory_that_is_not_this_users_alone_is_not_allowed() {
        let path = "/srv/tesseras".to_owned();
        let other = StoreError::NotOwned { path: path.clone(), owner: 1, caller: 2 };
        assert_eq!(Code::of_store(&other), Code::NOT_ALLOWED);
        assert_eq!(Code::of_store(&StoreError::Shared { path }), Code::NOT_ALLOWED);
    }
}
