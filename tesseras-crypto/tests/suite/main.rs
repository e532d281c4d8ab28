//! Everything that is tested of this crate from outside, as one binary.

mod acvp_ml_dsa_65;
mod hashes;
mod hostile;
mod pem;
mod rfc8032;
mod signed_manifest;
mod wycheproof_ed25519;
mod wycheproof_ml_dsa_65;

use tesseras_crypto::{CreatorKeys, CreatorPublic, SignatureCheck, SignaturePair};

/// A creator to stand in where only one of the two keys matters.
fn somebody() -> CreatorKeys {
    CreatorKeys::from_seeds(&[7; 32], &[8; 32])
}

/// What the public API says of two signatures, the other one being no signature at all.
fn check(public: &CreatorPublic, bytes: &[u8], ed25519: &[u8], ml_dsa_65: &[u8]) -> SignatureCheck {
    let pair = SignaturePair { ed25519: ed25519.to_vec(), ml_dsa_65: ml_dsa_65.to_vec() };
    public.verify(bytes, &pair)
}
