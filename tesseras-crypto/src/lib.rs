//! Hashing, signatures, identities and passphrases, behind small types. Knows neither disk nor
//! network.
//!
//! Follow one value: bytes are hashed ([`hash`]), a MANIFEST or plan is signed twice by its
//! [`creator`] and judged as a [`signed_manifest`], and what a machine says is signed once by its
//! [`node`]. A secret that must lie elsewhere is sealed with a [`passphrase`].

pub mod creator;
pub mod hash;
pub mod node;
pub mod passphrase;
pub mod signed_manifest;

pub use creator::{CreatorKeys, CreatorPublic, SignatureCheck, SignaturePair};
pub use hash::{Blake3, Sha256, blake3, blake3_of, sha256};
pub use node::{NodeKeys, NodePublic};
pub use signed_manifest::{CreatorPems, NamedManifest, SignedManifest, tessera_of};

use thiserror::Error;

/// Why a key could not be created or parsed.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The operating system's random source failed.
    #[error("the random source of the operating system failed: {0}")]
    Randomness(getrandom::Error),
    /// The text or bytes are not a key of the expected kind.
    #[error("this is not a valid {expected} key")]
    Malformed {
        /// The kind that was expected.
        expected: &'static str,
    },
}

fn random<const N: usize>() -> Result<zeroize::Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = zeroize::Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(KeyError::Randomness)?;
    Ok(bytes)
}
