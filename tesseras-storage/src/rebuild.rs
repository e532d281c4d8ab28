//! Rebuilds the index of the library from the files beside the database: signature files,
//! MANIFESTs, files.
//!
//! Everything is checked except the bytes of the capsules' files, of which only existence and
//! length are checked: reading them all is the task of a verification. The rows of listed capsules
//! that do not agree with their MANIFESTs are made again. No object is changed or removed.
//!
//! A capsule whose MANIFEST and signature file are here is listed, whatever else is missing, so that
//! the sound rest of it can be read. What cannot be read is named, and holds up nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{FIRST_LINE, Manifest, listed, unlisted};
use tesseras_core::pack::PackLayout;
use tesseras_core::ports::{StoreError, TesseraRecord, TesseraRepository as _};
use tesseras_crypto::signed_manifest::SignedError;
use tesseras_crypto::{CreatorPems, SignedManifest};

use crate::agreement;
use crate::cas::{Cas, object_bytes};
use crate::error::may_be_damage;
use crate::library::SqliteLibrary;
use crate::manifests::{content, manifest, missing_files};
use crate::mend;
use crate::regular;
use crate::signature_files::SignatureFile;

/// The result of a rebuild.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Capsules found, including those that were listed all the time.
    pub found: u64,
    /// Those that are listed again.
    pub restored: Vec<TesseraHash>,
    /// Those whose rows did not agree with their MANIFEST or signature file, and were made again.
    pub mended: Vec<TesseraHash>,
    /// Held pieces, and MANIFESTs beside them, whose rows were made again.
    pub mended_pieces: u64,
    /// Those that need what is missing or damaged.
    pub incomplete: Vec<Incomplete>,
    /// What could not be read or written, as sentences: all else was done. It says nothing about
    /// the capsules that these files belong to.
    pub skipped: Vec<String>,
    /// The path of the damaged database now; `None` if it was intact, or missing.
    pub set_aside: Option<PathBuf>,
}

impl Rebuilt {
    fn note_mended(&mut self, hash: TesseraHash) {
        if !self.mended.contains(&hash) {
            self.mended.push(hash);
        }
    }

    fn note_incomplete(&mut self, found: Incomplete) {
        if !self.incomplete.iter().any(|one| one.hash == found.hash) {
            self.incomplete.push(found);
        }
    }

    /// Notes an error that concerns one file; any other is returned.
    fn skip(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Backend { .. } if !may_be_damage(&error) => {
                let sentence = error.to_string();
                tracing::warn!(sentence, "skipped");
                if !self.skipped.contains(&sentence) {
                    self.skipped.push(sentence);
                }
                Ok(())
            }
            other => Err(other),
        }
    }

    /// The value, unless its file could not be read, which is noted.
    fn readable<T>(&mut self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.skip(error).map(|()| None),
        }
    }
}

/// A capsule with missing parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// Its hash.
    pub hash: TesseraHash,
    /// Whether it is listed, so that what is not missing can be read.
    pub listed: bool,
    /// How many files its MANIFEST names; 0 if that is missing, or it is not listed.
    pub files: u64,
    /// The paths in the capsule of missing or damaged files.
    pub missing: Vec<String>,
}

