//! Why a run of a job failed. How a run ended is data, and `tes` is told the same
//! ([`tesseras_rpc::job`]).

use tesseras_core::ports::StoreError;
use tesseras_rpc::job::JobOutcome;
use thiserror::Error;

use crate::scrub::ScrubError;

/// Why a run of a job failed.
#[derive(Debug, Error)]
pub enum JobError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The scrub failed.
    #[error(transparent)]
    Scrub(#[from] ScrubError),
    /// Its task on a blocking thread panicked or was cancelled; a bug.
    #[error("its task was cancelled or panicked")]
    BrokenOff,
}

/// The outcome of a run that may have failed.
pub(super) fn of(result: Result<JobOutcome, JobError>) -> JobOutcome {
    result.unwrap_or_else(|error| JobOutcome::Failed { error: error.to_string() })
}
