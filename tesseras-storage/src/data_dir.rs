//! The default data directory, and what is one: one rule for all programs that use it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The environment variable that names the data directory.
pub const VARIABLE: &str = "TESSERAS_DATA_DIR";

/// Of these, every data directory has at least one.
const ENTRIES: [&str; 5] = ["identity", "db", "cas", "library", "daemon.sock"];

/// The data directory in the environment. An empty variable counts as unset.
pub fn of_environment() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|set| !set.is_empty()).map(PathBuf::from)
}

/// The platform's directory for this user's application data; `None` for a user without a home
/// directory.
pub fn of_platform() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "tesseras").map(|dirs| dirs.data_dir().to_owned())
}

/// Whether a directory is a data directory, or is empty and can become one. An error if it does not
/// exist or cannot be read.
pub fn is_data_dir(directory: &Path) -> io::Result<bool> {
    if ENTRIES.iter().any(|name| directory.join(name).symlink_metadata().is_ok()) {
        return Ok(true);
    }
    Ok(fs::read_dir(directory)?.next().is_none())
}
