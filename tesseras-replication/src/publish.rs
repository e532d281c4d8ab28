//! Publishing: a capsule of the library is planned, cut, and placed on other nodes.

use std::sync::Arc;

use tesseras_core::code::{Piece, WHOLE_COPIES};
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{Manifest, listed};
use tesseras_core::placement::{self, Placement};
use tesseras_core::plan::{Plan, PlanError};
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, TesseraRecord};
use tesseras_core::signature::SignaturePair;
use thiserror::Error;

use crate::collect::CollectError;
use crate::context::{Replication, Stores, UnpackError, blocking};
use crate::distribute::{Ask, Purpose};
use crate::dossier::{DossierError, VerifiedDossier};
use crate::erasure::{self, ErasureError};
use crate::pieces::PieceSource;
use crate::progress::{ByteCount, OnStep};
use crate::status::{Form, Publishing, coded_pieces, live_contacts};

/// How often pieces that lost their holder meanwhile are placed anew.
const ROUNDS: u32 = 3;

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The target number of pieces.
    pub fragments: usize,
    /// How many of them have a holder now.
    pub placed: usize,
    /// On how many nodes.
    pub holders: usize,
    /// How many of those, the worst ones, may vanish.
    pub survives: usize,
    /// Whether holders had to share neighbourhoods.
    pub crowded: bool,
    /// Why pieces were refused, each reason once.
    pub refusals: Vec<String>,
}

/// Why a capsule was not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It is not in the library.
    #[error("{0} is not in the library of this node")]
    NotInLibrary(TesseraHash),
    /// Another request is publishing it.
    #[error("{0} is being published already")]
    InProgress(TesseraHash),
    /// A plan is kept already, and this is another one.
    #[error("another plan of this tessera was signed before; a plan never changes")]
    PlanConflict,
    /// No node would hold anything.
    #[error("no other node would hold a piece{}", reason(refusals))]
    NobodyEligible {
        /// Why not, each reason once.
        refusals: Vec<String>,
    },
    /// What was placed does not suffice to read it back.
    #[error("it cannot be read back: {}{}", too_few(*placed, *needed), reason(refusals))]
    TooFew {
        /// How many have a holder.
        placed: usize,
        /// How many are needed.
        needed: usize,
        /// Why others refused, each reason once.
        refusals: Vec<String>,
    },
    /// What is stored here, or the plan, does not hold.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The code or a store failed while cutting.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// Pieces could not be prepared.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The capsule in the library is damaged.
    #[error("the capsule stored here cannot be published: {0}")]
    Damaged(#[from] UnpackError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn too_few(placed: usize, needed: usize) -> String {
    match needed {
        1 => "no node holds a whole copy".to_owned(),
        _ => format!("holders were found for only {placed} of the {needed} pieces that are needed"),
    }
}

fn reason(refusals: &[String]) -> String {
    if refusals.is_empty() { String::new() } else { format!(" ({})", refusals.join("; ")) }
}

impl Replication {
    /// The plan of a capsule in the library, for its creator to sign. Parity that is computed on
    /// the way is kept for publishing. A plan that was signed before is returned as it is.
    pub async fn draft_plan(
        &self,
        tessera: TesseraHash,
        on_step: &OnStep,
    ) -> Result<Vec<u8>, PublishError> {
        if let Some(plan) = self.blocking(move |s| s.holdings.plan(&tessera)).await? {
            return Ok(plan);
        }
        let _alone = self.work_on(tessera).await;
        let (record, pack) = self.library_pack(tessera).await?;
        if let Some(form) = tesseras_core::code::CodedForm::of_pack(pack.bytes()) {
            self.check_room(u64::from(form.shape.m) * form.fragment_bytes).await?;
        }
        let turn = self.state.coding.clone().acquire_owned().await;
        let capsules = self.parts.capsules.clone();
        let count = ByteCount::new("computing redundancy", pack.bytes(), on_step);
        let now = self.now();
        // A plan never changes: one of damaged files could never be mended.
        let checking = blocking(move || capsules.check(&record));
        let coding = self.blocking(move |stores| {
            let mut on_bytes = |bytes| {
                count.add(bytes);
                true
            };
            // Kept until the work ends, even if nobody waits for it any more.
            let _turn = turn;
            let encoded = erasure::encode(&pack, &*stores.blobs, &mut on_bytes)?;
            for staged in encoded.parity {
                stores.workbench.pin(&tessera, staged, now)?;
            }
            let checksums = encoded.checksums;
            Ok::<_, PublishError>(Plan::new(tessera, pack.bytes(), encoded.pack_hash, checksums)?)
        });
        let (checked, plan) = tokio::join!(checking, coding);
        if checked.is_err() {
            self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
        }
        checked?;
        Ok(plan?.render().into_bytes())
    }

