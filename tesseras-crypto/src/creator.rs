//! A person's identity: one Ed25519 (RFC 8032) and one ML-DSA-65 (FIPS 204) key pair.
//! Everything a creator signs is signed with both, so that it outlives a break of either.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
use ed25519_dalek::{Signer as _, VerifyingKey as EdVerifyingKey};
use ml_dsa::{MlDsa65, SigningKey as MlSigningKey, VerifyingKey as MlVerifyingKey};
use tesseras_core::ids::CreatorId;
pub use tesseras_core::signature::SignaturePair;
use zeroize::Zeroizing;

use crate::{Blake3, KeyError, random};

/// The secret half of a creator. Wiped from memory when dropped.
pub struct CreatorKeys {
    ed25519: ed25519_dalek::SigningKey,
    ml_dsa: MlSigningKey<MlDsa65>,
}

/// The public half of a creator.
#[derive(Clone, PartialEq)]
pub struct CreatorPublic {
    ed25519: EdVerifyingKey,
    ml_dsa: MlVerifyingKey<MlDsa65>,
}

/// The result of verifying a [`SignaturePair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureCheck {
    /// Whether the Ed25519 signature is valid.
    pub ed25519: bool,
    /// Whether the ML-DSA-65 signature is valid.
    pub ml_dsa_65: bool,
}

impl SignatureCheck {
    /// Whether both signatures are valid; anything less is not sufficient.
    pub fn both(self) -> bool {
        self.ed25519 && self.ml_dsa_65
    }

    /// The name of the first signature that is not valid; nobody asks where both are.
    pub fn first_invalid(self) -> &'static str {
        if self.ed25519 { "ML-DSA-65" } else { "Ed25519" }
    }
}

impl CreatorKeys {
    /// Makes a new creator from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let ed = random::<32>()?;
        let ml = random::<32>()?;
        Ok(Self::from_seeds(&ed, &ml))
    }

    /// The creator of two secret seeds (RFC 8032 section 5.1.5, FIPS 204 algorithm 1).
    pub fn from_seeds(ed25519: &[u8; 32], ml_dsa_65: &[u8; 32]) -> Self {
        Self {
            ed25519: ed25519_dalek::SigningKey::from_bytes(ed25519),
            ml_dsa: MlSigningKey::from_seed(&(*ml_dsa_65).into()),
        }
    }

    /// Reads both secret keys from their PKCS#8 PEM texts.
    pub fn from_pem(ed25519: &str, ml_dsa_65: &str) -> Result<Self, KeyError> {
        Ok(Self {
            ed25519: ed25519_dalek::SigningKey::from_pkcs8_pem(ed25519)
                .map_err(|_| KeyError::Malformed { expected: "secret Ed25519" })?,
            ml_dsa: MlSigningKey::from_pkcs8_pem(ml_dsa_65)
                .map_err(|_| KeyError::Malformed { expected: "secret ML-DSA-65" })?,
        })
    }

    /// The secret Ed25519 key as PKCS#8 PEM (RFC 8410).
    pub fn ed25519_pem(&self) -> Zeroizing<String> {
        self.ed25519.to_pkcs8_pem(LineEnding::LF).expect("a key pair always encodes")
    }

    /// The secret ML-DSA-65 key as PKCS#8 PEM, seed form (RFC 9881).
    pub fn ml_dsa_65_pem(&self) -> Zeroizing<String> {
        self.ml_dsa.to_pkcs8_pem(LineEnding::LF).expect("a key pair always encodes")
    }

    /// The public half.
    pub fn public(&self) -> CreatorPublic {
        CreatorPublic {
            ed25519: self.ed25519.verifying_key(),
            ml_dsa: self.ml_dsa.expanded_key().verifying_key(),
        }
    }

    /// Signs bytes with both keys. Deterministic: the same bytes give the same signatures.
    pub fn sign(&self, bytes: &[u8]) -> SignaturePair {
        SignaturePair {
            ed25519: self.ed25519.sign(bytes).to_bytes().to_vec(),
            ml_dsa_65: self
                .ml_dsa
                .expanded_key()
                .sign_deterministic(bytes, b"")
                .expect("an empty context is never too long")
                .encode()
                .to_vec(),
        }
    }
}

impl CreatorPublic {
    /// Reads both public keys from their SubjectPublicKeyInfo PEM texts. A text that says anything
    /// else, or says it in another form, is refused: of two keys in it, other programs might take
    /// the other one.
    pub fn from_pem(ed25519: &str, ml_dsa_65: &str) -> Result<Self, KeyError> {
        let malformed = |expected| KeyError::Malformed { expected };
        let public = Self {
            ed25519: EdVerifyingKey::from_public_key_pem(ed25519)
                .map_err(|_| malformed("public Ed25519"))?,
            ml_dsa: MlVerifyingKey::from_public_key_pem(ml_dsa_65)
                .map_err(|_| malformed("public ML-DSA-65"))?,
        };
        if public.ed25519_pem() != ed25519 {
            return Err(malformed("public Ed25519"));
        }
        if public.ml_dsa_65_pem() != ml_dsa_65 {
            return Err(malformed("public ML-DSA-65"));
        }
        Ok(public)
    }

