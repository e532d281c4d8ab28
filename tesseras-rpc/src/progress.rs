//! Sends the progress of the node's work to the client without ever delaying the work.

use std::sync::Arc;
use std::time::Duration;

use tesseras_core::progress::{OnProgress, Progress};
use tokio::sync::watch;
use tokio::time::Instant;

/// The shortest time between two progress events to one client.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Accepts progress. Only the newest is kept for the client, so a slow client delays nothing and
/// uses no memory. Clones report to the same client.
#[derive(Debug, Clone)]
pub struct ProgressSink {
    newest: Arc<watch::Sender<Option<Progress>>>,
}

impl ProgressSink {
    pub(crate) fn new() -> (Self, ProgressStream) {
        let (newest, events) = watch::channel(None);
        (Self { newest: Arc::new(newest) }, ProgressStream { events, next: Instant::now() })
    }

    /// Reports the progress. Never waits; cheap enough for every window of a transfer.
    pub fn report(&self, progress: Progress) {
        self.newest.send_replace(Some(progress));
    }

    /// The same as a function.
    pub fn on_progress(self) -> OnProgress {
        Arc::new(move |progress| self.report(progress))
    }
}

/// Yields the newest progress, at most once per [`PROGRESS_INTERVAL`].
#[derive(Debug)]
pub(crate) struct ProgressStream {
    events: watch::Receiver<Option<Progress>>,
    next: Instant,
}

impl ProgressStream {
    /// The next one. Cancel-safe. Never returns once all sinks are gone.
    pub(crate) async fn next(&mut self) -> Progress {
        loop {
            tokio::time::sleep_until(self.next).await;
            if self.events.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(progress) = self.events.borrow_and_update().clone() {
                self.next = Instant::now() + PROGRESS_INTERVAL;
                return progress;
            }
        }
    }
}
