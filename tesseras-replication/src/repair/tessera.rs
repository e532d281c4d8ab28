//! The repair of one tessera: its holders are asked, and what is missing is placed.

use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{Charge, StoreError};
use tesseras_core::progress::{Meter, OnProgress, Progress};

use super::look::Findings;
use super::prepare::Means;
use super::why::Why;
use super::{Effort, Occasion, RepairError, Repaired, Repairer};
use crate::distribute::{Distributor, Placing, bytes_of};
use crate::dossier::VerifiedDossier;
use crate::peers::Priority;
use crate::policy::offers::distinct;
use crate::policy::survey::Survey;
use crate::policy::urgency::Urgency;
use crate::publish::Publisher;
use crate::tessera_lock::TesseraLock;
use crate::throttle::{Throttled, Waited};

impl Repairer<'_> {
    /// Repairs one tessera: surveys its holders, and if pieces are missing, rebuilds and places
    /// them.
    pub(crate) async fn repair(
        &self,
        tessera: TesseraHash,
        occasion: Occasion,
        on_progress: &OnProgress,
    ) -> Result<Repaired, RepairError> {
        let lock = &self.workshop.lock(tessera).await;
        let effort = Effort { occasion, waited: &Waited::default() };
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
        // What is gone from the disk is found by this, and counts as damaged from now on.
        self.holder.held_pieces(tessera).await?;
        let damaged = self.holder.damaged_pieces(tessera).await?.len();
        let done = self.look_and_place(lock, effort, on_progress).await;
        if damaged > 0 {
            let left = self.holder.damaged_pieces(tessera).await?.len();
            self.holder.note_replaced(tessera, damaged.saturating_sub(left), left);
        }
        done
    }

    /// Surveys, and rebuilds and places what is missing, here and elsewhere.
    async fn look_and_place(
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
            unreachable: survey.silent_ids(),
            missing: lack.without_room,
            ..Repaired::default()
        };
        let (occasion, plan, stewardship) = (effort.occasion, dossier.plan(), self.stewardship());
        let urgency = stewardship.urgency(occasion, plan, &lack, survey);
        let most = eligible.assignment.holders_when_full();
        let turn = stewardship.turn(plan, survey, most, charge, occasion);
        let awaited = stewardship.turn_to_wait_for(tessera, urgency, turn, occasion).await?;
        match awaited {
            Some(turn) => stewardship.postpone(tessera, turn),
            None => stewardship.forget(&tessera),
        }
        if awaited.is_some() || urgency == Urgency::Later {
            done.waiting = lack.pieces.len();
        }
        let why = Why::of(urgency, turn);
        let means = self.means(urgency, effort, on_progress);
        if lack.pieces.len() > done.waiting {
            return self.replace(lock, findings, charge, done, means, why).await;
        }
        if done.missing > 0 {
            done.refusals = why_missing(done.missing, asked, eligible.refusals.clone());
        }
        done.missing += done.waiting;
        if awaited.is_some() {
            // What was fetched for it before is kept.
            self.tell_again(lock, survey).await?;
            return Ok(done);
        }
        // Nothing is placed elsewhere: damage on this node does not fail the repair.
        match self.mend_own(lock, dossier, survey, means).await {
            Ok(mended) => done.restored = mended,
            Err(error) => done.refusals.push(error.to_string()),
        }
        self.conclude(lock, survey).await?;
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
            let record = why.record(self.peers.me(), self.holder.clock.now(), &done);
            self.holder.note_repair(lock.tessera(), record).await;
        }
        let mut holders = survey.contacts();
        holders.extend(delivery.holders.into_iter().map(|contact| (contact.id, contact)));
        let holders: Vec<Contact> = holders.into_values().collect();
        self.publisher().telling(lock, &holders).tell().await?;
        Ok(done)
    }

    /// The dossier kept here, if this node may repair the tessera; `None` if it is damaged.
    pub(super) async fn stored_dossier(
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

    /// Ends with a tessera of which nothing is missing.
    pub(super) async fn conclude(
        &self,
        lock: &TesseraLock,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        self.tell_again(lock, survey).await?;
        self.workshop.unpin(lock).await;
        Ok(())
    }

    /// Tells all attesting holders that a tessera is published, unless they have been told.
    async fn tell_again(&self, lock: &TesseraLock, survey: &Survey) -> Result<(), StoreError> {
        if self.library.is_to_tell(lock.tessera()).await? {
            let others = survey.contacts_except(self.peers.me());
            self.publisher().telling(lock, &others).tell().await?;
        }
        Ok(())
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
