//! Rebuilds the index of the library from the files beside the database: signature files,
//! MANIFESTs, files.
//!
//! Everything is checked except the bytes of the capsules' files, of which only existence and
//! length are checked: reading them all is the task of a verification. The rows of listed capsules
//! that do not agree with their MANIFESTs are made again. No object is changed or removed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{FIRST_LINE, Manifest, listed, unlisted};
use tesseras_core::pack::PackLayout;
use tesseras_core::ports::{HoldingRepository, StoreError, TesseraRecord, TesseraRepository as _};
use tesseras_crypto::signed_manifest::SignedError;
use tesseras_crypto::{CreatorPems, SignedManifest};

use crate::agreement;
use crate::cas::Cas;
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
    /// Those that cannot be listed, or are listed and need what is missing or damaged.
    pub incomplete: Vec<Incomplete>,
    /// The path of the damaged database now; `None` if it was intact, or missing.
    pub set_aside: Option<PathBuf>,
}

impl Rebuilt {
    fn note_mended(&mut self, hash: TesseraHash) {
        if !self.mended.contains(&hash) {
            self.mended.push(hash);
        }
    }
}

/// A capsule with missing parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// Its hash.
    pub hash: TesseraHash,
    /// The paths in the capsule of missing or damaged files.
    pub missing: Vec<String>,
}

/// Runs the rebuild, on an index that others may read.
pub(crate) fn rebuild(
    cas: &Cas,
    library: &SqliteLibrary,
    holdings: &dyn HoldingRepository,
) -> Result<Rebuilt, StoreError> {
    // Files that an interrupted process moved into place count from now on.
    cas.files().sync_all_names()?;
    let mut rebuilt = Rebuilt::default();
    // First of all, since a row with a flipped bit may be one that cannot be read.
    for hash in library.hashes()? {
        if mend::mend_row(cas, library, &hash)? {
            rebuilt.note_mended(hash);
        }
    }
    let dropped = library.removals_due()?;
    for hash in library.signature_files()? {
        if library.get(&hash)?.is_none()
            && !dropped.contains(&hash)
            && !holdings.is_blocked(&hash)?
        {
            let complete = match library.signature_file(&hash)? {
                Some(kept) => complete(cas, kept)?,
                None => Err(SIGNATURES.map(str::to_owned).to_vec()),
            };
            match complete {
                Ok((record, content)) => {
                    if library.relist(&record, &content)? {
                        rebuilt.restored.push(hash);
                    }
                }
                Err(missing) => rebuilt.incomplete.push(Incomplete { hash, missing }),
            }
        }
    }
    rebuilt.found = rebuilt.incomplete.len() as u64;
    mend::forget_doubles(cas, library)?;
    mend_signatures(cas, library, &mut rebuilt)?;
    library.write_due_signature_files()?;
    mend_library(cas, library, &mut rebuilt)?;
    rebuilt.mended_pieces = mend::mend_held(cas)?;
    mend::forget_without_file(cas)?;
    for hash in without_signatures(cas, library, holdings)? {
        rebuilt.found += 1;
        let missing = SIGNATURES.map(str::to_owned).to_vec();
        rebuilt.incomplete.push(Incomplete { hash, missing });
    }
    let incomplete: Vec<TesseraHash> = rebuilt.incomplete.iter().map(|one| one.hash).collect();
    library.note_incomplete(&incomplete)?;
    Ok(rebuilt)
}

/// Where the signatures of a capsule are.
const SIGNATURES: [&str; 2] = [unlisted::ED25519_SIGNATURE, unlisted::ML_DSA_65_SIGNATURE];

/// Makes each listed capsule have the same signatures in the index and in its file, those that are
/// valid. Where neither are, or the file is missing and those of the index are not, nothing is written.
fn mend_signatures(
    cas: &Cas,
    library: &SqliteLibrary,
    rebuilt: &mut Rebuilt,
) -> Result<(), StoreError> {
    let mut due = Vec::new();
    for record in library.list()? {
        if library.is_signature_file_right(&record)? {
            continue;
        }
        let (hash, listed) = (record.hash, complete(cas, SignatureFile::of(&record))?);
        let names_signature =
            |missing: &[String]| missing.iter().any(|path| SIGNATURES.contains(&path.as_str()));
        match (listed, library.signature_file(&hash)?) {
            (Ok(_), _) => due.push(hash),
            // What else is missing says nothing about them.
            (Err(missing), None) if !names_signature(&missing) => due.push(hash),
            (Err(_), Some(kept)) => {
                if let Ok((sound, _)) = complete(cas, kept)? {
                    mend::replace_signatures(cas, &hash, &sound.signatures)?;
                    rebuilt.note_mended(hash);
                }
            }
            (Err(_), None) => {}
        }
    }
    library.note_signature_files_due(&due)
}

