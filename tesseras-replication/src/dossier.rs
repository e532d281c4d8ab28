//! Verified dossiers: the only ones that this crate acts on.

use serde::{Deserialize, Serialize};
use tesseras_core::dossier::{Dossier, MAX_PEM_BYTES};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError, listed};
use tesseras_core::pack::PackLayout;
use tesseras_core::plan::{MAX_PLAN_BYTES, Plan, PlanError};
use tesseras_core::signature::SignaturePair;
use tesseras_crypto::{CreatorPublic, blake3, sha256};
use thiserror::Error;

/// The longest encoded dossier that is read, in bytes: the longest MANIFEST, and room for the rest.
pub const MAX_DOSSIER_BYTES: u64 =
    MAX_MANIFEST_BYTES + (MAX_PLAN_BYTES + 2 * MAX_PEM_BYTES + 16 * 1024) as u64;

/// The most bytes that field names and lengths add to an encoded dossier.
const NAMES_ON_THE_WIRE: usize = 256;

/// A dossier of which every part was checked against its tessera's hash.
#[derive(Debug, Clone)]
pub struct VerifiedDossier {
    dossier: Dossier,
    manifest: Manifest,
    plan: Plan,
    plan_hash: ContentHash,
}

/// Why a dossier is not valid for the tessera.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DossierError {
    /// The encoding is not that of a dossier.
    #[error("malformed dossier: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// The MANIFEST is that of another tessera.
    #[error("the MANIFEST hashes to {found}, not to {expected}")]
    WrongTessera {
        /// The requested tessera.
        expected: TesseraHash,
        /// The tessera of the MANIFEST.
        found: TesseraHash,
    },
    /// The MANIFEST cannot be parsed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The plan cannot be parsed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The public keys are not those that the MANIFEST lists.
    #[error("the public keys are not those of the MANIFEST")]
    Keys,
    /// The creator did not sign this MANIFEST, or not with both keys.
    #[error("the MANIFEST's signatures are not valid")]
    ManifestSignature,
    /// The creator did not sign this plan, or not with both keys.
    #[error("the plan's signatures are not valid")]
    PlanSignature,
    /// The plan is about another tessera, or its pack has another length.
    #[error("the plan does not match the MANIFEST")]
    PlanMismatch,
}

impl VerifiedDossier {
    /// Checks every part of a dossier.
    pub fn verify(dossier: Dossier, tessera: &TesseraHash) -> Result<Self, DossierError> {
        let found = TesseraHash::from(blake3(&dossier.manifest));
        if found != *tessera {
            return Err(DossierError::WrongTessera { expected: *tessera, found });
        }
        let manifest = Manifest::parse(&dossier.manifest)?;
        let creator = creator_of(&manifest, &dossier.ed25519_pem, &dossier.ml_dsa_65_pem)
            .ok_or(DossierError::Keys)?;
        if !creator.verify(&dossier.manifest, &dossier.manifest_signatures).both() {
            return Err(DossierError::ManifestSignature);
        }
        let plan = Plan::parse(&dossier.plan)?;
        if !creator.verify(&dossier.plan, &dossier.plan_signatures).both() {
            return Err(DossierError::PlanSignature);
        }
        let layout = PackLayout::new(tessera, &manifest, dossier.manifest.len() as u64)
            .ok_or(DossierError::PlanMismatch)?;
        if plan.tessera() != *tessera || plan.pack_bytes() != layout.bytes() {
            return Err(DossierError::PlanMismatch);
        }
        let plan_hash = blake3(&dossier.plan);
        Ok(Self { dossier, manifest, plan, plan_hash })
    }

    /// Decodes and verifies a dossier from a peer.
    pub fn decode(bytes: &[u8], tessera: &TesseraHash) -> Result<Self, DossierError> {
        let wire: WireDossier = rmp_serde::from_slice(bytes)?;
        Self::verify(wire.into(), tessera)
    }

