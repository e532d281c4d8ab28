//! Garbage collection: removes what nothing refers to, and what processes that are gone left behind.
//!
//! A file among the objects gets its row while no other process can write, in a transaction that
//! makes sure that it is there. So a file without a row may be removed as soon as nobody writes and
//! no failed commit is left in the log; that is checked again right before it is removed. One that
//! is about to be adopted is then put into place once more. One exception: what may be left of a
//! capsule whose row was lost, because the database was lost, or is an older copy; and while an
//! index may be lost or away, everything that it may refer to.
//!
//! The rows alone do not decide. Before anything is removed or counted anew, they are
//! [compared](crate::agreement) with the MANIFESTs of all listed tesserae. Unless they agree, the index
//! is damaged, and nothing is removed: what looks like garbage may be the only copy of a photo.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::StoreError;
use tesseras_core::time::Timestamp;

use crate::agreement::{Disagreement, disagreements};
use crate::cas::{Cas, names_of_object};
use crate::columns::{content_hash, count};
use crate::database::LostIndex;
use crate::error::io_error;
use crate::library::SqliteLibrary;
use crate::metrics;
use crate::needed::Needed;
use crate::not_removed::NotRemoved;

/// Rows that are corrected in one transaction.
const RECOUNTED: usize = 256;

/// What was removed, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Files without a row: among the objects, and signatures of dropped capsules.
    pub orphans: u64,
    /// Their length in bytes.
    pub orphan_bytes: u64,
    /// Rows of objects with more or fewer references than were counted, or with none.
    pub leaked: u64,
    /// Those of them without any reference: their files were removed.
    pub unreferenced: u64,
    /// Their length in bytes.
    pub unreferenced_bytes: u64,
    /// Files in `tmp/` of processes that are gone.
    pub stale: u64,
    /// Their length in bytes.
    pub stale_bytes: u64,
    /// What nothing needs and could not be removed.
    pub failed: NotRemoved,
    /// Files without a row that are left, because they were changed so short ago.
    pub young: u64,
    /// Files without a row that are left, because they may belong to [`Self::unlisted`],
    /// [`Self::lost_index`] may refer to them, or there are [`Self::disagreements`].
    pub kept: u64,
    /// Why all files without a row are left, if they are.
    pub lost_index: Option<LostIndex>,
    /// Capsules that are not listed and may be listed again: their row was lost.
    pub unlisted: Vec<TesseraHash>,
    /// Where the index does not agree with the MANIFESTs of listed capsules, or with what is held for
    /// others; at most [`MAX_DISAGREEMENTS`](crate::MAX_DISAGREEMENTS). If there is any, no object
    /// was removed but those that were noted as dropped, and no count was corrected.
    pub disagreements: Vec<Disagreement>,
}

/// Collects all garbage; of files without a row, those that were last changed before `before`. All
/// of them stay if an index may be lost that refers to them.
pub(crate) fn collect(
    cas: &Cas,
    library: &SqliteLibrary,
    before: Timestamp,
    lost: Option<LostIndex>,
) -> Result<Garbage, StoreError> {
    // A removal whose commit was not acknowledged, because its sync failed, was not continued.
    let mut garbage = Garbage { failed: cas.finish_removals()?, ..Garbage::default() };
    garbage.failed.merge(library.finish_removals()?);
    library.write_due_or_warn();
    match cas.sweep() {
        Ok(swept) => {
            (garbage.stale, garbage.stale_bytes) = (swept.files, swept.bytes);
            garbage.failed.merge(swept.failed);
        }
        Err(error) => garbage.failed.add(1, &error),
    }
    garbage.lost_index = lost;
    let miscounted = miscounted(cas)?;
    let needed = needed(cas, library, lost, &mut garbage)?;
    let orphans = orphans(cas, &needed, before, &mut garbage)?;
    if !(miscounted.is_empty() && orphans.is_empty()) {
        garbage.disagreements = disagreements(cas, library)?;
    }
    if garbage.disagreements.is_empty() {
        correct_counts(cas, &miscounted, &needed, &mut garbage)?;
        remove(cas, &orphans, &mut garbage)?;
    } else {
        garbage.kept += orphans.len() as u64;
    }
    metrics::add(&cas.counters.orphans, garbage.orphans);
    metrics::add(&cas.counters.leaked, garbage.leaked);
    metrics::add(&cas.counters.skipped_young, garbage.young);
    Ok(garbage)
}

