//! Turns a pack into a stored capsule, without trusting it: every byte must match the MANIFEST, and
//! the MANIFEST must match the requested hash. What is at hand of a pack can be taken before the
//! rest has arrived.

use std::ops::Deref;

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{FileEntry, MAX_MANIFEST_BYTES, ManifestError, listed};
use tesseras_core::pack::{BLOCK, PackEntry, PackLayout, PackSource, directory_name, header};
use tesseras_core::ports::{
    BlobReader, BlobStore, BlobWriter, FreeSpace, NewTessera, NoSpace, Origin, StoreError,
    TesseraRecord, TesseraRepository,
};
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;
use tesseras_core::sums::{self, UnlistedDigests};
use tesseras_core::time::Timestamp;
use tesseras_crypto::signed_manifest::{CreatorError, NameError, SignedError};
use tesseras_crypto::{CreatorPems, NamedManifest, SignedManifest, sha256};
use thiserror::Error;

use crate::pump::Pump;
use crate::staging::Staging;

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
pub enum UnpackError {
    /// The pack ends too early.
    #[error("the pack ends within {path}, which begins after byte {offset}")]
    Short {
        /// The file that is not whole.
        path: String,
        /// What precedes it, in bytes.
        offset: u64,
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
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
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

/// Stores the capsule whose whole pack is at hand, and adds it to the library with this origin and
/// date.
///
/// Memory: the MANIFEST and what is derived from it, and a few buffers. On any error nothing is
/// left behind.
pub fn unpack(
    pack: &dyn BlobReader,
    expected: &TesseraHash,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    origin: Origin,
    added: Timestamp,
    progress: &Meter,
) -> Result<Unpacked, UnpackError> {
    let mut unpacking = Unpacking::new(*expected, blobs);
    unpacking.advance(pack, pack.bytes(), progress)?;
    unpacking.finish(repository, origin, added)
}

/// A capsule that is being made of its pack, as far as the pack is at hand. Dropped before it is
/// finished, it leaves nothing behind.
pub struct Unpacking<B: Deref<Target: BlobStore>> {
    expected: TesseraHash,
    /// How much of the pack was taken, in bytes.
    offset: u64,
    /// Set when the MANIFEST was taken, the first file of the pack.
    listed: Option<Listed>,
    taken: Taken<B>,
    /// Whether the end of the tar was taken.
    is_whole: bool,
}

/// A MANIFEST, and the pack that it requires.
struct Listed {
    named: NamedManifest<Vec<u8>>,
    layout: PackLayout,
}

/// The files taken from a pack so far.
struct Taken<B: Deref<Target: BlobStore>> {
    /// How many entries of the layout are complete.
    entries: usize,
    /// The file that has been taken in part.
    open: Option<OpenFile>,
    signatures: SignaturePair,
    pems: [Vec<u8>; 2],
    staging: Staging<B>,
    pump: Pump,
}

/// A file that is being staged.
struct OpenFile {
    writer: Box<dyn BlobWriter>,
    left: u64,
    /// Its bytes, if it is a public key.
    kept: Vec<u8>,
}

impl<B: Deref<Target: BlobStore>> Unpacking<B> {
    /// Begins with nothing.
    pub fn new(expected: TesseraHash, blobs: B) -> Self {
        let taken = Taken {
            entries: 0,
            open: None,
            signatures: SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() },
            pems: [Vec::new(), Vec::new()],
            staging: Staging::new(blobs),
            pump: Pump::new(),
        };
        Self { expected, offset: 0, listed: None, taken, is_whole: false }
    }

    /// Checks and stages what follows in the pack, of which the first `available` bytes are at hand.
    /// Returns how many bytes are taken now in all: signatures, headers and the MANIFEST only as a
    /// whole. After an error it must be dropped.
    pub fn advance(
        &mut self,
        pack: &dyn BlobReader,
        available: u64,
        progress: &Meter,
    ) -> Result<u64, UnpackError> {
        let end = available.min(pack.bytes());
        let mut pack = Pack { inner: pack, offset: self.offset, end };
        while !self.is_whole {
            let before = pack.offset;
            let goes_on = self.step(&mut pack, progress)?;
            progress.add(pack.offset - before);
            if !goes_on {
                break;
            }
        }
        self.offset = pack.offset;
        Ok(self.offset)
    }

    /// Verifies the signatures and adds the capsule to the library; [`UnpackError::Short`] if its
    /// pack was not taken to the end.
    pub fn finish(
        self,
        repository: &dyn TesseraRepository,
        origin: Origin,
        added: Timestamp,
    ) -> Result<Unpacked, UnpackError> {
        let Self { expected, offset, listed, taken, is_whole } = self;
        let (true, Some(Listed { named, layout })) = (is_whole, &listed) else {
            return Err(UnpackError::Short { path: taken.next_path(listed.as_ref()), offset });
        };
        let pems = CreatorPems { ed25519: &taken.pems[0], ml_dsa_65: &taken.pems[1] };
        SignedManifest::verify(named, pems, &taken.signatures)?;
        let record = TesseraRecord::of_manifest(
            expected,
            named.manifest(),
            layout,
            taken.signatures,
            origin,
            added,
        );
        let TesseraRecord { hash, memories, files, bytes, .. } = record;
        let (content, staged) = taken.staging.take();
        let new = repository.add(NewTessera { record, content, staged })?;
        Ok(Unpacked { hash, memories, files, bytes, new })
    }

    /// Takes the next part of the pack; `false` if it is not at hand.
    fn step(&mut self, pack: &mut Pack<'_>, progress: &Meter) -> Result<bool, UnpackError> {
        let Some(listed) = &self.listed else {
            let Some(bytes) = pack.manifest(&self.expected)? else { return Ok(false) };
            let free = self.taken.staging.blobs().free_space()?;
            let listed = check_manifest(bytes, &self.expected, &free)?;
            self.taken.staging.bytes(listed.named.bytes())?;
            self.taken.entries = 1;
            progress.begin(listed.layout.bytes());
            self.listed = Some(listed);
            return Ok(true);
        };
        if let Some(entry) = listed.layout.entries().get(self.taken.entries) {
            return self.taken.entry(pack, &listed.named, entry);
        }
        const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];
        if !pack.has(END.len() as u64) {
            return Ok(false);
        }
        pack.expect(&END, "the end of the tar")?;
        if pack.offset != pack.inner.bytes() {
            return Err(pack.form("its end"));
        }
        self.is_whole = true;
        Ok(true)
    }
}

