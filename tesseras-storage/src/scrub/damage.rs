//! Which objects are damaged, and what refers to them.

use std::path::PathBuf;

use rusqlite::{Connection, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{HeldPiece, StoreError};

use crate::cas::Cas;
use crate::columns::{content_hash, count, tessera_hash, to_integer};
use crate::fragment::held_piece;

/// A stored object whose bytes do not match its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedObject {
    /// The hash that its bytes should have.
    pub hash: ContentHash,
    /// Its file, or where that should be. It is left as it is until sound bytes replace it.
    pub path: PathBuf,
    /// What it is for.
    pub uses: ObjectUse,
}

/// What refers to an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectUse {
    /// The pieces held for others that it is.
    pub pieces: Vec<HeldPiece>,
    /// The tessera whose MANIFEST it is, beside pieces of it or its plan.
    pub dossier: Option<TesseraHash>,
    /// The capsules of the library that have it, MANIFEST or file.
    pub capsules: Vec<TesseraHash>,
}

/// How many objects are damaged.
pub(crate) fn count_damaged(cas: &Cas) -> Result<u64, StoreError> {
    cas.database().read("counting damaged objects", |connection| {
        connection
            .prepare_cached("SELECT COUNT(*) FROM objects WHERE damaged = 1")?
            .query_row([], |row| count(row, 0))
    })
}

/// Up to `limit` damaged objects after `after`, in the order of their hashes.
pub(crate) fn damaged_after(
    cas: &Cas,
    after: Option<&ContentHash>,
    limit: u64,
) -> Result<Vec<DamagedObject>, StoreError> {
    let after: &[u8] = after.map_or(&[], |hash| hash.as_bytes());
    let found = cas.database().read("listing damaged objects", |connection| {
        let hashes: Vec<ContentHash> = connection
            .prepare_cached(
                "SELECT hash FROM objects WHERE damaged = 1 AND hash > ?1 ORDER BY hash LIMIT ?2",
            )?
            .query_map(params![after, to_integer(limit)], |row| content_hash(row, 0))?
            .collect::<Result<_, _>>()?;
        hashes.into_iter().map(|hash| Ok((hash, uses_of(connection, &hash)?))).collect()
    });
    let found: Vec<(ContentHash, ObjectUse)> = found?;
    let damaged = |(hash, uses)| DamagedObject { hash, path: cas.files().path(&hash), uses };
    Ok(found.into_iter().map(damaged).collect())
}

fn uses_of(connection: &Connection, object: &ContentHash) -> rusqlite::Result<ObjectUse> {
    let pieces = connection
        .prepare_cached(
            "SELECT tessera, piece, checksum, bytes FROM fragments
             WHERE checksum = ?1 ORDER BY tessera, piece",
        )?
        .query_map([object.as_bytes()], held_piece)?
        .collect::<Result<_, _>>()?;
    let is_manifest = connection
        .prepare_cached("SELECT 1 FROM dossiers WHERE tessera = ?1")?
        .exists([object.as_bytes()])?;
    let capsules = connection
        .prepare_cached("SELECT tessera FROM tessera_content WHERE object = ?1 ORDER BY tessera")?
        .query_map([object.as_bytes()], |row| tessera_hash(row, 0))?
        .collect::<Result<_, _>>()?;
    let dossier = is_manifest.then(|| TesseraHash::new(*object.as_bytes()));
    Ok(ObjectUse { pieces, dossier, capsules })
}
