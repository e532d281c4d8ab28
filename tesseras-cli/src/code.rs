//! What kind of failure ended a command: one word for scripts, which stays the same between versions.

use tesseras_core::ports::StoreError;
use tesseras_rpc::Cause;

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It was tried, and failed; the message says why.
    Failed,
    /// The command was used wrongly: nothing was tried.
    Usage,
    /// Somebody ended the command before it was done.
    Interrupted,
    /// No node runs on the data directory.
    NotRunning,
    /// The node went away, or says nothing any more.
    NoAnswer,
    /// The node is of another version.
    OtherVersion,
    /// This user may not.
    NotAllowed,
    /// There is no identity yet.
    NoIdentity,
    /// The tessera is not in the library.
    NotInLibrary,
    /// The first digits name more than one tessera.
    Ambiguous,
    /// What is stored is damaged.
    Damaged,
    /// The index of the data directory is missing or damaged.
    IndexDamaged,
    /// The disk is full.
    DiskFull,
    /// The disk has too little room for what was to be done.
    NoSpace,
    /// Another process holds what is needed.
    Busy,
    /// The store failed otherwise.
    StoreFailed,
    /// The node failed, and named this code.
    Node(&'static str),
}

impl Code {
    /// All but those of the node ([`Cause::CODES`]).
    #[cfg(test)]
    const ALL: [Self; 16] = [
        Self::Failed,
        Self::Usage,
        Self::Interrupted,
        Self::NotRunning,
        Self::NoAnswer,
        Self::OtherVersion,
        Self::NotAllowed,
        Self::NoIdentity,
        Self::NotInLibrary,
        Self::Ambiguous,
        Self::Damaged,
        Self::IndexDamaged,
        Self::DiskFull,
        Self::NoSpace,
        Self::Busy,
        Self::StoreFailed,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Interrupted => "interrupted",
            Self::NotRunning => "not_running",
            Self::NoAnswer => "no_answer",
            Self::OtherVersion => "other_version",
            Self::NotAllowed => "not_allowed",
            Self::NoIdentity => "no_identity",
            Self::NotInLibrary => "not_in_library",
            Self::Ambiguous => "ambiguous",
            Self::Damaged => "damaged",
            Self::IndexDamaged => "index_damaged",
            Self::DiskFull => "disk_full",
            Self::NoSpace => "no_space",
            Self::Busy => "busy",
            Self::StoreFailed => "store_failed",
            Self::Node(word) => word,
        }
    }

    /// The code of a store error.
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::DiskFull,
            StoreError::Missing(_) | StoreError::Corrupt(_) => Self::Damaged,
            StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. } => Self::IndexDamaged,
            StoreError::ReadOnly { .. } | StoreError::NotOwned { .. } => Self::NotAllowed,
            StoreError::NewerFormat { .. } => Self::OtherVersion,
            StoreError::Busy { .. } => Self::Busy,
            _ => Self::StoreFailed,
        }
    }
}

impl From<&Cause> for Code {
    fn from(cause: &Cause) -> Self {
        Self::Node(cause.code())
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
}
