//! The two digests of everything that is kept: BLAKE3-256 and SHA-256 (FIPS 180-4).

use sha2::Digest as _;
use tesseras_core::buffer::PageBuffer;
use tesseras_core::ids::{ContentHash, Sha256Digest};
use tesseras_core::ports::{BlobReader, StoreError};

/// Bytes of a stored object that are read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// BLAKE3-256 of bytes at hand.
pub fn blake3(bytes: &[u8]) -> ContentHash {
    ContentHash::new(*blake3::hash(bytes).as_bytes())
}

/// SHA-256 of bytes at hand.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(sha2::Sha256::digest(bytes).into())
}

/// BLAKE3-256 of all that a reader gives, read in chunks.
pub fn blake3_of(reader: &dyn BlobReader) -> Result<ContentHash, StoreError> {
    let mut hasher = Blake3::default();
    let mut buffer = PageBuffer::new(CHUNK_BYTES);
    let mut offset = 0;
    while offset < reader.bytes() {
        let length = (reader.bytes() - offset).min(CHUNK_BYTES as u64) as usize;
        reader.read_at(offset, &mut buffer[..length])?;
        hasher.update(&buffer[..length]);
        offset += length as u64;
    }
    Ok(hasher.finish())
}

/// BLAKE3-256 over bytes that arrive piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Blake3(blake3::Hasher);

impl Blake3 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken so far.
    pub fn finish(&self) -> ContentHash {
        ContentHash::new(*self.0.finalize().as_bytes())
    }
}

/// SHA-256 over bytes that arrive piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything taken so far.
    pub fn finish(self) -> Sha256Digest {
        Sha256Digest::new(self.0.finalize().into())
    }
}
