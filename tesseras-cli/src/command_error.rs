//! The one place where errors of the lower layers become a message, a code, a hint and an exit code.

use std::io;
use std::process::ExitCode;

use tesseras_core::ports::StoreError;

use crate::code::Code;

/// What to do about a damaged tessera. What is intact of it stays.
pub const MEND: &str = "`tes verify HASH` says what is damaged; if it was published, `tes fetch \
                        HASH` mends it and keeps what is intact";

/// What to do about an index that was removed or replaced.
pub const INDEX_GONE: &str = "stop tesd, put the directory db/ back as it was if you can, and start \
                              tesd again; if it is lost, `tes repair --library` lists your \
                              tesserae again from their files";

/// What to give where an exported tessera is expected.
pub const EXPORTED: &str = "give the directory tessera-… that `tes export` wrote";

/// What to do about a full disk.
const FREE_SPACE: &str = "free some disk space, then repeat the command";

/// Why a command failed, in words for people and as a code for scripts.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    hint: Option<String>,
    code: Code,
}

impl CommandError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: Code::FAILED }
    }

    /// The command line asks for something that cannot be done as it is written: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).with_code(Code::USAGE)
    }

    /// Adds what the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what kind of failure it is.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// An action on a path that the system refused.
    pub fn io(action: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let failed = Self::new(format!("cannot {action} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                failed.with_code(Code::NOT_ALLOWED).with_hint("check who owns it")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failed.with_code(Code::DISK_FULL).with_hint(FREE_SPACE)
            }
            _ => failed,
        }
    }

    /// One sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// 2 for wrong usage, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self.code {
            Code::USAGE => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// What the person can do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let failed = Self::new(error.to_string()).with_code(Code::of_store(&error));
        match error {
            StoreError::Full { .. } => failed.with_hint(FREE_SPACE),
            StoreError::Missing(_) | StoreError::Corrupt(_) => failed.with_hint(MEND),
            StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. } => failed.with_hint(
                "`tes repair --library` lists your tesserae again from the stored files; it \
                 deletes nothing",
            ),
            StoreError::IndexGone { .. } => failed.with_hint(INDEX_GONE),
            StoreError::ReadOnly { .. } => failed.with_hint(
                "make the data directory writable; `tes list`, `show`, `verify`, `export` and \
                 `card` work without",
            ),
            StoreError::NotOwned { .. } => failed.with_hint(
                "run tes as that user, or choose a data directory of your own with --data-dir DIR",
            ),
            StoreError::Shared { .. } => {
                failed.with_hint("choose a data directory of your own with --data-dir DIR")
            }
            StoreError::NewerFormat { .. } => failed.with_hint(
                "install a newer version of tes; if none has been used here, `tes repair --library` \
                 finds out whether the number is damaged",
            ),
            StoreError::OlderVersionRuns { .. } => failed.with_hint(
                "stop tesd, and every tes that is still running, then repeat the command and start \
                 the newer tesd",
            ),
            StoreError::Locked { .. } => failed.with_hint(
                "try again in a moment; if that does not help, stop tesd and repeat the command",
            ),
            StoreError::Blocked(_) => {
                failed.with_hint("it was dropped in the meantime; repeat the command to let it in")
            }
            StoreError::OutOfRange { .. }
            | StoreError::Mismatch { .. }
            | StoreError::Backend { .. } => failed,
        }
    }
}
