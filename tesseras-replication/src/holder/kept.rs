//! Storing and replacing held pieces. None is deleted for the sake of other nodes: only the owner of
//! the disk removes a piece.

use std::time::Duration;

use tesseras_core::buffer::PageBuffer;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::lock::lock as locked;
use tesseras_core::ports::{Charge, HeldPiece, HintBy, PeerAt, RepairRecord, StoreError};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::time::Timestamp;

use super::Holder;
use crate::bulk::CHUNK;
use crate::dossier::VerifiedDossier;
use crate::pieces::PieceSource;
use crate::staged::Staged;
use crate::stores::Stores;
use crate::tessera_lock::TesseraLock;

/// How many unknown holders a roster of a stranger may name; the rest is ignored.
const HINTS_IN_A_ROSTER: usize = 8;
/// Pieces that a node gives within this time are of one repair.
const ONE_REPAIR: Duration = Duration::from_secs(60 * 60);

/// What a roster has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotedRoster {
    /// Whether this node knows only now that the tessera is published.
    pub(crate) is_new: bool,
    /// Whether it knows that.
    pub(crate) is_confirmed: bool,
}

impl Holder {
    /// Records what this node has repaired.
    pub(crate) async fn note_repair(&self, tessera: TesseraHash, repair: RepairRecord) {
        let record = move |stores: &Stores| stores.holdings.record_repair(&tessera, &repair);
        if let Err(error) = self.run(record).await {
            tracing::warn!(%tessera, %error, "the repair could not be recorded");
        }
    }

