//! Turns a pack that arrives as a stream into a stored capsule, without trusting it: every byte
//! must match the MANIFEST, and the MANIFEST must match the requested hash.

use std::io::Read;

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{FileEntry, MAX_MANIFEST_BYTES, ManifestError, listed};
use tesseras_core::pack::{BLOCK, PackEntry, PackLayout, PackSource, directory_name, header};
use tesseras_core::ports::{
    BlobStore, NewTessera, Origin, StoreError, TesseraRecord, TesseraRepository,
};
use tesseras_core::signature::SignaturePair;
use tesseras_core::sums::{self, UnlistedDigests};
use tesseras_core::time::Timestamp;
use tesseras_core::words::size;
use tesseras_crypto::signed_manifest::{CreatorError, NameError, SignedError};
use tesseras_crypto::{CreatorPems, NamedManifest, SignedManifest, sha256};
use thiserror::Error;

use crate::pump::Pump;
use crate::staging::Staging;
use tesseras_core::progress::Meter;

/// The result of unpacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Its hash.
    pub hash: TesseraHash,
    /// The number of memories.
    pub memories: u64,
    /// The number of files in its exported directory.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// Whether it is new: `false` if it was already in the library.
    pub new: bool,
}

/// Why a pack was refused. Nothing of it is stored then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The stream failed, or ended before the pack did.
    #[error("the pack cannot be read at byte {offset} ({path}): {source}")]
    Read {
        /// The file being read.
        path: String,
        /// The offset in the pack.
        offset: u64,
        /// The stream's error.
        source: std::io::Error,
    },
    /// The tar is not exactly as the MANIFEST requires.
    #[error("at byte {offset} the pack does not hold {expected}")]
    Form {
        /// The offset in the pack.
        offset: u64,
        /// What was expected there.
        expected: String,
    },
    /// The MANIFEST is longer than allowed.
    #[error("the pack claims a MANIFEST of {0} bytes; at most {MAX_MANIFEST_BYTES} are allowed")]
    ManifestTooLong(u64),
    /// The MANIFEST is that of another tessera.
    #[error("this is the pack of tessera {found}, not of {expected}")]
    WrongTessera {
        /// The requested tessera.
        expected: TesseraHash,
        /// The tessera of the pack.
        found: TesseraHash,
    },
    /// The MANIFEST is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The MANIFEST names files that are longer than any pack.
    #[error("the MANIFEST names files that are too long for any pack")]
    TooLong,
    /// A file does not match the MANIFEST.
    #[error("{path} is not the file that the MANIFEST lists: {reason}")]
    File {
        /// The file.
        path: String,
        /// What differs.
        reason: &'static str,
    },
    /// The keys in `identity/` are not those of the creator in the MANIFEST.
    #[error("{0}")]
    Creator(#[from] CreatorError),
    /// A signature over the MANIFEST is not valid.
    #[error("the creator's {0} signature over the MANIFEST is not valid")]
    Signature(&'static str),
    /// The disk has too little free space.
    #[error("{} are needed, and only {} are free on the disk", size(*needed), size(*free))]
    NoSpace {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SignedError> for UnpackError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Creator(error) => Self::Creator(error),
            SignedError::Signature(check) => Self::Signature(check.first_invalid()),
        }
    }
}

impl From<NameError> for UnpackError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::WrongTessera { expected, found } => Self::WrongTessera { expected, found },
            NameError::Malformed(error) => Self::Manifest(error),
        }
    }
}

/// Reads the pack of the tessera `expected` to its end, stores it and adds it to the library as
/// fetched at `added`.
///
/// Memory: the MANIFEST and what is derived from it, and a few buffers. On any error nothing is
/// left behind.
pub fn unpack(
    pack: &mut dyn Read,
    expected: &TesseraHash,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    added: Timestamp,
    progress: &Meter,
) -> Result<Unpacked, UnpackError> {
    unpack_as(pack, expected, blobs, repository, (Origin::Fetched, added), progress)
}

