//! Repair: holders replace missing pieces, without the owner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::lock::lock as locked;
use tesseras_core::ports::{Charge, RepairReason, RepairRecord, StoreError};
use tesseras_core::time::Timestamp;
use tesseras_wire::{BoxFuture, BoxStream};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::candidates::Candidates;
use crate::clock::{ClockOff, check_clock_after};
use crate::collect::{CollectError, Collected, Collector, Holders};
use crate::distribute::{Distributor, Placing, bytes_of};
use crate::dossier::VerifiedDossier;
use crate::dossiers::dossiers_of_holders;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::{Peers, Priority};
use crate::pieces::PieceSource;
use crate::policy::agenda::{Agenda, Postponed};
use crate::policy::offers::{Eligible, OfferTerms, distinct};
use crate::policy::patience::Manner;
use crate::policy::rebuild::to_rebuild;
use crate::policy::steward::{Turn, turn_of};
use crate::policy::survey::{Survey, neighbourhood};
use crate::policy::urgency::{Haste, Urgency, urgency};
use crate::ports::Directory;
use crate::publish::Publisher;
use crate::survey::{Scope, Surveying, survey_if_full};
use crate::tessera_lock::TesseraLock;
use crate::throttle::{Throttle, Throttled, Waited};
use crate::workshop::Workshop;
use tesseras_core::progress::{Meter, OnProgress, Progress};

/// The deadline for one tessera, however many are repaired at once. The time for which it waits for
/// its turn to transfer does not count.
pub const REPAIR_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// How many tesserae are checked concurrently, by asking their recorded holders.
const CHECKS_AT_ONCE: usize = 64;
/// How many tesserae are repaired at once.
const REPAIRS_AT_ONCE: usize = 16;

/// The result of checking and repairing one tessera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many pieces were rebuilt or copied and have a holder again.
    pub restored: usize,
    /// The known holders that did not answer. The same nodes may be counted for several tesserae.
    pub unreachable: BTreeSet<NodeId>,
    /// How many pieces are still missing.
    pub missing: usize,
    /// How many of these are left for a later repair: holders that were seen lately may come back,
    /// or it waits for its turn.
    pub waiting: usize,
    /// Why pieces are still missing, as messages for people; not empty if any are.
    pub refusals: Vec<String>,
}

/// Why a tessera could not be repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    /// This node's clock seems wrong, and no other node's attestation was valid: perhaps nothing
    /// is missing.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// It is neither held nor published here.
    #[error("{0} is neither held nor published by this node")]
    NotHeld(TesseraHash),
    /// Its owner has not published it, or has cancelled.
    #[error("{0} is not published")]
    NotPublished(TesseraHash),
    /// The dossier kept here is damaged, and no other holder returned it.
    #[error("the description of {0} kept here is damaged, and no other node has it now")]
    DamagedDossier(TesseraHash),
    /// The remaining pieces do not suffice, or cannot be obtained now.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// It took longer than [`REPAIR_DEADLINE`].
    #[error("the repair of {0} took too long; prepared pieces are kept for the next attempt")]
    Deadline(TesseraHash),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The collaborators of repair: what is held and published here, the workbench, and the services
/// that reach other nodes.
#[derive(Clone, Copy)]
pub(crate) struct Repairer<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
    pub(crate) throttle: &'a Throttle,
    /// The tesserae whose repair waits for its turn.
    pub(crate) agenda: &'a Mutex<Agenda>,
}

/// How one tessera is repaired.
#[derive(Clone, Copy)]
pub(crate) struct Effort<'a> {
    pub(crate) haste: Haste,
    /// Whether what is not urgent is done now. Otherwise it waits for its turn.
    pub(crate) in_turn: bool,
    /// For how long it has waited for bandwidth.
    pub(crate) waited: &'a Waited,
}

/// Why this node repairs a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Someone asked for it.
    Asked,
    /// It may be lost soon.
    Endangered,
    /// It was due, and this node's turn.
    Turn { rank: usize, since: Timestamp },
}

