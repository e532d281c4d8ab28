//! The rows that refer to objects: each transaction counts references to them, up or down.

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{StagedBlob, StoreError};

use super::files::{FileId, ObjectFiles};
use crate::columns::{count, to_integer};
use crate::error::Fault;

/// SQL: how many rows refer to the object of a row of `objects`.
macro_rules! names_of_object {
    () => {
        "(SELECT COUNT(*) FROM fragments WHERE checksum = hash)
       + (SELECT COUNT(*) FROM tessera_content WHERE object = hash)
       + (SELECT COUNT(*) FROM dossiers WHERE tessera = hash)"
    };
}
pub(crate) use names_of_object;

/// The length of an object in bytes; `None` if nothing refers to it.
pub(crate) fn object_bytes(
    connection: &Connection,
    hash: &ContentHash,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT bytes FROM objects WHERE hash = ?1")?
        .query_row([hash.as_bytes()], |row| count(row, 0))
        .optional()
}

/// Whether any row is about an object or refers to it. A row of its own whose hash has a flipped bit
/// is that of another object, and those that refer to this one are still right.
pub(super) fn is_named(connection: &Connection, hash: &ContentHash) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM objects WHERE hash = ?1
             UNION ALL SELECT 1 FROM fragments WHERE checksum = ?1
             UNION ALL SELECT 1 FROM tessera_content WHERE object = ?1
             UNION ALL SELECT 1 FROM dossiers WHERE tessera = ?1",
        )?
        .exists([hash.as_bytes()])
}

/// Counts the references of an object, if there are any.
pub(crate) fn recount(tx: &Transaction<'_>, object: &ContentHash) -> rusqlite::Result<()> {
    tx.prepare_cached(concat!(
        "UPDATE objects SET refs = ",
        names_of_object!(),
        " WHERE hash = ?1 AND 0 < ",
        names_of_object!()
    ))?
    .execute([object.as_bytes()])?;
    Ok(())
}

/// Records whether the stored bytes of an object are damaged.
pub(crate) fn set_damaged(
    connection: &Connection,
    object: &ContentHash,
    damaged: bool,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE objects SET damaged = ?2 WHERE hash = ?1 AND damaged <> ?2")?
        .execute(params![object.as_bytes(), damaged])?;
    Ok(())
}

/// Staged blobs that are being adopted: most are put into place before the transaction, the others
/// within it.
pub(crate) struct Placing<'a> {
    files: &'a ObjectFiles,
    staged: HashMap<ContentHash, StagedBlob>,
    /// Staged more than once, not requested, or no longer needed under this name.
    surplus: Vec<StagedBlob>,
    /// Linked into place before the transaction, and not acquired yet. The names are durable.
    linked: HashMap<ContentHash, FileId>,
    /// Acquired, and put into place for it.
    placed: Vec<ContentHash>,
    /// Of these, those that were renamed within the transaction. The names are not durable yet.
    renamed: Vec<ContentHash>,
    /// How many of those that were acquired had been objects already, and their bytes.
    pub(super) known: u64,
    pub(super) known_bytes: u64,
}

impl<'a> Placing<'a> {
    pub(super) fn new(files: &'a ObjectFiles, blobs: Vec<StagedBlob>) -> Self {
        let mut staged = HashMap::with_capacity(blobs.len());
        let mut surplus = Vec::new();
        for blob in blobs {
            surplus.extend(staged.insert(blob.hash, blob));
        }
        let (linked, placed, renamed) = Default::default();
        Self { files, staged, surplus, linked, placed, renamed, known: 0, known_bytes: 0 }
    }