    /// The last repair that is recorded here.
    pub(crate) async fn last_repair(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<RepairRecord>, StoreError> {
        self.run(move |stores| stores.holdings.last_repair(&tessera)).await
    }

    /// Stores a piece from another node, whose bytes match the plan. `false` if another plan is kept
    /// here; [`StoreError::Blocked`] if the owner has dropped the tessera in the meantime.
    pub(crate) async fn store(
        &self,
        dossier: VerifiedDossier,
        held_piece: HeldPiece,
        staged: Staged,
        charge: Charge,
    ) -> Result<bool, StoreError> {
        let (tessera, now) = (held_piece.tessera, self.clock.now());
        let kept = self.run(move |stores| {
            let staged = staged.discarded_here();
            if !store_wanted(stores, &dossier, &held_piece, staged, &charge)? {
                return Ok(None);
            }
            if let Charge::Repair(sender) = charge {
                let last = stores.holdings.last_repair(&tessera)?;
                let repair = with_one_more(last, sender.id, now);
                stores.holdings.record_repair(&tessera, &repair)?;
            }
            // A tessera that others attest is published, as is recorded with the piece; for the rest,
            // the placing node will report it.
            Ok(Some(stores.holdings.publication(&tessera)?))
        });
        let Some(publication) = kept.await? else { return Ok(false) };
        if publication.confirmed {
            self.note_to_announce(tessera);
        }
        Ok(true)
    }

    /// Keeps a rebuilt piece on this node, as any other holder would. `false` if the owner has
    /// dropped the tessera in the meantime, or another plan is kept here.
    pub(crate) async fn keep(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        piece: Piece,
    ) -> Result<bool, StoreError> {
        self.keep_as(lock, dossier, source, piece, Charge::Repair(self.itself())).await
    }

    async fn keep_as(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        piece: Piece,
        charge: Charge,
    ) -> Result<bool, StoreError> {
        let (dossier, source) = (dossier.clone(), source.clone());
        let keep = move |stores: &Stores| keep_copy(stores, &dossier, &source, piece, &charge);
        match self.stores.run_on(&lock.on(&self.disk), keep).await {
            Err(StoreError::Blocked(_)) => Ok(false),
            kept => kept,
        }
    }

    /// Replaces a held piece that was found damaged by the verified one at hand. If that fails, the
    /// verified piece is still at hand, and the held one still counts as damaged.
    pub(crate) async fn mend(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        piece: Piece,
    ) {
        let tessera = dossier.tessera();
        let mending = async {
            if self.damaged_pieces(tessera).await?.contains(&piece) {
                // The charge of a held piece does not change, and a draft stays a draft.
                let charge = Charge::Peer(self.itself());
                return self.keep_as(lock, dossier, source, piece, charge).await.map(drop);
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = mending.await {
            tracing::warn!(%tessera, %piece, %error, "a damaged piece could not be replaced");
        }
    }

    /// The bytes of the plan that is kept here.
    pub(crate) async fn plan(&self, tessera: TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |stores| stores.holdings.plan(&tessera)).await
    }

    /// The length of the MANIFEST that is kept here, in bytes.
    pub(crate) async fn manifest_bytes(&self, tessera: TesseraHash) -> Result<u64, StoreError> {
        self.run(move |stores| Ok(stores.blobs.open(&tessera.into())?.bytes())).await
    }

    /// Whether it makes a difference that a node sends a piece that is held already: it is a draft, and
    /// this node has seen no piece of it from that node yet.
    pub(crate) async fn is_to_show(
        &self,
        tessera: TesseraHash,
        sender: NodeId,
    ) -> Result<bool, StoreError> {
        if locked(&self.tables).shown.contains(tessera, sender) {
            return Ok(false);
        }
        self.run(move |stores| {
            Ok(!stores.holdings.publication(&tessera)?.confirmed
                && !stores.ledger.has_placed(&sender, &tessera)?)
        })
        .await
    }

    /// Records that a node has sent all bytes of a piece that is held already: it may say that the
    /// tessera is published, as if it had placed the piece. Forgotten with a restart.
    pub(crate) fn note_shown(&self, tessera: TesseraHash, sender: PeerAt) {
        locked(&self.tables).shown.note(tessera, sender);
    }

    /// Records the content of a roster: the other holders of a tessera, and, if the sender placed or
    /// showed a piece here, that it is published. `None` if this node holds nothing of it.
    pub(crate) async fn note_roster(
        &self,
        tessera: TesseraHash,
        sender: NodeId,
        mut holders: Vec<Contact>,
    ) -> Result<Option<NotedRoster>, StoreError> {
        let (me, now) = (self.me(), self.clock.now());
        let has_shown = locked(&self.tables).shown.contains(tessera, sender);
        self.run(move |stores| {
            if stores.fragments.list_fragments(&tessera)?.is_empty() {
                return Ok(None);
            }
            let was = stores.holdings.publication(&tessera)?;
            // A node that has placed a piece here, or has it as well, decides whether it is published:
            // otherwise a stranger could complete what its owner has cancelled.
            let has_placed = has_shown || stores.ledger.has_placed(&sender, &tessera)?;
            let is_new = !was.confirmed && has_placed;
            if is_new {
                stores.holdings.note_publication(&tessera, PublicationEvent::Confirmed)?;
            }
            // Nobody was seen by being named: otherwise a stranger could make this node wait for
            // holders that it invents.
            holders.retain(|holder| holder.id != me);
            let by = if has_placed { HintBy::Placer } else { HintBy::Stranger };
            if by == HintBy::Stranger {
                let known = stores.holdings.known_holders(&tessera)?;
                holders.retain(|holder| known.iter().all(|known| known.contact.id != holder.id));
                holders.truncate(HINTS_IN_A_ROSTER);
            }
            stores.holdings.note_hints(&tessera, &holders, by, now)?;
            Ok(Some(NotedRoster { is_new, is_confirmed: was.confirmed || is_new }))
        })
        .await
    }
}

/// Stores a piece with its dossier; `false` if another plan of the tessera is kept. Each of the two is
/// refused if the owner has dropped the tessera while the piece was received or rebuilt.
fn store_wanted(
    stores: &Stores,
    dossier: &VerifiedDossier,
    held_piece: &HeldPiece,
    staged: Staged,
    charge: &Charge,
) -> Result<bool, StoreError> {
    if !stores.holdings.put_dossier(&held_piece.tessera, dossier.dossier())? {
        return Ok(false);
    }
    stores.fragments.store_fragment(held_piece, staged.take(), charge)?;
    Ok(true)
}

/// The repair by a node that has just given this one another piece.
fn with_one_more(last: Option<RepairRecord>, by: NodeId, at: Timestamp) -> RepairRecord {
    let is_same = |last: &RepairRecord| last.by == by && at.since(last.at) < ONE_REPAIR;
    let pieces = last.filter(is_same).map_or(0, |last| last.pieces) + 1;
    RepairRecord { by, at, pieces, silent: 0, reason: None }
}

fn keep_copy(
    stores: &Stores,
    dossier: &VerifiedDossier,
    source: &PieceSource,
    piece: Piece,
    charge: &Charge,
) -> Result<bool, StoreError> {
    let missing = StoreError::Missing(source.plan().pack_hash());
    let checksum = source.plan().checksum(piece).ok_or(missing)?;
    let reader = source.open(piece)?;
    let mut writer = stores.blobs.stage()?;
    let mut buffer = PageBuffer::new(CHUNK);
    let mut at = 0;
    while at < reader.bytes() {
        let len = (reader.bytes() - at).min(buffer.len() as u64) as usize;
        reader.read_at(at, &mut buffer[..len])?;
        writer.write(&buffer[..len])?;
        at += len as u64;
    }
    let staged = Staged::new(&stores.blobs, writer.finish()?);
    let tessera = dossier.tessera();
    let held_piece = HeldPiece { tessera, piece, checksum, bytes: reader.bytes() };
    store_wanted(stores, dossier, &held_piece, staged, charge)
}