    /// Places a capsule of the library on other nodes. What holders attest already is not placed
    /// again, so an interrupted publication goes on where it was.
    pub async fn publish(
        &self,
        tessera: TesseraHash,
        plan: Vec<u8>,
        signatures: SignaturePair,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        let _publishing =
            Publishing::start(self, tessera).ok_or(PublishError::InProgress(tessera))?;
        let _alone = self.work_on(tessera).await;
        let (record, pack) = self.library_pack(tessera).await?;
        let dossier = self
            .blocking(move |stores| {
                let dossier = own_dossier(&*stores.blobs, &record, plan, signatures)?;
                let dossier = VerifiedDossier::verify(dossier, &tessera)?;
                stores.holdings.unblock(&tessera)?;
                match stores.holdings.put_dossier(&tessera, dossier.dossier())? {
                    true => Ok(dossier),
                    false => Err(PublishError::PlanConflict),
                }
            })
            .await?;
        let plan = dossier.plan().clone();
        let source = move |stores: &Stores| stores.pieces(plan, Some(pack));
        let mut source = self.blocking(source).await?;
        let published = self.place_all(&dossier, &mut source, on_step).await?;
        if published.placed == published.fragments {
            self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
        }
        Ok(published)
    }

    async fn place_all(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let k = plan.coded().map(|coded| coded.shape.k);
        let wanted = plan.coded().map_or(WHOLE_COPIES, |form| form.shape.n().into());
        let bytes = plan.coded().map_or(plan.pack_bytes(), |form| form.fragment_bytes);
        let ask = Ask { wanted, bytes, repair: false, include_self: false };
        let (mut refusals, mut crowded, mut round) = (Vec::new(), false, 0);
        loop {
            // Believe the holders, not our own memory: ask them all, before and after.
            let known = self.survey(tessera).await?;
            let live = live_contacts(&known);
            let placement = known.placement(plan);
            let eligible = self.find_eligible(dossier, &placement, &live, ask).await;
            if eligible.count == 0 {
                return Err(PublishError::NobodyEligible { refusals: unique(eligible.refusals) });
            }
            let form = Form::of(&placement, plan);
            let as_code = plan.coded().is_some() && (eligible.count >= WHOLE_COPIES || form.coded);
            let (target, missing) = targets(plan, as_code, eligible.count, &placement);
            if missing.is_empty() || round == ROUNDS {
                let holders: Vec<_> = live.into_values().collect();
                self.send_roster(dossier, &holders).await;
                let refusals = unique(refusals);
                if !placement::is_readable(&placement, k) {
                    let needed = if as_code { k.unwrap_or(1).into() } else { 1 };
                    return Err(PublishError::TooFew { placed: form.live, needed, refusals });
                }
                return Ok(Published {
                    fragments: target,
                    placed: target - missing.len(),
                    holders: placement.len(),
                    survives: placement::survives(&placement, k),
                    crowded,
                    refusals: if missing.is_empty() { Vec::new() } else { refusals },
                });
            }
            self.prepare_parity(dossier, source, &missing, on_step).await?;
            let total = missing.iter().filter_map(|p| plan.piece_bytes(*p)).sum();
            let count = ByteCount::new("placing pieces", total, on_step);
            let delivery =
                self.distribute(dossier, source, missing, eligible, &Purpose::Own, &count).await;
            crowded = delivery.crowded;
            refusals.extend(delivery.refusals);
            // Where nothing could be placed, nothing more can be.
            round = if delivery.placed.is_empty() { ROUNDS } else { round + 1 };
        }
    }