    /// Its encoding on the wire.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&WireDossier::from(&self.dossier))
            .expect("byte strings always encode")
    }

    /// An upper bound of the length of [`VerifiedDossier::encode`], in bytes.
    pub fn encoded_bytes(&self) -> u64 {
        let Dossier { manifest, manifest_signatures, plan, plan_signatures, .. } = &self.dossier;
        let keys = self.dossier.ed25519_pem.len() + self.dossier.ml_dsa_65_pem.len();
        let signatures = [manifest_signatures, plan_signatures];
        let signed: usize = signatures.iter().map(|s| s.ed25519.len() + s.ml_dsa_65.len()).sum();
        (manifest.len() + plan.len() + keys + signed + NAMES_ON_THE_WIRE) as u64
    }

    /// Its parts.
    pub fn dossier(&self) -> &Dossier {
        &self.dossier
    }

    /// The parsed MANIFEST.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The parsed plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// BLAKE3 of the plan's bytes.
    pub fn plan_hash(&self) -> ContentHash {
        self.plan_hash
    }

    /// The tessera that it describes.
    pub fn tessera(&self) -> TesseraHash {
        self.plan.tessera()
    }
}

/// The creator with these public keys in PEM, if they are the ones that the MANIFEST lists and
/// names.
fn creator_of(manifest: &Manifest, ed25519: &[u8], ml_dsa_65: &[u8]) -> Option<CreatorPublic> {
    for (path, pem) in [(listed::ED25519_PEM, ed25519), (listed::ML_DSA_65_PEM, ml_dsa_65)] {
        let entry = manifest.file(path)?;
        if pem.len() > MAX_PEM_BYTES || entry.blake3 != blake3(pem) || entry.sha256 != sha256(pem) {
            return None;
        }
    }
    let text = |pem| std::str::from_utf8(pem).ok();
    let creator = CreatorPublic::from_pem(text(ed25519)?, text(ml_dsa_65)?).ok()?;
    (creator.id() == manifest.creator()).then_some(creator)
}

/// A dossier as MessagePack with named fields.
#[derive(Serialize, Deserialize)]
struct WireDossier {
    #[serde(with = "serde_bytes")]
    manifest: Vec<u8>,
    #[serde(with = "serde_bytes")]
    manifest_ed25519: Vec<u8>,
    #[serde(with = "serde_bytes")]
    manifest_ml_dsa_65: Vec<u8>,
    #[serde(with = "serde_bytes")]
    ed25519_pem: Vec<u8>,
    #[serde(with = "serde_bytes")]
    ml_dsa_65_pem: Vec<u8>,
    #[serde(with = "serde_bytes")]
    plan: Vec<u8>,
    #[serde(with = "serde_bytes")]
    plan_ed25519: Vec<u8>,
    #[serde(with = "serde_bytes")]
    plan_ml_dsa_65: Vec<u8>,
}

impl From<WireDossier> for Dossier {
    fn from(wire: WireDossier) -> Self {
        Self {
            manifest: wire.manifest,
            manifest_signatures: SignaturePair {
                ed25519: wire.manifest_ed25519,
                ml_dsa_65: wire.manifest_ml_dsa_65,
            },
            ed25519_pem: wire.ed25519_pem,
            ml_dsa_65_pem: wire.ml_dsa_65_pem,
            plan: wire.plan,
            plan_signatures: SignaturePair {
                ed25519: wire.plan_ed25519,
                ml_dsa_65: wire.plan_ml_dsa_65,
            },
        }
    }
}

impl From<&Dossier> for WireDossier {
    fn from(dossier: &Dossier) -> Self {
        let Dossier { manifest_signatures, plan_signatures, .. } = dossier;
        Self {
            manifest: dossier.manifest.clone(),
            manifest_ed25519: manifest_signatures.ed25519.clone(),
            manifest_ml_dsa_65: manifest_signatures.ml_dsa_65.clone(),
            ed25519_pem: dossier.ed25519_pem.clone(),
            ml_dsa_65_pem: dossier.ml_dsa_65_pem.clone(),
            plan: dossier.plan.clone(),
            plan_ed25519: plan_signatures.ed25519.clone(),
            plan_ml_dsa_65: plan_signatures.ml_dsa_65.clone(),
        }
    }
}