/// Checks a MANIFEST before anything that it lists is read, and that there is room for it.
fn check_manifest(
    manifest_bytes: Vec<u8>,
    expected: &TesseraHash,
    free: &FreeSpace,
) -> Result<Listed, UnpackError> {
    let named = NamedManifest::read(manifest_bytes, expected)?;
    let manifest = named.manifest();
    let layout = PackLayout::new(expected, manifest, named.bytes().len() as u64)
        .ok_or(UnpackError::TooLong)?;
    for name in [listed::ED25519_PEM, listed::ML_DSA_65_PEM] {
        if manifest.file(name).is_some_and(|f| f.bytes > MAX_PEM_BYTES as u64) {
            return Err(CreatorError::NoKeys.into());
        }
    }
    free.check(manifest.stored_lengths(named.bytes().len() as u64), 0)?;
    Ok(Listed { named, layout })
}

/// The path of an entry within the capsule's directory.
fn path_of<'a>(entry: &'a PackEntry, named: &NamedManifest<Vec<u8>>) -> &'a str {
    &entry.path[directory_name(&named.tessera()).len() + 1..]
}

fn padding(bytes: u64) -> u64 {
    (BLOCK - bytes % BLOCK) % BLOCK
}

impl<B: Deref<Target: BlobStore>> Taken<B> {
    /// Takes an entry, or a part of its file; `false` if no more of it is at hand.
    fn entry(
        &mut self,
        pack: &mut Pack<'_>,
        named: &NamedManifest<Vec<u8>>,
        entry: &PackEntry,
    ) -> Result<bool, UnpackError> {
        let path = path_of(entry, named);
        if let PackSource::File(_) = entry.source {
            let file = named.manifest().file(path).ok_or_else(|| pack.form(path))?;
            return self.file(pack, entry, file);
        }
        if !pack.has(BLOCK + entry.bytes + padding(entry.bytes)) {
            return Ok(false);
        }
        pack.expect(&header(&entry.path, entry.bytes), path)?;
        match entry.source {
            PackSource::Ed25519Signature => {
                self.signatures.ed25519 = pack.small(entry.bytes)?;
            }
            PackSource::MlDsa65Signature => {
                self.signatures.ml_dsa_65 = pack.small(entry.bytes)?;
            }
            PackSource::Sums => {
                let digests = UnlistedDigests {
                    manifest: sha256(named.bytes()),
                    ed25519_signature: sha256(&self.signatures.ed25519),
                    ml_dsa_65_signature: sha256(&self.signatures.ml_dsa_65),
                };
                pack.expect(sums::render(named.manifest(), &digests).as_bytes(), path)?;
            }
            // The MANIFEST has only one entry, the first.
            PackSource::Manifest | PackSource::File(_) => return Err(pack.form(path)),
        }
        pack.padding(entry.bytes, path)?;
        self.entries += 1;
        Ok(true)
    }

