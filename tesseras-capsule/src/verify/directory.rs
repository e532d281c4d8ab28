//! Verifies an exported directory, which anyone may have written. Nothing outside of it is
//! touched, and nothing in it is believed before its length is known to be bounded.
//!
//! Where the MANIFEST is damaged, SHA256SUMS serves as a second witness, so that a single flipped
//! bit is found in the one file in which it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::{Sha256Digest, TesseraHash};
use tesseras_core::manifest::{
    FIRST_LINE, MAX_FILES, MAX_MANIFEST_BYTES, Manifest, listed, unlisted,
};
use tesseras_core::signature::{ED25519_SIGNATURE_BYTES, ML_DSA_65_SIGNATURE_BYTES, SignaturePair};
use tesseras_core::sums::{self, UnlistedDigests};
use tesseras_crypto::{Blake3, CreatorPems, NamedManifest, sha256};

use super::listing::{MAX_SUMS_BYTES, line_of, parse};
use super::{FileReport, FileStatus, Report, SignatureStatus, VerifyError, signature};
use crate::dirfd::{Folder, Kind};
use crate::hash_file::hash_line;
use crate::pump::Pump;
use crate::walk::{printable_path, why};
use tesseras_core::progress::Meter;

/// A longer HASH.txt is not read, in bytes.
const MAX_HASH_FILE_BYTES: usize = 128;

/// As many entries of a directory are looked at; a capsule has fewer.
const MAX_ENTRIES: usize = 4 * MAX_FILES;

/// Verifies an exported directory. With `expected`, it must be that tessera, too.
///
/// What is wrong with the capsule stands in the report; an error means that the directory itself
/// cannot be read. Memory: the MANIFEST and what follows from it, and a few buffers.
pub fn verify_directory(
    path: &Path,
    expected: Option<&TesseraHash>,
    progress: &Meter,
) -> Result<Report, VerifyError> {
    let failed = |source| VerifyError::Directory { path: path.display().to_string(), source };
    let folder = Folder::open(path).map_err(failed)?;
    let head = Head::read(&folder, expected);
    if head.is_of_no_capsule() {
        return Err(VerifyError::NoCapsule { path: path.display().to_string() });
    }
    let mut look = Look { folder: &folder, pump: Pump::new(), reports: BTreeMap::new(), progress };

    let wanted = head.wanted();
    let bytes = wanted.values().filter_map(|w| w.bytes).fold(0, u64::saturating_add);
    look.progress.begin(bytes);
    head.report(&mut look.reports);
    for (path, wanted) in &wanted {
        look.check(path, wanted);
    }
    look.extras(&wanted).map_err(failed)?;
    let files = look.reports.into_values().collect();
    Ok(Report::close(head.hash, expected, head.signatures, files))
}

/// What a file must be; the length and the BLAKE3 are known only from a MANIFEST.
struct Wanted {
    bytes: Option<u64>,
    blake3: Option<tesseras_core::ids::ContentHash>,
    sha256: Sha256Digest,
}

/// A short file, as far as it could be read.
enum Small {
    Missing,
    Bad(FileStatus, String),
    Bytes(Vec<u8>),
}

impl Small {
    fn read(folder: &Folder, path: &str, limit: u64) -> Self {
        match folder.read_whole(path, limit) {
            Ok(None) => Self::Bad(FileStatus::Corrupt, format!("it is longer than {limit} bytes")),
            Ok(Some(bytes)) => Self::Bytes(bytes),
            Err(e) => match fault_of(&e) {
                (FileStatus::Missing, _) => Self::Missing,
                (status, reason) => Self::Bad(status, reason),
            },
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Missing | Self::Bad(..) => None,
        }
    }

    /// What is wrong with it, whatever it says.
    fn fault(&self, path: &str) -> Option<FileReport> {
        match self {
            Self::Bytes(_) => None,
            Self::Missing => Some(FileReport::missing(path)),
            Self::Bad(status, reason) => Some(FileReport::fault(path, *status, reason.clone())),
        }
    }
}