/// What may be needed to list capsules again. Signature files of those that were dropped are removed.
fn needed(
    cas: &Cas,
    library: &SqliteLibrary,
    lost: Option<LostIndex>,
    garbage: &mut Garbage,
) -> Result<Needed, StoreError> {
    let mut needed = match lost {
        Some(_) => Needed::All,
        None => Needed::Only(BTreeSet::new()),
    };
    for hash in library.unlisted()? {
        if library.is_kept_out(&hash)? {
            match library.remove_signature_file(&hash) {
                Ok(removed) => garbage.orphans += u64::from(removed),
                Err(error) => garbage.failed.add(1, &error),
            }
        } else {
            needed.add(cas, &hash)?;
            garbage.unlisted.push(hash);
        }
    }
    Ok(needed)
}

/// Files without a row that are not needed and old enough, with their lengths.
fn orphans(
    cas: &Cas,
    needed: &Needed,
    before: Timestamp,
    garbage: &mut Garbage,
) -> Result<Vec<(ContentHash, u64)>, StoreError> {
    let mut orphans = Vec::new();
    cas.visit_orphans(|hash, path| {
        let Some(hash) = hash else { return Ok(()) };
        if cas.is_removal_due(&hash)? {
            // It was tried and counted above.
            return Ok(());
        }
        let Some((changed, bytes)) = changed_at(&path)? else { return Ok(()) };
        if needed.has(&hash) {
            garbage.kept += 1;
        } else if changed >= before.0 {
            garbage.young += 1;
        } else {
            orphans.push((hash, bytes));
        }
        Ok(())
    })?;
    Ok(orphans)
}

/// Removes files without a row.
fn remove(
    cas: &Cas,
    orphans: &[(ContentHash, u64)],
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    if orphans.is_empty() {
        return Ok(());
    }
    // A commit that failed may have left their rows in the log.
    cas.settle()?;
    let hashes: Vec<ContentHash> = orphans.iter().map(|(hash, _)| *hash).collect();
    garbage.failed.merge(cas.remove_unnamed(&hashes));
    for (hash, bytes) in orphans {
        if !cas.files().path(hash).exists() {
            log_removal(cas, hash);
            garbage.orphans += 1;
            garbage.orphan_bytes += bytes;
        }
    }
    Ok(())
}

/// When a file was last written or renamed, in seconds since 1970, and its length in bytes; `None` if
/// it is gone.
fn changed_at(path: &Path) -> Result<Option<(u64, u64)>, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(file) => {
            let changed = u64::try_from(file.mtime().max(file.ctime())).unwrap_or(0);
            Ok(Some((changed, file.len())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("reading", path, e)),
    }
}

/// Objects with more or fewer references than were counted.
fn miscounted(cas: &Cas) -> Result<Vec<ContentHash>, StoreError> {
    cas.database().read("counting references", |connection| {
        connection
            .prepare_cached(concat!("SELECT hash FROM objects WHERE refs != ", names_of_object!()))?
            .query_map([], |row| content_hash(row, 0))?
            .collect()
    })
}

/// Corrects the counts of references, and removes objects without any, unless a
/// capsule that is not listed needs them.
fn correct_counts(
    cas: &Cas,
    miscounted: &[ContentHash],
    needed: &Needed,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    for batch in miscounted.chunks(RECOUNTED) {
        let (unreferenced, left) = cas.release("correcting reference counts", |tx, released| {
            let mut names = tx.prepare_cached(concat!(
                "SELECT bytes, ",
                names_of_object!(),
                " FROM objects WHERE hash = ?1"
            ))?;
            let (mut unreferenced, mut kept) = (Vec::new(), 0);
            for hash in batch {
                let mut rows = names.query([hash.as_bytes()])?;
                if let Some(row) = rows.next()? {
                    let (bytes, refs) = (count(row, 0)?, count(row, 1)?);
                    if refs == 0 && needed.has(hash) {
                        kept += 1;
                        continue;
                    }
                    released.recount(tx, hash, refs)?;
                    unreferenced.extend((refs == 0).then_some((*hash, bytes)));
                }
            }
            Ok((unreferenced, kept))
        })?;
        garbage.kept += left;
        garbage.leaked += batch.len() as u64 - left;
        for (hash, bytes) in unreferenced {
            log_removal(cas, &hash);
            garbage.unreferenced += 1;
            garbage.unreferenced_bytes += bytes;
        }
    }
    Ok(())
}

/// A user who misses a file can find out what became of it.
fn log_removal(cas: &Cas, hash: &ContentHash) {
    let path = cas.files().path(hash);
    tracing::info!(path = %path.display(), "a stored file that nothing refers to was removed");
}

#[cfg(test)]
mod tests;
