//! The capsules in one's own library: a row for each, a reference to every object that it needs,
//! and a [signature file](crate::signature_files) beside the database.
//!
//! The file is written after its row is committed and before the capsule is acknowledged, and removed
//! after the row; what is due is in the database and continued when the store is next opened. So an
//! acknowledged capsule has one, and a file without a row, and without a note that it is to be removed,
//! means that the row was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{
    BlobStore as _, NewTessera, StagedBlob, StoreError, TesseraRecord, TesseraRepository,
};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;

use crate::blocked::{blocked_since, refuse_blocked, unblock};
use crate::cas::{Cas, Placing, Released, object_bytes, recount};
use crate::columns::{
    content_hash, count, creator_id, from_origin, origin, tessera_hash, to_integer,
};
use crate::error::{Fault, io_error};
use crate::needed::Needed;
use crate::not_removed::{NotRemoved, is_gone};
use crate::signature_files::{self, SignatureFile};

/// Signature files that are written in one turn, during which no other process can write.
const DUE_BATCH: u64 = 64;

/// The library in SQLite and content-addressed files.
#[derive(Debug, Clone)]
pub struct SqliteLibrary {
    cas: Arc<Cas>,
    /// The directory of the signature files.
    files: PathBuf,
}

impl SqliteLibrary {
    /// The library over the objects of `cas`, with its signature files in `files`.
    pub(crate) fn new(cas: Arc<Cas>, files: PathBuf) -> Self {
        Self { cas, files }
    }

    /// The signature file of a tessera; `None` if it is missing or damaged.
    pub(crate) fn signature_file(
        &self,
        hash: &TesseraHash,
    ) -> Result<Option<SignatureFile>, StoreError> {
        SignatureFile::read(&self.files, hash)
    }

    /// The tesserae that have a signature file, in order, listed or not.
    pub(crate) fn signature_files(&self) -> Result<Vec<TesseraHash>, StoreError> {
        signature_files::all(&self.files)
    }

    /// Whether the signature file of a listed capsule is there, whole, and has its signatures.
    pub(crate) fn is_signature_file_right(
        &self,
        record: &TesseraRecord,
    ) -> Result<bool, StoreError> {
        let kept = self.signature_file(&record.hash)?;
        Ok(kept.is_some_and(|kept| kept.signatures == record.signatures))
    }

    /// When the signature file of a tessera was written, intact or not; `None` if there is none.
    fn signature_file_written(&self, hash: &TesseraHash) -> Option<Timestamp> {
        let file = signature_files::path(&self.files, hash).symlink_metadata().ok()?;
        // Without a date it may be new.
        let written = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Some(written.map_or(Timestamp(u64::MAX), |since| Timestamp(since.as_secs())))
    }

    /// Whether a tessera has a signature file, intact or not.
    pub(crate) fn has_signature_file(&self, hash: &TesseraHash) -> bool {
        signature_files::path(&self.files, hash).exists()
    }

    /// Writes the signature files that are due: those of new capsules, of capsules listed by an
    /// earlier format, and missing ones. May be interrupted at any point and then continues. One
    /// that cannot be written stays due and holds up no other; the first error is returned.
    pub(crate) fn write_due_signature_files(&self) -> Result<(), StoreError> {
        let what = "writing signature files";
        let mut outcome = Ok(());
        let mut due = self.due_after(None)?;
        while let Some(last) = due.last().copied() {
            // If the disk loses that they are written, they are written once more.
            let written = self.cas.database().write_unsynced(what, |tx| {
                let mut written = Ok(());
                let mut done = Vec::new();
                for hash in &due {
                    let record = record_of(tx, hash)?;
                    match record.map_or(Ok(()), |record| self.write_signature_file(&record)) {
                        Ok(()) => done.push(*hash),
                        failed => written = written.and(failed),
                    }
                }
                if !done.is_empty() {
                    self.note_written(tx, &done)?;
                }
                Ok(written)
            })?;
            outcome = outcome.and(written);
            due = self.due_after(Some(last))?;
        }
        outcome
    }

    /// Some of the signature files that are due, in order, from the one after this.
    fn due_after(&self, last: Option<TesseraHash>) -> Result<Vec<TesseraHash>, StoreError> {
        let last = last.as_ref().map_or(&[][..], |last| last.as_bytes());
        self.cas.database().read("looking for signature files", |connection| {
            connection
                .prepare_cached(
                    "SELECT tessera FROM signature_files_due WHERE tessera > ?1
                     ORDER BY tessera LIMIT ?2",
                )?
                .query_map(params![last, to_integer(DUE_BATCH)], |row| tessera_hash(row, 0))?
                .collect()
        })
    }