/// Why a file could not be opened, as a status.
fn fault_of(error: &io::Error) -> (FileStatus, String) {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => (FileStatus::Missing, "it is missing".to_owned()),
        Some(Errno::LOOP) => {
            (FileStatus::Unexpected, "a symbolic link stands in its place".to_owned())
        }
        None if error.kind() == io::ErrorKind::InvalidInput => {
            (FileStatus::Unexpected, "something that is not a file is in its place".to_owned())
        }
        _ => (FileStatus::Corrupt, format!("it cannot be read: {}", why(error))),
    }
}

/// The files that the MANIFEST does not list, and what they say of each other.
struct Head {
    hash: TesseraHash,
    manifest_file: Small,
    ed25519: Small,
    ml_dsa_65: Small,
    sums: Small,
    hash_file: Small,
    /// The MANIFEST, if it is one.
    manifest: Option<Manifest>,
    /// What is wrong with it.
    manifest_fault: Option<String>,
    /// Whether the creator's keys were found, so that the signatures were really checked.
    keys: bool,
    signatures: (SignatureStatus, SignatureStatus),
}

impl Head {
    fn read(folder: &Folder, expected: Option<&TesseraHash>) -> Self {
        let small = |path: &str, limit: usize| Small::read(folder, path, limit as u64);
        let mut head = Self {
            hash: TesseraHash::new([0; TesseraHash::LEN]),
            manifest_file: Small::read(folder, unlisted::MANIFEST, MAX_MANIFEST_BYTES),
            ed25519: small(unlisted::ED25519_SIGNATURE, ED25519_SIGNATURE_BYTES),
            ml_dsa_65: small(unlisted::ML_DSA_65_SIGNATURE, ML_DSA_65_SIGNATURE_BYTES),
            sums: Small::read(folder, unlisted::SHA256SUMS, MAX_SUMS_BYTES),
            hash_file: small(unlisted::HASH, MAX_HASH_FILE_BYTES),
            manifest: None,
            manifest_fault: None,
            keys: false,
            signatures: (SignatureStatus::Invalid, SignatureStatus::Invalid),
        };
        let pems = [
            small(listed::ED25519_PEM, MAX_PEM_BYTES),
            small(listed::ML_DSA_65_PEM, MAX_PEM_BYTES),
        ];
        head.judge(&pems, expected);
        head
    }

    /// Whether nothing here is as in any capsule, damaged or not.
    fn is_of_no_capsule(&self) -> bool {
        let absent = |small: &Small| matches!(small, Small::Missing);
        let first_line = FIRST_LINE.as_bytes();
        let no_manifest = absent(&self.manifest_file)
            || self.manifest_file.bytes().is_some_and(|bytes| !bytes.starts_with(first_line));
        no_manifest && absent(&self.ed25519) && absent(&self.ml_dsa_65) && absent(&self.sums)
    }

