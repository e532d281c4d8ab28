//! The pieces held for other owners: rows with the piece, its tessera and its account, and objects
//! with the bytes.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{BlobReader, BlobStore as _, Charge, FragmentStore, HeldPiece, PeerAt};
use tesseras_core::ports::{StagedBlob, StoreError};
use tesseras_core::publication::PublicationEvent;

use crate::blocked::refuse_blocked;
use crate::cas::{Cas, set_damaged};
use crate::columns::{content_hash, count, from_piece, piece, tessera_hash, to_integer};
use crate::holdings::note_event;
use crate::scrub::is_there;

/// Pieces in SQLite and content-addressed files. Clones share one store.
#[derive(Debug, Clone)]
pub struct FsFragmentStore {
    cas: Arc<Cas>,
}

impl FsFragmentStore {
    pub(crate) fn new(cas: Arc<Cas>) -> Self {
        Self { cas }
    }

    /// Whether exactly this piece is held.
    fn holds(&self, held_piece: &HeldPiece) -> Result<bool, StoreError> {
        let held = self.cas.database().read("looking up a piece", |c| held(c, held_piece))?;
        Ok(held == Some((held_piece.checksum, held_piece.bytes)))
    }
}

fn list<T>(
    connection: &Connection,
    tessera: &TesseraHash,
    damaged: bool,
    row: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection
        .prepare_cached(
            "SELECT f.tessera, f.piece, f.checksum, f.bytes, o.bytes
             FROM fragments f JOIN objects o ON o.hash = f.checksum
             WHERE f.tessera = ?1 AND o.damaged <= ?2 ORDER BY f.piece",
        )?
        .query_map(params![tessera.as_bytes(), damaged], row)?
        .collect()
}

/// A piece, and the length of its object in bytes.
fn with_object_bytes(row: &Row<'_>) -> rusqlite::Result<(HeldPiece, u64)> {
    Ok((held_piece(row)?, count(row, 4)?))
}

