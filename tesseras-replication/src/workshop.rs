//! Prepares the pieces that a publication, a fetch or a repair needs: computes and rebuilds them,
//! and keeps them on disk until that task is done. Contacts no other node.

use std::collections::BTreeSet;
use std::sync::Arc;

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::{Plan, PlanError};
use tesseras_core::ports::{BlobReader, BlobStore, NoSpace, StoreError};
use tesseras_core::time::{Clock, Timestamp};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blocking::Blocking;
use crate::erasure::{self, ErasureError};
use crate::pieces::PieceSource;
use crate::staged::Staged;
use crate::stores::Stores;
use crate::tessera_lock::{TesseraLock, TesseraLocks};
use tesseras_core::progress::{Meter, OnProgress};

/// Why a pack was not encoded.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// The code or a store failed.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why pieces could not be prepared.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The free disk space would fall below the reserve.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// The codec or a store failed.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rebuilt piece does not match the plan: the plan is false, or the codec is wrong.
    #[error("rebuilt piece {0} does not match the plan")]
    FalsePlan(Piece),
}

/// Prepares pieces on this node.
pub struct Workshop {
    pub(crate) disk: Blocking,
    clock: Clock,
    stores: Stores,
    /// Disk space that stays free for the owner, in bytes.
    min_free_space: u64,
    /// Permits one pack to be encoded or rebuilt at a time.
    coding: Arc<Semaphore>,
    locks: TesseraLocks,
}

impl Workshop {
    /// Prepares pieces in these stores.
    pub(crate) fn new(clock: Clock, disk: Blocking, stores: Stores, min_free_space: u64) -> Self {
        let coding = Arc::new(Semaphore::new(1));
        Self { disk, clock, stores, min_free_space, coding, locks: TesseraLocks::default() }
    }

    /// Waits until no other task of this node (publish, fetch or repair) works on a tessera.
    pub(crate) async fn lock(&self, tessera: TesseraHash) -> TesseraLock {
        self.locks.lock(tessera).await
    }

    /// Whether files of these lengths fit on the disk in addition to the reserve.
    pub(crate) async fn check_room(
        &self,
        lengths: impl IntoIterator<Item = u64>,
    ) -> Result<(), PrepareError> {
        let blobs = self.stores.blobs.clone();
        let free = self.disk.run(move || blobs.free_space()).await?;
        Ok(free.check(lengths, self.min_free_space)?)
    }

    /// The pieces of a plan that are at hand. `whole` is the pack if it can be read otherwise than
    /// as a stored piece.
    pub(crate) async fn pieces(
        &self,
        plan: Plan,
        whole: Option<Arc<dyn BlobReader>>,
    ) -> Result<PieceSource, StoreError> {
        let stores = self.stores.clone();
        self.disk.run(move || stores.pieces(plan, whole)).await
    }

    /// The same pieces, with the whole pack joined from them.
    pub(crate) async fn joined(&self, source: PieceSource) -> Result<PieceSource, StoreError> {
        let stores = self.stores.clone();
        self.disk.run(move || stores.pieces(source.plan().clone(), Some(source.pack()?))).await
    }

    /// Opens a piece that is at hand.
    pub(crate) async fn open(
        &self,
        source: &PieceSource,
        piece: Piece,
    ) -> Result<Arc<dyn BlobReader>, StoreError> {
        let source = source.clone();
        self.disk.run(move || source.open(piece)).await
    }