impl Why {
    fn of(urgency: Urgency, turn: Option<(Turn, Timestamp)>) -> Self {
        match turn {
            None => Self::Asked,
            Some(_) if urgency == Urgency::Now => Self::Endangered,
            Some((Turn { rank, .. }, since)) => Self::Turn { rank, since },
        }
    }

    /// Logs what a repair has done, of which so many pieces were wanted.
    fn log(self, tessera: TesseraHash, wanted: usize, done: &Repaired) {
        let Repaired { restored, missing, .. } = done;
        let gone = done.unreachable.len();
        match self {
            Self::Asked => {
                tracing::info!(%tessera, wanted, restored, missing, "repaired: it was asked for");
            }
            Self::Endangered => {
                tracing::info!(%tessera, gone, wanted, restored, missing, "repaired: endangered");
            }
            Self::Turn { rank, since } => {
                let due_since = since.0;
                tracing::info!(
                    %tessera, rank, due_since, gone, wanted, restored, missing,
                    "repaired: it was this node's turn"
                );
            }
        }
    }
}

/// What a repair uses besides its collaborators.
#[derive(Clone, Copy)]
struct Means<'a> {
    throttled: Throttled<'a>,
    on_progress: &'a OnProgress,
}

/// The complete result of a survey.
struct Findings {
    dossier: VerifiedDossier,
    survey: Survey,
    eligible: Eligible,
    prepared: Option<Prepared>,
}

/// What was prepared before all nodes had answered.
struct Prepared {
    pieces: Vec<Piece>,
    source: Result<PieceSource, RepairError>,
}

impl Prepared {
    /// What was prepared, if all of these pieces are part of it.
    fn with_all(self, wanted: &[Piece]) -> Option<Result<PieceSource, RepairError>> {
        wanted.iter().all(|piece| self.pieces.contains(piece)).then_some(self.source)
    }
}