    fn judge(&mut self, pems: &[Small; 2], expected: Option<&TesseraHash>) {
        let Small::Bytes(bytes) = &self.manifest_file else {
            let status = |small: &Small| signature(small.bytes(), None);
            self.signatures = (status(&self.ed25519), status(&self.ml_dsa_65));
            return;
        };
        let (hash, parsed) = NamedManifest::of_any(bytes.as_slice());
        let pair = SignaturePair {
            ed25519: self.ed25519.bytes().unwrap_or_default().to_vec(),
            ml_dsa_65: self.ml_dsa_65.bytes().unwrap_or_default().to_vec(),
        };
        let pems = pems[0].bytes().zip(pems[1].bytes());
        let check = pems.and_then(|(ed25519, ml_dsa_65)| {
            let pems = CreatorPems { ed25519, ml_dsa_65 };
            match &parsed {
                Ok(named) => named.check(pems, &pair).ok(),
                // Who is its creator a damaged MANIFEST does not say.
                Err(_) => pems.keys().map(|keys| keys.verify(bytes, &pair)),
            }
        });
        self.hash = hash;
        let status = |small: &Small, holds| match small {
            Small::Missing => SignatureStatus::Missing,
            Small::Bad(..) => SignatureStatus::Invalid,
            Small::Bytes(bytes) => signature(Some(bytes), holds),
        };
        self.signatures = (
            status(&self.ed25519, check.map(|c| c.ed25519)),
            status(&self.ml_dsa_65, check.map(|c| c.ml_dsa_65)),
        );
        self.keys = check.is_some();
        let any_valid = check.is_some_and(|c| c.ed25519 || c.ml_dsa_65);
        let intact =
            |path: &str, small: &Small| small.bytes().is_some_and(|b| self.agrees(path, b));
        let signed_otherwise = self.keys
            && (intact(unlisted::ED25519_SIGNATURE, &self.ed25519)
                || intact(unlisted::ML_DSA_65_SIGNATURE, &self.ml_dsa_65));
        let fault = match (&parsed, expected) {
            (Err(e), _) => Some(e.to_string()),
            (Ok(_), Some(expected)) if *expected != self.hash => {
                Some(format!("it is that of tessera {}, not of {expected}", self.hash))
            }
            _ if any_valid => None,
            _ if signed_otherwise => Some("it is not what its creator signed".to_owned()),
            _ if self.agrees(unlisted::MANIFEST, bytes) => None,
            _ => Some("neither a signature nor SHA256SUMS vouches for it".to_owned()),
        };
        self.manifest_fault = fault;
        self.manifest = parsed.ok().map(NamedManifest::into_manifest);
    }

    /// Whether SHA256SUMS lists these bytes for a path.
    fn agrees(&self, path: &str, bytes: &[u8]) -> bool {
        self.sums.bytes().and_then(|sums| line_of(sums, path)) == Some(sha256(bytes))
    }

    /// The MANIFEST, if nothing speaks against it.
    fn trusted(&self) -> Option<&Manifest> {
        self.manifest.as_ref().filter(|_| self.manifest_fault.is_none())
    }

    /// All files that must be there, but for those without which this could not be known.
    fn wanted(&self) -> BTreeMap<String, Wanted> {
        let of_manifest = |manifest: &Manifest| {
            manifest
                .files()
                .iter()
                .map(|f| {
                    let (bytes, blake3) = (Some(f.bytes), Some(f.blake3));
                    (f.path.as_str().to_owned(), Wanted { bytes, blake3, sha256: f.sha256 })
                })
                .collect()
        };
        if let Some(manifest) = self.trusted() {
            return of_manifest(manifest);
        }
        if let Some(sums) = self.sums.bytes().and_then(parse) {
            return sums
                .into_iter()
                .filter(|(path, _)| !unlisted::ALL.contains(&path.as_str()))
                .map(|(path, sha256)| (path, Wanted { bytes: None, blake3: None, sha256 }))
                .collect();
        }
        self.manifest.as_ref().map(of_manifest).unwrap_or_default()
    }

    /// Reports on the files that the MANIFEST does not list.
    fn report(&self, reports: &mut BTreeMap<Vec<u8>, FileReport>) {
        let manifest = self.manifest_file.fault(unlisted::MANIFEST).unwrap_or_else(|| match &self
            .manifest_fault
        {
            Some(reason) => {
                FileReport::fault(unlisted::MANIFEST, FileStatus::Corrupt, reason.clone())
            }
            None => FileReport::ok(unlisted::MANIFEST),
        });
        let ed25519 = self.signature_file(
            unlisted::ED25519_SIGNATURE,
            &self.ed25519,
            ED25519_SIGNATURE_BYTES,
            self.signatures.0,
        );
        let ml_dsa_65 = self.signature_file(
            unlisted::ML_DSA_65_SIGNATURE,
            &self.ml_dsa_65,
            ML_DSA_65_SIGNATURE_BYTES,
            self.signatures.1,
        );
        let sums = self.sums_file(ed25519.status, ml_dsa_65.status);
        for report in [manifest, ed25519, ml_dsa_65, sums].into_iter().chain(self.hash_file_fault())
        {
            reports.insert(report.path.clone().into_bytes(), report);
        }
    }

