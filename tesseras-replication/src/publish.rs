//! Publishing: a capsule of the library is planned, cut, and placed on other nodes.

use std::sync::Arc;

use tesseras_core::code::Piece;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::{Manifest, listed};
use tesseras_core::placement;
use tesseras_core::plan::{Plan, PlanError};
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, TesseraRecord};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::signature::SignaturePair;
use thiserror::Error;

use crate::causes::Causes;
use crate::clock::ClockOff;
use crate::collect::CollectError;
use crate::context::{Replication, Stores, UnpackError};
use crate::distribute::{Ask, Eligible, Purpose};
use crate::dossier::{DossierError, VerifiedDossier};
use crate::erasure::{self, ErasureError};
use crate::pieces::PieceSource;
use crate::progress::{ByteCount, OnStep};
use crate::publication::{PublicationReport, Turn, UnderWay};
use crate::status::{Copies, Counts, live_contacts};

/// How often pieces that lost their holder meanwhile are placed anew.
const ROUNDS: u32 = 3;

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The target number of pieces: n fragments, or whole copies where there is no coded form.
    pub fragments: usize,
    /// How many of them have a holder now.
    pub placed: usize,
    /// The whole copies, those beside a coded form too.
    pub copies: Copies,
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
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// It is not in the library.
    #[error("{0} is not in the library of this node")]
    NotInLibrary(TesseraHash),
    /// Another request is publishing it.
    #[error("{0} is being published already")]
    InProgress(TesseraHash),
    /// It was stopped on this node's request.
    #[error("the publication of {0} was stopped")]
    Stopped(TesseraHash),
    /// Nobody who made it is here, and no plan that its creator signed was found.
    #[error("no plan of {0} that its creator signed is kept here, and no holder gave one")]
    NoSignedPlan(TesseraHash),
    /// A plan is kept already, and this is another one.
    #[error("another plan of this tessera was signed before; a plan never changes")]
    PlanConflict,
    /// No node would hold anything.
    #[error("no other node would hold a piece{}", reason(refusals))]
    NobodyEligible {
        /// Why not, each reason once.
        refusals: Vec<String>,
        /// The same, counted.
        causes: Box<Causes>,
    },
    /// There is too little room to place it readable, so nothing was sent.
    #[error(
        "nothing was sent: the nodes that would keep pieces ({}) have too little room; each would \
         have to take {} MiB{}",
        causes.willing,
        causes.bytes_per_node.div_ceil(1 << 20),
        reason(refusals)
    )]
    NoRoom {
        /// Why others refused, each reason once.
        refusals: Vec<String>,
        /// What there is room for.
        causes: Box<Causes>,
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
        /// What they said when they were asked for room.
        causes: Box<Causes>,
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
        let checking = self.state.disk.run(move || capsules.check(&record));
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
        let dossier = self.put_own_dossier(tessera, plan, signatures);
        self.publish_by(tessera, dossier, on_step).await
    }

    /// Places a capsule of the library on other nodes by the signed plan that is kept here, or
    /// that its holders keep. So anyone who has fetched a capsule can keep it alive.
    pub async fn publish_signed(
        &self,
        tessera: TesseraHash,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        self.publish_by(tessera, self.find_dossier(tessera), on_step).await
    }

    /// Publishes in this node's turn, until it is done or stopped.
    async fn publish_by(
        &self,
        tessera: TesseraHash,
        dossier: impl Future<Output = Result<VerifiedDossier, PublishError>>,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        let under_way = UnderWay::start(self, tessera).ok_or(PublishError::InProgress(tessera))?;
        let publishing = async {
            let turn = Arc::new(self.work_on(tessera).await);
            self.publish_dossier(&dossier.await?, turn, on_step).await
        };
        tokio::select! {
            published = publishing => published,
            () = under_way.stopped() => Err(PublishError::Stopped(tessera)),
        }
    }

    /// Publishes in the background from now on, until it is done or stopped. The plan and its
    /// signatures are needed unless a dossier is kept already.
    pub async fn publish_later(
        &self,
        tessera: TesseraHash,
        signed: Option<(Vec<u8>, SignaturePair)>,
    ) -> Result<PublicationReport, PublishError> {
        // Not in this node's turn: that may belong to the publication that is left to the
        // background, and a dossier that is there already is only looked at.
        match signed {
            Some((plan, signatures)) => self.put_own_dossier(tessera, plan, signatures).await?,
            None => self.find_dossier(tessera).await?,
        };
        let wanted = PublicationEvent::Wanted;
        self.blocking(move |stores| stores.holdings.note_publication(&tessera, wanted)).await?;
        Ok(self.publication(tessera).await?)
    }

    /// Keeps the dossier of a capsule in the library under a plan that was signed just now.
    async fn put_own_dossier(
        &self,
        tessera: TesseraHash,
        plan: Vec<u8>,
        signatures: SignaturePair,
    ) -> Result<VerifiedDossier, PublishError> {
        let (record, _) = self.library_pack(tessera).await?;
        self.blocking(move |stores| {
            let dossier = own_dossier(&*stores.blobs, &record, plan, signatures)?;
            keep_dossier(stores, VerifiedDossier::verify(dossier, &tessera)?)
        })
        .await
    }

    /// The dossier kept here, or that of a holder, which is kept from now on.
    async fn find_dossier(&self, tessera: TesseraHash) -> Result<VerifiedDossier, PublishError> {
        if let Ok(Some(dossier)) = self.stored_dossier(tessera).await {
            return Ok(dossier);
        }
        let survey = self.survey(tessera).await?;
        let found = self.dossiers_of_holders(tessera, &survey).await.into_iter().next();
        let Some(dossier) = found else {
            self.check_clock_after(&survey).await?;
            return Err(PublishError::NoSignedPlan(tessera));
        };
        self.blocking(move |stores| keep_dossier(stores, dossier)).await
    }

    async fn publish_dossier(
        &self,
        dossier: &VerifiedDossier,
        turn: Turn,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        let tessera = dossier.tessera();
        let (_, pack) = self.library_pack(tessera).await?;
        let plan = dossier.plan().clone();
        let source = move |stores: &Stores| stores.pieces(plan, Some(pack));
        let mut source = self.blocking(source).await?;
        let published = self.place_all(dossier, &mut source, turn, on_step).await?;
        if published.placed == published.fragments {
            self.blocking(move |stores| stores.workbench.unpin(&tessera)).await?;
        }
        Ok(published)
    }

    async fn place_all(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        turn: Turn,
        on_step: &OnStep,
    ) -> Result<Published, PublishError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let k = plan.coded().map(|coded| coded.shape.k);
        let ask = Ask::of(plan, false, false);
        let (mut refusals, mut round) = (Vec::new(), 0);
        loop {
            // Believe the holders, not our own memory: ask them all, before and after.
            let known = self.survey(tessera).await?;
            self.check_clock_after(&known).await?;
            let live = live_contacts(&known);
            let placement = known.placement(plan);
            let eligible = self.find_eligible(dossier, &placement, &live, ask).await;
            let lack = eligible.assignment.lack();
            if round == 0 && !placement::is_readable(&lack.after, k) {
                return Err(no_room(eligible));
            }
            if lack.pieces.is_empty() || round == ROUNDS {
                let counts = Counts::of(&lack.form, &placement, plan);
                refusals.extend(eligible.refusals);
                let refusals = unique(refusals);
                if !placement::is_readable(&placement, k) {
                    let causes = Box::new(eligible.causes);
                    let Counts { live: placed, needed, .. } = counts;
                    return Err(PublishError::TooFew { placed, needed, refusals, causes });
                }
                let holders: Vec<_> = live.into_values().collect();
                if !self.commit(dossier, &holders, turn).await? {
                    return Err(PublishError::Stopped(tessera));
                }
                return Ok(Published {
                    fragments: counts.total,
                    placed: counts.live,
                    copies: counts.copies,
                    holders: placement.len(),
                    survives: placement::survives(&placement, k),
                    crowded: eligible.assignment.is_crowded(),
                    refusals: if counts.are_complete() { Vec::new() } else { refusals },
                });
            }
            let missing = lack.pieces;
            self.prepare_parity(dossier, source, &missing, on_step).await?;
            let total = missing.iter().filter_map(|p| plan.piece_bytes(*p)).sum();
            let count = ByteCount::new("placing pieces", total, on_step);
            let delivery =
                self.distribute(dossier, source, missing, eligible, &Purpose::Own, &count).await;
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

/// Keeps a dossier of a tessera that its owner, or a reader of it, wants to be kept alive.
fn keep_dossier(
    stores: &Stores,
    dossier: VerifiedDossier,
) -> Result<VerifiedDossier, PublishError> {
    let tessera = dossier.tessera();
    stores.holdings.unblock(&tessera)?;
    match stores.holdings.put_dossier(&tessera, dossier.dossier())? {
        true => Ok(dossier),
        false => Err(PublishError::PlanConflict),
    }
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

/// Why nothing can be placed that could be read back.
fn no_room(eligible: Eligible) -> PublishError {
    let Eligible { count, refusals, causes, .. } = eligible;
    let (refusals, causes) = (unique(refusals), Box::new(causes));
    match count {
        0 => PublishError::NobodyEligible { refusals, causes },
        _ => PublishError::NoRoom { refusals, causes },
    }
}

/// Each reason once, a few of them.
pub(crate) fn unique(mut reasons: Vec<String>) -> Vec<String> {
    reasons.sort();
    reasons.dedup();
    reasons.truncate(8);
    reasons
}