/// Runs the rebuild, on an index that others may read.
pub(crate) fn rebuild(cas: &Cas, library: &SqliteLibrary) -> Result<Rebuilt, StoreError> {
    // Files that an interrupted process moved into place count from now on.
    cas.files().sync_all_names()?;
    let mut rebuilt = Rebuilt::default();
    // First of all, since a row with a flipped bit may be one that cannot be read.
    for hash in library.hashes()? {
        if mend::mend_row(cas, library, &hash)? {
            rebuilt.note_mended(hash);
        }
    }
    relist(cas, library, &mut rebuilt)?;
    mend::forget_doubles(cas, library)?;
    mend_signatures(cas, library, &mut rebuilt)?;
    if let Err(error) = library.write_due_signature_files() {
        rebuilt.skip(error)?;
    }
    mend_library(cas, library, &mut rebuilt)?;
    rebuilt.mended_pieces = mend::mend_held(cas)?;
    mend::forget_without_file(cas)?;
    let WithoutSignatures { found, unread } = without_signatures(cas, library, &mut rebuilt)?;
    for hash in found {
        rebuilt.incomplete.push(not_listed(hash, &SIGNATURES));
    }
    let unlisted = rebuilt.incomplete.iter().filter(|one| !one.listed).map(|one| one.hash);
    let unlisted: Vec<TesseraHash> = unlisted.collect();
    rebuilt.found += unlisted.len() as u64;
    match rebuilt.skipped.is_empty() {
        true => library.note_incomplete(&unlisted)?,
        // Of what could not be read, nobody knows whether it is a capsule.
        false => library.note_also_incomplete(&[unlisted, unread].concat())?,
    }
    Ok(rebuilt)
}

/// Lists the capsules that have a signature file and are not listed.
fn relist(cas: &Cas, library: &SqliteLibrary, rebuilt: &mut Rebuilt) -> Result<(), StoreError> {
    let dropped = library.removals_due()?;
    for hash in library.signature_files()? {
        if library.get(&hash)?.is_some() || dropped.contains(&hash) || library.is_kept_out(&hash)? {
            continue;
        }
        let kept = rebuilt.readable(library.signature_file(&hash))?;
        let found = match kept {
            Some(Some(kept)) => rebuilt.readable(assemble(cas, kept))?,
            Some(None) => Some(Err(SIGNATURES.map(str::to_owned).to_vec())),
            None => None,
        };
        match found {
            Some(Ok(capsule)) => {
                let Capsule { record, content, files, missing, .. } = capsule;
                if library.relist(&record, &content)? {
                    rebuilt.restored.push(hash);
                    if !missing.is_empty() {
                        let listed = true;
                        rebuilt.incomplete.push(Incomplete { hash, listed, files, missing });
                    }
                }
            }
            Some(Err(missing)) => rebuilt.incomplete.push(not_listed(hash, &missing)),
            None => {}
        }
    }
    Ok(())
}

fn not_listed<S: AsRef<str>>(hash: TesseraHash, missing: &[S]) -> Incomplete {
    let missing = missing.iter().map(|path| path.as_ref().to_owned()).collect();
    Incomplete { hash, listed: false, files: 0, missing }
}

/// Where the signatures of a capsule are.
const SIGNATURES: [&str; 2] = [unlisted::ED25519_SIGNATURE, unlisted::ML_DSA_65_SIGNATURE];

/// Makes each listed capsule have the same signatures in the index and in its file, those that are
/// not known to be invalid. Where neither are, or the file is missing and those of the index are not, nothing is written.
fn mend_signatures(
    cas: &Cas,
    library: &SqliteLibrary,
    rebuilt: &mut Rebuilt,
) -> Result<(), StoreError> {
    let mut due = Vec::new();
    for record in library.list()? {
        let hash = record.hash;
        let Some(kept) = rebuilt.readable(library.signature_file(&hash))? else { continue };
        if kept.as_ref().is_some_and(|kept| kept.signatures == record.signatures) {
            continue;
        }
        let listed = rebuilt.readable(assemble(cas, SignatureFile::of(&record)))?;
        let Some(listed) = listed else { continue };
        let names_signature =
            |missing: &[String]| missing.iter().any(|path| SIGNATURES.contains(&path.as_str()));
        match (listed, kept) {
            (Ok(capsule), _) if capsule.is_verified => due.push(hash),
            // What else is missing says nothing about them.
            (Ok(_), None) => due.push(hash),
            (Err(missing), None) if !names_signature(&missing) => due.push(hash),
            (_, Some(kept)) => {
                let sound = rebuilt.readable(assemble(cas, kept))?;
                if let Some(Ok(sound)) = sound
                    && sound.is_verified
                {
                    mend::replace_signatures(cas, &hash, &sound.record.signatures)?;
                    rebuilt.note_mended(hash);
                }
            }
            (Err(_), None) => {}
        }
    }
    library.note_signature_files_due(&due)
}

