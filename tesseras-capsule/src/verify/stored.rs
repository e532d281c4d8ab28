//! Verifies a capsule of one's own library: each stored object is read once and hashed twice.

use std::collections::HashMap;

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::{ContentHash, Sha256Digest, TesseraHash};
use tesseras_core::manifest::{FileEntry, MAX_MANIFEST_BYTES, Manifest, listed, unlisted};
use tesseras_core::ports::{BlobStore, StoreError, TesseraRepository};
use tesseras_core::signature::SignaturePair;
use tesseras_crypto::signed_manifest::NameError;
use tesseras_crypto::{Blake3, CreatorPems, NamedManifest, SignatureCheck, blake3};

use super::{FileReport, FileStatus, Report, SignatureStatus, VerifyError, signature};
use crate::open::StoredCapsule;
use crate::pack_reader::Sequential;
use crate::pump::Pump;
use tesseras_core::progress::Meter;

/// Verifies a capsule of the library. SHA256SUMS is not stored but made from the rest, so it is
/// always as it must be.
pub fn verify_stored(
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    hash: &TesseraHash,
    progress: &Meter,
) -> Result<Report, VerifyError> {
    let record = repository.get(hash)?.ok_or(VerifyError::NotStored(*hash))?;
    match manifest(blobs, hash)? {
        Ok(named) => verify(blobs, &named, &record.signatures, progress),
        Err((found, fault)) => Ok(without_manifest(found, hash, &record.signatures, fault)),
    }
}

/// Verifies a capsule of the library whose MANIFEST was read, and hashed to its name, just now.
pub fn verify_opened(
    blobs: &dyn BlobStore,
    capsule: &StoredCapsule,
    progress: &Meter,
) -> Result<Report, VerifyError> {
    verify(blobs, capsule.named(), capsule.signatures(), progress)
}

fn verify(
    blobs: &dyn BlobStore,
    named: &NamedManifest<impl AsRef<[u8]>>,
    signatures: &SignaturePair,
    progress: &Meter,
) -> Result<Report, VerifyError> {
    let hash = named.tessera();
    let mut reports = files(blobs, named.manifest(), progress)?;
    let check = check(blobs, named, signatures)?;
    let status = |bytes: &Vec<u8>, holds| {
        signature(Some(bytes.as_slice()).filter(|bytes| !bytes.is_empty()), holds)
    };
    let statuses = (
        status(&signatures.ed25519, check.map(|c| c.ed25519)),
        status(&signatures.ml_dsa_65, check.map(|c| c.ml_dsa_65)),
    );
    for (path, status) in
        [(unlisted::ED25519_SIGNATURE, statuses.0), (unlisted::ML_DSA_65_SIGNATURE, statuses.1)]
    {
        reports.push(match (status, check) {
            (SignatureStatus::Missing, _) => FileReport::missing(path),
            (SignatureStatus::Invalid, Some(_)) => {
                FileReport::fault(path, FileStatus::Corrupt, "it does not hold")
            }
            // Without the creator's keys nothing speaks against the signature itself.
            _ => FileReport::ok(path),
        });
    }
    reports.push(FileReport::ok(unlisted::MANIFEST));
    reports.push(FileReport::ok(unlisted::SHA256SUMS));
    Ok(Report::close(hash, Some(&hash), statuses, reports))
}

/// Reads every file that the MANIFEST lists, equal ones once.
fn files(
    blobs: &dyn BlobStore,
    manifest: &Manifest,
    progress: &Meter,
) -> Result<Vec<FileReport>, VerifyError> {
    let files = manifest.files();
    progress.begin(manifest.bytes());
    let mut pump = Pump::new();
    let mut checked: HashMap<(ContentHash, u64), Result<Sha256Digest, Fault>> = HashMap::new();
    let mut reports = Vec::with_capacity(files.len() + unlisted::ALL.len());
    for file in files {
        let outcome = match checked.get(&(file.blake3, file.bytes)) {
            Some(known) => {
                progress.add(file.bytes);
                *known
            }
            None => {
                let outcome = digest(blobs, file, &mut pump, progress)?;
                checked.insert((file.blake3, file.bytes), outcome);
                outcome
            }
        };
        reports.push(match outcome {
            Ok(sha256) if sha256 == file.sha256 => FileReport::ok(file.path.as_str()),
            Ok(_) => fault(file, FileStatus::Corrupt, "its SHA-256 is not the one listed"),
            Err((status, reason)) => fault(file, status, reason),
        });
    }
    Ok(reports)
}

