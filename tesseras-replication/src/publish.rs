//! Publishing: a capsule of the library is planned, encoded, and placed on other nodes.

use std::collections::BTreeSet;
use std::iter::repeat_n;
use std::sync::Arc;

use tesseras_core::code::{CodedForm, Piece};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::{self, Placement};
use tesseras_core::plan::{PlanError, SignedPlan};
use tesseras_core::ports::{Charge, StoreError};
use tesseras_core::units::MIB;
use thiserror::Error;

use crate::blocking::Blocking;
use crate::candidates::Candidates;
use crate::clock::{ClockOff, check_clock_after};
use crate::collect::{CollectError, Collector};
use crate::distribute::{Distributor, Placing, bytes_of};
use crate::dossier::{DossierError, VerifiedDossier};
use crate::dossiers::dossiers_of_holders;
use crate::erasure::ErasureError;
use crate::holder::Holder;
use crate::library::{KeepError, Library};
use crate::peers::{Peers, Priority};
use crate::pieces::PieceSource;
use crate::policy::causes::Causes;
use crate::policy::health::{Copies, Counts};
use crate::policy::offers::{Eligible, OfferTerms, distinct};
use crate::policy::patience::Manner;
use crate::policy::rounds::{Next, Rounds};
use crate::policy::survey::Survey;
use crate::ports::{Directory, OpenCapsule, UnpackError};
use crate::roster::Roster;
use crate::survey::{Scope, survey};
use crate::tessera_lock::TesseraLock;
use crate::workshop::{EncodeError, Workshop};
use tesseras_core::progress::{Meter, OnProgress, silent};

/// Result of publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The target number of pieces: n fragments, or whole copies if there is no coded form.
    pub fragments: usize,
    /// How many of them now have a holder.
    pub placed: usize,
    /// The whole copies, including those beside a coded form.
    pub copies: Copies,
    /// How many nodes hold them.
    pub holders: usize,
    /// How many of those, the worst ones, may be lost.
    pub survives: usize,
    /// Whether more holders share a neighbourhood than the limit allows.
    pub crowded: bool,
    /// Why pieces were refused, without duplicates.
    pub refusals: Vec<String>,
}

/// Why a capsule was not published.
#[derive(Debug, Error)]
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
    /// It was stopped by a request to this node.
    #[error("the publication of {0} was stopped")]
    Stopped(TesseraHash),
    /// Its creator is not on this node, and no plan signed by its creator was found.
    #[error("no plan of {0} that its creator signed is kept here, and no holder gave one")]
    NoSignedPlan(TesseraHash),
    /// A different plan is already kept.
    #[error("another plan of this tessera was signed before; a plan never changes")]
    PlanConflict,
    /// No node would hold a piece.
    #[error("no other node would hold a piece{}", reason(refusals))]
    NobodyEligible {
        /// The reasons, without duplicates.
        refusals: Vec<String>,
        /// The reasons as counts.
        causes: Box<Causes>,
    },
    /// There is too little room for a readable placement, so nothing was sent.
    #[error(
        "nothing was sent: the nodes that would keep pieces ({}) have too little room; each would \
         have to take {} MiB{}",
        causes.willing,
        causes.bytes_per_node.div_ceil(MIB),
        reason(refusals)
    )]
    NoRoom {
        /// Why others refused, without duplicates.
        refusals: Vec<String>,
        /// The room that there is.
        causes: Box<Causes>,
    },
    /// The pieces placed do not suffice to read it back.
    #[error("it cannot be read back: {}{}", too_few(*placed, *needed), reason(refusals))]
    TooFew {
        /// How many have a holder.
        placed: usize,
        /// How many are needed.
        needed: usize,
        /// Why others refused, without duplicates.
        refusals: Vec<String>,
        /// The answers to the offers.
        causes: Box<Causes>,
    },
    /// The pieces are placed, and too few holders are known to have heard that they are published:
    /// nobody else would find or repair them. This node goes on telling them.
    #[error(
        "the pieces are placed, but {} could be told that they are published; this node goes on \
         trying",
        only(*told, *holders)
    )]
    Untold {
        /// How many holders know it.
        told: usize,
        /// How many hold pieces.
        holders: usize,
    },
    /// The stored dossier or the plan is not valid.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The codec or a store failed while encoding.
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
        _ => format!("holders were found for only {placed} of the {needed} pieces needed"),
    }
}