    /// Makes the staged bytes durable, and gives each blob its object's name beside the staged one,
    /// unless that exists. Nothing is locked, so all of it may be removed again until the
    /// transaction; and where a link cannot be made, the blob is renamed within the transaction.
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        self.files.staging()?.sync(self.staged.values())?;
        let mut hashes: Vec<ContentHash> = self.staged.keys().copied().collect();
        hashes.sort_unstable();
        for hash in &hashes {
            match self.files.link(&self.staged_path(hash)?, hash) {
                Ok(Some(file)) => _ = self.linked.insert(*hash, file),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "staged files are renamed while nobody else writes");
                    break;
                }
            }
        }
        // An error is told only once, and these names are not synced again.
        self.files.sync_names_of(&Vec::from_iter(self.linked.keys().copied()))
    }

    /// Counts one more reference to an object, which was staged or is already stored.
    pub(crate) fn acquire(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
    ) -> Result<(), Fault> {
        let known = object_bytes(tx, hash)?;
        let bytes = self.ensure_file(tx, hash, known)?;
        self.known += u64::from(known.is_some());
        self.known_bytes += known.unwrap_or(0);
        count_name(tx, hash, bytes)
    }

    /// Counts one more reference to a file that is already among the objects, whether it had a
    /// reference or not. One that does not exist with this length is recorded as damaged, so that
    /// it is replaced when sound bytes come.
    pub(crate) fn acquire_file(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
        bytes: u64,
    ) -> Result<(), Fault> {
        count_name(tx, hash, bytes)?;
        if !self.files.has(hash, bytes)? {
            set_damaged(tx, hash, true)?;
        }
        Ok(())
    }

    /// Whether an object was staged, and is not in place yet.
    pub(crate) fn is_staged(&self, hash: &ContentHash) -> bool {
        self.staged.contains_key(hash)
    }

    /// Replaces a stored file, which may be lost or damaged, by a staged one, whose bytes were just
    /// hashed. Objects that are not stored or were not staged are left unchanged.
    pub(crate) fn heal(&mut self, tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Fault> {
        if self.is_staged(hash) && object_bytes(tx, hash)?.is_some() {
            self.replace(tx, hash)?;
        }
        Ok(())
    }

    /// Ensures that an object's file is in place, and returns its length.
    fn ensure_file(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
        known: Option<u64>,
    ) -> Result<u64, Fault> {
        match known {
            // The staged bytes were just hashed; those on disk were not.
            Some(bytes) if !self.staged.contains_key(hash) && self.files.has(hash, bytes)? => {
                Ok(bytes)
            }
            Some(_) => self.replace(tx, hash),
            None => self.put_into_place(hash),
        }
    }

    /// Renames a staged file over a stored object, which is no longer damaged.
    fn replace(&mut self, tx: &Transaction<'_>, hash: &ContentHash) -> Result<u64, Fault> {
        set_damaged(tx, hash, false)?;
        let bytes = self.put_into_place(hash)?;
        // A bit of the length may have flipped.
        tx.prepare_cached("UPDATE objects SET bytes = ?2 WHERE hash = ?1 AND bytes <> ?2")?
            .execute(params![hash.as_bytes(), to_integer(bytes)])?;
        Ok(bytes)
    }

    /// Makes sure that a staged file has its object's name: this very file, whose bytes and name
    /// are durable, or else it is renamed.
    fn put_into_place(&mut self, hash: &ContentHash) -> Result<u64, Fault> {
        let from = self.staged_path(hash)?;
        let is_in_place = match self.linked.remove(hash) {
            Some(linked) => self.files.is_in_place(hash, linked)?,
            None => false,
        };
        // Recorded first: if the rename fails midway, its result is still cleaned up. A file that was
        // here before without a row stays: a capsule that is not listed may need it.
        if is_in_place || self.files.path(hash).symlink_metadata().is_err() {
            self.placed.push(*hash);
        }
        if !is_in_place {
            self.renamed.push(*hash);
            self.files.put_into_place(&from, hash)?;
        }
        let Some(staged) = self.staged.remove(hash) else { return Ok(0) };
        let bytes = staged.bytes;
        if is_in_place {
            self.surplus.push(staged);
        }
        Ok(bytes)
    }

    fn staged_path(&self, hash: &ContentHash) -> Result<PathBuf, StoreError> {
        let path = self.staged.get(hash).and_then(|staged| self.files.staged_path(staged));
        path.ok_or(StoreError::Missing(*hash))
    }

    /// Makes the names of the files that were renamed survive a power cut.
    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        self.files.sync_names_of(&self.renamed)
    }

    /// All that was put into place.
    pub(super) fn all_in_place(&self) -> Vec<ContentHash> {
        self.placed.iter().chain(self.linked.keys()).copied().collect()
    }

    /// What was put into place and not acquired.
    pub(super) fn unused(&self) -> Vec<ContentHash> {
        self.linked.keys().copied().collect()
    }

    /// Removes all staged names that are left.
    pub(super) fn discard_rest(&mut self) {
        let rest = self.staged.drain().map(|(_, staged)| staged);
        for staged in rest.chain(self.surplus.drain(..)) {
            self.files.discard(&staged);
        }
    }
}

fn count_name(tx: &Transaction<'_>, hash: &ContentHash, bytes: u64) -> Result<(), Fault> {
    tx.prepare_cached(
        "INSERT INTO objects (hash, bytes, refs) VALUES (?1, ?2, 1)
         ON CONFLICT (hash) DO UPDATE SET refs = refs + 1, bytes = excluded.bytes",
    )?
    .execute(params![hash.as_bytes(), to_integer(bytes)])?;
    Ok(())
}

/// Counts one reference less, unless it is the last one: then `false`.
fn count_down(tx: &Transaction<'_>, hash: &ContentHash) -> rusqlite::Result<bool> {
    let others = tx
        .prepare_cached("UPDATE objects SET refs = refs - 1 WHERE hash = ?1 AND refs > 1")?
        .execute([hash.as_bytes()])?;
    Ok(others > 0)
}

/// Objects that lost a reference, within one transaction.
#[derive(Debug, Default)]
pub(crate) struct Released {
    pub(super) unnamed: Vec<ContentHash>,
}

impl Released {
    /// Counts one reference less.
    pub(crate) fn release(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
    ) -> Result<(), Fault> {
        if !count_down(tx, hash)? {
            self.remove(tx, hash)?;
        }
        Ok(())
    }

    /// [`Released::release`] of an object whose file stays in any case.
    pub(crate) fn release_without_file(
        tx: &Transaction<'_>,
        hash: &ContentHash,
    ) -> rusqlite::Result<()> {
        if !count_down(tx, hash)? {
            tx.prepare_cached("DELETE FROM objects WHERE hash = ?1")?.execute([hash.as_bytes()])?;
        }
        Ok(())
    }

    /// Makes the count of references right that an object has; one without any is removed.
    pub(crate) fn recount(
        &mut self,
        tx: &Transaction<'_>,
        hash: &ContentHash,
        refs: u64,
    ) -> Result<(), Fault> {
        if refs == 0 {
            return self.remove(tx, hash);
        }
        tx.prepare_cached("UPDATE objects SET refs = ?2 WHERE hash = ?1")?
            .execute(params![hash.as_bytes(), to_integer(refs)])?;
        Ok(())
    }

    fn remove(&mut self, tx: &Transaction<'_>, hash: &ContentHash) -> Result<(), Fault> {
        tx.prepare_cached("DELETE FROM objects WHERE hash = ?1")?.execute([hash.as_bytes()])?;
        tx.prepare_cached("INSERT INTO object_removals VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([hash.as_bytes()])?;
        self.unnamed.push(*hash);
        Ok(())
    }
}
