//! The one place where errors of the lower floors become a message, a hint and an exit code.

use std::io;
use std::process::ExitCode;

use tesseras_core::ports::StoreError;
use tesseras_rpc::ClientError;

/// Why a command failed, in words for its person.
#[derive(Debug)]
pub struct CommandError {
    message: String,
    hint: Option<String>,
    usage: bool,
}

impl CommandError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, usage: false }
    }

    /// A command line that lacks something, or says something that cannot be; exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(message) }
    }

    /// Adds what the person can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An action on a path that the system refused.
    pub fn io(action: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let failed = Self::new(format!("cannot {action} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => failed.with_hint("check who owns it"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failed.with_hint("free some disk space, then repeat the command")
            }
            _ => failed,
        }
    }

    /// One sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// 2 for wrong usage, 1 for all else that failed.
    pub fn exit_code(&self) -> ExitCode {
        if self.usage { ExitCode::from(2) } else { ExitCode::FAILURE }
    }

    /// What the person can do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let failed = Self::new(error.to_string());
        match error {
            StoreError::Full { .. } => {
                failed.with_hint("free some disk space, then repeat the command")
            }
            StoreError::Missing(_) | StoreError::Corrupt(_) => failed.with_hint(
                "`tes verify HASH` says what is damaged; `tes fetch HASH` brings a published \
                 tessera back after `tes drop HASH`",
            ),
            StoreError::NewerFormat { .. } => failed.with_hint("install a newer version of tes"),
            StoreError::Busy { .. } => failed.with_hint("try again in a moment"),
            _ => failed,
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let failed = Self::new(error.to_string());
        match error {
            ClientError::NotRunning { data_dir } => {
                failed.with_hint(format!("start one with `tesd --data-dir {}`", data_dir.display()))
            }
            ClientError::PathTooLong { .. } => {
                failed.with_hint("choose a data directory with a shorter path")
            }
            ClientError::Connect { .. } => {
                failed.with_hint("only the user that runs tesd may talk to it")
            }
            ClientError::Ended | ClientError::Silent => {
                failed.with_hint("see what tesd last logged, start it again, repeat the command")
            }
            ClientError::Frame(_) => failed.with_hint("use the tes and the tesd of one version"),
            ClientError::Failed(failure) => match failure.hint {
                Some(hint) => failed.with_hint(hint),
                None => failed,
            },
            _ => failed,
        }
    }
}
