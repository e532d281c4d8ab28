//! Publication as a state that an owner begins and ends.
//!
//! Until a publication is complete enough to be read back, its pieces are drafts with those who
//! took them: nobody announces, repairs or completes them. The end of a round of [`Publisher`] ends
//! that: the publisher notes that the tessera is published, and tells its holders so (the roster), who note
//! it in turn. What each fact means is in [`tesseras_core::publication`].

use std::collections::BTreeSet;
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_core::publication::{PublicationEvent, PublicationState};
use tokio::time::{sleep, timeout};

use crate::holder::Holder;
use crate::library::Library;
use crate::policy::patience::Manner;
use crate::publish::Publisher;
use crate::survey::{Scope, survey};

/// How long a cancellation waits for what is being written at that moment.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long pieces that were on their way when a publication was stopped may take to be stored.
const ARRIVING: Duration = Duration::from_millis(500);

/// How far a tessera is published, and what that has left elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationReport {
    /// How far it is published now.
    pub state: PublicationState,
    /// How many pieces other nodes have acknowledged. Nobody can call them back.
    pub placed: usize,
}

/// How far a tessera is published, as far as this node knows.
pub(crate) async fn publication(
    library: &Library,
    tessera: TesseraHash,
) -> Result<PublicationReport, StoreError> {
    let (state, placed) = library.publication(tessera).await?;
    Ok(PublicationReport { state, placed })
}

impl Publisher<'_> {
    /// Stops a publication: one under way ends, and none in the background goes on. With
    /// `unpublish`, a finished one ends as well: this node looks after the tessera no longer, but
    /// for a piece that it may hold. Returns once nothing more is sent.
    pub(crate) async fn stop(
        &self,
        tessera: TesseraHash,
        unpublish: bool,
    ) -> Result<PublicationReport, StoreError> {
        let Self { peers, holder, library, workshop, directory } = *self;
        let event = if unpublish { PublicationEvent::Cancelled } else { PublicationEvent::Stopped };
        // At once, so that nothing begins anew; and again, after what was being written.
        library.note(tessera, event).await?;
        library.stop_publishing(tessera);
        let turn = timeout(CANCEL_TIMEOUT, workshop.turn(tessera)).await;
        library.note(tessera, event).await?;
        if unpublish {
            // Nobody goes on from there soon; publishing anew computes it again.
            workshop.unpin(tessera).await?;
        }
        drop(turn);
        let mut report = publication(library, tessera).await?;
        // A piece that was on its way may have arrived although nobody waited for its receipt.
        if report.placed > 0 || event == PublicationEvent::Stopped {
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

/// The tesserae that this node looks after: those that are published and of which it holds a
/// piece, and those that were published from its library.
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
