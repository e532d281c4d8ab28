//! The pieces that this node holds for others.

use super::{BlobReader, Charge, StagedBlob, StoreError};
use crate::code::Piece;
use crate::ids::{ContentHash, TesseraHash};

/// A held piece in the index. `checksum` is the hash that its bytes were verified against when they
/// were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeldPiece {
    /// The tessera.
    pub tessera: TesseraHash,
    /// The piece.
    pub piece: Piece,
    /// BLAKE3 of its bytes.
    pub checksum: ContentHash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Pieces held for other owners: fragments, and also whole copies, although the names of the
/// methods say "fragment". An acknowledged piece stays until it is deleted here explicitly.
pub trait FragmentStore: Send + Sync {
    /// Stores a piece whose staged bytes must have the checksum and length of `held_piece`
    /// ([`StoreError::Mismatch`] otherwise; the staged blob is discarded). Storing a piece that is
    /// already held replaces its bytes by the staged ones, so it is no longer damaged. With the first
    /// piece of a tessera the dossier that is kept of it is charged, too.
    /// A piece that is charged as a repair is of a published tessera: that it is
    /// [confirmed](crate::publication::PublicationEvent::Confirmed) is recorded in the same
    /// transaction. [`StoreError::Blocked`] if the tessera is [blocked](super::HoldingRepository::block), which
    /// is looked up in the same transaction.
    fn store_fragment(
        &self,
        held_piece: &HeldPiece,
        staged: StagedBlob,
        charge: &Charge,
    ) -> Result<(), StoreError>;

    /// The pieces held of a tessera, whole first, then by index. Reads no blob.
    fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError>;

    /// The same, without the pieces that were found damaged, and only pieces that survive a power
    /// cut.
    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError>;

    /// Those of them whose bytes are there in their full length, of which none is read: what is
    /// acknowledged and attested. Any other one is recorded as damaged. One of which this cannot be
    /// found out is left out; if that leaves none, the call fails. It fails, too, and records
    /// nothing, while the bytes of all pieces are away, as when a disk is not mounted.
    fn list_attestable_fragments(
        &self,
        tessera: &TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError>;

    /// Records that the stored bytes of a held piece, and of all pieces with equal bytes, no longer
    /// match the checksum; kept until they are stored again, or read and found to match. `false` if it
    /// is not held.
    fn mark_damaged(&self, held_piece: &HeldPiece) -> Result<bool, StoreError>;

    /// How many held pieces are recorded as damaged.
    fn count_damaged(&self) -> Result<u64, StoreError>;

    /// Opens a held piece for reading; [`StoreError::Missing`] if it is not held.
    fn read_fragment(&self, held_piece: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError>;

    /// Deletes a piece; `false` if it was not held.
    fn delete_fragment(&self, held_piece: &HeldPiece) -> Result<bool, StoreError>;

    /// Up to `limit` tesserae of which any piece is held, in byte order, after `after`.
    fn held_tesserae(
        &self,
        after: Option<&TesseraHash>,
        limit: usize,
    ) -> Result<Vec<TesseraHash>, StoreError>;

    /// How many pieces are held, and their bytes with the dossiers that are charged with them.
    fn totals(&self) -> Result<(u64, u64), StoreError>;
}