    fn signature_file(
        &self,
        path: &str,
        file: &Small,
        length: usize,
        status: SignatureStatus,
    ) -> FileReport {
        let corrupt = |reason: &str| FileReport::fault(path, FileStatus::Corrupt, reason);
        let bytes = match file {
            Small::Bytes(bytes) => bytes,
            Small::Missing | Small::Bad(..) => {
                return file.fault(path).unwrap_or_else(|| FileReport::missing(path));
            }
        };
        if status == SignatureStatus::Valid {
            FileReport::ok(path)
        } else if bytes.len() != length {
            corrupt("it has another length than every such signature")
        } else if self.keys && self.trusted().is_some() {
            corrupt("it does not hold")
        } else if self.sums.bytes().and_then(|sums| line_of(sums, path)).is_some()
            && !self.agrees(path, bytes)
        {
            corrupt("it is not the file that SHA256SUMS lists")
        } else {
            // It could not be checked for the fault of another file.
            FileReport::ok(path)
        }
    }

    /// What is wrong with HASH.txt. It is no part of the capsule, and need not be there.
    fn hash_file_fault(&self) -> Option<FileReport> {
        let path = unlisted::HASH;
        match &self.hash_file {
            Small::Missing => None,
            Small::Bad(..) => self.hash_file.fault(path),
            // If the MANIFEST is damaged, this may be its true hash.
            Small::Bytes(_) if self.trusted().is_none() => None,
            Small::Bytes(bytes) if *bytes == hash_line(&self.hash).as_bytes() => None,
            Small::Bytes(_) => {
                let reason = "it is not the hash of this MANIFEST";
                Some(FileReport::fault(path, FileStatus::Corrupt, reason))
            }
        }
    }

    fn sums_file(&self, ed25519: FileStatus, ml_dsa_65: FileStatus) -> FileReport {
        let path = unlisted::SHA256SUMS;
        let corrupt = |reason: String| FileReport::fault(path, FileStatus::Corrupt, reason);
        let Small::Bytes(found) = &self.sums else {
            return self.sums.fault(path).unwrap_or_else(|| FileReport::missing(path));
        };
        let (Some(manifest), Some(bytes)) = (self.trusted(), self.manifest_file.bytes()) else {
            return match parse(found) {
                Some(_) => FileReport::ok(path),
                None => corrupt("it is not a list of digests and paths".to_owned()),
            };
        };
        // What it says of a damaged signature cannot be held against it.
        let digest = |name: &str, status: FileStatus, file: &Small| {
            let own = file.bytes().map(sha256);
            let said = line_of(found, name);
            let digest = if status == FileStatus::Ok { own } else { said.or(own) };
            digest.unwrap_or(Sha256Digest::new([0; Sha256Digest::LEN]))
        };
        let digests = UnlistedDigests {
            manifest: sha256(bytes),
            ed25519_signature: digest(unlisted::ED25519_SIGNATURE, ed25519, &self.ed25519),
            ml_dsa_65_signature: digest(unlisted::ML_DSA_65_SIGNATURE, ml_dsa_65, &self.ml_dsa_65),
        };
        let must = sums::render(manifest, &digests);
        if must.as_bytes() == found.as_slice() {
            return FileReport::ok(path);
        }
        let same = must.as_bytes().iter().zip(found).take_while(|(a, b)| a == b).count();
        let line = found[..same].iter().filter(|b| **b == b'\n').count() + 1;
        corrupt(format!("line {line} is not as it must be"))
    }
}

/// The walk over the directory.
struct Look<'a> {
    folder: &'a Folder,
    pump: Pump,
    reports: BTreeMap<Vec<u8>, FileReport>,
    progress: &'a Meter,
}