fn only(told: usize, holders: usize) -> String {
    match told {
        0 => format!("none of their {holders} holders"),
        _ => format!("only {told} of their {holders} holders"),
    }
}

fn reason(refusals: &[String]) -> String {
    if refusals.is_empty() { String::new() } else { format!(" ({})", refusals.join("; ")) }
}

impl From<EncodeError> for PublishError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Erasure(error) => Self::Erasure(error),
            EncodeError::Plan(error) => Self::Plan(error),
            EncodeError::Store(error) => Self::Store(error),
        }
    }
}

impl From<KeepError> for PublishError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Dossier(error) => Self::Dossier(error),
            KeepError::PlanConflict => Self::PlanConflict,
            KeepError::Store(error) => Self::Store(error),
        }
    }
}

/// The collaborators of publishing: the owner's capsules, the workbench, and the services that
/// reach other nodes.
#[derive(Clone, Copy)]
pub(crate) struct Publisher<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
}

impl Publisher<'_> {
    /// The plan of a capsule in the library, for its creator to sign. Parity that is computed in
    /// the process is kept for publishing. A plan that was signed before is returned unchanged.
    pub(crate) async fn draft_plan(
        &self,
        tessera: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<Vec<u8>, PublishError> {
        if let Some(plan) = self.library.plan(tessera).await? {
            return Ok(plan);
        }
        let lock = &self.workshop.lock(tessera).await;
        let capsule = self.open(tessera).await?;
        let pack = capsule.pack();
        if let Some(form) = CodedForm::of_pack(pack.bytes()) {
            let parity = repeat_n(form.fragment_bytes, form.shape.m.into());
            self.workshop.check_room(parity).await.map_err(CollectError::from)?;
        }
        // A plan never changes: one of damaged files could never be mended.
        let checking = self.library.check(capsule.clone());
        let coding = self.workshop.encode(lock, pack, on_progress);
        let (checked, plan) = tokio::join!(checking, coding);
        if checked.is_err() {
            self.workshop.unpin(lock).await;
        }
        checked?;
        let plan = plan?.render().into_bytes();
        self.library.set_aside(capsule);
        Ok(plan)
    }

    /// Places a capsule of the library on other nodes, until it is done or stopped. Pieces that
    /// holders already attest are not placed again, so an interrupted publication continues.
    /// Without a newly signed plan, it uses the one that is kept here or by its holders: so anyone
    /// who has fetched a capsule can keep it alive.
    pub(crate) async fn publish(
        &self,
        tessera: TesseraHash,
        signed: Option<SignedPlan>,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        let under_way = self.library.start_publishing(tessera);
        let under_way = under_way.ok_or(PublishError::InProgress(tessera))?;
        let publishing = async {
            // Kept until the holders are told and the pieces of the task are gone.
            let lock = &self.workshop.lock(tessera).await;
            let capsule = self.open(tessera).await?;
            let dossier = self.dossier(&lock.on(&self.workshop.disk), &capsule, signed).await?;
            self.publish_dossier(lock, &dossier, capsule, on_progress).await
        };
        tokio::select! {
            biased;
            () = under_way.stopped() => Err(PublishError::Stopped(tessera)),
            published = publishing => published,
        }
    }

    /// Leaves a publication to the background, until it is done or stopped. The plan and its
    /// signatures are required unless a dossier is already kept.
    pub(crate) async fn publish_later(
        &self,
        tessera: TesseraHash,
        signed: Option<SignedPlan>,
    ) -> Result<(), PublishError> {
        // Not locked: the publication that is left to the background may have the lock, and a dossier
        // that is there already is only looked at.
        let capsule = self.open(tessera).await?;
        self.dossier(&self.workshop.disk, &capsule, signed).await?;
        match self.library.note_wanted(tessera).await? {
            true => Ok(()),
            false => Err(PublishError::Stopped(tessera)),
        }
    }

    /// The dossier by which a capsule is published; it is kept from now on, by work on `disk`.
    async fn dossier(
        &self,
        disk: &Blocking,
        capsule: &Arc<dyn OpenCapsule>,
        signed: Option<SignedPlan>,
    ) -> Result<VerifiedDossier, PublishError> {
        let tessera = capsule.named().tessera();
        if let Some(SignedPlan { plan, signatures }) = signed {
            return Ok(self.library.keep_signed(disk, capsule.clone(), plan, signatures).await?);
        }
        if let Ok(Some(dossier)) = self.holder.stored_dossier(tessera).await {
            return Ok(dossier);
        }
        let survey = self.survey(tessera, Scope::Network, Manner::Quick).await?;
        let found = dossiers_of_holders(self.peers, tessera, &survey, Priority::Interactive)
            .await
            .into_iter()
            .next();
        let Some(dossier) = found else {
            check_clock_after(self.directory, &survey).await?;
            return Err(PublishError::NoSignedPlan(tessera));
        };
        Ok(self.library.keep_dossier(disk, dossier).await?)
    }

    async fn publish_dossier(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        capsule: Arc<dyn OpenCapsule>,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        let pack = Some(capsule.pack());
        let mut source = self.workshop.pieces(dossier.plan().clone(), pack).await?;
        let published = self.place_all(lock, dossier, &mut source, on_progress).await?;
        if published.placed == published.fragments {
            self.workshop.unpin(lock).await;
        }
        Ok(published)
    }

    /// Surveys all holders and candidates, places what is missing, and surveys the holders again:
    /// their attestations count, not this node's own records.
    async fn place_all(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        on_progress: &OnProgress,
    ) -> Result<Published, PublishError> {
        let plan = dossier.plan();
        let k = plan.coded().map(|coded| coded.shape.k);
        let terms = OfferTerms::of(plan, Charge::OWN, false);
        let (candidates, distributor) = (self.candidates(), self.distributor(lock));
        let tessera = dossier.tessera();
        let (known, mut prospects) = tokio::join!(
            self.survey(tessera, Scope::Known, Manner::Quick),
            candidates.ask(tessera, terms, Manner::Quick),
        );
        let mut known = known?;
        let mut rounds = Rounds::default();
        let mut refusals = Vec::new();
        loop {
            let mut eligible = candidates.eligible(dossier, &mut known, &prospects, terms).await;
            check_clock_after(self.directory, &known).await?;
            let missing = match rounds.next(&eligible.assignment.lack(), k) {
                Next::Refuse => return Err(no_room(eligible)),
                Next::Place(missing) => missing,
                Next::End => {
                    refusals.append(&mut eligible.refusals);
                    let refusals = distinct(refusals);
                    return self.end(lock, dossier, source, &known, eligible, refusals).await;
                }
            };
            self.prepare_parity(lock, dossier, source, &missing, on_progress).await?;
            let count = Meter::new("placing pieces", bytes_of(plan, &missing), on_progress);
            let delivery = distributor
                .distribute(dossier, source, missing, eligible, &Placing::Own, &count)
                .await;
            refusals.extend(delivery.refusals);
            rounds.placed(delivery.placed);
            known = self.survey(tessera, Scope::Known, Manner::Thorough).await?;
            if delivery.unplaced > 0 {
                // Some have no room after all; others may have.
                prospects = candidates.ask(tessera, terms, Manner::Thorough).await;
            }
        }
    }

    /// Ends a publication with the pieces that holders attest: it is recorded here, and the holders
    /// are told. It is a success only if those that know it can give the tessera back.
    async fn end(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        known: &Survey,
        eligible: Eligible,
        refusals: Vec<String>,
    ) -> Result<Published, PublishError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let k = plan.coded().map(|coded| coded.shape.k);
        let placement = known.placement(plan);
        let counts = Counts::of(&eligible.assignment, &known.attested(plan), plan);
        if !placement::is_readable(&placement, k) {
            let causes = Box::new(eligible.causes);
            let Counts { live: placed, needed, .. } = counts;
            return Err(PublishError::TooFew { placed, needed, refusals, causes });
        }
        if !self.library.note_placed(lock).await? {
            return Err(PublishError::Stopped(tessera));
        }
        let told = self.tell(lock, dossier, source, known).await;
        let mut known_to = placement.clone();
        known_to.retain(|id, _| told.contains(id));
        if !placement::is_readable(&known_to, k) {
            let (told, holders) = (known_to.len(), placement.len());
            return Err(PublishError::Untold { told, holders });
        }
        self.library.note_told(lock).await?;
        Ok(Published {
            fragments: counts.total,
            placed: counts.live,
            copies: counts.copies,
            holders: placement.len(),
            survives: known.survives(plan),
            crowded: eligible.assignment.is_crowded(),
            refusals: if counts.are_complete() { Vec::new() } else { refusals },
        })
    }

    /// Tells all holders that a tessera is published. Those whose pieces another node has placed are
    /// shown that this node has them as well, and told again. Returns those that know it now; the next
    /// repair tells the others.
    async fn tell(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        known: &Survey,
    ) -> BTreeSet<NodeId> {
        let (placement, holders) = (known.placement(dossier.plan()), known.contacts());
        let holders: Vec<Contact> = holders.into_values().collect();
        let roster = self.roster(dossier.tessera(), &holders);
        let mut told = roster.send(&holders).await;
        if !told.unconfirmed.is_empty() {
            let shown = self.show(lock, dossier, source, told.unconfirmed, &placement).await;
            told.confirmed.extend(roster.send(&shown).await.confirmed);
        }
        if told.confirmed.len() == holders.len() {
            self.library.note_confirmed(dossier.tessera());
        }
        told.confirmed
    }

    /// Shows to each of these holders that this node has a piece which that node holds, too. Returns
    /// those that have seen it.
    async fn show(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        to: Vec<Contact>,
        placement: &Placement,
    ) -> Vec<Contact> {
        let plan = dossier.plan();
        let with_piece = to.into_iter().filter_map(|holder| {
            let pieces = placement.get(&holder.id)?.iter();
            let smallest = pieces.min_by_key(|piece| plan.piece_bytes(**piece));
            smallest.map(|piece| (holder, *piece))
        });
        let with_piece: Vec<(Contact, Piece)> = with_piece.collect();
        let pieces: Vec<Piece> = with_piece.iter().map(|(_, piece)| *piece).collect();
        match self.prepare_parity(lock, dossier, source, &pieces, &silent()).await {
            Ok(()) => self.distributor(lock).show(dossier, source, with_piece).await,
            Err(error) => {
                tracing::warn!(tessera = %dossier.tessera(), %error, "cannot show pieces to holders");
                Vec::new()
            }
        }
    }

    /// Tells all holders that a tessera is published, without the means to show a piece. If some have
    /// pieces that another node has placed, the publication is resumed, which shows them theirs.
    pub(crate) async fn confirm(
        &self,
        lock: &TesseraLock,
        holders: &[Contact],
    ) -> Result<(), StoreError> {
        let told = self.roster(lock.tessera(), holders).send(holders).await;
        if told.confirmed.len() == holders.len() {
            self.library.note_confirmed(lock.tessera());
        }
        match told.unconfirmed.is_empty() {
            true => Ok(()),
            false => self.library.note_untold(lock).await,
        }
    }

    fn roster<'a>(&'a self, tessera: TesseraHash, holders: &'a [Contact]) -> Roster<'a> {
        let Self { peers, holder, directory, .. } = *self;
        Roster { peers, holder, directory, tessera, holders }
    }

    /// Ensures that the parity fragments to be placed are at hand: those of the draft, or, if they
    /// are gone, computed again.
    async fn prepare_parity(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        missing: &[Piece],
        on_progress: &OnProgress,
    ) -> Result<(), CollectError> {
        let gone = self.workshop.lacking_parity(lock, source, missing).await?;
        let whole = [Piece::Whole].into();
        let Self { peers, holder, workshop, .. } = *self;
        let priority = Priority::Interactive;
        let collector = Collector { peers, holder, workshop, lock, priority, throttled: None };
        collector.rebuild(dossier, source, &whole, &gone, on_progress).await
    }

    fn candidates(&self) -> Candidates<'_> {
        let Self { peers, holder, directory, .. } = *self;
        Candidates { peers, holder, directory }
    }

    fn distributor<'a>(&'a self, lock: &'a TesseraLock) -> Distributor<'a> {
        let Self { peers, holder, workshop, directory, .. } = *self;
        let priority = Priority::Interactive;
        Distributor { peers, holder, workshop, directory, lock, priority, throttled: None }
    }

    async fn survey(
        &self,
        tessera: TesseraHash,
        scope: Scope,
        manner: Manner,
    ) -> Result<Survey, StoreError> {
        survey(self.peers, self.holder, self.directory, tessera, scope, manner).await
    }

    /// A capsule of the library.
    async fn open(&self, tessera: TesseraHash) -> Result<Arc<dyn OpenCapsule>, PublishError> {
        self.library.open(tessera).await?.ok_or(PublishError::NotInLibrary(tessera))
    }
}

/// Why no readable placement is possible.
fn no_room(eligible: Eligible) -> PublishError {
    let Eligible { count, refusals, causes, .. } = eligible;
    let (refusals, causes) = (distinct(refusals), Box::new(causes));
    match count {
        0 => PublishError::NobodyEligible { refusals, causes },
        _ => PublishError::NoRoom { refusals, causes },
    }
}