/// Like [`unpack`], for any origin and date.
pub(crate) fn unpack_as(
    pack: &mut dyn Read,
    expected: &TesseraHash,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    (origin, added): (Origin, Timestamp),
    progress: &Meter,
) -> Result<Unpacked, UnpackError> {
    let mut pack = Pack { inner: pack, offset: 0 };
    let manifest_bytes = pack.manifest(expected)?;
    let (named, layout) = begin(&manifest_bytes, expected, blobs)?;
    progress.begin(layout.bytes());
    progress.add(pack.offset);
    let mut parts = Parts {
        named: &named,
        signatures: SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() },
        pems: [Vec::new(), Vec::new()],
        staging: Staging::new(blobs),
        pump: Pump::new(),
    };
    parts.staging.bytes(&manifest_bytes)?;
    parts.take_all(&mut pack, &layout, expected, progress)?;
    let pems = CreatorPems { ed25519: &parts.pems[0], ml_dsa_65: &parts.pems[1] };
    SignedManifest::verify(&named, pems, &parts.signatures)?;
    let record = TesseraRecord::of_manifest(
        *expected,
        named.manifest(),
        &layout,
        parts.signatures,
        (origin, added),
    );
    let TesseraRecord { hash, memories, files, bytes, .. } = record;
    let (content, staged) = parts.staging.take();
    let new = repository.add(NewTessera { record, content, staged })?;
    Ok(Unpacked { hash, memories, files, bytes, new })
}

/// Checks a MANIFEST before anything that it lists is read, and that there is room for it.
fn begin<'a>(
    manifest_bytes: &'a [u8],
    expected: &TesseraHash,
    blobs: &dyn BlobStore,
) -> Result<(NamedManifest<&'a [u8]>, PackLayout), UnpackError> {
    let named = NamedManifest::read(manifest_bytes, expected)?;
    let manifest = named.manifest();
    let layout = PackLayout::new(expected, manifest, manifest_bytes.len() as u64)
        .ok_or(UnpackError::TooLong)?;
    for name in [listed::ED25519_PEM, listed::ML_DSA_65_PEM] {
        if manifest.file(name).is_some_and(|f| f.bytes > MAX_PEM_BYTES as u64) {
            return Err(CreatorError::NoKeys.into());
        }
    }
    let (needed, free) = (layout.bytes(), blobs.free_bytes()?);
    if needed > free {
        return Err(UnpackError::NoSpace { needed, free });
    }
    Ok((named, layout))
}

/// The parts read from a pack so far.
struct Parts<'a> {
    named: &'a NamedManifest<&'a [u8]>,
    signatures: SignaturePair,
    pems: [Vec<u8>; 2],
    staging: Staging<'a>,
    pump: Pump,
}

impl Parts<'_> {
    /// Reads every entry after the MANIFEST, in the order of the layout, to the end of the tar.
    fn take_all(
        &mut self,
        pack: &mut Pack<'_>,
        layout: &PackLayout,
        expected: &TesseraHash,
        progress: &Meter,
    ) -> Result<(), UnpackError> {
        let directory = directory_name(expected).len() + 1;
        for entry in &layout.entries()[1..] {
            let path = &entry.path[directory..];
            let before = pack.offset;
            pack.expect(&header(&entry.path, entry.bytes), path)?;
            self.take(pack, entry, path)?;
            pack.padding(entry.bytes, path)?;
            progress.add(pack.offset - before);
        }
        pack.expect(&[0; 2 * BLOCK as usize], "the end of the tar")?;
        pack.end()
    }

    /// Takes the bytes of one file and checks them.
    fn take(
        &mut self,
        pack: &mut Pack<'_>,
        entry: &PackEntry,
        path: &str,
    ) -> Result<(), UnpackError> {
        match entry.source {
            // The MANIFEST has only one entry, the first.
            PackSource::Manifest => Err(pack.form(path)),
            PackSource::Ed25519Signature => {
                self.signatures.ed25519 = pack.small(entry.bytes, path)?;
                Ok(())
            }
            PackSource::MlDsa65Signature => {
                self.signatures.ml_dsa_65 = pack.small(entry.bytes, path)?;
                Ok(())
            }
            PackSource::Sums => {
                let digests = UnlistedDigests {
                    manifest: sha256(self.named.bytes()),
                    ed25519_signature: sha256(&self.signatures.ed25519),
                    ml_dsa_65_signature: sha256(&self.signatures.ml_dsa_65),
                };
                pack.expect(sums::render(self.named.manifest(), &digests).as_bytes(), path)
            }
            PackSource::File(_) => {
                let file = self.named.manifest().file(path).ok_or_else(|| pack.form(path))?;
                self.file(pack, file)
            }
        }
    }

    fn file(&mut self, pack: &mut Pack<'_>, file: &FileEntry) -> Result<(), UnpackError> {
        let path = file.path.as_str();
        let pem = [listed::ED25519_PEM, listed::ML_DSA_65_PEM].iter().position(|p| *p == path);
        let mut left = file.bytes;
        let mut kept = Vec::new();
        let (stored, blob) = self.staging.stream::<UnpackError>(
            &mut self.pump,
            |buffer| {
                let limit = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let n = pack.read(&mut buffer[..limit], path)?;
                left -= n as u64;
                if pem.is_some() {
                    kept.extend_from_slice(&buffer[..n]);
                }
                Ok(n)
            },
            |_| {},
        )?;
        let refuse = |reason| UnpackError::File { path: path.to_owned(), reason };
        let outcome = if stored.bytes != file.bytes {
            Err(refuse("it is shorter"))
        } else if stored.blake3 != file.blake3 {
            Err(refuse("its BLAKE3 differs"))
        } else if stored.sha256 != file.sha256 {
            Err(refuse("its SHA-256 differs"))
        } else {
            Ok(())
        };
        if let Err(error) = outcome {
            self.staging.discard(blob);
            return Err(error);
        }
        self.staging.keep(blob);
        if let Some(which) = pem {
            self.pems[which] = kept;
        }
        Ok(())
    }
}

