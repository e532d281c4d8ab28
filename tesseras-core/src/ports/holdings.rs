//! What this node knows about tesserae that live on several nodes, its own among them.

use super::StoreError;
use crate::code::Piece;
use crate::contact::Contact;
use crate::dossier::Dossier;
use crate::ids::{NodeId, TesseraHash};
use crate::publication::{Publication, PublicationEvent};
use crate::time::Timestamp;

/// A piece that another node acknowledged to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacedPiece {
    /// Which piece.
    pub piece: Piece,
    /// Who has it.
    pub holder: NodeId,
    /// Its length.
    pub bytes: u64,
}

/// Dossiers, known holders, own placements, and what was dropped for good.
pub trait HoldingRepository: Send + Sync {
    /// Keeps a (verified) dossier. The first plan stays: `false` if another one is kept already,
    /// and nothing changes.
    fn put_dossier(&self, tessera: &TesseraHash, dossier: &Dossier) -> Result<bool, StoreError>;

    /// The whole dossier.
    fn dossier(&self, tessera: &TesseraHash) -> Result<Option<Dossier>, StoreError>;

    /// The plan's bytes alone.
    fn plan(&self, tessera: &TesseraHash) -> Result<Option<Vec<u8>>, StoreError>;

    /// How far a tessera is published; nothing is known of one that was never heard of.
    fn publication(&self, tessera: &TesseraHash) -> Result<Publication, StoreError>;

    /// Notes what happened to a publication, and returns what is known then.
    fn note_publication(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Publication, StoreError>;

    /// All tesserae of which anything is known, in order.
    fn list_publications(&self) -> Result<Vec<(TesseraHash, Publication)>, StoreError>;

    /// Remembers where holders of a tessera were last seen; at most 256 a tessera, the oldest go,
    /// and those not seen for 30 days.
    /// Hints: not synced before the call returns.
    fn remember_holders(
        &self,
        tessera: &TesseraHash,
        holders: &[Contact],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Holders that were remembered, last seen first.
    fn known_holders(&self, tessera: &TesseraHash) -> Result<Vec<Contact>, StoreError>;

    /// Notes that a holder acknowledged a piece which this node placed for itself; it counts in
    /// the ledger.
    fn record_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The pieces that were acknowledged to this node, in order.
    fn placements(&self, tessera: &TesseraHash) -> Result<Vec<PlacedPiece>, StoreError>;

    /// Forgets that a holder has a piece: it said itself that it has it no more.
    fn forget_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
    ) -> Result<(), StoreError>;

    /// Forgets dossier, holders and placements, and keeps the tessera out from now on.
    fn block(&self, tessera: &TesseraHash, now: Timestamp) -> Result<(), StoreError>;

    /// Lets a blocked tessera in again: the owner of this node asked for it.
    fn unblock(&self, tessera: &TesseraHash) -> Result<(), StoreError>;

    /// Whether a tessera is kept out.
    fn is_blocked(&self, tessera: &TesseraHash) -> Result<bool, StoreError>;
}
