//! What this node knows about tesserae that are stored on several nodes, possibly including itself.

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
    /// The piece.
    pub piece: Piece,
    /// The holder.
    pub holder: NodeId,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A recorded holder of a tessera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHolder {
    /// Where it was.
    pub contact: Contact,
    /// When it was seen last: it attested the tessera to this node. `None` if others only named it.
    pub seen: Option<Timestamp>,
}

/// The most holders of a tessera that are recorded.
pub const MAX_KNOWN_HOLDERS: usize = 256;
/// The most of them that others only named.
pub const MAX_HINTS: usize = 128;
/// The most of these that strangers named.
pub const MAX_HINTS_OF_STRANGERS: usize = 32;

/// Who named a possible holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HintBy {
    /// Who placed a piece: this node, which sends it there, or a node that placed one here.
    Placer,
    /// Any other node.
    Stranger,
}

/// Why a tessera was repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairReason {
    /// Someone asked for it.
    Asked,
    /// It might have been lost soon.
    Endangered,
    /// It was due, and the turn of the node that did it.
    Turn,
}

/// The last repair of a tessera by this node, or by one that gave it pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairRecord {
    /// The node that repaired it.
    pub by: NodeId,
    /// When, by this node's clock.
    pub at: Timestamp,
    /// How many pieces were restored, as far as this node knows: if another one did it, those that
    /// this node was given.
    pub pieces: u64,
    /// How many known holders did not answer; 0 if another node did it.
    pub silent: u64,
    /// Why; `None` if another node did it.
    pub reason: Option<RepairReason>,
}

/// Dossiers, known holders, own placements, last repairs, and blocked tesserae.
pub trait HoldingRepository: Send + Sync {
    /// Keeps a (verified) dossier. The first plan stays: `false` if another one is already kept,
    /// and nothing changes. With the same plan, the rest is replaced, so that damage is mended.
    /// [`StoreError::Blocked`] if the tessera is blocked, which is looked up in the same transaction.
    fn put_dossier(&self, tessera: &TesseraHash, dossier: &Dossier) -> Result<bool, StoreError>;

    /// The whole dossier.
    fn dossier(&self, tessera: &TesseraHash) -> Result<Option<Dossier>, StoreError>;

    /// The plan's bytes alone.
    fn plan(&self, tessera: &TesseraHash) -> Result<Option<Vec<u8>>, StoreError>;

    /// The publication state of a tessera; the default for an unknown one.
    fn publication(&self, tessera: &TesseraHash) -> Result<Publication, StoreError>;

    /// Records a publication event, and returns the resulting state.
    fn note_publication(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Publication, StoreError>;

    /// [`Self::note_publication`] of a capsule that is in the library and not blocked; `None`, and
    /// nothing is recorded, otherwise. Looked up in the same transaction: it may be dropped at any
    /// time, also by another process.
    fn note_publication_unless_dropped(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Option<Publication>, StoreError>;

    /// All tesserae with a recorded state, in order.
    fn list_publications(&self) -> Result<Vec<(TesseraHash, Publication)>, StoreError>;

    /// Records where holders of a tessera were last seen; at most [`MAX_KNOWN_HOLDERS`] per tessera,
    /// of which hints are dropped first, then the oldest, and with any holder those not seen for 30
    /// days. A date more than [`CLOCK_TOLERANCE`](crate::time::CLOCK_TOLERANCE) ahead of `now` is
    /// unknown: such holders become hints of `now`. Not synced before the call returns.
    fn remember_holders(
        &self,
        tessera: &TesseraHash,
        holders: &[Contact],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Records nodes that may hold something of a tessera, but were not seen to: at most
    /// [`MAX_HINTS`], dropped after 30 days. Those of a placer displace its older ones and those of
    /// strangers, of which there are at most [`MAX_HINTS_OF_STRANGERS`], and which displace nothing.
    /// Nothing changes about holders that were seen. Not synced before the call returns.
    fn note_hints(
        &self,
        tessera: &TesseraHash,
        hints: &[Contact],
        by: HintBy,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The recorded holders, most recently seen first; then the hints of placers, then those of
    /// strangers, the newest first.
    fn known_holders(&self, tessera: &TesseraHash) -> Result<Vec<KnownHolder>, StoreError>;

    /// Records that a holder acknowledged a piece which this node placed on its own account; it
    /// counts in the ledger.
    fn record_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// The pieces that were acknowledged to this node, in order.
    fn placements(&self, tessera: &TesseraHash) -> Result<Vec<PlacedPiece>, StoreError>;

    /// Removes the record that a holder has a piece, after the holder itself stopped attesting it.
    fn forget_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
    ) -> Result<(), StoreError>;

    /// Records the last repair of a tessera, in place of the one before. For people: not synced before
    /// the call returns.
    fn record_repair(&self, tessera: &TesseraHash, repair: &RepairRecord)
    -> Result<(), StoreError>;

    /// The last repair of a tessera, if one is recorded.
    fn last_repair(&self, tessera: &TesseraHash) -> Result<Option<RepairRecord>, StoreError>;

    /// Removes dossier, holders, placements and the last repair, and blocks the tessera from now on, until its owner
    /// [asks for it](super::TesseraRepository::unblock).
    fn block(&self, tessera: &TesseraHash, now: Timestamp) -> Result<(), StoreError>;

    /// Whether a tessera is blocked.
    fn is_blocked(&self, tessera: &TesseraHash) -> Result<bool, StoreError>;
}
