//! Publication as a state that an owner begins and ends.
//!
//! Until a publication is complete enough to be read back, its pieces are drafts on their holders:
//! they are not announced, repaired or completed. At the end of a round of [`Publisher`] the
//! publisher records that the tessera is published, and tells its holders so (the roster), which
//! record it in turn. [`tesseras_core::publication`] defines the states.

use std::collections::BTreeSet;
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_core::publication::{PublicationState, PublicationStop};
use tokio::time::{sleep, timeout};

use crate::holder::Holder;
use crate::library::Library;
use crate::policy::patience::Manner;
use crate::publish::Publisher;
use crate::survey::{Scope, survey};

/// How long a cancellation waits for writes in progress.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long pieces in flight may take to be stored after a publication was stopped.
const ARRIVING: Duration = Duration::from_millis(500);

/// The publication state of a tessera, and its pieces on other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationReport {
    /// The current state.
    pub state: PublicationState,
    /// How many pieces other nodes have acknowledged. They cannot be recalled.
    pub placed: usize,
}

/// The publication state of a tessera, as far as this node knows.
pub(crate) async fn publication(
    library: &Library,
    tessera: TesseraHash,
) -> Result<PublicationReport, StoreError> {
    let (state, placed) = library.publication(tessera).await?;
    Ok(PublicationReport { state, placed })
}

impl Publisher<'_> {
    /// Stops a publication: one in progress ends, and none continues in the background; `how` says
    /// what else ends. Returns once nothing more of that is sent or stored.
    pub(crate) async fn stop(
        &self,
        tessera: TesseraHash,
        how: PublicationStop,
    ) -> Result<PublicationReport, StoreError> {
        let Self { peers, holder, library, workshop, directory } = *self;
        let event = how.event();
        // Recorded at once, so that it does not start again, and again after the writes in
        // progress.
        library.note(tessera, event).await?;
        library.stop_publishing(tessera);
        if how == PublicationStop::Drop {
            library.stop_fetching(tessera);
        }
        let lock = timeout(CANCEL_TIMEOUT, workshop.lock(tessera)).await.ok();
        library.note(tessera, event).await?;
        if let Some(lock) = lock.filter(|_| how != PublicationStop::Stop) {
            // It will not be resumed soon; publishing again computes the pieces anew.
            workshop.unpin(&lock).await;
        }
        let mut report = publication(library, tessera).await?;
        // A piece in flight may have arrived without its acknowledgement having been seen.
        if report.placed > 0 || how == PublicationStop::Stop {
            sleep(ARRIVING).await;
            let asking = survey(peers, holder, directory, tessera, Scope::Known, Manner::Thorough);
            let attested = match timeout(CANCEL_TIMEOUT, asking).await {
                Ok(survey) => survey?.pieces_of_others(peers.me()),
                Err(_) => 0,
            };
            report.placed = report.placed.max(attested);
        }
        Ok(report)
    }
}

/// The tesserae of which this node holds a piece and that are published.
pub(crate) async fn published_holdings(
    holder: &Holder,
    library: &Library,
) -> Result<Vec<TesseraHash>, StoreError> {
    let mut held = holder.held().await?;
    let confirmed = library.known_as(|known| known.confirmed).await?;
    held.retain(|tessera| confirmed.contains(tessera));
    Ok(held)
}

/// The tesserae that this node maintains: those that are published and of which it holds a piece,
/// and those that were published from its library.
pub(crate) async fn looked_after(
    holder: &Holder,
    library: &Library,
) -> Result<Vec<TesseraHash>, StoreError> {
    let mut all: BTreeSet<TesseraHash> =
        published_holdings(holder, library).await?.into_iter().collect();
    let published = library.known_as(|known| known.published).await?;
    let capsules = library.list().await?.into_iter().map(|record| record.hash);
    all.extend(capsules.filter(|hash| published.contains(hash)));
    Ok(all.into_iter().collect())
}