impl<'a> Repairer<'a> {
    /// Repairs many tesserae, several at once, the most endangered first. If the recorded holders
    /// attest everything there should be, no other node is asked. Each tessera has its own
    /// deadline: a dead or slow holder delays only those that it holds.
    pub(crate) fn repair_each(
        self,
        mut tesserae: Vec<TesseraHash>,
        haste: Haste,
        on_progress: OnProgress,
    ) -> BoxStream<'a, (TesseraHash, Result<Repaired, RepairError>)> {
        tesserae.sort_by_cached_key(|tessera| self.holder.last_survived(tessera));
        let repairs = Arc::new(Semaphore::new(REPAIRS_AT_ONCE));
        let each = stream::iter(tesserae).map(move |tessera| -> BoxFuture<'a, _> {
            let (repairs, on_progress) = (repairs.clone(), on_progress.clone());
            Box::pin(async move {
                let overdue = |_| Err(RepairError::Deadline(tessera));
                let checked = timeout(REPAIR_DEADLINE, self.check(tessera)).await;
                let done = match checked.unwrap_or_else(overdue) {
                    Ok(None) => {
                        let _slot = repairs.acquire().await;
                        let repairing = self.repair(tessera, haste, &on_progress);
                        let repaired = timeout(REPAIR_DEADLINE, repairing).await;
                        repaired.unwrap_or_else(|_| Err(RepairError::Deadline(tessera)))
                    }
                    Ok(Some(done)) => Ok(done),
                    Err(error) => Err(error),
                };
                (tessera, done)
            })
        });
        Box::pin(each.buffer_unordered(CHECKS_AT_ONCE))
    }

    /// Asks only the recorded holders of a tessera, and only if there are as many as there should
    /// be. `None` if they do not attest everything there should be, or if it is time to ask others.
    async fn check(&self, tessera: TesseraHash) -> Result<Option<Repaired>, RepairError> {
        let Self { peers, holder, directory, .. } = *self;
        let lock = &self.workshop.lock(tessera).await;
        let Some(dossier) = self.stored_dossier(tessera).await? else { return Ok(None) };
        let is_damaged = !holder.damaged_pieces(tessera).await?.is_empty();
        if is_damaged || !holder.may_end_with_claims(&tessera) {
            return Ok(None);
        }
        let plan = dossier.plan();
        let Some(survey) = survey_if_full(peers, holder, directory, plan).await? else {
            return Ok(None);
        };
        check_clock_after(directory, &survey).await?;
        self.holder.note_survived(tessera, survey.survives(plan));
        holder.note_ended_with_claims(tessera);
        self.nothing_to_place(lock, &dossier, &survey).await?;
        locked(self.agenda).remove(&tessera);
        Ok(Some(Repaired { unreachable: silent(&survey), ..Repaired::default() }))
    }

    /// Repairs one tessera: surveys its holders, and if pieces are missing, rebuilds and places
    /// them.
    pub(crate) async fn repair(
        &self,
        tessera: TesseraHash,
        haste: Haste,
        on_progress: &OnProgress,
    ) -> Result<Repaired, RepairError> {
        let lock = &self.workshop.lock(tessera).await;
        let effort = Effort { haste, in_turn: false, waited: &Waited::default() };
        self.repair_locked(lock, effort, on_progress).await
    }

    /// The same, for a tessera that is locked.
    pub(crate) async fn repair_locked(
        &self,
        lock: &TesseraLock,
        effort: Effort<'_>,
        on_progress: &OnProgress,
    ) -> Result<Repaired, RepairError> {
        let tessera = lock.tessera();
        on_progress(Progress::begun("asking holders"));
        let stored = self.stored_dossier(tessera).await?;
        let charge = charge_of(self.library.is_own(tessera).await?);
        let findings = self.look(lock, stored, charge, effort, on_progress).await?;
        let Findings { dossier, survey, eligible, .. } = &findings;
        self.holder.note_surveyed(tessera);
        self.holder.note_survived(tessera, survey.survives(dossier.plan()));
        let (lack, asked) = (eligible.assignment.lack(), eligible.contacts.len());
        let mut done = Repaired {
            unreachable: silent(survey),
            missing: lack.without_room,
            ..Repaired::default()
        };
        let now = self.holder.clock.now();
        let urgency = urgency(effort.haste, dossier.plan(), &lack, survey, now);
        let turn = self.turn(&findings, charge, effort.haste);
        let postponed = self.is_postponed(tessera, urgency, turn, effort.in_turn).await?;
        if postponed || urgency == Urgency::Later {
            done.waiting = lack.pieces.len();
        }
        let why = Why::of(urgency, turn);
        let means = Means { throttled: self.throttled(urgency, effort), on_progress };
        if lack.pieces.len() > done.waiting {
            return self.replace(lock, findings, charge, done, means, why).await;
        }
        if done.missing > 0 {
            done.refusals = why_missing(done.missing, asked, eligible.refusals.clone());
        }
        done.missing += done.waiting;
        if postponed {
            // What was fetched for it before is kept.
            self.confirm_again(dossier, survey).await?;
            return Ok(done);
        }
        // Nothing is placed elsewhere: damage on this node does not fail the repair.
        match self.mend_own(lock, dossier, survey, means).await {
            Ok(mended) => done.restored = mended,
            Err(error) => done.refusals.push(error.to_string()),
        }
        self.nothing_to_place(lock, dossier, survey).await?;
        Ok(done)
    }

    /// Replaces what is missing, and adds the outcome to the result.
    async fn replace(
        &self,
        lock: &TesseraLock,
        findings: Findings,
        charge: Charge<()>,
        mut done: Repaired,
        means: Means<'_>,
        why: Why,
    ) -> Result<Repaired, RepairError> {
        let Findings { dossier, survey, eligible, prepared } = findings;
        let (lack, asked) = (eligible.assignment.lack(), eligible.contacts.len());
        let source = match prepared.and_then(|prepared| prepared.with_all(&lack.pieces)) {
            Some(source) => source?,
            None => self.prepare(lock, &dossier, &survey, &lack.pieces, means).await?,
        };
        let Means { throttled, on_progress } = means;
        let placing = Placing::by(charge, survey.contacts_except(self.peers.me()));
        let (total, wanted) = (bytes_of(dossier.plan(), &lack.pieces), lack.pieces.len());
        let count = Meter::new("placing pieces", total, on_progress);
        let distributor = self.distributor(lock, throttled);
        let delivery = distributor
            .distribute(&dossier, &source, lack.pieces, eligible, &placing, &count)
            .await;
        self.workshop.unpin(lock).await;
        done.restored = delivery.placed;
        done.missing += delivery.unplaced;
        done.refusals = why_missing(done.missing, asked, delivery.refusals);
        why.log(lock.tessera(), wanted, &done);
        if done.restored > 0 {
            self.holder.note_repair(lock.tessera(), self.record_of(&done, why)).await;
        }
        let mut holders = survey.contacts();
        holders.extend(delivery.holders.into_iter().map(|contact| (contact.id, contact)));
        let holders: Vec<Contact> = holders.into_values().collect();
        self.publisher().confirm(&dossier, &holders).await;
        Ok(done)
    }

    /// The turn of this node to repair a tessera, and since when it knows that this is due; `None` if
    /// it is not done in turns.
    fn turn(
        &self,
        findings: &Findings,
        charge: Charge<()>,
        haste: Haste,
    ) -> Option<(Turn, Timestamp)> {
        let Haste::Routine { turns, .. } = haste else { return None };
        let (plan, me, now) = (findings.dossier.plan(), self.peers.me(), self.holder.clock.now());
        let since = locked(self.agenda).due_since(&plan.tessera()).unwrap_or(now);
        // The owner's node does not wait for others.
        if charge == Charge::OWN {
            return Some((Turn { rank: 0, steward: None, at: since }, since));
        }
        let placement = findings.survey.placement(plan);
        let live = placement.keys().filter_map(|id| findings.survey.live.get(id));
        let others = live.map(|holder| (holder.contact.id, neighbourhood(&holder.contact)));
        let most = findings.eligible.assignment.holders_when_full();
        let turn = turn_of(me, plan.tessera().dht_key(), others, most, since, turns);
        Some((turn, since))
    }

    fn record_of(&self, done: &Repaired, why: Why) -> RepairRecord {
        let reason = match why {
            Why::Asked => RepairReason::Asked,
            Why::Endangered => RepairReason::Endangered,
            Why::Turn { .. } => RepairReason::Turn,
        };
        RepairRecord {
            by: self.peers.me(),
            at: self.holder.clock.now(),
            pieces: done.restored as u64,
            silent: done.unreachable.len() as u64,
            reason: Some(reason),
        }
    }

    /// Whether a repair waits for its turn; then it is on the agenda. It needs none if nothing is to be
    /// transferred for it.
    async fn is_postponed(
        &self,
        tessera: TesseraHash,
        urgency: Urgency,
        turn: Option<(Turn, Timestamp)>,
        in_turn: bool,
    ) -> Result<bool, RepairError> {
        let now = self.holder.clock.now();
        let postponed = match turn {
            Some((Turn { at, steward, .. }, since)) if urgency == Urgency::InTurn => {
                (!in_turn || at > now).then_some(Postponed { at, since, steward })
            }
            Some(_) if urgency == Urgency::Later && !in_turn => {
                // What is damaged here is replaced by this node in any case.
                let is_damaged = !self.holder.damaged_pieces(tessera).await?.is_empty();
                is_damaged.then_some(Postponed { at: now, since: now, steward: None })
            }
            _ => None,
        };
        let mut agenda = locked(self.agenda);
        match postponed {
            Some(postponed) => agenda.put(tessera, postponed),
            None => agenda.remove(&tessera),
        }
        Ok(postponed.is_some())
    }

    /// The bandwidth for a repair: one that is urgent does not wait for it.
    fn throttled<'b>(&'b self, urgency: Urgency, effort: Effort<'b>) -> Throttled<'b> {
        let Effort { waited, .. } = effort;
        Throttled { by: self.throttle, waits: urgency != Urgency::Now, waited }
    }

    /// The dossier kept here, if this node may repair the tessera; `None` if it is damaged.
    async fn stored_dossier(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<VerifiedDossier>, RepairError> {
        let stored = match self.holder.stored_dossier(tessera).await {
            Ok(None) => return Err(RepairError::NotHeld(tessera)),
            Ok(stored) => stored,
            Err(_) => None,
        };
        match self.library.may_repair(tessera).await? {
            true => Ok(stored),
            false => Err(RepairError::NotPublished(tessera)),
        }
    }

    /// Surveys all holders and candidates. While the pieces that seem to be missing are prepared,
    /// slow nodes may still answer.
    async fn look(
        &self,
        lock: &TesseraLock,
        stored: Option<VerifiedDossier>,
        charge: Charge<()>,
        effort: Effort<'_>,
        on_progress: &OnProgress,
    ) -> Result<Findings, RepairError> {
        let Self { peers, holder, directory, .. } = *self;
        let (candidates, tessera) = (self.candidates(), lock.tessera());
        let may_hold = holder.may_hold(tessera).await;
        let terms = match &stored {
            Some(dossier) => OfferTerms::of(dossier.plan(), charge, may_hold),
            None => OfferTerms::of_unknown(charge, may_hold),
        };
        let begun =
            Surveying::begin(peers, holder, directory, tessera, Scope::Network, Manner::Quick);
        let mut surveying = begun.await?;
        let asking = candidates.ask(tessera, terms, Manner::Quick);
        let ((), prospects) = tokio::join!(surveying.settle(), asking);
        let mut early = surveying.as_of_now();
        let dossier = match stored {
            Some(dossier) => dossier,
            None => {
                check_clock_after(directory, &early).await?;
                self.mend_dossier(lock, &early).await?
            }
        };
        let terms = OfferTerms::of(dossier.plan(), charge, may_hold);
        let eligible = candidates.eligible(&dossier, &mut early, &prospects, terms).await;
        surveying.be(Manner::Thorough);
        let lack = eligible.assignment.lack();
        let now = holder.clock.now();
        let urgency = urgency(effort.haste, dossier.plan(), &lack, &early, now);
        let missing = lack.pieces;
        let preparing = async {
            if missing.is_empty() || !early.others_attested || urgency != Urgency::Now {
                return None;
            }
            let means = Means { throttled: self.throttled(urgency, effort), on_progress };
            let source = self.prepare(lock, &dossier, &early, &missing, means).await;
            Some(Prepared { pieces: missing, source })
        };
        let (prepared, mut survey) = tokio::join!(preparing, surveying.finish());
        check_clock_after(directory, &survey).await?;
        let eligible = candidates.eligible(&dossier, &mut survey, &prospects, terms).await;
        Ok(Findings { dossier, survey, eligible, prepared })
    }

    /// Ends with a tessera of which nothing is missing.
    async fn nothing_to_place(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        self.confirm_again(dossier, survey).await?;
        self.workshop.unpin(lock).await;
        Ok(())
    }

    /// Replaces the damaged pieces of this node with what other holders have; returns how many.
    async fn mend_own(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        survey: &Survey,
        means: Means<'_>,
    ) -> Result<usize, RepairError> {
        let tessera = dossier.tessera();
        let damaged = self.holder.damaged_pieces(tessera).await?;
        if damaged.is_empty() {
            return Ok(0);
        }
        let source = self.prepare(lock, dossier, survey, &damaged, means).await?;
        for piece in &damaged {
            self.holder.mend(lock, dossier, &source, *piece).await;
        }
        let left = self.holder.damaged_pieces(tessera).await?;
        Ok(damaged.len().saturating_sub(left.len()))
    }

    /// Tells all attesting holders that a tessera is published, unless they have been told.
    async fn confirm_again(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        if self.library.is_to_confirm(dossier.tessera()).await? {
            let others = survey.contacts_except(self.peers.me());
            self.publisher().confirm(dossier, &others).await;
        }
        Ok(())
    }

    /// Replaces a damaged dossier by that of another holder.
    async fn mend_dossier(
        &self,
        lock: &TesseraLock,
        survey: &Survey,
    ) -> Result<VerifiedDossier, RepairError> {
        let tessera = lock.tessera();
        let others = dossiers_of_holders(self.peers, tessera, survey, Priority::Background).await;
        let dossier = others.into_iter().next().ok_or(RepairError::DamagedDossier(tessera))?;
        self.throttle.spent(dossier.encoded_bytes());
        self.holder.keep_dossier(lock, dossier.clone()).await?;
        Ok(dossier)
    }

    /// Ensures that the missing pieces are at hand.
    async fn prepare(
        &self,
        lock: &TesseraLock,
        dossier: &VerifiedDossier,
        survey: &Survey,
        missing: &[Piece],
        means: Means<'_>,
    ) -> Result<PieceSource, RepairError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let Self { peers, holder, workshop, .. } = *self;
        let Means { throttled, on_progress } = means;
        let (priority, throttled) = (Priority::Background, Some(throttled));
        let collector = Collector { peers, holder, workshop, lock, priority, throttled };
        let whole = self.library.open(tessera).await?.map(|capsule| capsule.pack());
        let source = workshop.pieces(plan.clone(), whole).await?;
        let Collected { mut source, pieces: have, .. } =
            collector.collect(dossier, source, Holders::Known(survey), None, on_progress).await?;
        let lost = to_rebuild(plan, missing, &have);
        collector.rebuild(dossier, &mut source, &have, &lost, on_progress).await?;
        if !missing.contains(&Piece::Whole) {
            return Ok(source);
        }
        Ok(workshop.joined(source).await?)
    }

    fn candidates(&self) -> Candidates<'_> {
        let Self { peers, holder, directory, .. } = *self;
        Candidates { peers, holder, directory }
    }

    fn distributor<'b>(
        &'b self,
        lock: &'b TesseraLock,
        throttled: Throttled<'b>,
    ) -> Distributor<'b> {
        let Self { peers, holder, workshop, directory, .. } = *self;
        let (priority, throttled) = (Priority::Background, Some(throttled));
        Distributor { peers, holder, workshop, directory, lock, priority, throttled }
    }

    fn publisher(&self) -> Publisher<'_> {
        let Self { peers, holder, library, workshop, directory, .. } = *self;
        Publisher { peers, holder, library, workshop, directory }
    }
}

/// The account that is charged with the pieces that this node places: its own, if they are of its
/// owner's capsules.
fn charge_of(is_own: bool) -> Charge<()> {
    if is_own { Charge::OWN } else { Charge::REPAIR }
}

/// Why so many pieces are still missing after so many other nodes were asked; only the refusals if none
/// are. A node that has no room for a piece need not have refused anything.
fn why_missing(missing: usize, asked: usize, refusals: Vec<String>) -> Vec<String> {
    if missing == 0 {
        return distinct(refusals);
    }
    let summary = match asked {
        0 => "no other node is known".to_owned(),
        1 => "only 1 other node is known, and it did not take them".to_owned(),
        n => format!("{n} other nodes are known, and none of them took the rest"),
    };
    let given = distinct(refusals).into_iter().map(|refusal| format!("reason given: {refusal}"));
    std::iter::once(summary).chain(given).collect()
}

/// The known holders that did not answer.
fn silent(survey: &Survey) -> BTreeSet<NodeId> {
    survey.silent.iter().map(|contact| contact.id).collect()
}