    /// Makes the names of signature files durable, which are then due no more.
    fn note_written(&self, tx: &Transaction<'_>, done: &[TesseraHash]) -> Result<(), Fault> {
        let disk = self.cas.files().disk();
        disk.sync_directory(&self.files).map_err(|e| io_error("syncing", &self.files, e))?;
        let mut forget = tx.prepare_cached("DELETE FROM signature_files_due WHERE tessera = ?1")?;
        for hash in done {
            forget.execute([hash.as_bytes()])?;
        }
        Ok(())
    }

    /// Writes the signature files that are due. If that fails they stay due: the capsules are stored,
    /// and their signatures are in the database.
    pub(crate) fn write_due_or_warn(&self) {
        if let Err(error) = self.write_due_signature_files() {
            tracing::warn!(%error, "signature files of the library could not be written yet");
        }
    }

    /// Whether the signature file of a capsule is still to be written.
    pub(crate) fn is_signature_file_due(&self, hash: &TesseraHash) -> Result<bool, StoreError> {
        self.cas.database().read("looking for signature files", |connection| {
            connection
                .prepare_cached("SELECT 1 FROM signature_files_due WHERE tessera = ?1")?
                .exists([hash.as_bytes()])
        })
    }

    /// The capsules that were dropped and whose signature file is still to be removed.
    pub(crate) fn removals_due(&self) -> Result<BTreeSet<TesseraHash>, StoreError> {
        self.cas.database().read("looking for removals", |connection| {
            connection
                .prepare_cached("SELECT tessera FROM signature_file_removals")?
                .query_map([], |row| tessera_hash(row, 0))?
                .collect()
        })
    }

