//! The capsules in one's own library: a row each, and a name on every object that it needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{NewTessera, Origin, StoreError, TesseraRecord, TesseraRepository};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;

use crate::cas::Cas;
use crate::columns::{content_hash, count, creator_id, tessera_hash, to_integer};
use crate::error::Fault;

/// The library in SQLite and content-addressed files.
#[derive(Debug, Clone)]
pub struct SqliteLibrary {
    cas: Arc<Cas>,
}

impl SqliteLibrary {
    pub(crate) fn new(cas: Arc<Cas>) -> Self {
        Self { cas }
    }
}

const CREATED: i64 = 0;
const FETCHED: i64 = 1;

fn record(row: &Row<'_>) -> rusqlite::Result<TesseraRecord> {
    Ok(TesseraRecord {
        hash: tessera_hash(row, 0)?,
        title: row.get(1)?,
        created: row.get(2)?,
        creator: creator_id(row, 3)?,
        memories: count(row, 4)?,
        files: count(row, 5)?,
        bytes: count(row, 6)?,
        signatures: SignaturePair { ed25519: row.get(7)?, ml_dsa_65: row.get(8)? },
        origin: match row.get(9)? {
            CREATED => Origin::Created,
            FETCHED => Origin::Fetched,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(9, other)),
        },
        added: Timestamp(count(row, 10)?),
    })
}

fn record_of(
    connection: &Connection,
    hash: &TesseraHash,
) -> rusqlite::Result<Option<TesseraRecord>> {
    connection
        .prepare_cached(
            "SELECT hash, title, created, creator, memories, files, bytes,
                    ed25519_signature, ml_dsa_65_signature, origin, added
             FROM tesserae WHERE hash = ?1",
        )?
        .query_row([hash.as_bytes()], record)
        .optional()
}

fn insert_record(tx: &Transaction<'_>, record: &TesseraRecord) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO tesserae VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        record.hash.as_bytes(),
        record.title,
        record.created,
        record.creator.as_bytes(),
        to_integer(record.memories),
        to_integer(record.files),
        to_integer(record.bytes),
        record.signatures.ed25519,
        record.signatures.ml_dsa_65,
        match record.origin {
            Origin::Created => CREATED,
            Origin::Fetched => FETCHED,
        },
        to_integer(record.added.0),
    ])?;
    Ok(())
}

impl TesseraRepository for SqliteLibrary {
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError> {
        let NewTessera { record, content, staged } = tessera;
        // A set, in order: equal files are named once, and the table is written front to back.
        let mut content: BTreeSet<ContentHash> = content.into_iter().collect();
        content.insert(record.hash.into());
        self.cas.adopt("adding a tessera to the library", staged, |tx, placing| {
            if record_of(tx, &record.hash)?.is_some() {
                for hash in &content {
                    placing.heal(tx, hash)?;
                }
                return Ok(false);
            }
            for hash in &content {
                placing.acquire(tx, hash)?;
            }
            insert_record(tx, &record)?;
            let mut name = tx.prepare_cached("INSERT INTO tessera_content VALUES (?1, ?2)")?;
            for hash in &content {
                name.execute([&record.hash.as_bytes()[..], &hash.as_bytes()[..]])?;
            }
            Ok(true)
        })
    }

    fn get(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        self.cas.database().read("looking up a tessera", |c| record_of(c, hash))
    }

    fn find(&self, hex_prefix: &str, limit: usize) -> Result<Vec<TesseraHash>, StoreError> {
        let Some((first, last)) = range_of(hex_prefix) else { return Ok(Vec::new()) };
        self.cas.database().read("looking for a tessera", |connection| {
            connection
                .prepare_cached(
                    "SELECT hash FROM tesserae WHERE hash BETWEEN ?1 AND ?2 ORDER BY hash LIMIT ?3",
                )?
                .query_map(
                    params![first.as_bytes(), last.as_bytes(), to_integer(limit as u64)],
                    |row| tessera_hash(row, 0),
                )?
                .collect()
        })
    }

    fn list(&self) -> Result<Vec<TesseraRecord>, StoreError> {
        self.cas.database().read("listing the library", |connection| {
            connection
                .prepare_cached(
                    "SELECT hash, title, created, creator, memories, files, bytes,
                            ed25519_signature, ml_dsa_65_signature, origin, added
                     FROM tesserae ORDER BY added DESC, created DESC, hash",
                )?
                .query_map([], record)?
                .collect()
        })
    }

    fn remove(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        self.cas.release("removing a tessera from the library", |tx, released| {
            let Some(record) = record_of(tx, hash)? else { return Ok::<_, Fault>(None) };
            let content: Vec<ContentHash> = tx
                .prepare_cached("SELECT object FROM tessera_content WHERE tessera = ?1")?
                .query_map([hash.as_bytes()], |row| content_hash(row, 0))?
                .collect::<Result<_, _>>()?;
            tx.prepare_cached("DELETE FROM tessera_content WHERE tessera = ?1")?
                .execute([hash.as_bytes()])?;
            tx.prepare_cached("DELETE FROM tesserae WHERE hash = ?1")?
                .execute([hash.as_bytes()])?;
            for object in &content {
                released.release(tx, object)?;
            }
            Ok(Some(record))
        })
    }
}

/// The first and the last hash with a prefix; `None` if no hash has it.
fn range_of(hex_prefix: &str) -> Option<(TesseraHash, TesseraHash)> {
    // Only lower case parses; what is too long is too long with padding, too.
    let padded = |digit: &str| {
        let missing = (2 * TesseraHash::LEN).saturating_sub(hex_prefix.len());
        format!("{hex_prefix}{}", digit.repeat(missing)).parse().ok()
    };
    Some((padded("0")?, padded("f")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        let (first, last) = range_of("abc").unwrap();
        assert!(first.to_string().starts_with("abc000") && last.to_string().starts_with("abcfff"));
        let whole = "12".repeat(32);
        let (first, last) = range_of(&whole).unwrap();
        assert_eq!((first, first.to_string()), (last, whole));
        assert!(range_of("").is_some());
        for wrong in ["xyz", "ABC", "é", "ab cd", &"0".repeat(65)] {
            assert_eq!(range_of(wrong), None, "{wrong}");
        }
    }
}
