//! The background jobs of a node: announce, publish, repair, remember peers, collect
//! garbage, scrub. All implement one
//! trait and are run by one function.

mod announce;
mod board;
mod garbage;
mod outcome;
mod publish;
mod remember;
mod repair;
mod scrub;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tesseras_wire::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use announce::{Announce, AnnounceNew};
pub use board::JobBoard;
pub use garbage::CollectGarbage;
pub use outcome::JobError;
pub use publish::Publish;
pub use remember::{Remember, sweep};
pub use repair::{Repair, RepairPostponed};
pub use scrub::ScrubJob;
pub use tesseras_rpc::job::{JobOutcome, JobReport, JobState};

/// Work that is done again and again.
pub trait Job: Send + Sync + 'static {
    /// Its name, for logs and status.
    fn name(&self) -> &'static str;

    /// The delay before the next run, also before the first.
    fn pause(&self, first: bool) -> Duration;

    /// Runs once. Cancel-safe: dropped at any await, it leaves nothing incomplete.
    fn run(&self) -> BoxFuture<'_, JobOutcome>;
}

/// Runs a job until the token is cancelled; a run in progress is dropped then. The job is on the
/// board from this call on.
pub fn run_for_ever(
    job: Arc<dyn Job>,
    board: JobBoard,
    token: CancellationToken,
) -> impl Future<Output = ()> + Send {
    board.begin(job.name(), JobState::Waiting);
    async move {
        let mut first = true;
        loop {
            let pause = job.pause(first);
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            board.begin(job.name(), JobState::Running);
            let outcome = tokio::select! {
                () = token.cancelled() => return,
                outcome = job.run() => outcome,
            };
            tracing::debug!(job = job.name(), %outcome, "job done");
            board.end(job.name(), outcome);
            first = false;
        }
    }
}

/// The duration plus or minus a random time of at most `jitter`.
fn jittered(duration: Duration, jitter: Duration) -> Duration {
    let jitter = jitter.min(duration).as_millis() as u64;
    let shift = Duration::from_millis(rand::rng().random_range(0..=2 * jitter));
    (duration + shift).saturating_sub(Duration::from_millis(jitter))
}
