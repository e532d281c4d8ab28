//! The dossier: the data that a holder keeps beside its pieces, so that it can verify, serve and
//! repair a tessera without its owner.

use crate::signature::SignaturePair;

/// The description of a tessera, without any of its memories. Nothing in it has been verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dossier {
    /// The MANIFEST's bytes.
    pub manifest: Vec<u8>,
    /// The creator's signatures over it.
    pub manifest_signatures: SignaturePair,
    /// The creator's public Ed25519 key, as the capsule keeps it.
    pub ed25519_pem: Vec<u8>,
    /// The creator's public ML-DSA-65 key, as the capsule keeps it.
    pub ml_dsa_65_pem: Vec<u8>,
    /// The plan's bytes.
    pub plan: Vec<u8>,
    /// The creator's signatures over it.
    pub plan_signatures: SignaturePair,
}

impl Dossier {
    /// The length of all its parts, in bytes: so much is stored of it, and charged.
    pub fn stored_bytes(&self) -> u64 {
        let pairs = [&self.manifest_signatures, &self.plan_signatures];
        let signatures = pairs.iter().flat_map(|pair| [&pair.ed25519, &pair.ml_dsa_65]);
        let texts = [&self.manifest, &self.ed25519_pem, &self.ml_dsa_65_pem, &self.plan];
        signatures.chain(texts).map(|part| part.len() as u64).sum()
    }
}

/// The longest PEM text of a public key that is read; ML-DSA-65 needs 2.7 KiB.
pub const MAX_PEM_BYTES: usize = 8 * 1024;
