//! Publication as a state that an owner begins and ends.
//!
//! Until a publication is complete enough to be read back, its pieces are drafts with those who
//! took them: nobody announces, repairs or completes them. [`Replication::commit`] ends that: the
//! publisher notes that the tessera is published, and tells its holders so (the roster), who note
//! it in turn. What each fact means is in [`tesseras_core::publication`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_core::publication::{Publication, PublicationEvent, PublicationState};
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::{sleep, timeout};

use crate::context::Replication;
use crate::dossier::VerifiedDossier;

/// How long a cancellation waits for what is being written at that moment.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long pieces that were on their way when a publication was stopped may take to be stored.
const ARRIVING: Duration = Duration::from_millis(500);

/// This node's turn to work on a tessera. Work on disk threads keeps it until it has ended.
pub(crate) type Turn = Arc<OwnedMutexGuard<()>>;

/// A publication under way from this node, until it is dropped.
pub(crate) struct UnderWay {
    replication: Replication,
    tessera: TesseraHash,
    stop: Arc<Notify>,
}

impl UnderWay {
    /// `None` if the tessera is being published already.
    pub(crate) fn start(replication: &Replication, tessera: TesseraHash) -> Option<Self> {
        let stop = Arc::new(Notify::new());
        let mut tables = replication.tables();
        if tables.publishing.contains_key(&tessera) {
            return None;
        }
        tables.publishing.insert(tessera, Arc::clone(&stop));
        drop(tables);
        Some(Self { replication: replication.clone(), tessera, stop })
    }

    /// Returns when the publication is to stop.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.replication.tables().publishing.remove(&self.tessera);
    }
}

/// How far a tessera is published, and what that has left elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationReport {
    /// How far it is published now.
    pub state: PublicationState,
    /// How many pieces other nodes have acknowledged. Nobody can call them back.
    pub placed: usize,
}

impl Replication {
    /// The tesserae that this node goes on publishing in the background.
    pub async fn publishing(&self) -> Result<Vec<TesseraHash>, StoreError> {
        let known = self.blocking(|stores| stores.holdings.list_publications()).await?;
        Ok(known.into_iter().filter(|(_, known)| known.wanted).map(|(hash, _)| hash).collect())
    }

    /// How far a tessera is published, as far as this node knows.
    pub async fn publication(&self, tessera: TesseraHash) -> Result<PublicationReport, StoreError> {
        self.blocking(move |stores| {
            let state = stores.holdings.publication(&tessera)?.state();
            Ok(PublicationReport { state, placed: stores.holdings.placements(&tessera)?.len() })
        })
        .await
    }

    /// Stops a publication: one under way ends, and none in the background goes on. With
    /// `unpublish`, a finished one ends as well: this node looks after the tessera no more, but
    /// for a piece that it may hold. Returns once nothing more is sent.
    pub async fn stop_publication(
        &self,
        tessera: TesseraHash,
        unpublish: bool,
    ) -> Result<PublicationReport, StoreError> {
        let event = if unpublish { PublicationEvent::Cancelled } else { PublicationEvent::Stopped };
        let note = || self.blocking(move |s| s.holdings.note_publication(&tessera, event));
        // At once, so that nothing begins anew; and again, after what was being written.
        note().await?;
        if let Some(stop) = self.tables().publishing.get(&tessera) {
            stop.notify_one();
        }
        let alone = timeout(CANCEL_TIMEOUT, self.work_on(tessera)).await;
        note().await?;
        if unpublish {
            // Nobody goes on from there soon; publishing anew computes it again.
            self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
        }
        drop(alone);
        // A piece that was on its way may have arrived although nobody waited for its receipt.
        let mut report = self.publication(tessera).await?;
        if report.placed > 0 || event == PublicationEvent::Stopped {
            sleep(ARRIVING).await;
            let survey = timeout(CANCEL_TIMEOUT, self.survey(tessera)).await;
            let me = self.id();
            let attested = survey.ok().transpose()?.map_or(0, |survey| {
                let others = survey.live.iter().filter(|(id, _)| **id != me);
                others.map(|(_, holder)| holder.pieces.len()).sum()
            });
            report.placed = report.placed.max(attested);
        }
        Ok(report)
    }

    /// Ends a publication well: it is noted here, and its holders are told. `false` if the tessera
    /// was dropped meanwhile: then it is not published. `turn` is kept until the note is on the
    /// disk.
    pub(crate) async fn commit(
        &self,
        dossier: &VerifiedDossier,
        holders: &[Contact],
        turn: Turn,
    ) -> Result<bool, StoreError> {
        let tessera = dossier.tessera();
        let noted = self.blocking(move |stores| {
            let _turn = turn;
            // It may have been dropped meanwhile, by another process too.
            let is_there = stores.library.get(&tessera)?.is_some();
            if !is_there || stores.holdings.is_blocked(&tessera)? {
                return Ok(false);
            }
            stores.holdings.note_publication(&tessera, PublicationEvent::Published)?;
            Ok::<_, StoreError>(true)
        });
        if noted.await? {
            self.confirm(dossier, holders).await;
            return Ok(true);
        }
        Ok(false)
    }

    /// Tells all holders that the tessera is published; those who could not be told are told by
    /// the next repair.
    pub(crate) async fn confirm(&self, dossier: &VerifiedDossier, holders: &[Contact]) {
        let told = self.send_roster(dossier, holders).await;
        let me = self.id();
        if told == holders.iter().filter(|holder| holder.id != me).count() {
            self.tables().confirmed.insert(dossier.tessera());
        }
    }

    /// Whether all holders were told, since this node started, that the tessera is published.
    pub(crate) fn is_confirmed(&self, tessera: TesseraHash) -> bool {
        self.tables().confirmed.contains(&tessera)
    }

    /// The tesserae of which this node holds a piece and that are published.
    pub async fn published_holdings(&self) -> Result<Vec<TesseraHash>, StoreError> {
        let mut held = self.held().await?;
        let confirmed = self.known_as(|known| known.confirmed).await?;
        held.retain(|tessera| confirmed.contains(tessera));
        Ok(held)
    }

    /// The tesserae that this node looks after: those that are published and of which it holds a
    /// piece, and those that were published from its library.
    pub async fn looked_after(&self) -> Result<Vec<TesseraHash>, StoreError> {
        let mut all: BTreeSet<TesseraHash> = self.published_holdings().await?.into_iter().collect();
        let published = self.known_as(|known| known.published).await?;
        let library = self.blocking(|stores| stores.library.list()).await?;
        let library = library.into_iter().map(|record| record.hash);
        all.extend(library.filter(|hash| published.contains(hash)));
        Ok(all.into_iter().collect())
    }

    async fn known_as(
        &self,
        is: fn(Publication) -> bool,
    ) -> Result<BTreeSet<TesseraHash>, StoreError> {
        let known = self.blocking(|stores| stores.holdings.list_publications()).await?;
        Ok(known.into_iter().filter(|(_, known)| is(*known)).map(|(hash, _)| hash).collect())
    }
}