/// Which signatures are valid; `None` if the creator's keys are not stored as the MANIFEST lists
/// them.
fn check(
    blobs: &dyn BlobStore,
    named: &NamedManifest<impl AsRef<[u8]>>,
    signatures: &SignaturePair,
) -> Result<Option<SignatureCheck>, StoreError> {
    let pem = |path: &str| -> Result<Option<Vec<u8>>, StoreError> {
        let Some(entry) = named.manifest().file(path) else { return Ok(None) };
        let reader = blobs.open(&entry.blake3);
        match reader.and_then(|reader| reader.read_whole(MAX_PEM_BYTES as u64)) {
            Ok(bytes) => Ok(bytes.filter(|bytes| blake3(bytes) == entry.blake3)),
            Err(error) if error.is_damage() => Ok(None),
            Err(error) => Err(error),
        }
    };
    let pems = (pem(listed::ED25519_PEM)?, pem(listed::ML_DSA_65_PEM)?);
    let (Some(ed25519), Some(ml_dsa_65)) = &pems else { return Ok(None) };
    Ok(named.check(CreatorPems { ed25519, ml_dsa_65 }, signatures).ok())
}

/// What can be said of a capsule whose MANIFEST is lost: no more than whether it has signatures.
/// The other files are known from the MANIFEST alone.
fn without_manifest(
    found: TesseraHash,
    hash: &TesseraHash,
    signatures: &SignaturePair,
    fault: FileReport,
) -> Report {
    let statuses =
        [&signatures.ed25519, &signatures.ml_dsa_65].map(|bytes| match bytes.is_empty() {
            true => SignatureStatus::Missing,
            false => SignatureStatus::Invalid,
        });
    let mut reports = vec![fault];
    for (path, status) in
        [unlisted::ED25519_SIGNATURE, unlisted::ML_DSA_65_SIGNATURE].into_iter().zip(statuses)
    {
        reports.push(match status {
            SignatureStatus::Missing => FileReport::missing(path),
            // Nothing speaks against the signature itself.
            _ => FileReport::ok(path),
        });
    }
    Report::close(found, Some(hash), (statuses[0], statuses[1]), reports)
}

type Fault = (FileStatus, &'static str);

fn fault(file: &FileEntry, status: FileStatus, reason: &str) -> FileReport {
    FileReport::fault(file.path.as_str(), status, reason)
}

/// The stored MANIFEST; or what it hashes to, and what is wrong with it.
#[expect(clippy::type_complexity, reason = "an inner error that is part of the answer")]
fn manifest(
    blobs: &dyn BlobStore,
    hash: &TesseraHash,
) -> Result<Result<NamedManifest<Vec<u8>>, (TesseraHash, FileReport)>, VerifyError> {
    let none = TesseraHash::new([0; TesseraHash::LEN]);
    let corrupt = |found, reason: String| {
        Ok(Err((found, FileReport::fault(unlisted::MANIFEST, FileStatus::Corrupt, reason))))
    };
    let bytes = match blobs
        .open(&ContentHash::from(*hash))
        .and_then(|reader| reader.read_whole(MAX_MANIFEST_BYTES))
    {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return corrupt(none, "it is longer than any MANIFEST".to_owned()),
        Err(error) => match unreadable(error)? {
            (FileStatus::Missing, _) => {
                return Ok(Err((none, FileReport::missing(unlisted::MANIFEST))));
            }
            (_, reason) => return corrupt(none, reason.to_owned()),
        },
    };
    match NamedManifest::read(bytes, hash) {
        Ok(named) => Ok(Ok(named)),
        Err(NameError::WrongTessera { found, .. }) => {
            corrupt(found, "it does not hash to the tessera's name".to_owned())
        }
        Err(NameError::Malformed(error)) => corrupt(*hash, error.to_string()),
    }
}

/// The SHA-256 of a file's stored object, if its length and BLAKE3 are as listed.
fn digest(
    blobs: &dyn BlobStore,
    file: &FileEntry,
    pump: &mut Pump,
    progress: &Meter,
) -> Result<Result<Sha256Digest, Fault>, VerifyError> {
    let outcome = Sequential::open(blobs, file).and_then(|mut reader| {
        let mut blake3 = Blake3::default();
        let (_, sha256) = pump.run(
            |buffer| reader.read(buffer),
            |bytes| {
                blake3.update(bytes);
                progress.add(bytes.len() as u64);
                Ok(())
            },
        )?;
        if blake3.finish() == file.blake3 {
            Ok(sha256)
        } else {
            Err(StoreError::Corrupt(file.blake3))
        }
    });
    match outcome {
        Ok(sha256) => Ok(Ok(sha256)),
        Err(error) => Ok(Err(unreadable(error)?)),
    }
}

/// What an object's failure says of its file; an error if it says something of the whole store.
fn unreadable(error: StoreError) -> Result<Fault, StoreError> {
    match error {
        StoreError::Missing(_) => Ok((FileStatus::Missing, "its object is not stored")),
        damage if damage.is_damage() => Ok((FileStatus::Corrupt, "its object is damaged")),
        other => Err(other),
    }
}