    /// The signature files that are still to be removed.
    pub(crate) fn waiting_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let due = self.removals_due()?;
        let mut waiting = Vec::new();
        for hash in due {
            let path = signature_files::path(&self.files, &hash);
            if !is_gone(&path) && self.get(&hash)?.is_none() {
                waiting.push(path);
            }
        }
        Ok(waiting)
    }

    /// Continues the removals of signature files that were interrupted. What cannot be removed now
    /// stays noted, and is returned.
    pub(crate) fn finish_removals(&self) -> Result<NotRemoved, StoreError> {
        let mut failed = NotRemoved::default();
        for hash in self.removals_due()? {
            if let Err(error) = self.finish_removal(&hash) {
                failed.add(1, &error);
            }
        }
        Ok(failed)
    }

    /// Removes the signature file of a capsule that is not listed any more, and forgets that it is
    /// to be removed. The note of another process that added and dropped it in the meantime stays.
    fn finish_removal(&self, hash: &TesseraHash) -> Result<(), StoreError> {
        self.remove_signature_file(hash)?;
        // Otherwise a power cut could bring it back, and with it the capsule.
        let synced = self.cas.files().disk().sync_directory(&self.files);
        synced.map_err(|e| io_error("syncing", &self.files, e))?;
        let what = "forgetting the removal of a signature file";
        self.cas.database().write_unsynced(what, |tx| {
            let path = signature_files::path(&self.files, hash);
            if record_of(tx, hash)?.is_some() || is_gone(&path) {
                tx.prepare_cached("DELETE FROM signature_file_removals WHERE tessera = ?1")?
                    .execute([hash.as_bytes()])?;
            }
            Ok(())
        })
    }

    /// Marks listed capsules, so that their signature files are written anew.
    pub(crate) fn note_signature_files_due(&self, due: &[TesseraHash]) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        self.cas.database().write_durably("noting missing signature files", |tx| {
            for hash in due {
                // It may have been dropped in the meantime.
                if record_of(tx, hash)?.is_some() {
                    note_due(tx, hash)?;
                }
            }
            Ok(())
        })
    }

    /// Notes the capsules that are not listed although parts of them are here, instead of those that
    /// were noted before.
    pub(crate) fn note_incomplete(&self, tesserae: &[TesseraHash]) -> Result<(), StoreError> {
        self.cas.database().write_durably("noting incomplete capsules", |tx| {
            tx.execute("DELETE FROM incomplete", [])?;
            Ok(note_incomplete(tx, tesserae)?)
        })
    }

    /// [`Self::note_incomplete`], beside those that were noted before.
    pub(crate) fn note_also_incomplete(&self, tesserae: &[TesseraHash]) -> Result<(), StoreError> {
        self.cas
            .database()
            .write_durably("noting incomplete capsules", |tx| Ok(note_incomplete(tx, tesserae)?))
    }

    /// The capsules that may be listed again, or of which parts are here: those that have been noted,
    /// and those with a signature file that are not listed and were not dropped.
    pub(crate) fn unlisted(&self) -> Result<BTreeSet<TesseraHash>, StoreError> {
        let noted: Vec<TesseraHash> =
            self.cas.database().read("listing incomplete capsules", |connection| {
                connection
                    .prepare_cached("SELECT tessera FROM incomplete")?
                    .query_map([], |row| tessera_hash(row, 0))?
                    .collect()
            })?;
        let mut unlisted: BTreeSet<_> = noted.into_iter().chain(self.signature_files()?).collect();
        let dropped = self.removals_due()?;
        for hash in unlisted.clone() {
            if dropped.contains(&hash) || self.get(&hash)?.is_some() {
                unlisted.remove(&hash);
            }
        }
        Ok(unlisted)
    }

    /// Whether a capsule that is not listed was dropped, and has not been added again since: an older
    /// index, put back, may know of the drop alone. Of a damaged signature file the date of the file
    /// counts; one that cannot be read may be of a capsule that was added since.
    pub(crate) fn is_kept_out(&self, hash: &TesseraHash) -> Result<bool, StoreError> {
        let since = self
            .cas
            .database()
            .read("looking up what is kept out", |connection| blocked_since(connection, hash))?;
        let Some(since) = since else { return Ok(false) };
        match self.signature_file(hash) {
            Ok(Some(kept)) => Ok(kept.added <= since),
            Ok(None) => Ok(self.signature_file_written(hash).is_none_or(|at| at <= since)),
            Err(error) => {
                tracing::warn!(%error, "a signature file could not be read");
                Ok(false)
            }
        }
    }

    /// What is needed to list capsules again. What one needs whose MANIFEST is not here is not known.
    fn needed_by_unlisted(&self) -> Result<Needed, StoreError> {
        let mut needed = Needed::Only(BTreeSet::new());
        for hash in self.unlisted()? {
            if !self.is_kept_out(&hash)? {
                needed.add(&self.cas, &hash)?;
            }
        }
        Ok(needed)
    }

    /// The hashes of all capsules, in the order of the table, which is read from its beginning to its
    /// end.
    pub(crate) fn hashes(&self) -> Result<Vec<TesseraHash>, StoreError> {
        self.cas.database().read("listing the library", |connection| {
            connection
                .prepare_cached("SELECT hash FROM tesserae")?
                .query_map([], |row| tessera_hash(row, 0))?
                .collect()
        })
    }

    /// Lists a capsule whose MANIFEST and signature file are here. Those of its files that are not here
    /// with their lengths are recorded as damaged. `false` if it is blocked, and not listed then.
    pub(crate) fn relist(
        &self,
        record: &TesseraRecord,
        content: &BTreeMap<ContentHash, u64>,
    ) -> Result<bool, StoreError> {
        self.cas.adopt("listing a tessera again", Vec::new(), |tx, placing| {
            if let Some(since) = blocked_since(tx, &record.hash)? {
                if record.added <= since {
                    return Ok(false);
                }
                unblock(tx, &record.hash)?;
            }
            if record_of(tx, &record.hash)?.is_some() {
                return Ok(true);
            }
            // Left of a row of this capsule whose hash has a flipped bit.
            tx.prepare_cached("DELETE FROM tessera_content WHERE tessera = ?1")?
                .execute([record.hash.as_bytes()])?;
            for (hash, bytes) in content {
                placing.acquire_file(tx, hash, *bytes)?;
            }
            insert_record(tx, record, content.keys())?;
            for hash in content.keys() {
                recount(tx, hash)?;
            }
            Ok(true)
        })
    }

    fn stage_signature_file(&self, record: &TesseraRecord) -> Result<StagedBlob, StoreError> {
        let mut writer = self.cas.stage()?;
        writer.write(SignatureFile::of(record).render().as_bytes())?;
        writer.finish()
    }

    /// Writes a file; the caller makes its name durable.
    fn write_signature_file(&self, record: &TesseraRecord) -> Result<(), StoreError> {
        let staged = self.stage_signature_file(record)?;
        let from = self.cas.files().staged_path(&staged).ok_or(StoreError::Missing(staged.hash))?;
        let to = signature_files::path(&self.files, &record.hash);
        let files = self.cas.files();
        let written = files.sync_staged(&staged).and_then(|()| {
            files.disk().rename(&from, &to).map_err(|e| io_error("writing", &to, e))
        });
        if written.is_err() {
            self.cas.discard(staged);
        }
        written
    }

    /// Removes the signature file of a tessera that is not listed; returns whether there was one.
    pub(crate) fn remove_signature_file(&self, hash: &TesseraHash) -> Result<bool, StoreError> {
        self.cas.database().alone("removing a signature file", |connection| {
            if record_of(connection, hash)?.is_some() {
                return Ok(false);
            }
            let path = signature_files::path(&self.files, hash);
            match self.cas.files().disk().remove(&path) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(e) => Err(io_error("removing", &path, e).into()),
            }
        })
    }
}