    /// Makes sure that the parity fragments to be placed are at hand: those of the draft, or, if
    /// they are gone, computed again.
    async fn prepare_parity(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        missing: &[Piece],
        on_step: &OnStep,
    ) -> Result<(), CollectError> {
        let (here, pieces) = (source.clone(), missing.to_vec());
        let gone = self
            .blocking(move |_| {
                // What a power cut spoilt would be refused by everybody.
                here.sound_pins()?;
                let mut gone = Vec::new();
                for piece in pieces {
                    if let Piece::Index(index) = piece
                        && !here.has(piece)?
                    {
                        gone.push(index);
                    }
                }
                Ok::<_, StoreError>(gone)
            })
            .await?;
        self.rebuild(dossier, source, &[Piece::Whole].into(), gone, on_step).await
    }

    /// A capsule of the library, and its pack.
    async fn library_pack(
        &self,
        tessera: TesseraHash,
    ) -> Result<(TesseraRecord, Arc<dyn BlobReader>), PublishError> {
        let capsules = self.parts.capsules.clone();
        self.blocking(move |stores| {
            let record = stores.library.get(&tessera)?;
            let record = record.ok_or(PublishError::NotInLibrary(tessera))?;
            let pack = capsules.pack(&record)?;
            Ok((record, pack))
        })
        .await
    }
}

/// The dossier of a capsule in the library, from its stored parts.
fn own_dossier(
    blobs: &dyn BlobStore,
    record: &TesseraRecord,
    plan: Vec<u8>,
    plan_signatures: SignaturePair,
) -> Result<Dossier, PublishError> {
    let manifest = read_all(blobs, &record.hash.into())?;
    let parsed = Manifest::parse(&manifest).map_err(DossierError::Manifest)?;
    let pem = |path| {
        let entry = parsed.file(path).ok_or(DossierError::Keys)?;
        Ok::<_, PublishError>(read_all(blobs, &entry.blake3)?)
    };
    Ok(Dossier {
        ed25519_pem: pem(listed::ED25519_PEM)?,
        ml_dsa_65_pem: pem(listed::ML_DSA_65_PEM)?,
        manifest,
        manifest_signatures: record.signatures.clone(),
        plan,
        plan_signatures,
    })
}

/// A small stored object (a MANIFEST, a key) in memory.
fn read_all(blobs: &dyn BlobStore, hash: &ContentHash) -> Result<Vec<u8>, StoreError> {
    let reader = blobs.open(hash)?;
    if reader.bytes() > tesseras_core::manifest::MAX_MANIFEST_BYTES {
        return Err(StoreError::Corrupt(*hash));
    }
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes)?;
    if tesseras_crypto::blake3(&bytes) == *hash {
        Ok(bytes)
    } else {
        Err(StoreError::Corrupt(*hash))
    }
}

/// How many pieces there should be, and which of them nobody holds.
fn targets(
    plan: &Plan,
    as_code: bool,
    eligible: usize,
    placement: &Placement,
) -> (usize, Vec<Piece>) {
    if as_code {
        let live = placement::distinct_fragments(placement);
        let is_missing = |p: &Piece| !matches!(p, Piece::Index(i) if live.contains(i));
        let all: Vec<Piece> = coded_pieces(plan).collect();
        (all.len(), all.into_iter().filter(is_missing).collect())
    } else {
        let target = eligible.min(WHOLE_COPIES);
        let copies = placement::whole_copies(placement);
        (target, vec![Piece::Whole; target.saturating_sub(copies)])
    }
}

/// Each reason once, a few of them.
pub(crate) fn unique(mut reasons: Vec<String>) -> Vec<String> {
    reasons.sort();
    reasons.dedup();
    reasons.truncate(8);
    reasons
}
