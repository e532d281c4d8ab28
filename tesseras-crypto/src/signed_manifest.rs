//! A MANIFEST against its tessera's name, its creator's keys and their signatures. This is the only
//! place that compares them, whether a disk, a pack or another node brought them.

use tesseras_core::dossier::MAX_PEM_BYTES;
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{Manifest, ManifestError, listed};
use tesseras_core::signature::SignaturePair;
use thiserror::Error;

use crate::{CreatorPublic, SignatureCheck, blake3, sha256};

/// A MANIFEST that hashes to its tessera's name. Who signed it is not checked yet.
#[derive(Debug, Clone)]
pub struct NamedManifest<B> {
    tessera: TesseraHash,
    bytes: B,
    manifest: Manifest,
}

/// A MANIFEST that its creator signed with both keys.
#[derive(Debug)]
pub struct SignedManifest<'a, B> {
    named: &'a NamedManifest<B>,
    creator: CreatorPublic,
}

/// The PEM texts of a creator's public keys, as a capsule keeps them in `identity/`.
#[derive(Debug, Clone, Copy)]
pub struct CreatorPems<'a> {
    /// Of the Ed25519 key.
    pub ed25519: &'a [u8],
    /// Of the ML-DSA-65 key.
    pub ml_dsa_65: &'a [u8],
}

/// Why bytes are not the MANIFEST of a tessera.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// They hash to another name.
    #[error("the MANIFEST hashes to {found}, not to {expected}")]
    WrongTessera {
        /// Asked for.
        expected: TesseraHash,
        /// Got.
        found: TesseraHash,
    },
    /// They have the name, but are not a MANIFEST.
    #[error(transparent)]
    Malformed(#[from] ManifestError),
}

/// Why keys are not those of a capsule's creator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CreatorError {
    /// They are not public keys.
    #[error("the files in identity/ are not public keys")]
    NoKeys,
    /// They are somebody else's.
    #[error("the keys in identity/ are not those of the creator that the MANIFEST names")]
    Other,
    /// Their texts are not the files that the MANIFEST lists.
    #[error("the files in identity/ are not those that the MANIFEST lists")]
    NotListed,
}

/// Why nobody vouches for a MANIFEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignedError {
    /// The keys are not its creator's.
    #[error(transparent)]
    Creator(#[from] CreatorError),
    /// A signature is not valid.
    #[error("the creator's {} signature over the MANIFEST is not valid", .0.first_invalid())]
    Signature(SignatureCheck),
}

/// The name of the tessera whose MANIFEST these bytes are.
pub fn tessera_of(manifest: &[u8]) -> TesseraHash {
    blake3(manifest).into()
}

impl<B: AsRef<[u8]>> NamedManifest<B> {
    /// Reads the MANIFEST of `tessera`; it is hashed, and then parsed, once.
    pub fn read(bytes: B, tessera: &TesseraHash) -> Result<Self, NameError> {
        let found = tessera_of(bytes.as_ref());
        if found != *tessera {
            return Err(NameError::WrongTessera { expected: *tessera, found });
        }
        Ok(Self::parse(bytes, found)?)
    }

    /// Reads a MANIFEST of which tessera it may be; the name is told even if it is malformed.
    pub fn of_any(bytes: B) -> (TesseraHash, Result<Self, ManifestError>) {
        let tessera = tessera_of(bytes.as_ref());
        (tessera, Self::parse(bytes, tessera))
    }

    fn parse(bytes: B, tessera: TesseraHash) -> Result<Self, ManifestError> {
        let manifest = Manifest::parse(bytes.as_ref())?;
        Ok(Self { tessera, bytes, manifest })
    }

    /// Its name.
    pub fn tessera(&self) -> TesseraHash {
        self.tessera
    }

    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its bytes, which are those that were signed.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// What it says, without its bytes.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Which of the signatures are valid under these keys, which must be those of the creator that
    /// the MANIFEST names. That the texts are those that it lists is not asked: of a damaged capsule
    /// it is said file by file.
    pub fn check(
        &self,
        pems: CreatorPems<'_>,
        signatures: &SignaturePair,
    ) -> Result<SignatureCheck, CreatorError> {
        Ok(self.creator(pems)?.verify(self.bytes(), signatures))
    }

    fn creator(&self, pems: CreatorPems<'_>) -> Result<CreatorPublic, CreatorError> {
        let creator = pems.keys().ok_or(CreatorError::NoKeys)?;
        match creator.id() == self.manifest.creator() {
            true => Ok(creator),
            false => Err(CreatorError::Other),
        }
    }
}

impl<'a, B: AsRef<[u8]>> SignedManifest<'a, B> {
    /// Verifies a MANIFEST: the key files are those that it lists, the keys those of the creator
    /// that it names, and both signatures are valid.
    pub fn verify(
        named: &'a NamedManifest<B>,
        pems: CreatorPems<'_>,
        signatures: &SignaturePair,
    ) -> Result<Self, SignedError> {
        for (path, pem) in
            [(listed::ED25519_PEM, pems.ed25519), (listed::ML_DSA_65_PEM, pems.ml_dsa_65)]
        {
            let entry = named.manifest.file(path).ok_or(CreatorError::NotListed)?;
            let is_listed = pem.len() <= MAX_PEM_BYTES
                && entry.blake3 == blake3(pem)
                && entry.sha256 == sha256(pem);
            if !is_listed {
                return Err(CreatorError::NotListed.into());
            }
        }
        let creator = named.creator(pems)?;
        let check = creator.verify(named.bytes(), signatures);
        if !check.both() {
            return Err(SignedError::Signature(check));
        }
        Ok(Self { named, creator })
    }

    /// The MANIFEST.
    pub fn named(&self) -> &'a NamedManifest<B> {
        self.named
    }

    /// Who signed it.
    pub fn creator(&self) -> &CreatorPublic {
        &self.creator
    }
}

impl CreatorPems<'_> {
    /// The keys, if these are the texts of public keys, whoever's.
    pub fn keys(&self) -> Option<CreatorPublic> {
        let text = |pem| std::str::from_utf8(pem).ok();
        CreatorPublic::from_pem(text(self.ed25519)?, text(self.ml_dsa_65)?).ok()
    }
}
