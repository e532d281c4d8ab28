//! What this node knows about tesserae on several nodes: dossiers, holders, placements, and blocked
//! tesserae. A dossier's MANIFEST is an object like any other (its hash is the tessera's hash); the
//! small parts are in its row.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction, params};
use tesseras_core::contact::Contact;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::MAX_MANIFEST_BYTES;
use tesseras_core::ports::{
    BlobReader as _, BlobStore as _, HintBy, HoldingRepository, KnownHolder, PlacedPiece,
    RepairReason, RepairRecord, StagedBlob, StoreError,
};
use tesseras_core::publication::{Publication, PublicationEvent};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;

use crate::blocked::{is_blocked, refuse_blocked};
use crate::cas::{Cas, Released};
use crate::columns::{count, from_piece, node_id, piece, tessera_hash, to_integer};
use crate::error::Fault;
use crate::holders;

/// Bytes of a MANIFEST that are compared at a time.
const COMPARED: usize = 16 * 1024;

/// Holdings in SQLite, MANIFESTs among the content-addressed files.
#[derive(Debug, Clone)]
pub struct SqliteHoldings {
    cas: Arc<Cas>,
}

impl SqliteHoldings {
    pub(crate) fn new(cas: Arc<Cas>) -> Self {
        Self { cas }
    }
}

const REASONS: [(RepairReason, &str); 3] = [
    (RepairReason::Asked, "asked"),
    (RepairReason::Endangered, "endangered"),
    (RepairReason::Turn, "turn"),
];

fn from_reason(reason: RepairReason) -> Option<&'static str> {
    REASONS.iter().find(|(known, _)| *known == reason).map(|(_, name)| *name)
}

fn reason_of(name: &str) -> Option<RepairReason> {
    REASONS.iter().find(|(_, known)| *known == name).map(|(reason, _)| *reason)
}

fn plan_of(
    connection: &rusqlite::Connection,
    tessera: &TesseraHash,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT plan FROM dossiers WHERE tessera = ?1")?
        .query_row([tessera.as_bytes()], |row| row.get(0))
        .optional()
}

fn publication(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Publication> {
    let bits: u8 = row.get(column)?;
    Publication::from_bits(bits)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, bits.into()))
}

