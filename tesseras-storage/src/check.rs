//! Reads a whole store and compares it with its index: for tests after a crash, and for people who
//! suspect their disk.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{BlobReader, HeldPiece, StoreError, TesseraRepository as _};
use tesseras_crypto::blake3_of;

use crate::agreement::{Disagreement, MAX_DISAGREEMENTS, disagreements, of_rows};
use crate::cas::{Cas, names_of_object};
use crate::columns::{content_hash, count, to_integer};
use crate::fragment::held_piece;
use crate::library::SqliteLibrary;

/// How many rows are fetched at a time.
const PAGE: u64 = 1000;

/// The result of a check. Of a sound store, all lists are empty but those of waiting and of foreign
/// files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// Objects with a reference.
    pub objects: u64,
    /// Their length in bytes, all of them read.
    pub bytes: u64,
    /// Pieces held for others.
    pub pieces: u64,
    /// Objects without a file.
    pub missing: Vec<ContentHash>,
    /// Objects whose bytes do not match their hash or length.
    pub damaged: Vec<ContentHash>,
    /// Objects with a wrong reference count.
    pub miscounted: Vec<ContentHash>,
    /// Held pieces whose object is missing, damaged, or of another length.
    pub lost_pieces: Vec<HeldPiece>,
    /// Capsules of the library whose signature file is missing or wrong, and not due.
    pub unsigned: Vec<TesseraHash>,
    /// Capsules that are not listed although parts of them are here: their row was lost, and was not
    /// dropped. [`Store::rebuild_library`](crate::Store::rebuild_library) lists them again, or says
    /// what is missing.
    pub unlisted: Vec<TesseraHash>,
    /// What is wrong with the structure of the index, as sentences: its pages, or its schema. If there is
    /// any, nothing else was looked at. [`Store::rebuild_library`](crate::Store::rebuild_library)
    /// makes a new one.
    pub index_faults: Vec<String>,
    /// Where the index is damaged: it does not agree with the MANIFESTs of listed capsules, or with
    /// what is held for others; at most [`MAX_DISAGREEMENTS`](crate::MAX_DISAGREEMENTS).
    pub disagreements: Vec<Disagreement>,
    /// Files that are named as objects and have no reference: waste, which
    /// [`Store::collect_garbage`](crate::Store::collect_garbage) removes.
    pub orphans: Vec<PathBuf>,
    /// Files of what was dropped that wait to be removed: opening the store, or
    /// [`Store::collect_garbage`](crate::Store::collect_garbage), tries it again.
    pub waiting: Vec<PathBuf>,
    /// Files among the objects that are not named as any, so they are not ours.
    pub foreign: Vec<PathBuf>,
}

impl StoreCheck {
    /// Whether everything is as it should be: all is intact, every capsule is listed, and nothing is
    /// there that nothing refers to.
    pub fn is_sound(&self) -> bool {
        self.is_intact() && self.unlisted.is_empty() && self.orphans.is_empty()
    }

    /// Whether it is sound, and nothing waits to be removed.
    pub fn is_tidy(&self) -> bool {
        self.is_sound() && self.waiting.is_empty()
    }

    /// Whether all referenced objects exist, are intact, are counted correctly, and are those that the
    /// MANIFESTs name.
    pub fn is_intact(&self) -> bool {
        self.missing.is_empty()
            && self.damaged.is_empty()
            && self.miscounted.is_empty()
            && self.lost_pieces.is_empty()
            && self.unsigned.is_empty()
            && self.disagreements.is_empty()
            && self.index_faults.is_empty()
    }
}

struct Object {
    hash: ContentHash,
    bytes: u64,
    refs: u64,
    names: u64,
}

/// Checks everything.
pub(crate) fn check(cas: &Cas, library: &SqliteLibrary) -> Result<StoreCheck, StoreError> {
    let mut found = StoreCheck { index_faults: cas.database().faults()?, ..StoreCheck::default() };
    if !found.index_faults.is_empty() {
        // What its rows say means nothing.
        return Ok(found);
    }
    let mut after: Option<ContentHash> = None;
    loop {
        let page = objects_after(cas, after.as_ref())?;
        for object in &page {
            found.objects += 1;
            found.bytes += object.bytes;
            if object.refs != object.names {
                found.miscounted.push(object.hash);
            }
            match verify(cas, &object.hash, object.bytes) {
                Ok(()) => {}
                Err(StoreError::Missing(hash)) => found.missing.push(hash),
                Err(StoreError::Corrupt(hash)) => found.damaged.push(hash),
                Err(other) => return Err(other),
            }
        }
        match page.last() {
            Some(last) => after = Some(last.hash),
            None => break,
        }
    }
    check_pieces(cas, &mut found)?;
    for record in library.list()? {
        let is_right = library.is_signature_file_right(&record).unwrap_or_else(|error| {
            tracing::warn!(%error, "a signature file could not be read");
            false
        });
        if !is_right && !library.is_signature_file_due(&record.hash)? {
            found.unsigned.push(record.hash);
        }
    }
    for hash in library.unlisted()? {
        if !library.is_kept_out(&hash)? {
            found.unlisted.push(hash);
        }
    }
    // A MANIFEST that is damaged is among the objects above.
    found.disagreements = disagreements(cas, library)?;
    found.disagreements.retain(Disagreement::is_in_index);
    found.disagreements.extend(of_rows(cas, library)?);
    found.disagreements.truncate(MAX_DISAGREEMENTS);
    found.waiting = library.waiting_files()?;
    cas.visit_orphans(|hash, path| {
        match hash {
            Some(hash) if cas.is_removal_due(&hash)? => found.waiting.push(path),
            Some(_) => found.orphans.push(path),
            None => found.foreign.push(path),
        }
        Ok(())
    })?;
    Ok(found)
}

fn objects_after(cas: &Cas, after: Option<&ContentHash>) -> Result<Vec<Object>, StoreError> {
    let after: &[u8] = after.map_or(&[], |hash| hash.as_bytes());
    cas.database().read("listing objects", |connection| {
        connection
            .prepare_cached(concat!(
                "SELECT hash, bytes, refs, ",
                names_of_object!(),
                " FROM objects WHERE hash > ?1 ORDER BY hash LIMIT ?2"
            ))?
            .query_map(rusqlite::params![after, to_integer(PAGE)], |row| {
                Ok(Object {
                    hash: content_hash(row, 0)?,
                    bytes: count(row, 1)?,
                    refs: count(row, 2)?,
                    names: count(row, 3)?,
                })
            })?
            .collect()
    })
}

/// Reads an object and compares it with its hash.
fn verify(cas: &Cas, hash: &ContentHash, bytes: u64) -> Result<(), StoreError> {
    let reader = cas.open_object(hash)?;
    if reader.bytes() != bytes || blake3_of(&reader)? != *hash {
        return Err(StoreError::Corrupt(*hash));
    }
    Ok(())
}

fn check_pieces(cas: &Cas, found: &mut StoreCheck) -> Result<(), StoreError> {
    let bad: BTreeSet<ContentHash> = found.missing.iter().chain(&found.damaged).copied().collect();
    cas.database().read("listing pieces", |connection| {
        let mut statement = connection.prepare_cached(
            "SELECT f.tessera, f.piece, f.checksum, f.bytes, f.bytes = o.bytes
             FROM fragments f JOIN objects o ON o.hash = f.checksum",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.pieces += 1;
            let piece = held_piece(row)?;
            if bad.contains(&piece.checksum) || !row.get::<_, bool>(4)? {
                found.lost_pieces.push(piece);
            }
        }
        Ok(())
    })
}
