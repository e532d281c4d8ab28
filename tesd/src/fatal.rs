//! Errors that end `tesd` before a node runs: what failed, what to do about it, and the exit code;
//! on stderr, in the format of the logs.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tesseras_core::ports::StoreError;
use tesseras_node::StartError;
use tesseras_node::identity::IdentityError;
use tesseras_rpc::ServerError;
use tracing::error;

use crate::config::{ConfigError, LogFormat};

/// Exit code for a configuration that is refused.
const BAD_CONFIG: u8 = 2;

/// A failure that ends the daemon.
#[derive(Debug)]
pub enum Fatal {
    /// The configuration is refused.
    Config(ConfigError),
    /// The system refuses threads or signal handlers.
    System(io::Error),
    /// The node does not start.
    Start(StartError),
}

impl From<io::Error> for Fatal {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<StartError> for Fatal {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl Fatal {
    /// Reports the error, whatever RUST_LOG selects, and returns the exit code. JSON is one line,
    /// as a log of level ERROR.
    pub fn complain(&self, format: LogFormat) -> ExitCode {
        let (message, hint) = (self.message(), self.hint());
        match format {
            LogFormat::Text => {
                let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
                // There is no other place to report that stderr is closed.
                let _ = write!(io::stderr().lock(), "tesd: {message}\n{hint}");
            }
            LogFormat::Json => {
                let alone = tracing_subscriber::fmt().json().with_writer(io::stderr).finish();
                tracing::subscriber::with_default(alone, || match hint {
                    Some(hint) => error!(hint, "{message}"),
                    None => error!("{message}"),
                });
            }
        }
        ExitCode::from(if matches!(self, Self::Config(_)) { BAD_CONFIG } else { 1 })
    }

    fn message(&self) -> String {
        match self {
            Self::Config(error) => error.to_string(),
            Self::System(error) => format!("the system refuses threads or signals: {error}"),
            Self::Start(error) => error.to_string(),
        }
    }

    /// What the operator can do.
    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Config(ConfigError::Read { source, .. }) => match source.kind() {
                io::ErrorKind::NotFound => {
                    Some("`tesd --print-config > FILE` writes a file to start from")
                }
                _ => None,
            },
            Self::Config(_) => Some("`tesd --print-config` prints every key and its meaning"),
            Self::System(_) => None,
            Self::Start(error) => start_hint(error),
        }
    }
}

fn start_hint(error: &StartError) -> Option<&'static str> {
    let hint = match error {
        StartError::Bind(_) => return bind_hint(system_kind(error)?),
        StartError::Metrics { .. } => return metrics_hint(system_kind(error)?),
        StartError::Store(error) | StartError::Identity(IdentityError::Owner(error)) => {
            store_hint(error)
        }
        StartError::Rpc(ServerError::AlreadyRunning { .. }) => Some(IN_USE),
        StartError::Rpc(ServerError::InTheWay { .. }) => Some("move it away, or remove it"),
        StartError::Identity(IdentityError::Malformed { .. }) => Some(
            "put the key back from a backup, or move it away: the node then makes a new one, under \
             a new name",
        ),
        StartError::Identity(IdentityError::TooLittleWork { .. }) => Some(
            "if work_bits is right, move the key away: the node then makes a new one, under a new \
             name",
        ),
        StartError::Identity(IdentityError::Io { .. } | IdentityError::Key(_))
        | StartError::Rpc(
            ServerError::PathTooLong { .. } | ServerError::Shared { .. } | ServerError::Io { .. },
        ) => None,
        StartError::Registry(_) => return None,
    };
    hint.or_else(|| data_dir_hint(system_kind(error)?))
}

const IN_USE: &str = "another tesd uses that data directory: stop it, or give this one a directory of \
                      its own with --data-dir";

/// What to do when the system refuses the UDP address.
fn bind_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some(
            "another program, perhaps another tesd, uses that UDP port: stop it, or choose \
             another port with --listen (0 lets the system choose)",
        ),
        io::ErrorKind::AddrNotAvailable => {
            Some("this machine has no such address; --listen [::]:7310 listens on all it has")
        }
        io::ErrorKind::PermissionDenied => Some("choose a port above 1023 with --listen"),
        _ => None,
    }
}

/// What to do when the system refuses the TCP address for metrics.
fn metrics_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some(
            "another program uses that TCP port: stop it, or choose another port with \
             --metrics (0 lets the system choose)",
        ),
        io::ErrorKind::AddrNotAvailable => {
            Some("this machine has no such address; --metrics 127.0.0.1:9310 stays on it")
        }
        io::ErrorKind::PermissionDenied => Some("choose a port above 1023 with --metrics"),
        _ => None,
    }
}

fn store_hint(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Locked { .. } => Some(IN_USE),
        StoreError::Full { .. } => Some("free some disk space, then start tesd again"),
        StoreError::NewerFormat { .. } => {
            Some("install the version of tesd that last used this data directory, or a newer one")
        }
        StoreError::OlderVersionRuns { .. } => {
            Some("stop the older tesd, and every tes that is still running, then start tesd again")
        }
        StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. } => {
            Some("`tes repair --library` lists the library again from its files")
        }
        StoreError::IndexGone { .. } => Some("put it back if you can, then start tesd again"),
        StoreError::NotOwned { .. } => {
            Some("run tesd as that user, or choose a data directory of its own with --data-dir")
        }
        StoreError::Shared { .. } => Some("choose a data directory of its own with --data-dir"),
        StoreError::Blocked(_)
        | StoreError::Missing(_)
        | StoreError::Corrupt(_)
        | StoreError::OutOfRange { .. }
        | StoreError::Mismatch { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::Backend { .. } => None,
    }
}

/// What to do when the system refuses access to the data directory.
fn data_dir_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("the user that runs tesd must be able to write in the data directory")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Some("the data directory must be a directory; choose it with --data-dir")
        }
        _ => None,
    }
}

/// The kind of the system's error, if a system error is the cause.
fn system_kind(error: &StartError) -> Option<io::ErrorKind> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}
