//! Why a run of a job failed. How a run ended is data, and `tes` is told the same
//! ([`tesseras_rpc::job`]).

use tesseras_core::ports::StoreError;
use tesseras_rpc::job::JobOutcome;
use thiserror::Error;

/// Why nothing of a job could be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its work on the disk did not end; a bug.
    #[error("its work on the disk was broken off")]
    BrokenOff,
}

/// The outcome of a run that may have failed.
pub(super) fn of(result: Result<JobOutcome, JobError>) -> JobOutcome {
    result.unwrap_or_else(|error| JobOutcome::Failed { error: error.to_string() })
}