    /// The store in which bytes are staged.
    pub(crate) fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.stores.blobs
    }

    /// Keeps a piece until the task is done.
    pub(crate) async fn pin(&self, lock: &TesseraLock, staged: Staged) -> Result<(), StoreError> {
        let (workbench, now) = (self.stores.workbench.clone(), self.clock.now());
        let tessera = lock.tessera();
        lock.on(&self.disk).run(move || workbench.pin(&tessera, staged.take(), now)).await
    }

    /// Removes the pieces kept for a task that is done. If that fails, the task is done all the
    /// same: what is left is removed once nothing was added to it for long.
    pub(crate) async fn unpin(&self, lock: &TesseraLock) {
        let (workbench, tessera) = (self.stores.workbench.clone(), lock.tessera());
        let removed = lock.on(&self.disk).run(move || workbench.unpin(&tessera)).await;
        if let Err(error) = removed {
            tracing::warn!(%tessera, %error, "the pieces kept for a task could not be removed");
        }
    }

    /// Computes the plan of a pack. Parity is kept for publishing.
    pub(crate) async fn encode(
        &self,
        lock: &TesseraLock,
        pack: Arc<dyn BlobReader>,
        on_progress: &OnProgress,
    ) -> Result<Plan, EncodeError> {
        let disk = lock.on(&self.disk).keeping(self.permit_to_code().await);
        let (stores, tessera, now) = (self.stores.clone(), lock.tessera(), self.clock.now());
        let count = Meter::new("computing redundancy", pack.bytes(), on_progress);
        disk.run(move || {
            let encoded = erasure::encode(&pack, &stores.blobs, &count)?;
            for staged in encoded.parity {
                stores.workbench.pin(&tessera, staged.take(), now)?;
            }
            Ok(Plan::new(tessera, pack.bytes(), encoded.pack_hash, encoded.checksums)?)
        })
        .await
    }

    /// Which of these pieces are parity that is missing or no longer intact.
    pub(crate) async fn lacking_parity(
        &self,
        lock: &TesseraLock,
        source: &PieceSource,
        pieces: &[Piece],
    ) -> Result<Vec<u8>, StoreError> {
        let (source, pieces) = (source.clone(), pieces.to_vec());
        lock.on(&self.disk)
            .run(move || {
                // Pieces damaged by a power cut would be refused by every node.
                source.verify_pins()?;
                let mut lacking = Vec::new();
                for piece in pieces {
                    if let Piece::Index(index) = piece
                        && !source.has(piece)?
                    {
                        lacking.push(index);
                    }
                }
                Ok(lacking)
            })
            .await
    }

    /// Computes pieces from those at hand, verifies them against the plan, and keeps them.
    pub(crate) async fn rebuild(
        &self,
        lock: &TesseraLock,
        source: &mut PieceSource,
        have: &BTreeSet<Piece>,
        wanted: &[u8],
        on_progress: &OnProgress,
    ) -> Result<(), PrepareError> {
        let Some(form) = source.plan().coded() else { return Ok(()) };
        if wanted.is_empty() {
            return Ok(());
        }
        self.check_room(wanted.iter().map(|_| form.fragment_bytes)).await?;
        let disk = lock.on(&self.disk).keeping(self.permit_to_code().await);
        let count = Meter::new("rebuilding", source.plan().pack_bytes(), on_progress);
        let (stores, now) = (self.stores.clone(), self.clock.now());
        let (here, have, lost) = (source.clone(), have.clone(), wanted.to_vec());
        disk.run(move || {
            let staged = rebuild(&here, &have, &lost, &stores.blobs, &count)?;
            pin_true(&stores, &here, lost, staged, now)
        })
        .await?;
        wanted.iter().for_each(|index| source.stored_anew(Piece::Index(*index)));
        Ok(())
    }

    async fn permit_to_code(&self) -> Arc<OwnedSemaphorePermit> {
        Arc::new(self.coding.clone().acquire_owned().await.expect("the semaphore is never closed"))
    }
}

fn rebuild(
    source: &PieceSource,
    have: &BTreeSet<Piece>,
    wanted: &[u8],
    blobs: &Arc<dyn BlobStore>,
    count: &Meter,
) -> Result<Vec<Staged>, PrepareError> {
    let Some(form) = source.plan().coded() else { return Ok(Vec::new()) };
    let whole = have.contains(&Piece::Whole);
    let is_usable = |i: &u8| have.contains(&Piece::Index(*i)) || (whole && *i < form.shape.k);
    let pieces = (0..form.shape.n())
        .filter(is_usable)
        .map(|index| Ok((index, source.open(Piece::Index(index))?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(erasure::rebuild(&pieces, form, wanted, blobs, count)?)
}

/// Keeps the rebuilt pieces that match the plan.
fn pin_true(
    stores: &Stores,
    source: &PieceSource,
    wanted: Vec<u8>,
    staged: Vec<Staged>,
    now: Timestamp,
) -> Result<(), PrepareError> {
    let mut wrong = None;
    for (index, staged) in wanted.into_iter().zip(staged) {
        if source.plan().checksum(Piece::Index(index)) == Some(staged.hash) {
            stores.workbench.pin(&source.plan().tessera(), staged.take(), now)?;
        } else {
            wrong = Some(Piece::Index(index));
        }
    }
    wrong.map_or(Ok(()), |piece| Err(PrepareError::FalsePlan(piece)))
}
