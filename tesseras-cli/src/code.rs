//! What kind of failure ended a command: one word for scripts, which stays the same between versions.

use std::error::Error;
use std::io;

use tesseras_core::ports::StoreError;
use tesseras_rpc::Cause;

/// What kind of failure it is: one of the constants, or what the node named ([`Cause::code`]). Codes
/// with the same word are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(&'static str);

impl Code {
    /// It was tried, and failed; the message says why.
    pub const FAILED: Self = Self("failed");
    /// The command was used wrongly: nothing was tried.
    pub const USAGE: Self = Self("usage");
    /// A signal ended the command before it was done.
    pub const INTERRUPTED: Self = Self("interrupted");
    /// No node runs on the data directory.
    pub const NOT_RUNNING: Self = Self("not_running");
    /// The node ended, or no longer answers.
    pub const NO_ANSWER: Self = Self("no_answer");
    /// The node is of another version.
    pub const OTHER_VERSION: Self = Self("other_version");
    /// This user has no permission for it.
    pub const NOT_ALLOWED: Self = Self("not_allowed");
    /// There is no identity yet.
    pub const NO_IDENTITY: Self = Self("no_identity");
    /// The tessera is not in the library.
    pub const NOT_IN_LIBRARY: Self = Self("not_in_library");
    /// The text is no hash and no code; perhaps a character is wrong.
    pub const NOT_A_HASH: Self = Self("not_a_hash");
    /// The first digits name more than one tessera.
    pub const AMBIGUOUS: Self = Self("ambiguous");
    /// What is stored is damaged.
    pub const DAMAGED: Self = Self("damaged");
    /// The destination exists already; it is left as it is.
    pub const EXISTS: Self = Self("exists");
    /// The directory is not an exported capsule.
    pub const NO_CAPSULE: Self = Self("no_capsule");
    /// The tessera is not published.
    pub const NOT_PUBLISHED: Self = Self("not_published");
    /// The tessera is being published already.
    pub const IN_PROGRESS: Self = Self("in_progress");
    /// The index of the data directory is missing or damaged.
    pub const INDEX_DAMAGED: Self = Self("index_damaged");
    /// The disk is full.
    pub const DISK_FULL: Self = Self("disk_full");
    /// The disk has too little room for what was to be done.
    pub const NO_SPACE: Self = Self("no_space");
    /// The passphrase does not open the file.
    pub const WRONG_PASSPHRASE: Self = Self("wrong_passphrase");

    /// All but those of the node ([`Cause::CODES`]).
    #[cfg(test)]
    const ALL: [Self; 20] = [
        Self::FAILED,
        Self::USAGE,
        Self::INTERRUPTED,
        Self::NOT_RUNNING,
        Self::NO_ANSWER,
        Self::OTHER_VERSION,
        Self::NOT_ALLOWED,
        Self::NO_IDENTITY,
        Self::NOT_IN_LIBRARY,
        Self::NOT_A_HASH,
        Self::AMBIGUOUS,
        Self::DAMAGED,
        Self::EXISTS,
        Self::NO_CAPSULE,
        Self::NOT_PUBLISHED,
        Self::IN_PROGRESS,
        Self::INDEX_DAMAGED,
        Self::DISK_FULL,
        Self::NO_SPACE,
        Self::WRONG_PASSPHRASE,
    ];

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
            StoreError::NewerFormat { .. } => Self::OTHER_VERSION,
            StoreError::Full { .. }
            | StoreError::Missing(_)
            | StoreError::Corrupt(_)
            | StoreError::OutOfRange { .. }
            | StoreError::Mismatch { .. }
            | StoreError::Busy { .. }
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
        let known = Code::ALL.map(Code::word).into_iter().chain(Cause::CODES).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn a_failure_has_one_code_wherever_it_is_met() {
        let locked = StoreError::Busy { what: "the database".to_owned() };
        assert_eq!(Code::of_store(&locked), Code::from(&Cause::of_store(&locked)));
        assert_eq!(Code::of_store(&locked).word(), "locked");
        assert_ne!(Code::of_store(&locked), Code::from(&Cause::Busy), "a node at its limit");
        assert_eq!(Code::from(&Cause::Damaged), Code::DAMAGED);
    }

    #[test]
    fn a_data_directory_that_is_not_this_users_alone_is_not_allowed() {
        let path = "/srv/tesseras".to_owned();
        let other = StoreError::NotOwned { path: path.clone(), owner: 1, caller: 2 };
        assert_eq!(Code::of_store(&other), Code::NOT_ALLOWED);
        assert_eq!(Code::of_store(&StoreError::Shared { path }), Code::NOT_ALLOWED);
    }
}