    /// The public Ed25519 key as SubjectPublicKeyInfo PEM (RFC 8410).
    pub fn ed25519_pem(&self) -> String {
        self.ed25519.to_public_key_pem(LineEnding::LF).expect("a public key always encodes")
    }

    /// The public ML-DSA-65 key as SubjectPublicKeyInfo PEM (RFC 9881).
    pub fn ml_dsa_65_pem(&self) -> String {
        self.ml_dsa.to_public_key_pem(LineEnding::LF).expect("a public key always encodes")
    }

    /// The creator's id: BLAKE3-256 over both raw public keys.
    pub fn id(&self) -> CreatorId {
        let mut hasher = Blake3::default();
        hasher.update(self.ed25519.as_bytes());
        hasher.update(&self.ml_dsa.encode());
        CreatorId::new(*hasher.finish().as_bytes())
    }

    /// Verifies both signatures over the same bytes. A signature of the wrong length is not valid.
    pub fn verify(&self, bytes: &[u8], signatures: &SignaturePair) -> SignatureCheck {
        let ed25519 = ed25519_dalek::Signature::from_slice(&signatures.ed25519)
            .is_ok_and(|signature| self.ed25519.verify_strict(bytes, &signature).is_ok());
        let ml_dsa_65 = ml_dsa::Signature::<MlDsa65>::try_from(signatures.ml_dsa_65.as_slice())
            .is_ok_and(|signature| self.ml_dsa.verify_with_context(bytes, b"", &signature));
        SignatureCheck { ed25519, ml_dsa_65 }
    }
}

impl std::fmt::Debug for CreatorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatorKeys({}, secret)", self.public().id())
    }
}

impl std::fmt::Debug for CreatorPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatorPublic({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_and_signatures_are_deterministic() {
        let keys = CreatorKeys::generate().expect("randomness");
        let again =
            CreatorKeys::from_pem(&keys.ed25519_pem(), &keys.ml_dsa_65_pem()).expect("own PEM");
        assert_eq!(keys.sign(b"a letter"), again.sign(b"a letter"));
        let public = keys.public();
        let read = CreatorPublic::from_pem(&public.ed25519_pem(), &public.ml_dsa_65_pem())
            .expect("own PEM");
        assert_eq!(read.id(), public.id());
        assert!(read.verify(b"a letter", &keys.sign(b"a letter")).both());
    }

    #[test]
    fn a_public_key_has_one_text() {
        let public = CreatorKeys::from_seeds(&[1; 32], &[2; 32]).public();
        let other = CreatorKeys::from_seeds(&[3; 32], &[4; 32]).public();
        for change in [
            |text: &str, _: &str| text.replace('\n', "\r\n"),
            |text: &str, _: &str| format!("a note\n{text}"),
            |text: &str, _: &str| format!("{text}\n"),
            |text: &str, other: &str| format!("{text}{other}"),
            |text: &str, other: &str| format!("{other}{text}"),
            |text: &str, other: &str| format!("{text}{}", other.lines().nth(1).unwrap_or_default()),
        ] {
            let (ed25519, ml_dsa_65) = (public.ed25519_pem(), public.ml_dsa_65_pem());
            let changed = change(&ed25519, &other.ed25519_pem());
            assert!(CreatorPublic::from_pem(&changed, &ml_dsa_65).is_err(), "{changed}");
            let changed = change(&ml_dsa_65, &other.ml_dsa_65_pem());
            assert!(CreatorPublic::from_pem(&ed25519, &changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn each_signature_is_judged_by_itself() {
        let keys = CreatorKeys::from_seeds(&[1; 32], &[2; 32]);
        let good = keys.sign(b"x");
        let check = |s: &SignaturePair| keys.public().verify(b"x", s);
        let mut bad = good.clone();
        bad.ed25519[0] ^= 1;
        assert_eq!(check(&bad), SignatureCheck { ed25519: false, ml_dsa_65: true });
        let mut bad = good.clone();
        bad.ml_dsa_65[100] ^= 1;
        assert_eq!(check(&bad), SignatureCheck { ed25519: true, ml_dsa_65: false });
        let short = SignaturePair { ed25519: good.ed25519[..63].to_vec(), ml_dsa_65: Vec::new() };
        assert_eq!(check(&short), SignatureCheck { ed25519: false, ml_dsa_65: false });
    }
}
