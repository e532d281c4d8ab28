//! The MANIFESTs among the stored files: each is named after its own hash, so it proves itself.

use std::collections::BTreeMap;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{MAX_MANIFEST_BYTES, Manifest};
use tesseras_core::ports::StoreError;
use tesseras_crypto::NamedManifest;

use crate::cas::Cas;
use crate::regular;

/// The MANIFEST of a tessera, if it is here and whole.
pub(crate) fn manifest(
    cas: &Cas,
    hash: &TesseraHash,
) -> Result<Option<NamedManifest<Vec<u8>>>, StoreError> {
    let path = cas.files().path(&(*hash).into());
    let Some(bytes) = regular::read_whole(&path, MAX_MANIFEST_BYTES)? else { return Ok(None) };
    Ok(NamedManifest::read(bytes, hash).ok())
}

/// The MANIFEST of a tessera, if it is here and whole, and can be read.
pub(crate) fn readable_manifest(
    cas: &Cas,
    tessera: &TesseraHash,
) -> Option<NamedManifest<Vec<u8>>> {
    manifest(cas, tessera).unwrap_or_else(|error| {
        tracing::warn!(%tessera, %error, "a MANIFEST could not be read");
        None
    })
}

/// All that a MANIFEST names and itself, with the lengths in bytes.
pub(crate) fn content(
    hash: &TesseraHash,
    named: &NamedManifest<Vec<u8>>,
) -> BTreeMap<ContentHash, u64> {
    let files = named.manifest().files().iter().map(|file| (file.blake3, file.bytes));
    files.chain([((*hash).into(), named.bytes().len() as u64)]).collect()
}

/// The paths of the files that are not here with their full length.
pub(crate) fn missing_files(cas: &Cas, manifest: &Manifest) -> Result<Vec<String>, StoreError> {
    let mut missing = Vec::new();
    for file in manifest.files() {
        if !cas.files().has(&file.blake3, file.bytes)? {
            missing.push(file.path.to_string());
        }
    }
    Ok(missing)
}

/// The text of a MANIFEST for tests: each of its files has these bytes.
#[cfg(test)]
pub(crate) fn sample(bytes: &[u8]) -> Vec<u8> {
    use tesseras_core::ids::CreatorId;
    use tesseras_core::manifest::{FileEntry, listed};
    use tesseras_core::path::CapsulePath;
    use tesseras_crypto::hash::{blake3, sha256};

    let paths =
        [listed::ED25519_PEM, listed::ML_DSA_65_PEM, listed::README, "memories/0001/media.txt"];
    let files = paths.map(|path| FileEntry {
        blake3: blake3(bytes),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        mime: "text/plain".to_owned(),
        path: CapsulePath::new(path).unwrap(),
    });
    let headers = vec![("title".to_owned(), "Summer".to_owned())];
    let manifest = Manifest::new(CreatorId::new([3; 32]), 1, headers, files.to_vec()).unwrap();
    manifest.render().into_bytes()
}
