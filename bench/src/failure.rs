//! What a run ends with when something goes wrong.

use std::error::Error;

/// Whatever goes wrong ends the run.
pub type Failure = Box<dyn Error + Send + Sync>;
/// [`std::result::Result`] with it.
pub type Result<T> = std::result::Result<T, Failure>;
