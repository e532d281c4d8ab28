//! Publishing: a capsule of the library is planned, encoded, and placed on other nodes.

mod error;

use std::iter::repeat_n;
use std::sync::Arc;

use tesseras_core::code::CodedForm;
use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::placement;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{Charge, StoreError};
use tesseras_core::progress::{Meter, OnProgress};

use crate::blocking::Blocking;
use crate::candidates::Candidates;
use crate::clock::check_clock_after;
use crate::collect::{CollectError, Collector};
use crate::distribute::{Distributor, Placing, bytes_of};
use crate::dossier::VerifiedDossier;
use crate::dossiers::dossiers_of_holders;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::{Peers, Priority};
use crate::pieces::PieceSource;
use crate::policy::health::{Copies, Counts};
use crate::policy::offers::{Eligible, OfferTerms, distinct};
use crate::policy::patience::Manner;
use crate::policy::rounds::{Next, Rounds};
use crate::policy::survey::Survey;
use crate::ports::{Directory, OpenCapsule};
use crate::roster::Roster;
use crate::survey::{Scope, survey};
use crate::telling::{Showing, Telling};
use crate::tessera_lock::TesseraLock;
use crate::workshop::Workshop;

pub use error::PublishError;

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
            self.collector(lock).prepare_parity(dossier, source, &missing, on_progress).await?;
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
        if !self.library.note_published(lock).await? {
            return Err(PublishError::Stopped(tessera));
        }
        let (collector, distributor) = (self.collector(lock), self.distributor(lock));
        let pieces = Showing { collector, distributor, dossier, source, placement: &placement };
        let holders: Vec<Contact> = known.contacts().into_values().collect();
        let told = self.telling(lock, &holders).tell_and_show(pieces).await;
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

    /// What tells these holders that a tessera is published.
    pub(crate) fn telling<'a>(
        &'a self,
        lock: &'a TesseraLock,
        holders: &'a [Contact],
    ) -> Telling<'a> {
        let Self { peers, holder, library, directory, .. } = *self;
        let roster = Roster { peers, holder, directory, tessera: lock.tessera(), holders };
        Telling { library, lock, roster }
    }

    fn collector<'a>(&'a self, lock: &'a TesseraLock) -> Collector<'a> {
        let Self { peers, holder, workshop, .. } = *self;
        let priority = Priority::Interactive;
        Collector { peers, holder, workshop, lock, priority, throttled: None }
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