impl Look<'_> {
    fn check(&mut self, path: &str, wanted: &Wanted) {
        let report = match self.fault(path, wanted) {
            Ok(None) => FileReport::ok(path),
            Ok(Some(reason)) => FileReport::fault(path, FileStatus::Corrupt, reason),
            Err(e) => match fault_of(&e) {
                (FileStatus::Missing, _) => FileReport::missing(path),
                (status, reason) => FileReport::fault(path, status, reason),
            },
        };
        self.reports.insert(path.as_bytes().to_vec(), report);
    }

    /// What is wrong with a file's content.
    fn fault(&mut self, path: &str, wanted: &Wanted) -> io::Result<Option<String>> {
        let file = self.folder.file(path.as_bytes())?;
        let found = file.metadata()?.len();
        if let Some(bytes) = wanted.bytes
            && bytes != found
        {
            return Ok(Some(format!("its length is {found} instead of {bytes} bytes")));
        }
        let mut file = file.take(found.saturating_add(1));
        let mut digest = Blake3::default();
        let progress = self.progress;
        let (bytes, sha256) = self.pump.run(
            |buffer| loop {
                match file.read(buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            },
            |chunk| {
                digest.update(chunk);
                progress.add(chunk.len() as u64);
                Ok(())
            },
        )?;
        Ok(if bytes != found {
            Some("it changes while it is read".to_owned())
        } else if wanted.blake3.is_some_and(|blake3| blake3 != digest.finish()) {
            Some("its BLAKE3 is not the one listed".to_owned())
        } else if sha256 != wanted.sha256 {
            Some("its SHA-256 is not the one listed".to_owned())
        } else {
            None
        })
    }

    /// Reports what does not belong into the directory.
    fn extras(&mut self, wanted: &BTreeMap<String, Wanted>) -> io::Result<()> {
        let mut parents: BTreeSet<&[u8]> = BTreeSet::new();
        for path in wanted.keys() {
            parents.extend(path.match_indices('/').map(|(at, _)| &path.as_bytes()[..at]));
        }
        let mut seen = 0;
        let mut directories = vec![Vec::new()];
        while let Some(directory) = directories.pop() {
            let entries = match self.folder.list(&directory, MAX_ENTRIES - seen) {
                Ok(Some(entries)) => entries,
                Ok(None) => {
                    let reason = format!("there are more than {MAX_ENTRIES} entries in it");
                    self.unexpected(&directory, reason);
                    return Ok(());
                }
                Err(e) if directory.is_empty() => return Err(e),
                Err(e) => {
                    let reason = format!("it cannot be listed: {}", why(&e));
                    self.unexpected(&directory, reason);
                    continue;
                }
            };
            seen += entries.len();
            if entries.is_empty() && !directory.is_empty() && !parents.contains(&*directory) {
                self.unexpected(&directory, "an empty directory".to_owned());
            }
            for entry in entries {
                let mut path = directory.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&entry.name);
                match entry.kind {
                    // A path of this length leads nowhere that a capsule could reach.
                    Kind::Directory if path.len() > tesseras_core::path::MAX_PATH_BYTES => {
                        self.unexpected(&path, "a directory".to_owned());
                    }
                    Kind::Directory => directories.push(path),
                    Kind::File if path == unlisted::HASH.as_bytes() => {}
                    Kind::File => self.unexpected(&path, "no such file is listed".to_owned()),
                    Kind::Symlink => self.unexpected(&path, "a symbolic link".to_owned()),
                    Kind::Gone => {}
                    Kind::Special => self.unexpected(&path, "no file at all".to_owned()),
                }
            }
        }
        Ok(())
    }

    /// Reports an entry, unless it is known already.
    fn unexpected(&mut self, path: &[u8], reason: String) {
        let name = if path.is_empty() { ".".to_owned() } else { printable_path(path) };
        self.reports
            .entry(path.to_vec())
            .or_insert_with(|| FileReport::fault(name, FileStatus::Unexpected, reason));
    }
}