fn publication_of(
    connection: &rusqlite::Connection,
    tessera: &TesseraHash,
) -> rusqlite::Result<Publication> {
    let found = connection
        .prepare_cached("SELECT state FROM publications WHERE tessera = ?1")?
        .query_row([tessera.as_bytes()], |row| publication(row, 0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Records a publication event, and returns the resulting state.
pub(crate) fn note_event(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    event: PublicationEvent,
) -> rusqlite::Result<Publication> {
    let after = publication_of(tx, tessera)?.after(event);
    tx.prepare_cached(
        "INSERT INTO publications VALUES (?1, ?2)
         ON CONFLICT (tessera) DO UPDATE SET state = excluded.state",
    )?
    .execute(params![tessera.as_bytes(), after.to_bits()])?;
    Ok(after)
}

fn write_dossier(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    dossier: &Dossier,
) -> rusqlite::Result<()> {
    tx.prepare_cached("REPLACE INTO dossiers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
        params![
            tessera.as_bytes(),
            dossier.manifest_signatures.ed25519,
            dossier.manifest_signatures.ml_dsa_65,
            dossier.ed25519_pem,
            dossier.ml_dsa_65_pem,
            dossier.plan,
            dossier.plan_signatures.ed25519,
            dossier.plan_signatures.ml_dsa_65,
        ],
    )?;
    Ok(())
}

fn delete_dossier(
    tx: &Transaction<'_>,
    tessera: &TesseraHash,
    released: &mut Released,
) -> Result<(), Fault> {
    let gone = tx
        .prepare_cached("DELETE FROM dossiers WHERE tessera = ?1")?
        .execute([tessera.as_bytes()])?;
    if gone > 0 {
        released.release(tx, &ContentHash::from(*tessera))?;
    }
    Ok(())
}

impl SqliteHoldings {
    /// Stages a MANIFEST, unless these very bytes are stored: those were hashed when they came, and
    /// need not be hashed and written again.
    fn stage_manifest(
        &self,
        tessera: &TesseraHash,
        manifest: &[u8],
    ) -> Result<Option<StagedBlob>, StoreError> {
        let expected = ContentHash::from(*tessera);
        if self.is_stored(&expected, manifest) {
            return Ok(None);
        }
        let mut writer = self.cas.stage()?;
        writer.write(manifest)?;
        let staged = writer.finish()?;
        if staged.hash != expected {
            let found = staged.hash;
            self.cas.discard(staged);
            return Err(StoreError::Mismatch { expected, found });
        }
        Ok(Some(staged))
    }

    /// Whether the object of this name can be read, and has these bytes.
    fn is_stored(&self, hash: &ContentHash, bytes: &[u8]) -> bool {
        let Ok(reader) = self.cas.open_object(hash) else { return false };
        let mut buffer = [0; COMPARED];
        reader.bytes() == bytes.len() as u64
            && bytes.chunks(COMPARED).zip(0_u64..).all(|(chunk, number)| {
                let buffer = &mut buffer[..chunk.len()];
                reader.read_at(number * COMPARED as u64, buffer).is_ok() && buffer == chunk
            })
    }
}

impl HoldingRepository for SqliteHoldings {
    fn put_dossier(&self, tessera: &TesseraHash, dossier: &Dossier) -> Result<bool, StoreError> {
        let staged = self.stage_manifest(tessera, &dossier.manifest)?;
        self.cas.adopt("keeping a dossier", staged.into_iter().collect(), |tx, placing| {
            refuse_blocked(tx, tessera)?;
            let manifest = ContentHash::from(*tessera);
            if let Some(plan) = plan_of(tx, tessera)? {
                placing.heal(tx, &manifest)?;
                if plan != dossier.plan {
                    return Ok(false);
                }
            } else {
                placing.acquire(tx, &manifest)?;
            }
            write_dossier(tx, tessera, dossier)?;
            Ok(true)
        })
    }

    fn dossier(&self, tessera: &TesseraHash) -> Result<Option<Dossier>, StoreError> {
        let row = self.cas.database().read("looking up a dossier", |connection| {
            connection
                .prepare_cached(
                    "SELECT manifest_ed25519_signature, manifest_ml_dsa_65_signature,
                            ed25519_pem, ml_dsa_65_pem,
                            plan, plan_ed25519_signature, plan_ml_dsa_65_signature
                     FROM dossiers WHERE tessera = ?1",
                )?
                .query_row([tessera.as_bytes()], |row| {
                    Ok(Dossier {
                        manifest: Vec::new(),
                        manifest_signatures: SignaturePair {
                            ed25519: row.get(0)?,
                            ml_dsa_65: row.get(1)?,
                        },
                        ed25519_pem: row.get(2)?,
                        ml_dsa_65_pem: row.get(3)?,
                        plan: row.get(4)?,
                        plan_signatures: SignaturePair {
                            ed25519: row.get(5)?,
                            ml_dsa_65: row.get(6)?,
                        },
                    })
                })
                .optional()
        })?;
        let Some(mut dossier) = row else { return Ok(None) };
        let hash = ContentHash::from(*tessera);
        let manifest = self.cas.open_object(&hash)?.read_whole(MAX_MANIFEST_BYTES)?;
        dossier.manifest = manifest.ok_or(StoreError::Corrupt(hash))?;
        if tesseras_crypto::hash::blake3(&dossier.manifest) != hash {
            return Err(StoreError::Corrupt(hash));
        }
        Ok(Some(dossier))
    }

    fn plan(&self, tessera: &TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.cas.database().read("looking up a plan", |c| plan_of(c, tessera))
    }

    fn publication(&self, tessera: &TesseraHash) -> Result<Publication, StoreError> {
        self.cas.database().read("looking up a publication", |c| publication_of(c, tessera))
    }

    fn note_publication(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Publication, StoreError> {
        let what = "noting a publication";
        let note = || {
            let database = self.cas.database();
            database.write_durably(what, |tx| Ok(note_event(tx, tessera, event)?))
        };
        match event {
            // What is to be dropped is stopped first, also on a full disk.
            PublicationEvent::Stopped | PublicationEvent::Cancelled => self.cas.with_reserve(note),
            _ => note(),
        }
    }

    fn note_publication_unless_dropped(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Option<Publication>, StoreError> {
        self.cas.database().write_durably("noting a publication", |tx| {
            let is_listed = tx
                .prepare_cached("SELECT 1 FROM tesserae WHERE hash = ?1")?
                .exists([tessera.as_bytes()])?;
            if !is_listed || is_blocked(tx, tessera)? {
                return Ok(None);
            }
            Ok(Some(note_event(tx, tessera, event)?))
        })
    }

    fn list_publications(&self) -> Result<Vec<(TesseraHash, Publication)>, StoreError> {
        self.cas.database().read("listing publications", |connection| {
            connection
                .prepare_cached("SELECT tessera, state FROM publications ORDER BY tessera")?
                .query_map([], |row| Ok((tessera_hash(row, 0)?, publication(row, 1)?)))?
                .collect()
        })
    }

    fn remember_holders(
        &self,
        tessera: &TesseraHash,
        seen: &[Contact],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let write = |tx: &Transaction<'_>| Ok(holders::remember(tx, tessera, seen, now)?);
        self.cas.database().write_unsynced("remembering holders", write)
    }

    fn note_hints(
        &self,
        tessera: &TesseraHash,
        hints: &[Contact],
        by: HintBy,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let write = |tx: &Transaction<'_>| Ok(holders::hint(tx, tessera, hints, by, now)?);
        self.cas.database().write_unsynced("noting hints", write)
    }

    fn known_holders(&self, tessera: &TesseraHash) -> Result<Vec<KnownHolder>, StoreError> {
        self.cas
            .database()
            .read("listing holders", |connection| holders::known(connection, tessera))
    }

    fn record_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.cas.database().write_durably("recording a placement", |tx| {
            tx.prepare_cached(
                "INSERT INTO placements VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tessera, piece, holder) DO UPDATE
                 SET bytes = excluded.bytes, placed = excluded.placed",
            )?
            .execute(params![
                tessera.as_bytes(),
                from_piece(placed.piece),
                placed.holder.as_bytes(),
                to_integer(placed.bytes),
                to_integer(now.0),
            ])?;
            Ok(())
        })
    }

    fn placements(&self, tessera: &TesseraHash) -> Result<Vec<PlacedPiece>, StoreError> {
        self.cas.database().read("listing placements", |connection| {
            connection
                .prepare_cached(
                    "SELECT piece, holder, bytes FROM placements
                     WHERE tessera = ?1 ORDER BY piece, holder",
                )?
                .query_map([tessera.as_bytes()], |row| {
                    Ok(PlacedPiece {
                        piece: piece(row, 0)?,
                        holder: node_id(row, 1)?,
                        bytes: count(row, 2)?,
                    })
                })?
                .collect()
        })
    }

    fn forget_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
    ) -> Result<(), StoreError> {
        self.cas.database().write_durably("forgetting a placement", |tx| {
            tx.prepare_cached(
                "DELETE FROM placements WHERE tessera = ?1 AND piece = ?2 AND holder = ?3",
            )?
            .execute(params![
                tessera.as_bytes(),
                from_piece(placed.piece),
                placed.holder.as_bytes()
            ])?;
            Ok(())
        })
    }

    fn record_repair(
        &self,
        tessera: &TesseraHash,
        repair: &RepairRecord,
    ) -> Result<(), StoreError> {
        self.cas.database().write_unsynced("recording a repair", |tx| {
            tx.prepare_cached("REPLACE INTO last_repairs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![
                    tessera.as_bytes(),
                    repair.by.as_bytes(),
                    to_integer(repair.at.0),
                    to_integer(repair.pieces),
                    to_integer(repair.silent),
                    repair.reason.map(from_reason),
                ])?;
            Ok(())
        })
    }

    fn last_repair(&self, tessera: &TesseraHash) -> Result<Option<RepairRecord>, StoreError> {
        self.cas.database().read("looking up the last repair", |connection| {
            connection
                .prepare_cached(
                    "SELECT node, date, pieces, silent, reason FROM last_repairs
                     WHERE tessera = ?1",
                )?
                .query_row([tessera.as_bytes()], |row| {
                    let reason: Option<String> = row.get(4)?;
                    Ok(RepairRecord {
                        by: node_id(row, 0)?,
                        at: Timestamp(count(row, 1)?),
                        pieces: count(row, 2)?,
                        silent: count(row, 3)?,
                        reason: reason.as_deref().and_then(reason_of),
                    })
                })
                .optional()
        })
    }

    fn block(&self, tessera: &TesseraHash, now: Timestamp) -> Result<(), StoreError> {
        self.cas.release("keeping a tessera out", |tx, released| {
            delete_dossier(tx, tessera, released)?;
            for forget in [
                "DELETE FROM holders WHERE tessera = ?1",
                "DELETE FROM placements WHERE tessera = ?1",
                "DELETE FROM last_repairs WHERE tessera = ?1",
                "DELETE FROM publications WHERE tessera = ?1",
            ] {
                tx.prepare_cached(forget)?.execute([tessera.as_bytes()])?;
            }
            tx.prepare_cached(
                "INSERT INTO blocked VALUES (?1, ?2)
                 ON CONFLICT (tessera) DO UPDATE SET since = MAX(since, excluded.since)",
            )?
            .execute(params![tessera.as_bytes(), to_integer(now.0)])?;
            Ok(())
        })
    }

    fn is_blocked(&self, tessera: &TesseraHash) -> Result<bool, StoreError> {
        self.cas.database().read("looking up what is kept out", |c| is_blocked(c, tessera))
    }
}
