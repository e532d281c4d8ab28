//! The default data directory: one rule for all programs that use it.

use std::env;
use std::path::PathBuf;

/// The environment variable that names the data directory.
pub const VARIABLE: &str = "TESSERAS_DATA_DIR";

/// The data directory in the environment. An empty variable counts as unset.
pub fn of_environment() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|set| !set.is_empty()).map(PathBuf::from)
}

/// The platform's directory for this user's application data; `None` for a user without a home
/// directory.
pub fn of_platform() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "tesseras").map(|dirs| dirs.data_dir().to_owned())
}
