//! Why a run of a job failed. How a run ended is data, and `tes` is told the same
//! ([`tesseras_rpc::job`]).

use tesseras_core::ports::StoreError;
use tesseras_rpc::job::JobOutcome;
use tesseras_storage::Disagreement;
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
    /// The index and what is stored do not agree, so no file was removed.
    #[error("no stored file was removed, since the index and the files do not agree: {0}")]
    Disagrees(Disagreement),
    /// Its task on a blocking thread panicked or was cancelled; a bug.
    #[error("its task was cancelled or panicked")]
    BrokenOff,
}

/// The outcome of a run that may have failed.
pub(super) fn of(result: Result<JobOutcome, JobError>) -> JobOutcome {
    result.unwrap_or_else(|error| JobOutcome::Failed { error: error.to_string() })
}