    /// Takes of a file what is at hand, and checks it when it is complete.
    fn file(
        &mut self,
        pack: &mut Pack<'_>,
        entry: &PackEntry,
        file: &FileEntry,
    ) -> Result<bool, UnpackError> {
        let path = file.path.as_str();
        let mut open = match self.open.take() {
            Some(open) => open,
            None if !pack.has(BLOCK) => return Ok(false),
            None => {
                pack.expect(&header(&entry.path, entry.bytes), path)?;
                let writer = self.staging.blobs().stage()?;
                OpenFile { writer, left: entry.bytes, kept: Vec::new() }
            }
        };
        let pem = [listed::ED25519_PEM, listed::ML_DSA_65_PEM].iter().position(|p| *p == path);
        let OpenFile { writer, left, kept } = &mut open;
        let taken = self.pump.take::<UnpackError>(
            |buffer| {
                let n = pack.read(*left, buffer)?;
                *left -= n as u64;
                Ok(n)
            },
            |bytes| {
                if pem.is_some() {
                    kept.extend_from_slice(bytes);
                }
                Ok(writer.write(bytes)?)
            },
        );
        taken?;
        if open.left > 0 || !pack.has(padding(entry.bytes)) {
            self.open = Some(open);
            return Ok(false);
        }
        self.complete(open.writer, file)?;
        if let Some(which) = pem {
            self.pems[which] = open.kept;
        }
        pack.padding(entry.bytes, path)?;
        self.entries += 1;
        Ok(true)
    }

    /// Keeps a file whose every byte was taken, if it is the one that the MANIFEST lists.
    fn complete(
        &mut self,
        writer: Box<dyn BlobWriter>,
        file: &FileEntry,
    ) -> Result<(), UnpackError> {
        let sha256 = self.pump.finish();
        let blob = writer.finish()?;
        let reason = if blob.bytes != file.bytes {
            "it is shorter"
        } else if blob.hash != file.blake3 {
            "its BLAKE3 differs"
        } else if sha256 != file.sha256 {
            "its SHA-256 differs"
        } else {
            self.staging.keep(blob);
            return Ok(());
        };
        self.staging.discard(blob);
        Err(UnpackError::File { path: file.path.as_str().to_owned(), reason })
    }

    /// The path of what was not taken yet.
    fn next_path(&self, listed: Option<&Listed>) -> String {
        let Some(Listed { named, layout }) = listed else { return "MANIFEST".to_owned() };
        match layout.entries().get(self.entries) {
            Some(entry) => path_of(entry, named).to_owned(),
            None => "the end of the tar".to_owned(),
        }
    }
}

/// A pack that is being read, the offset reached, and the end of what is at hand.
struct Pack<'a> {
    inner: &'a dyn BlobReader,
    offset: u64,
    end: u64,
}

impl Pack<'_> {
    fn form(&self, expected: &str) -> UnpackError {
        UnpackError::Form { offset: self.offset, expected: expected.to_owned() }
    }

    /// Whether so many bytes more are at hand.
    fn has(&self, bytes: u64) -> bool {
        bytes <= self.end - self.offset
    }

    /// Reads at most `limit` bytes of those at hand; 0 if there are none.
    fn read(&mut self, limit: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let limit = limit.min(self.end - self.offset);
        let n = usize::try_from(limit).unwrap_or(usize::MAX).min(buffer.len());
        self.fill(&mut buffer[..n])?;
        Ok(n)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.inner.read_at(self.offset, buffer)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Reads bytes whose number is bounded by the layout of the fixed parts.
    fn small(&mut self, bytes: u64) -> Result<Vec<u8>, StoreError> {
        let mut out = vec![0; bytes as usize];
        self.fill(&mut out)?;
        Ok(out)
    }

    /// Reads exactly these bytes.
    fn expect(&mut self, expected: &[u8], what: &str) -> Result<(), UnpackError> {
        let mut buffer = [0; 4096];
        for chunk in expected.chunks(buffer.len()) {
            let at = self.offset;
            let buffer = &mut buffer[..chunk.len()];
            self.fill(buffer)?;
            if let Some(same) = buffer.iter().zip(chunk).position(|(a, b)| a != b) {
                let offset = at + same as u64;
                return Err(UnpackError::Form { offset, expected: what.to_owned() });
            }
        }
        Ok(())
    }

    fn padding(&mut self, bytes: u64, path: &str) -> Result<(), UnpackError> {
        self.expect(&[0; BLOCK as usize][..padding(bytes) as usize], path)
    }

    /// Reads the first file, whose length is only in its header; `None` if it is not at hand.
    fn manifest(&mut self, tessera: &TesseraHash) -> Result<Option<Vec<u8>>, UnpackError> {
        if !self.has(BLOCK) {
            return Ok(None);
        }
        let mut block = [0; BLOCK as usize];
        self.inner.read_at(self.offset, &mut block)?;
        let size = std::str::from_utf8(&block[124..135])
            .ok()
            .and_then(|octal| u64::from_str_radix(octal, 8).ok());
        let path = format!("{}/MANIFEST", directory_name(tessera));
        let form = || UnpackError::Form { offset: 0, expected: "the MANIFEST's header".to_owned() };
        let size = size.ok_or_else(form)?;
        if header(&path, size) != block {
            return Err(form());
        }
        if size > MAX_MANIFEST_BYTES {
            return Err(UnpackError::ManifestTooLong(size));
        }
        if !self.has(BLOCK + size + padding(size)) {
            return Ok(None);
        }
        self.offset += BLOCK;
        let bytes = self.small(size)?;
        self.padding(size, "MANIFEST")?;
        Ok(Some(bytes))
    }
}