/// Makes the rows of listed capsules again that do not agree with their MANIFESTs, and looks whether
/// all files are here.
fn mend_library(
    cas: &Cas,
    library: &SqliteLibrary,
    rebuilt: &mut Rebuilt,
) -> Result<(), StoreError> {
    for hash in library.hashes()? {
        rebuilt.found += 1;
        let read = rebuilt.readable(manifest(cas, &hash))?;
        let Some(read) = read else { continue };
        let Some(named) = read else {
            let missing = vec![unlisted::MANIFEST.to_owned()];
            rebuilt.note_incomplete(Incomplete { hash, listed: true, files: 0, missing });
            continue;
        };
        let is_mended = !agreement::of_listed(cas, library, &hash)?.is_empty();
        if is_mended {
            mend::mend_listed(cas, &hash, &content(&hash, &named))?;
        }
        let missing = rebuilt.readable(missing_files(cas, named.manifest()))?;
        let Some(missing) = missing else { continue };
        if missing.is_empty() {
            if is_mended {
                rebuilt.note_mended(hash);
            }
        } else {
            let files = named.manifest().files().len() as u64;
            rebuilt.note_incomplete(Incomplete { hash, listed: true, files, missing });
        }
    }
    Ok(())
}

/// Whether a row names a stored file.
fn is_named(cas: &Cas, hash: &TesseraHash) -> Result<bool, StoreError> {
    let bytes = |c: &Connection| object_bytes(c, &(*hash).into());
    Ok(cas.database().read("looking up an object", bytes)?.is_some())
}

/// A capsule, as far as it is here.
struct Capsule {
    record: TesseraRecord,
    /// All its objects with their lengths, missing ones too.
    content: BTreeMap<ContentHash, u64>,
    /// How many files its MANIFEST names.
    files: u64,
    /// The paths of missing files.
    missing: Vec<String>,
    /// Whether its signatures were checked. They cannot be without its creator's keys.
    is_verified: bool,
}

/// Assembles a capsule from its signature file; returns what it lacks if it cannot be listed: its
/// MANIFEST, or valid signatures.
fn assemble(cas: &Cas, kept: SignatureFile) -> Result<Result<Capsule, Vec<String>>, StoreError> {
    let gone = |paths: &[&str]| Ok(Err(paths.iter().map(|&path| path.to_owned()).collect()));
    let hash = &kept.tessera;
    let Some(named) = manifest(cas, hash)? else { return gone(&[unlisted::MANIFEST]) };
    let (manifest, bytes) = (named.manifest(), named.bytes().len() as u64);
    let mut missing = missing_files(cas, manifest)?;
    let keys = [listed::ED25519_PEM, listed::ML_DSA_65_PEM];
    let pems = (pem(cas, manifest, keys[0])?, pem(cas, manifest, keys[1])?);
    let checked = match &pems {
        (Some(ed25519), Some(ml_dsa_65)) => Some(SignedManifest::verify(
            &named,
            CreatorPems { ed25519, ml_dsa_65 },
            &kept.signatures,
        )),
        _ => None,
    };
    let is_verified = match checked {
        Some(Ok(_)) => true,
        Some(Err(SignedError::Signature(check))) => {
            let valid = [check.ed25519, check.ml_dsa_65];
            let bad = SIGNATURES.iter().zip(valid).filter(|(_, valid)| !valid);
            return Ok(Err(bad.map(|(path, _)| (*path).to_owned()).collect()));
        }
        Some(Err(SignedError::Creator(_))) => {
            let wrong = keys.iter().filter(|key| !missing.iter().any(|path| path == *key));
            let wrong: Vec<String> = wrong.map(|&key| key.to_owned()).collect();
            missing.extend(wrong);
            false
        }
        None => false,
    };
    let Some(layout) = PackLayout::new(hash, manifest, bytes) else {
        return gone(&[unlisted::MANIFEST]);
    };
    let SignatureFile { tessera, signatures, origin, added } = kept;
    let record = TesseraRecord::of_manifest(tessera, manifest, &layout, signatures, origin, added);
    let (content, files) = (content(&tessera, &named), manifest.files().len() as u64);
    Ok(Ok(Capsule { record, content, files, missing, is_verified }))
}