/// Makes the rows of listed capsules again that do not agree with their MANIFESTs.
fn mend_library(
    cas: &Cas,
    library: &SqliteLibrary,
    rebuilt: &mut Rebuilt,
) -> Result<(), StoreError> {
    for hash in library.hashes()? {
        rebuilt.found += 1;
        if agreement::of_listed(cas, library, &hash)?.is_empty() {
            continue;
        }
        let missing = match manifest(cas, &hash)? {
            Some(named) => {
                mend::mend_listed(cas, &hash, &content(&hash, &named))?;
                missing_files(cas, named.manifest())?
            }
            None => vec![unlisted::MANIFEST.to_owned()],
        };
        if missing.is_empty() {
            rebuilt.note_mended(hash);
        } else {
            rebuilt.incomplete.push(Incomplete { hash, missing });
        }
    }
    Ok(())
}

/// A capsule with the lengths of all its objects.
type Complete = (TesseraRecord, BTreeMap<ContentHash, u64>);

/// Assembles a capsule from its signature file; returns the paths of missing files if it is
/// incomplete.
fn complete(cas: &Cas, kept: SignatureFile) -> Result<Result<Complete, Vec<String>>, StoreError> {
    let gone = |paths: &[&str]| Ok(Err(paths.iter().map(|&path| path.to_owned()).collect()));
    let hash = &kept.tessera;
    let Some(named) = manifest(cas, hash)? else { return gone(&[unlisted::MANIFEST]) };
    let (manifest, bytes) = (named.manifest(), named.bytes().len() as u64);
    let missing = missing_files(cas, manifest)?;
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    let keys = [listed::ED25519_PEM, listed::ML_DSA_65_PEM];
    let (Some(ed25519), Some(ml_dsa_65)) =
        (pem(cas, manifest, keys[0])?, pem(cas, manifest, keys[1])?)
    else {
        return gone(&keys);
    };
    let pems = CreatorPems { ed25519: &ed25519, ml_dsa_65: &ml_dsa_65 };
    match SignedManifest::verify(&named, pems, &kept.signatures) {
        Ok(_) => {}
        Err(SignedError::Creator(_)) => return gone(&keys),
        Err(SignedError::Signature(check)) => {
            let valid = [check.ed25519, check.ml_dsa_65];
            let bad = SIGNATURES.iter().zip(valid).filter(|(_, valid)| !valid);
            return Ok(Err(bad.map(|(path, _)| (*path).to_owned()).collect()));
        }
    }
    let Some(layout) = PackLayout::new(hash, manifest, bytes) else {
        return gone(&[unlisted::MANIFEST]);
    };
    let SignatureFile { tessera, signatures, origin, added } = kept;
    let record = TesseraRecord::of_manifest(tessera, manifest, &layout, signatures, origin, added);
    Ok(Ok((record, content(&tessera, &named))))
}

/// The stored text of a key that a MANIFEST lists.
fn pem(cas: &Cas, manifest: &Manifest, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(file) = manifest.file(path) else { return Ok(None) };
    regular::read_whole(&cas.files().path(&file.blake3), MAX_PEM_BYTES as u64)
}

/// Capsules whose MANIFEST and files are all here, but no signatures: an earlier version of the
/// software kept those only in its database. A MANIFEST that is kept for others has none of its
/// files here.
fn without_signatures(
    cas: &Cas,
    library: &SqliteLibrary,
    holdings: &dyn HoldingRepository,
) -> Result<Vec<TesseraHash>, StoreError> {
    let mut found = Vec::new();
    cas.files().visit(|hash, path| {
        let Some(hash) = hash.map(TesseraHash::from) else { return Ok(()) };
        if !begins_as_manifest(&path)?
            || library.has_signature_file(&hash)
            || library.get(&hash)?.is_some()
            || holdings.is_blocked(&hash)?
            || cas.is_removal_due(&hash.into())?
        {
            return Ok(());
        }
        if let Some(named) = manifest(cas, &hash)?
            && missing_files(cas, named.manifest())?.is_empty()
        {
            found.push(hash);
        }
        Ok(())
    })?;
    found.sort_unstable();
    Ok(found)
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
        let rebuilt = || rebuild(&cas, &store.library(), &*store.holdings()).unwrap();
        assert_eq!(rebuilt().incomplete.len(), 1);
        let note = |tx: &rusqlite::Transaction<'_>| {
            let sql = "INSERT INTO object_removals VALUES (?1)";
            Ok(tx.execute(sql, [tessera.as_bytes()])?)
        };
        cas.database().write_durably("noting", note).unwrap();
        assert_eq!(rebuilt(), Rebuilt::default());
    }
}
