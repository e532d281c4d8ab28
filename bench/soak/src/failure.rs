//! Why a run cannot go on.

/// The error of anything here; it ends the run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What may fail.
pub type Result<T> = std::result::Result<T, Failure>;
