//! Why a configuration is refused.

use std::io;
use std::path::PathBuf;

use super::settings::LogFormat;

/// Why a configuration is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line of the file cannot be accepted.
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong with it, with the key's name.
        reason: String,
    },
    /// A flag cannot be accepted.
    Flag(String),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Line { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
            Self::Flag(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A refused configuration, with the log format for reporting it.
#[derive(Debug)]
pub struct Refused {
    /// Why it is refused.
    pub error: ConfigError,
    /// The log format set in the file, if it can still be read.
    pub log_format: LogFormat,
}
