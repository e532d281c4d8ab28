//! Opening held pieces for other nodes; damage that shows while they are read is recorded.

use std::sync::Arc;

use tesseras_core::code::Piece;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{BlobReader, HeldPiece, StoreError};
use tesseras_crypto::blake3_of;

use super::Holder;
use crate::sending::{Check, Outgoing};
use crate::stores::Stores;

impl Holder {
    /// Opens a held piece, or a data fragment as a range of the whole pack; `None` if it is no part
    /// of what is held. Its bytes are hashed while they are sent, unless they are in memory: if they
    /// do not match, the held piece is damaged from then on.
    pub(crate) async fn open(
        &self,
        held: HeldPiece,
        piece: Piece,
    ) -> Result<Option<Outgoing>, StoreError> {
        self.run(move |stores| {
            let reader: Arc<dyn BlobReader> = Arc::from(stores.fragments.read_fragment(&held)?);
            let of = stores.clone();
            if held.piece == piece {
                let record = move |damage| Err(record_damage(&of, &held, damage));
                let check = Some(Check::new(held.checksum, record));
                return Ok(Some(Outgoing { reader, check }));
            }
            let plan = stores.holdings.plan(&held.tessera)?.map(|bytes| Plan::parse(&bytes));
            let Some(Ok(plan)) = plan else { return Ok(None) };
            let checksum = plan.checksum(piece);
            match stores.pieces(plan, Some(reader))?.open(piece) {
                Ok(reader) => {
                    let judge = move |damage| judge_whole(&of, &held, damage);
                    let check = checksum.map(|checksum| Check::new(checksum, judge));
                    Ok(Some(Outgoing { reader, check }))
                }
                // A piece that is not part of what is held says nothing about what is held.
                Err(error) if error.is_damage() => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// Records that a held piece is damaged, and returns the damage.
fn record_damage(stores: &Stores, held: &HeldPiece, damage: StoreError) -> StoreError {
    let HeldPiece { tessera, piece, .. } = held;
    tracing::error!(%tessera, %piece, %damage, "a piece on disk is damaged");
    match stores.fragments.mark_damaged(held) {
        Ok(_) => damage,
        Err(error) => error,
    }
}

/// Reads a whole copy of which a fragment does not match the plan: the plan may be wrong, and then
/// the copy is not damaged.
fn judge_whole(stores: &Stores, held: &HeldPiece, damage: StoreError) -> Result<(), StoreError> {
    match stores.blobs.open(&held.checksum).and_then(|whole| blake3_of(&*whole)) {
        Ok(found) if found == held.checksum => Ok(()),
        Ok(_) => Err(record_damage(stores, held, damage)),
        Err(error) if error.is_damage() => Err(record_damage(stores, held, error)),
        Err(error) => Err(error),
    }
}
