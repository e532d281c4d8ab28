//! Makes the rows of the index again from what names the stored files beside it: the MANIFESTs of
//! listed tesserae, and the plans of held pieces. Whether a file is here with its full length is looked
//! at; which bytes it has is the question of a verification. No file is removed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Transaction, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{HeldPiece, StoreError};
use tesseras_core::signature::SignaturePair;

use crate::agreement::{self, Disagreement, MAX_DISAGREEMENTS, of_held};
use crate::cas::{Cas, names_of_object, object_bytes, recount, set_damaged};
use crate::columns::{content_hash, from_piece, tessera_hash, to_integer};
use crate::error::Fault;
use crate::library::SqliteLibrary;
use crate::manifests::readable_manifest;

/// Makes the references of a listed tessera those that its MANIFEST has. Files that are not here are
/// recorded as damaged. `content` is all that it names, with the lengths.
pub(crate) fn mend_listed(
    cas: &Cas,
    tessera: &TesseraHash,
    content: &BTreeMap<ContentHash, u64>,
) -> Result<(), StoreError> {
    cas.database().write_durably("making the rows of a tessera again", |tx| {
        let is_listed = tx
            .prepare_cached("SELECT 1 FROM tesserae WHERE hash = ?1")?
            .exists([tessera.as_bytes()])?;
        if !is_listed {
            return Ok(());
        }
        let listed: Vec<ContentHash> = tx
            .prepare_cached("SELECT object FROM tessera_content WHERE tessera = ?1")?
            .query_map([tessera.as_bytes()], |row| content_hash(row, 0))?
            .collect::<Result<_, _>>()?;
        for wrong in listed.iter().filter(|object| !content.contains_key(object)) {
            tx.prepare_cached("DELETE FROM tessera_content WHERE tessera = ?1 AND object = ?2")?
                .execute(params![tessera.as_bytes(), wrong.as_bytes()])?;
            recount(tx, wrong)?;
        }
        for (object, bytes) in content {
            list_object(tx, object, *bytes)?;
            tx.prepare_cached(
                "INSERT INTO tessera_content VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?
            .execute(params![tessera.as_bytes(), object.as_bytes()])?;
            recount(tx, object)?;
            if !cas.files().has(object, *bytes)? {
                set_damaged(tx, object, true)?;
            }
        }
        Ok(())
    })
}

/// Makes the row of a listed capsule again if it is not what its MANIFEST and its signature file say;
/// returns whether it was not. Where the MANIFEST cannot be read, nothing is done.
pub(crate) fn mend_row(
    cas: &Cas,
    library: &SqliteLibrary,
    tessera: &TesseraHash,
) -> Result<bool, StoreError> {
    let Some(expected) = agreement::expected_row(cas, library, tessera) else { return Ok(false) };
    if cas.database().read("comparing the row of a tessera", |c| expected.agrees(c))? {
        return Ok(false);
    }
    cas.database().write_durably("making the row of a tessera again", |tx| {
        expected.write(tx)?;
        Ok(true)
    })
}

/// Records other signatures of a listed capsule, which were verified.
pub(crate) fn replace_signatures(
    cas: &Cas,
    hash: &TesseraHash,
    signatures: &SignaturePair,
) -> Result<(), StoreError> {
    cas.database().write_durably("replacing signatures", |tx| {
        tx.prepare_cached(
            "UPDATE tesserae SET ed25519_signature = ?2, ml_dsa_65_signature = ?3
             WHERE hash = ?1",
        )?
        .execute(params![hash.as_bytes(), signatures.ed25519, signatures.ml_dsa_65])?;
        Ok(())
    })
}

/// Forgets what flipped bits left: rows of which nothing is stored and that have the signatures
/// of another capsule, which is listed or has a signature file; and references of capsules that
/// are not listed. What these need is no garbage while they have a signature file.
pub(crate) fn forget_doubles(cas: &Cas, library: &SqliteLibrary) -> Result<(), StoreError> {
    let bare: Vec<(TesseraHash, Vec<u8>)> =
        cas.database().read("looking for rows of no capsule", |connection| {
            connection
                .prepare_cached(
                    "SELECT hash, ed25519_signature FROM tesserae
                     WHERE NOT EXISTS (SELECT 1 FROM tessera_content AS content
                                       WHERE content.tessera = tesserae.hash)
                       AND NOT EXISTS (SELECT 1 FROM objects
                                       WHERE objects.hash = tesserae.hash)",
                )?
                .query_map([], |row| Ok((tessera_hash(row, 0)?, row.get(1)?)))?
                .collect()
        })?;
    let mut signed = BTreeSet::new();
    if !bare.is_empty() {
        for hash in library.signature_files()? {
            let file = library.signature_file(&hash).unwrap_or_else(|error| {
                tracing::warn!(tessera = %hash, %error, "a signature file could not be read");
                None
            });
            let file = file.filter(|file| file.tessera == hash);
            signed.extend(file.map(|file| file.signatures.ed25519));
        }
    }
    cas.database().write_durably("forgetting rows of no capsule", |tx| {
        for (hash, _) in bare.iter().filter(|(_, signature)| signed.contains(signature)) {
            tx.execute("DELETE FROM tesserae WHERE hash = ?1", [hash.as_bytes()])?;
        }
        tx.execute(
            "DELETE FROM tessera_content WHERE tessera NOT IN (SELECT hash FROM tesserae)",
            [],
        )?;
        Ok(())
    })
}

/// Makes the rows of held pieces and dossiers again, as far as their files are here; returns how
/// many.
pub(crate) fn mend_held(cas: &Cas) -> Result<u64, StoreError> {
    let mut mended = 0;
    loop {
        // Dossiers come first: they have the plans.
        let found = of_held(cas)?;
        let mut now = 0;
        for disagreement in &found {
            let is_mended = match disagreement {
                Disagreement::Dossier(tessera) => mend_dossier(cas, tessera)?,
                Disagreement::Piece(held) => mend_piece(cas, held)?,
                Disagreement::Manifest(_)
                | Disagreement::Tessera(_)
                | Disagreement::Row(_)
                | Disagreement::File { .. } => false,
            };
            now += u64::from(is_mended);
        }
        mended += now;
        if now == 0 || found.len() < MAX_DISAGREEMENTS {
            return Ok(mended);
        }
    }
}

/// The flipped bit is in the row of the object, or in that of the dossier: its plan says which.
fn mend_dossier(cas: &Cas, tessera: &TesseraHash) -> Result<bool, StoreError> {
    cas.database().write_durably("making the row of a dossier again", |tx| {
        let Some(plan) = plan(tx, tessera)? else { return Ok(false) };
        let named = plan.tessera();
        let Some(kept) = readable_manifest(cas, &named) else { return Ok(false) };
        list_object(tx, &named.into(), kept.bytes().len() as u64)?;
        if named != *tessera {
            // Where it has been brought again, the wrong row is only in the way.
            tx.prepare_cached("UPDATE OR IGNORE dossiers SET tessera = ?2 WHERE tessera = ?1")?
                .execute(params![tessera.as_bytes(), named.as_bytes()])?;
            tx.prepare_cached("DELETE FROM dossiers WHERE tessera = ?1")?
                .execute([tessera.as_bytes()])?;
        }
        recount(tx, &named.into())?;
        Ok(true)
    })
}

/// The flipped bit is in the row of the object, whose file then has the checksum of the piece's row;
/// or in the latter, and the plan has the right one.
fn mend_piece(cas: &Cas, held: &HeldPiece) -> Result<bool, StoreError> {
    cas.database().write_durably("making the row of a piece again", |tx| {
        let planned = plan(tx, &held.tessera)?.and_then(|plan| plan.checksum(held.piece));
        for checksum in std::iter::once(held.checksum).chain(planned) {
            if cas.files().has(&checksum, held.bytes)? {
                list_object(tx, &checksum, held.bytes)?;
                tx.prepare_cached(
                    "UPDATE fragments SET checksum = ?3 WHERE tessera = ?1 AND piece = ?2",
                )?
                .execute(params![
                    held.tessera.as_bytes(),
                    from_piece(held.piece),
                    checksum.as_bytes()
                ])?;
                recount(tx, &checksum)?;
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Forgets the rows of objects that nothing refers to and that have no file: hashes with a flipped
/// bit.
pub(crate) fn forget_without_file(cas: &Cas) -> Result<(), StoreError> {
    let unused: Vec<ContentHash> = cas.database().read("listing unused objects", |connection| {
        connection
            .prepare_cached(concat!("SELECT hash FROM objects WHERE 0 = ", names_of_object!()))?
            .query_map([], |row| content_hash(row, 0))?
            .collect()
    })?;
    let is_gone = |hash: &&ContentHash| cas.files().path(hash).symlink_metadata().is_err();
    let gone: Vec<&ContentHash> = unused.iter().filter(is_gone).collect();
    if gone.is_empty() {
        return Ok(());
    }
    cas.database().write_durably("forgetting objects without a file", |tx| {
        let mut forget = tx.prepare_cached(concat!(
            "DELETE FROM objects WHERE hash = ?1 AND 0 = ",
            names_of_object!()
        ))?;
        for hash in &gone {
            forget.execute([hash.as_bytes()])?;
        }
        Ok(())
    })
}

/// The plan that is kept under a tessera, if it is one.
fn plan(tx: &Transaction<'_>, tessera: &TesseraHash) -> Result<Option<Plan>, Fault> {
    let bytes: Option<Vec<u8>> = tx
        .prepare_cached("SELECT plan FROM dossiers WHERE tessera = ?1")?
        .query_row([tessera.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|bytes| Plan::parse(&bytes).ok()))
}

/// Lists an object whose file is here with this length. Its references are to be
/// [counted](recount).
fn list_object(tx: &Transaction<'_>, object: &ContentHash, bytes: u64) -> Result<(), Fault> {
    if object_bytes(tx, object)? == Some(bytes) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO objects (hash, bytes, refs) VALUES (?1, ?2, 1)
         ON CONFLICT (hash) DO UPDATE SET bytes = excluded.bytes",
    )?
    .execute(params![object.as_bytes(), to_integer(bytes)])?;
    Ok(())
}
