//! The two digests of everything that is kept: BLAKE3-256 and SHA-256 (FIPS 180-4).

use sha2::Digest as _;
use tesseras_core::ids::{ContentHash, Sha256Digest};

/// BLAKE3-256 of bytes at hand.
pub fn blake3(bytes: &[u8]) -> ContentHash {
    ContentHash::new(*blake3::hash(bytes).as_bytes())
}

/// SHA-256 of bytes at hand.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::new(sha2::Sha256::digest(bytes).into())
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