fn note_due(tx: &Transaction<'_>, hash: &TesseraHash) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO signature_files_due VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([hash.as_bytes()])?;
    Ok(())
}

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
        origin: origin(row, 9)?,
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

/// Lists a capsule with its references. Each object has been acquired for it.
fn insert_record<'a>(
    tx: &Transaction<'_>,
    record: &TesseraRecord,
    content: impl Iterator<Item = &'a ContentHash>,
) -> rusqlite::Result<()> {
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
        from_origin(record.origin),
        to_integer(record.added.0),
    ])?;
    let mut name = tx.prepare_cached("INSERT INTO tessera_content VALUES (?1, ?2)")?;
    for hash in content {
        name.execute([&record.hash.as_bytes()[..], &hash.as_bytes()[..]])?;
    }
    Ok(())
}

/// Replaces the files of a listed capsule, as far as they were staged, and makes those rows again
/// that it has not, as after a bit of one flipped.
fn heal(
    tx: &Transaction<'_>,
    placing: &mut Placing<'_>,
    tessera: &TesseraHash,
    content: &BTreeSet<ContentHash>,
) -> Result<(), Fault> {
    let mut name =
        tx.prepare_cached("INSERT INTO tessera_content VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    let staged: Vec<&ContentHash> = content.iter().filter(|one| placing.is_staged(one)).collect();
    for object in staged {
        let is_listed = object_bytes(tx, object)?.is_some();
        match is_listed {
            true => placing.heal(tx, object)?,
            false => placing.acquire(tx, object)?,
        }
        let named = name.execute([tessera.as_bytes(), object.as_bytes()])?;
        if named > 0 || !is_listed {
            recount(tx, object)?;
        }
    }
    Ok(())
}

impl TesseraRepository for SqliteLibrary {
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError> {
        let NewTessera { record, content, staged } = tessera;
        // A sorted set: equal files get one reference, and the table is written in order.
        let mut content: BTreeSet<ContentHash> = content.into_iter().collect();
        content.insert(record.hash.into());
        let added = self.cas.adopt("adding a tessera to the library", staged, |tx, placing| {
            refuse_blocked(tx, &record.hash)?;
            if record_of(tx, &record.hash)?.is_some() {
                heal(tx, placing, &record.hash, &content)?;
                return Ok(false);
            }
            for hash in &content {
                placing.acquire(tx, hash)?;
            }
            insert_record(tx, &record, content.iter())?;
            note_due(tx, &record.hash)?;
            Ok(true)
        })?;
        if added {
            self.write_due_or_warn();
        }
        Ok(added)
    }

    fn unblock(&self, hash: &TesseraHash) -> Result<(), StoreError> {
        self.cas.database().write_durably("letting a tessera in again", |tx| Ok(unblock(tx, hash)?))
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
        let needed = self.needed_by_unlisted()?;
        let removed = self.cas.release("removing a tessera from the library", |tx, released| {
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
                match needed.is_known(object) {
                    true => Released::release_without_file(tx, object)?,
                    false => released.release(tx, object)?,
                }
            }
            tx.prepare_cached(
                "INSERT INTO signature_file_removals VALUES (?1) ON CONFLICT DO NOTHING",
            )?
            .execute([hash.as_bytes()])?;
            Ok(Some(record))
        })?;
        if removed.is_some()
            && let Err(error) = self.finish_removal(hash)
        {
            tracing::warn!(%error, "a signature file that nothing needs is left on the disk");
        }
        Ok(removed)
    }
}

/// The first and the last hash with a prefix; `None` if no hash has it.
fn range_of(hex_prefix: &str) -> Option<(TesseraHash, TesseraHash)> {
    // Only lower case parses; a prefix that is too long stays too long with padding.
    let padded = |digit: &str| {
        let missing = (2 * TesseraHash::LEN).saturating_sub(hex_prefix.len());
        format!("{hex_prefix}{}", digit.repeat(missing)).parse().ok()
    };
    Some((padded("0")?, padded("f")?))
}

fn note_incomplete(tx: &Transaction<'_>, tesserae: &[TesseraHash]) -> rusqlite::Result<()> {
    let mut note =
        tx.prepare_cached("INSERT INTO incomplete VALUES (?1) ON CONFLICT DO NOTHING")?;
    for hash in tesserae {
        note.execute([hash.as_bytes()])?;
    }
    Ok(())
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
