//! The stores of one node, together.

use std::sync::Arc;

use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    BlobReader, BlobStore, FragmentStore, HoldingRepository, ReciprocityLedger, StoreError,
    TesseraRepository, Workbench,
};

use crate::blocking::Blocking;
use crate::pieces::PieceSource;

/// The stores of one node.
#[derive(Clone)]
pub struct Stores {
    /// Content-addressed bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Pieces of unfinished tasks.
    pub workbench: Arc<dyn Workbench>,
    /// The capsules of this node's owner.
    pub library: Arc<dyn TesseraRepository>,
    /// The pieces held for others.
    pub fragments: Arc<dyn FragmentStore>,
    /// Dossiers, holders, placements.
    pub holdings: Arc<dyn HoldingRepository>,
    /// How much each peer stores for this node, and this node for each peer.
    pub ledger: Arc<dyn ReciprocityLedger>,
}

impl Stores {
    /// Runs work on these threads.
    pub(crate) async fn run_on<T: Send + 'static>(
        &self,
        disk: &Blocking,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let stores = self.clone();
        disk.run(move || work(&stores)).await
    }

    /// The pieces of a plan that are at hand here; see [`PieceSource::new`].
    pub(crate) fn pieces(
        &self,
        plan: Plan,
        whole: Option<Arc<dyn BlobReader>>,
    ) -> Result<PieceSource, StoreError> {
        PieceSource::new(plan, self.blobs.clone(), self.workbench.clone(), whole)
    }
}