/// The stored text of a key that a MANIFEST lists.
fn pem(cas: &Cas, manifest: &Manifest, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(file) = manifest.file(path) else { return Ok(None) };
    regular::read_whole(&cas.files().path(&file.blake3), MAX_PEM_BYTES as u64)
}

/// What [`without_signatures`] finds.
#[derive(Default)]
struct WithoutSignatures {
    /// Capsules.
    found: Vec<TesseraHash>,
    /// Files that no row names and that could not be read: each may be a MANIFEST.
    unread: Vec<TesseraHash>,
}

/// Capsules whose MANIFEST and files are all here, but no signatures: an earlier version of the
/// software kept those only in its database. A MANIFEST that is kept for others has none of its
/// files here.
fn without_signatures(
    cas: &Cas,
    library: &SqliteLibrary,
    rebuilt: &mut Rebuilt,
) -> Result<WithoutSignatures, StoreError> {
    let mut without = WithoutSignatures::default();
    cas.files().visit(|hash, path| {
        let Some(hash) = hash.map(TesseraHash::from) else { return Ok(()) };
        let begins = rebuilt.readable(begins_as_manifest(&path))?;
        if begins.is_none() && !is_named(cas, &hash)? {
            without.unread.push(hash);
        }
        if !begins.unwrap_or(false)
            || library.has_signature_file(&hash)
            || library.get(&hash)?.is_some()
            || library.is_kept_out(&hash)?
            || cas.is_removal_due(&hash.into())?
        {
            return Ok(());
        }
        let is_whole = manifest(cas, &hash).and_then(|named| {
            let missing = named.map(|named| missing_files(cas, named.manifest())).transpose()?;
            Ok(missing.is_some_and(|missing| missing.is_empty()))
        });
        match rebuilt.readable(is_whole)? {
            Some(true) => without.found.push(hash),
            Some(false) => {}
            None => without.unread.push(hash),
        }
        Ok(())
    })?;
    without.found.sort_unstable();
    Ok(without)
}

fn begins_as_manifest(path: &Path) -> Result<bool, StoreError> {
    let start = regular::read_start(path, FIRST_LINE.len() as u64 + 1)?;
    Ok(start.is_some_and(|start| start.strip_suffix(b"\n") == Some(FIRST_LINE.as_bytes())))
}

#[cfg(test)]
mod tests {
    use tesseras_crypto::hash::blake3;

    use crate::manifests::sample;
    use crate::{StorageConfig, Store};

    use super::*;

    /// Of a dropped capsule, the signature file is gone, and its objects cannot be removed yet.
    #[test]
    fn objects_that_wait_to_be_removed_are_not_an_incomplete_capsule() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
        let cas = store.blobs();
        let text = sample(b"photo");
        let tessera = blake3(&text);
        for (hash, bytes) in [(tessera, &text[..]), (blake3(b"photo"), b"photo")] {
            std::fs::write(cas.files().path(&hash), bytes).unwrap();
        }
        let rebuilt = || rebuild(&cas, &store.library()).unwrap();
        assert_eq!(rebuilt().incomplete.len(), 1);
        let note = |tx: &rusqlite::Transaction<'_>| {
            let sql = "INSERT INTO object_removals VALUES (?1)";
            Ok(tx.execute(sql, [tessera.as_bytes()])?)
        };
        cas.database().write_durably("noting", note).unwrap();
        assert_eq!(rebuilt(), Rebuilt::default());
    }
}
