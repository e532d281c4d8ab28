//! What ends a run of the bench.

use std::error::Error;

/// Any error ends the run.
pub type Failure = Box<dyn Error + Send + Sync>;
/// What every step of the bench returns.
pub type Result<T> = std::result::Result<T, Failure>;
