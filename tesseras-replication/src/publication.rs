//! Publication as a state that an owner begins and ends.
//!
//! Until a publication is complete enough to be read back, its pieces are drafts, here and with
//! those who took them: nobody announces, repairs or completes them. [`Replication::commit`] ends
//! that: the publisher notes that the tessera is published, and tells its holders so (the roster).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{Publication, StoreError};
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::timeout;

use crate::context::Replication;
use crate::dossier::VerifiedDossier;

/// How long a cancellation waits for what is being written at that moment.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What is left of a publication that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How far it is published now.
    pub publication: Publication,
    /// How many pieces other nodes have acknowledged. Nobody can call them back.
    pub placed: usize,
}

impl Replication {
    /// How far a tessera was published, as far as this node knows.
    pub async fn publication(&self, tessera: TesseraHash) -> Result<Publication, StoreError> {
        self.blocking(move |stores| stores.holdings.publication(&tessera)).await
    }

    /// The tesserae that this node goes on publishing in the background.
    pub async fn publishing(&self) -> Result<Vec<TesseraHash>, StoreError> {
        self.blocking(|stores| stores.holdings.list_publications(Publication::Publishing)).await
    }

    /// Stops a publication: one under way ends, and none in the background goes on. With
    /// `unpublish`, a finished one ends as well: this node looks after the tessera no more.
    /// Returns once nothing more is sent.
    pub async fn stop_publication(
        &self,
        tessera: TesseraHash,
        unpublish: bool,
    ) -> Result<Stopped, StoreError> {
        let write = || {
            self.blocking(move |stores| {
                let before = stores.holdings.publication(&tessera)?;
                if before == Publication::Publishing || (unpublish && before != Publication::Draft)
                {
                    stores.holdings.set_publication(&tessera, Publication::Draft)?;
                }
                Ok::<_, StoreError>(())
            })
        };
        // At once, so that nothing begins anew; and again, after what was being written.
        write().await?;
        if let Some(stop) = self.tables().publishing.get(&tessera) {
            stop.notify_one();
        }
        let alone = timeout(PATIENCE, self.work_on(tessera)).await;
        write().await?;
        drop(alone);
        self.blocking(move |stores| {
            let publication = stores.holdings.publication(&tessera)?;
            let placed = stores.holdings.placements(&tessera)?.len();
            Ok(Stopped { publication, placed })
        })
        .await
    }

    /// Ends a publication well: it is noted here, and its holders are told. `turn` is kept until
    /// the note is on the disk.
    pub(crate) async fn commit(
        &self,
        dossier: &VerifiedDossier,
        holders: &[Contact],
        turn: Turn,
    ) -> Result<(), StoreError> {
        let tessera = dossier.tessera();
        let noted = self.blocking(move |stores| {
            let _turn = turn;
            stores.holdings.set_publication(&tessera, Publication::Published)
        });
        noted.await?;
        self.confirm(dossier, holders).await;
        Ok(())
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
        let published = self.published().await?;
        held.retain(|tessera| published.contains(tessera));
        Ok(held)
    }

    /// The tesserae that this node looks after: of those that are published, the ones of which it
    /// holds a piece, and the ones in its library.
    pub async fn looked_after(&self) -> Result<Vec<TesseraHash>, StoreError> {
        let mut all: BTreeSet<TesseraHash> = self.held().await?.into_iter().collect();
        let library = self.blocking(|stores| stores.library.list()).await?;
        all.extend(library.into_iter().map(|record| record.hash));
        let published = self.published().await?;
        Ok(all.intersection(&published).copied().collect())
    }

    async fn published(&self) -> Result<BTreeSet<TesseraHash>, StoreError> {
        let listed =
            self.blocking(|stores| stores.holdings.list_publications(Publication::Published));
        Ok(listed.await?.into_iter().collect())
    }
}
