//! The pieces held for others: rows that say which, whose and on whose account, and objects that
//! hold their bytes.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{BlobReader, BlobStore as _, Charge, Fragment, FragmentStore, PeerAt};
use tesseras_core::ports::{StagedBlob, StoreError};

use crate::cas::Cas;
use crate::columns::{content_hash, count, from_piece, piece, tessera_hash, to_integer};

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
    fn holds(&self, fragment: &Fragment) -> Result<bool, StoreError> {
        let held = self.cas.database().read("looking up a piece", |c| held(c, fragment))?;
        Ok(held == Some((fragment.checksum, fragment.bytes)))
    }

    fn list(&self, tessera: &TesseraHash, damaged: bool) -> Result<Vec<Fragment>, StoreError> {
        self.cas.database().read("listing pieces", |connection| {
            connection
                .prepare_cached(
                    "SELECT tessera, piece, checksum, bytes FROM fragments
                     WHERE tessera = ?1 AND damaged <= ?2 ORDER BY piece",
                )?
                .query_map(params![tessera.as_bytes(), damaged], fragment)?
                .collect()
        })
    }
}

/// Notes whether the stored bytes of all pieces with this checksum are damaged.
fn set_damaged(
    connection: &Connection,
    checksum: &ContentHash,
    damaged: bool,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE fragments SET damaged = ?2 WHERE checksum = ?1 AND damaged <> ?2")?
        .execute(params![checksum.as_bytes(), damaged])
}

/// Checksum and length of what is held in a piece's place.
fn held(
    connection: &Connection,
    fragment: &Fragment,
) -> rusqlite::Result<Option<(ContentHash, u64)>> {
    connection
        .prepare_cached("SELECT checksum, bytes FROM fragments WHERE tessera = ?1 AND piece = ?2")?
        .query_row(params![fragment.tessera.as_bytes(), from_piece(fragment.piece)], |row| {
            Ok((content_hash(row, 0)?, count(row, 1)?))
        })
        .optional()
}

/// A piece from the columns tessera, piece, checksum, bytes.
pub(crate) fn fragment(row: &Row<'_>) -> rusqlite::Result<Fragment> {
    Ok(Fragment {
        tessera: tessera_hash(row, 0)?,
        piece: piece(row, 1)?,
        checksum: content_hash(row, 2)?,
        bytes: count(row, 3)?,
    })
}

impl FragmentStore for FsFragmentStore {
    fn store_fragment(
        &self,
        fragment: &Fragment,
        staged: StagedBlob,
        charge: &Charge,
    ) -> Result<(), StoreError> {
        let mismatch = |expected, found| Err(StoreError::Mismatch { expected, found });
        if (staged.hash, staged.bytes) != (fragment.checksum, fragment.bytes) {
            let found = staged.hash;
            self.cas.discard(staged);
            return mismatch(fragment.checksum, found);
        }
        self.cas.adopt("storing a piece", vec![staged], |tx, placing| {
            match held(tx, fragment)? {
                Some((checksum, _)) if checksum == fragment.checksum => {
                    placing.heal(tx, &checksum)?;
                    set_damaged(tx, &checksum, false)?;
                    return Ok(());
                }
                // The place is taken: what was acknowledged is never overwritten.
                Some((checksum, _)) => return Ok(mismatch(checksum, fragment.checksum)?),
                None => placing.acquire(tx, &fragment.checksum)?,
            }
            set_damaged(tx, &fragment.checksum, false)?;
            let (peer, subnet) = match charge {
                Charge::Peer(PeerAt { id, subnet }) => {
                    (Some(id.as_bytes()), Some(subnet.to_string()))
                }
                Charge::Repair => (None, None),
            };
            tx.prepare_cached(
                "INSERT INTO fragments
                 (tessera, piece, checksum, bytes, charge_peer, charge_subnet)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                fragment.tessera.as_bytes(),
                from_piece(fragment.piece),
                fragment.checksum.as_bytes(),
                to_integer(fragment.bytes),
                peer,
                subnet,
            ])?;
            Ok(())
        })
    }

    fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<Fragment>, StoreError> {
        self.list(tessera, true)
    }

    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<Fragment>, StoreError> {
        self.list(tessera, false)
    }

    fn mark_damaged(&self, fragment: &Fragment) -> Result<bool, StoreError> {
        self.cas.database().write_durably("noting a damaged piece", |tx| {
            let is_held = held(tx, fragment)? == Some((fragment.checksum, fragment.bytes));
            if is_held {
                set_damaged(tx, &fragment.checksum, true)?;
            }
            Ok(is_held)
        })
    }

    fn count_damaged(&self) -> Result<u64, StoreError> {
        self.cas.database().read("counting damaged pieces", |connection| {
            connection
                .prepare_cached("SELECT COUNT(*) FROM fragments WHERE damaged = 1")?
                .query_row([], |row| count(row, 0))
        })
    }

    fn read_fragment(&self, fragment: &Fragment) -> Result<Box<dyn BlobReader>, StoreError> {
        if !self.holds(fragment)? {
            return Err(StoreError::Missing(fragment.checksum));
        }
        self.cas.open(&fragment.checksum)
    }

    fn delete_fragment(&self, fragment: &Fragment) -> Result<bool, StoreError> {
        self.cas.release("deleting a piece", |tx, released| {
            let gone = tx
                .prepare_cached(
                    "DELETE FROM fragments
                     WHERE tessera = ?1 AND piece = ?2 AND checksum = ?3 AND bytes = ?4",
                )?
                .execute(params![
                    fragment.tessera.as_bytes(),
                    from_piece(fragment.piece),
                    fragment.checksum.as_bytes(),
                    to_integer(fragment.bytes),
                ])?;
            if gone > 0 {
                released.release(tx, &fragment.checksum)?;
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
                .prepare_cached("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM fragments")?
                .query_row([], |row| Ok((count(row, 0)?, count(row, 1)?)))
        })
    }
}
