//! The state of publication: what is recorded on disk, and what is in progress.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{Origin, StoreError};
use tesseras_core::publication::{Publication, PublicationEvent, PublicationState};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Library, Tables};
use crate::blocking::Blocking;
use crate::tessera_lock::TesseraLock;

/// A publication in progress; it ends when this is dropped.
pub(crate) struct UnderWay {
    tables: Arc<Mutex<Tables>>,
    tessera: TesseraHash,
    stop: Arc<Notify>,
}

impl UnderWay {
    /// Returns when the publication has to stop.
    pub(crate) async fn stopped(&self) {
        self.stop.notified().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.tables).publishing.remove(&self.tessera);
    }
}

impl Library {
    /// Records that a tessera is being published; `None` if it already is.
    pub(crate) fn start_publishing(&self, tessera: TesseraHash) -> Option<UnderWay> {
        let stop = Arc::new(Notify::new());
        let mut tables = lock(&self.tables);
        if tables.publishing.contains_key(&tessera) {
            return None;
        }
        tables.publishing.insert(tessera, Arc::clone(&stop));
        drop(tables);
        Some(UnderWay { tables: self.tables.clone(), tessera, stop })
    }

    /// Signals a publication in progress to stop.
    pub(crate) fn stop_publishing(&self, tessera: TesseraHash) {
        if let Some(stop) = lock(&self.tables).publishing.get(&tessera) {
            stop.notify_one();
        }
    }

    /// Records that a tessera is being fetched, as long as this is kept; cancelled once it has to stop.
    pub(crate) fn start_fetching(&self, tessera: TesseraHash) -> Arc<CancellationToken> {
        let mut tables = lock(&self.tables);
        tables.fetching.retain(|_, stop| stop.strong_count() > 0);
        if let Some(stop) = tables.fetching.get(&tessera).and_then(Weak::upgrade) {
            return stop;
        }
        let stop = Arc::new(CancellationToken::new());
        tables.fetching.insert(tessera, Arc::downgrade(&stop));
        stop
    }

    /// Signals the fetches of a tessera in progress to stop; later ones are not affected.
    pub(crate) fn stop_fetching(&self, tessera: TesseraHash) {
        let fetching = lock(&self.tables).fetching.remove(&tessera);
        if let Some(stop) = fetching.and_then(|stop| stop.upgrade()) {
            stop.cancel();
        }
    }

    /// Records a publication event.
    pub(crate) async fn note(
        &self,
        tessera: TesseraHash,
        event: PublicationEvent,
    ) -> Result<(), StoreError> {
        self.run(move |stores| stores.holdings.note_publication(&tessera, event)).await.map(|_| ())
    }

    /// The publication state of a tessera, and how many pieces other nodes have acknowledged.
    pub(crate) async fn publication(
        &self,
        tessera: TesseraHash,
    ) -> Result<(PublicationState, usize), StoreError> {
        self.run(move |stores| {
            let state = stores.holdings.publication(&tessera)?.state();
            Ok((state, stores.holdings.placements(&tessera)?.len()))
        })
        .await
    }

    /// Records that enough pieces of a tessera are placed, and that its holders are to be told.
    /// `false` if it was dropped in the meantime: then it is not published.
    pub(crate) async fn note_published(&self, lock: &TesseraLock) -> Result<bool, StoreError> {
        let event = PublicationEvent::Published;
        self.note_unless_dropped(&lock.on(&self.disk), lock.tessera(), event).await
    }

    /// Records that enough holders of a tessera that was published here know it.
    pub(crate) async fn note_told(&self, lock: &TesseraLock) -> Result<(), StoreError> {
        let (disk, event) = (lock.on(&self.disk), PublicationEvent::Told);
        self.note_unless_dropped(&disk, lock.tessera(), event).await.map(|_| ())
    }

    /// Records that a tessera is to be published. `false` if it was dropped in the meantime.
    pub(crate) async fn note_wanted(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        self.note_unless_dropped(&self.disk, tessera, PublicationEvent::Wanted).await
    }

    /// Records that the holders of a tessera that was published here are to be told so again soon.
    pub(crate) async fn note_untold(&self, lock: &TesseraLock) -> Result<(), StoreError> {
        let (disk, event) = (lock.on(&self.disk), PublicationEvent::Untold);
        self.note_unless_dropped(&disk, lock.tessera(), event).await.map(|_| ())
    }

    async fn note_unless_dropped(
        &self,
        disk: &Blocking,
        tessera: TesseraHash,
        event: PublicationEvent,
    ) -> Result<bool, StoreError> {
        self.stores
            .run_on(disk, move |stores| {
                let noted = stores.holdings.note_publication_unless_dropped(&tessera, event)?;
                Ok(noted.is_some())
            })
            .await
    }

    /// Whether a tessera was published from this library without all its holders having been told
    /// since this node started: it may have stopped just before telling them.
    pub(crate) async fn is_to_tell(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        if lock(&self.tables).all_told.contains(&tessera) {
            return Ok(false);
        }
        self.run(move |stores| {
            Ok(stores.library.get(&tessera)?.is_some()
                && stores.holdings.publication(&tessera)?.published)
        })
        .await
    }

    /// Records that all holders were told that a tessera is published.
    pub(crate) fn note_all_told(&self, tessera: TesseraHash) {
        lock(&self.tables).all_told.insert(tessera);
    }

    /// Whether a tessera is published as far as this node knows. Of a fetched capsule other nodes
    /// hold pieces, and its reader may help to repair them.
    pub(crate) async fn may_repair(&self, tessera: TesseraHash) -> Result<bool, StoreError> {
        self.run(move |stores| {
            let record = stores.library.get(&tessera)?;
            let known = stores.holdings.publication(&tessera)?;
            let is_fetched = record.is_some_and(|record| record.origin == Origin::Fetched);
            Ok(is_fetched || known.confirmed || known.published)
        })
        .await
    }

    /// The tesserae in this publication state.
    pub(crate) async fn known_as(
        &self,
        is: fn(Publication) -> bool,
    ) -> Result<BTreeSet<TesseraHash>, StoreError> {
        let known = self.run(|stores| stores.holdings.list_publications()).await?;
        Ok(known.into_iter().filter(|(_, known)| is(*known)).map(|(hash, _)| hash).collect())
    }
}
