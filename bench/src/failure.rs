//! The error of a run.

use std::error::Error;

/// Any error ends the run.
pub type Failure = Box<dyn Error + Send + Sync>;
/// [`std::result::Result`] with it.
pub type Result<T> = std::result::Result<T, Failure>;