/// A pack that is being read, and the offset reached.
struct Pack<'a> {
    inner: &'a mut dyn Read,
    offset: u64,
}

impl Pack<'_> {
    fn form(&self, expected: &str) -> UnpackError {
        UnpackError::Form { offset: self.offset, expected: expected.to_owned() }
    }

    /// Reads some bytes; 0 at the end, or for an empty buffer.
    fn read(&mut self, buffer: &mut [u8], path: &str) -> Result<usize, UnpackError> {
        loop {
            match self.inner.read(buffer) {
                Ok(n) => {
                    self.offset += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let (path, offset) = (path.to_owned(), self.offset);
                    return Err(UnpackError::Read { path, offset, source });
                }
            }
        }
    }

    fn fill(&mut self, buffer: &mut [u8], path: &str) -> Result<(), UnpackError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..], path)? {
                0 => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    let (path, offset) = (path.to_owned(), self.offset);
                    return Err(UnpackError::Read { path, offset, source });
                }
                n => filled += n,
            }
        }
        Ok(())
    }

    /// Reads bytes whose number is bounded by the layout of the fixed parts.
    fn small(&mut self, bytes: u64, path: &str) -> Result<Vec<u8>, UnpackError> {
        let mut out = vec![0; bytes as usize];
        self.fill(&mut out, path)?;
        Ok(out)
    }

    /// Reads exactly these bytes.
    fn expect(&mut self, expected: &[u8], what: &str) -> Result<(), UnpackError> {
        let mut buffer = [0; 4096];
        for chunk in expected.chunks(buffer.len()) {
            let at = self.offset;
            let buffer = &mut buffer[..chunk.len()];
            self.fill(buffer, what)?;
            if let Some(same) = buffer.iter().zip(chunk).position(|(a, b)| a != b) {
                let offset = at + same as u64;
                return Err(UnpackError::Form { offset, expected: what.to_owned() });
            }
        }
        Ok(())
    }

    fn padding(&mut self, bytes: u64, path: &str) -> Result<(), UnpackError> {
        let length = (BLOCK - bytes % BLOCK) % BLOCK;
        self.expect(&[0; BLOCK as usize][..length as usize], path)
    }

    /// Reads the first file, whose length is only in its header.
    fn manifest(&mut self, tessera: &TesseraHash) -> Result<Vec<u8>, UnpackError> {
        let what = "the MANIFEST's header";
        let mut block = [0; BLOCK as usize];
        self.fill(&mut block, what)?;
        let size = std::str::from_utf8(&block[124..135])
            .ok()
            .and_then(|octal| u64::from_str_radix(octal, 8).ok());
        let path = format!("{}/MANIFEST", directory_name(tessera));
        let form = || UnpackError::Form { offset: 0, expected: what.to_owned() };
        let size = size.ok_or_else(form)?;
        if header(&path, size) != block {
            return Err(form());
        }
        if size > MAX_MANIFEST_BYTES {
            return Err(UnpackError::ManifestTooLong(size));
        }
        let bytes = self.small(size, "MANIFEST")?;
        self.padding(size, "MANIFEST")?;
        Ok(bytes)
    }

    /// Checks that nothing follows.
    fn end(&mut self) -> Result<(), UnpackError> {
        match self.read(&mut [0], "the end")? {
            0 => Ok(()),
            _ => Err(self.form("its end")),
        }
    }
}