/// The length of the dossier of a tessera, which the first piece is charged with; 0 if there is none,
/// or a piece is held already.
fn uncharged_dossier(connection: &Connection, tessera: &TesseraHash) -> rusqlite::Result<i64> {
    let bytes = connection
        .prepare_cached(
            "SELECT objects.bytes + length(manifest_ed25519_signature)
                    + length(manifest_ml_dsa_65_signature) + length(ed25519_pem)
                    + length(ml_dsa_65_pem) + length(plan) + length(plan_ed25519_signature)
                    + length(plan_ml_dsa_65_signature)
             FROM dossiers JOIN objects ON hash = dossiers.tessera
             WHERE dossiers.tessera = ?1
                   AND NOT EXISTS (SELECT 1 FROM fragments WHERE tessera = ?1)",
        )?
        .query_row([tessera.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(bytes.unwrap_or(0))
}

/// Checksum and length of the piece that is held under this key.
fn held(
    connection: &Connection,
    held_piece: &HeldPiece,
) -> rusqlite::Result<Option<(ContentHash, u64)>> {
    connection
        .prepare_cached("SELECT checksum, bytes FROM fragments WHERE tessera = ?1 AND piece = ?2")?
        .query_row(params![held_piece.tessera.as_bytes(), from_piece(held_piece.piece)], |row| {
            Ok((content_hash(row, 0)?, count(row, 1)?))
        })
        .optional()
}

/// A piece from the columns tessera, piece, checksum, bytes.
pub(crate) fn held_piece(row: &Row<'_>) -> rusqlite::Result<HeldPiece> {
    Ok(HeldPiece {
        tessera: tessera_hash(row, 0)?,
        piece: piece(row, 1)?,
        checksum: content_hash(row, 2)?,
        bytes: count(row, 3)?,
    })
}

impl FragmentStore for FsFragmentStore {
    fn store_fragment(
        &self,
        held_piece: &HeldPiece,
        staged: StagedBlob,
        charge: &Charge,
    ) -> Result<(), StoreError> {
        let mismatch = |expected, found| Err(StoreError::Mismatch { expected, found });
        if (staged.hash, staged.bytes) != (held_piece.checksum, held_piece.bytes) {
            let found = staged.hash;
            self.cas.discard(staged);
            return mismatch(held_piece.checksum, found);
        }
        self.cas.adopt("storing a piece", vec![staged], |tx, placing| {
            refuse_blocked(tx, &held_piece.tessera)?;
            if matches!(charge, Charge::Repair(_)) {
                note_event(tx, &held_piece.tessera, PublicationEvent::Confirmed)?;
            }
            match held(tx, held_piece)? {
                Some((checksum, _)) if checksum == held_piece.checksum => {
                    placing.heal(tx, &checksum)?;
                    return Ok(());
                }
                // The key is taken: acknowledged bytes are never overwritten.
                Some((checksum, _)) => return Ok(mismatch(checksum, held_piece.checksum)?),
                None => placing.acquire(tx, &held_piece.checksum)?,
            }
            let dossier_bytes = uncharged_dossier(tx, &held_piece.tessera)?;
            let columns = |PeerAt { id, subnet }: &PeerAt| (*id.as_bytes(), subnet.to_string());
            let (owner, repairer) = match charge {
                Charge::Peer(placer) => (Some(columns(placer)), None),
                Charge::Repair(placer) => (None, Some(columns(placer))),
            };
            let ((peer, subnet), (repair_peer, repair_subnet)) = (owner.unzip(), repairer.unzip());
            tx.prepare_cached(
                "INSERT INTO fragments
                 (tessera, piece, checksum, bytes, charge_peer, charge_subnet,
                  repair_peer, repair_subnet, dossier_bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                held_piece.tessera.as_bytes(),
                from_piece(held_piece.piece),
                held_piece.checksum.as_bytes(),
                to_integer(held_piece.bytes),
                peer,
                subnet,
                repair_peer,
                repair_subnet,
                dossier_bytes,
            ])?;
            Ok(())
        })
    }

    fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        self.cas.database().read("listing pieces", |c| list(c, tessera, true, held_piece))
    }

    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        let sound = |c: &Connection| list(c, tessera, false, held_piece);
        self.cas.database().read_durable("listing pieces", sound)
    }

    fn list_attestable_fragments(
        &self,
        tessera: &TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        let sound = |c: &Connection| list(c, tessera, false, with_object_bytes);
        let sound = self.cas.database().read_durable("listing pieces", sound)?;
        let (mut there, mut unknown) = (Vec::with_capacity(sound.len()), None);
        for (held_piece, bytes) in sound {
            match is_there(&self.cas, &held_piece.checksum, bytes) {
                Ok(true) => there.push(held_piece),
                Ok(false) => {}
                Err(error) => {
                    let HeldPiece { tessera, piece, .. } = held_piece;
                    tracing::warn!(%tessera, %piece, %error, "a piece cannot be looked at");
                    unknown = Some(error);
                }
            }
        }
        unknown.filter(|_| there.is_empty()).map_or(Ok(there), Err)
    }

    fn mark_damaged(&self, held_piece: &HeldPiece) -> Result<bool, StoreError> {
        self.cas.database().write_durably("noting a damaged piece", |tx| {
            let is_held = held(tx, held_piece)? == Some((held_piece.checksum, held_piece.bytes));
            if is_held {
                set_damaged(tx, &held_piece.checksum, true)?;
            }
            Ok(is_held)
        })
    }

    fn count_damaged(&self) -> Result<u64, StoreError> {
        self.cas.database().read("counting damaged pieces", |connection| {
            connection
                .prepare_cached(
                    "SELECT COUNT(*) FROM objects o JOIN fragments f ON f.checksum = o.hash
                     WHERE o.damaged = 1",
                )?
                .query_row([], |row| count(row, 0))
        })
    }

    fn read_fragment(&self, held_piece: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError> {
        if !self.holds(held_piece)? {
            return Err(StoreError::Missing(held_piece.checksum));
        }
        self.cas.open(&held_piece.checksum)
    }

    fn delete_fragment(&self, held_piece: &HeldPiece) -> Result<bool, StoreError> {
        self.cas.release("deleting a piece", |tx, released| {
            let gone = tx
                .prepare_cached(
                    "DELETE FROM fragments
                     WHERE tessera = ?1 AND piece = ?2 AND checksum = ?3 AND bytes = ?4",
                )?
                .execute(params![
                    held_piece.tessera.as_bytes(),
                    from_piece(held_piece.piece),
                    held_piece.checksum.as_bytes(),
                    to_integer(held_piece.bytes),
                ])?;
            if gone > 0 {
                released.release(tx, &held_piece.checksum)?;
            }
            Ok(gone > 0)
        })
    }

    fn held_tesserae(
        &self,
        after: Option<&TesseraHash>,
        limit: usize,
    ) -> Result<Vec<TesseraHash>, StoreError> {
        let after: &[u8] = after.map_or(&[], |hash| hash.as_bytes());
        self.cas.database().read("listing held tesserae", |connection| {
            connection
                .prepare_cached(
                    "SELECT DISTINCT tessera FROM fragments
                     WHERE tessera > ?1 ORDER BY tessera LIMIT ?2",
                )?
                .query_map(params![after, to_integer(limit as u64)], |row| tessera_hash(row, 0))?
                .collect()
        })
    }

    fn totals(&self) -> Result<(u64, u64), StoreError> {
        self.cas.database().read("counting pieces", |connection| {
            connection
                .prepare_cached(
                    "SELECT COUNT(*), COALESCE(SUM(bytes + dossier_bytes), 0) FROM fragments",
                )?
                .query_row([], |row| Ok((count(row, 0)?, count(row, 1)?)))
        })
    }
}
