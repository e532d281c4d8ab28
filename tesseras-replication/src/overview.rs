//! An overview of all capsules of a library, each with the latest figures from its holders.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tokio::time::{Instant, timeout_at};

use crate::seen::Seen;
use crate::status::{Asking, HealthState, StatusError};

/// How many tesserae are checked concurrently.
const AT_ONCE: usize = 16;

/// A capsule of the library and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its hash.
    pub hash: TesseraHash,
    /// Its title.
    pub title: String,
    /// Its current state; `None` if its holders were not asked in time, none of their answers was
    /// valid because this node's clock is wrong, or what this node holds of it itself could not be
    /// looked at. The figures are older then.
    pub state: Option<HealthState>,
    /// The figures of the last check.
    pub seen: Option<Seen>,
}

impl Asking<'_> {
    /// Every capsule of the library, newest first. The holders of those that are not local are
    /// asked now, for as long as `patience`, least recently asked first: so one whose holders never
    /// answer in time does not keep out the others.
    pub(crate) async fn overview(&self, patience: Duration) -> Result<Vec<Glance>, StoreError> {
        let deadline = Instant::now() + patience;
        let library = self.library;
        let records = library.list().await?;
        library.retain_seen(&records.iter().map(|record| record.hash).collect());
        let mut glances = Vec::with_capacity(records.len());
        for record in records {
            let (hash, title) = (record.hash, record.title);
            let state = library.own_part(hash).await?.state_unasked();
            glances.push(Glance { hash, title, state, seen: library.seen(hash) });
        }
        let mut asked: Vec<_> = (0..glances.len())
            .filter(|at| glances[*at].state != Some(HealthState::Local))
            .map(|at| (library.last_asked(glances[at].hash), at, glances[at].hash))
            .collect();
        asked.sort_unstable();
        let mut answers = stream::iter(asked)
            .map(|(_, at, hash)| async move {
                library.note_asked(hash);
                (at, self.glance(hash).await)
            })
            .buffer_unordered(AT_ONCE);
        while let Ok(Some((at, health))) = timeout_at(deadline, answers.next()).await {
            match health {
                Ok(Some(health)) => {
                    glances[at].state = Some(health.state);
                    glances[at].seen = library.seen(glances[at].hash);
                }
                Ok(None) | Err(StatusError::ClockOff(_)) => {}
                // Of the others something may still be known.
                Err(StatusError::Store(error)) => {
                    tracing::warn!(tessera = %glances[at].hash, %error, "its state is not known");
                }
            }
        }
        Ok(glances)
    }
}
