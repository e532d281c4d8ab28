//! Verified dossiers: the only ones that this crate acts on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tesseras_core::dossier::{Dossier, MAX_PEM_BYTES};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{MAX_MANIFEST_BYTES, Manifest};
use tesseras_core::pack::PackLayout;
use tesseras_core::plan::{MAX_PLAN_BYTES, Plan, PlanError};
use tesseras_core::signature::SignaturePair;
use tesseras_crypto::signed_manifest::{NameError, SignedError};
use tesseras_crypto::{CreatorPems, NamedManifest, SignedManifest, blake3};
use thiserror::Error;

use crate::ports::OpenCapsule;

/// The longest encoded dossier that is read: the longest MANIFEST, and room for the rest.
pub const MAX_DOSSIER_BYTES: u64 =
    MAX_MANIFEST_BYTES + (MAX_PLAN_BYTES + 2 * MAX_PEM_BYTES + 16 * 1024) as u64;

/// The most bytes that field names and lengths add to an encoded dossier.
const NAMES_ON_THE_WIRE: usize = 256;

/// A dossier whose every part was checked against its tessera's hash. Cloning it copies no bytes.
#[derive(Debug, Clone)]
pub struct VerifiedDossier(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    dossier: Dossier,
    plan: Plan,
    plan_hash: ContentHash,
}

/// Why a dossier is not valid for the tessera.
#[derive(Debug, Error)]
pub enum DossierError {
    /// The encoding is not that of a dossier.
    #[error("malformed dossier: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// The MANIFEST is that of another tessera, or none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The creator that the MANIFEST names did not sign it, or not with both keys.
    #[error(transparent)]
    Unsigned(#[from] SignedError),
    /// The plan cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
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
        let named = NamedManifest::read(&dossier.manifest, tessera)?;
        let (plan, plan_hash) = check(&named, &dossier)?;
        Ok(Self(Arc::new(Verified { dossier, plan, plan_hash })))
    }

    /// The dossier of a capsule of the library under a plan, checked. Its MANIFEST was read already,
    /// and is not hashed and parsed again.
    pub(crate) fn of_capsule(
        capsule: &dyn OpenCapsule,
        (ed25519_pem, ml_dsa_65_pem): (Vec<u8>, Vec<u8>),
        plan: Vec<u8>,
        plan_signatures: SignaturePair,
    ) -> Result<Self, DossierError> {
        let dossier = Dossier {
            manifest: capsule.named().bytes().to_vec(),
            manifest_signatures: capsule.signatures().clone(),
            ed25519_pem,
            ml_dsa_65_pem,
            plan,
            plan_signatures,
        };
        let (plan, plan_hash) = check(capsule.named(), &dossier)?;
        Ok(Self(Arc::new(Verified { dossier, plan, plan_hash })))
    }

    /// Decodes and verifies a dossier from a peer.
    pub fn decode(bytes: &[u8], tessera: &TesseraHash) -> Result<Self, DossierError> {
        let wire: WireDossier = rmp_serde::from_slice(bytes)?;
        Self::verify(wire.into(), tessera)
    }

    /// Its encoding on the wire.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&WireDossier::from(&self.0.dossier))
            .expect("byte strings always encode")
    }

    /// An upper bound of the length of [`VerifiedDossier::encode`], in bytes.
    pub fn encoded_bytes(&self) -> u64 {
        let Dossier { manifest, manifest_signatures, plan, plan_signatures, .. } = self.dossier();
        let keys = self.dossier().ed25519_pem.len() + self.dossier().ml_dsa_65_pem.len();
        let signatures = [manifest_signatures, plan_signatures];
        let signed: usize = signatures.iter().map(|s| s.ed25519.len() + s.ml_dsa_65.len()).sum();
        (manifest.len() + plan.len() + keys + signed + NAMES_ON_THE_WIRE) as u64
    }

    /// Its parts.
    pub fn dossier(&self) -> &Dossier {
        &self.0.dossier
    }

    /// The parsed plan.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// BLAKE3 of the plan's bytes.
    pub fn plan_hash(&self) -> ContentHash {
        self.0.plan_hash
    }

    /// The length of each file that the library stores of the capsule, in bytes. Parses the MANIFEST.
    pub(crate) fn stored_lengths(&self) -> Vec<u64> {
        let bytes = &self.dossier().manifest;
        let manifest = Manifest::parse(bytes).expect("it was parsed when it was verified");
        manifest.stored_lengths(bytes.len() as u64).collect()
    }

    /// The tessera that it describes.
    pub fn tessera(&self) -> TesseraHash {
        self.0.plan.tessera()
    }
}

/// Checks the signatures over the MANIFEST and the plan, and that the one follows from the other;
/// the plan, and the BLAKE3 of its bytes.
fn check(
    named: &NamedManifest<impl AsRef<[u8]>>,
    dossier: &Dossier,
) -> Result<(Plan, ContentHash), DossierError> {
    let Dossier { manifest_signatures, ed25519_pem, ml_dsa_65_pem, plan_signatures, .. } = dossier;
    let pems = CreatorPems { ed25519: ed25519_pem, ml_dsa_65: ml_dsa_65_pem };
    let signed = SignedManifest::verify(named, pems, manifest_signatures)?;
    let plan = Plan::parse(&dossier.plan)?;
    if !signed.creator().verify(&dossier.plan, plan_signatures).both() {
        return Err(DossierError::PlanSignature);
    }
    let named = signed.named();
    let tessera = named.tessera();
    let layout = PackLayout::new(&tessera, named.manifest(), named.bytes().len() as u64)
        .ok_or(DossierError::PlanMismatch)?;
    if plan.tessera() != tessera || plan.pack_bytes() != layout.bytes() {
        return Err(DossierError::PlanMismatch);
    }
    Ok((plan, blake3(&dossier.plan)))
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
