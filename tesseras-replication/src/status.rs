//! How a tessera is: asked of its holders now, counted conservatively.

use std::collections::BTreeMap;

use tesseras_core::code::Shape;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::placement::{self, Assignment, Candidate, Placement, TargetForm};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Origin, StoreError};
use tesseras_core::publication::PublicationState;
use thiserror::Error;

use crate::clock::ClockOff;
use crate::context::Replication;
use crate::distribute::Ask;
use crate::dossier::VerifiedDossier;
use crate::survey::Survey;

/// How many of the plans that holders attest are looked at, the most common first. There is only
/// one, unless its creator or holders lie.
const MAX_PLANS: usize = 4;
/// How many holders are asked for the dossier of one plan.
const MAX_TELLERS: usize = 8;

/// How a tessera is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made here, and not published.
    Local,
    /// Being published from here, in the background perhaps.
    Publishing,
    /// All pieces are live.
    Healthy,
    /// Readable, but pieces are missing.
    Degraded,
    /// Not readable from its holders now.
    Unreachable,
}

/// Why it is not known how a tessera is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StatusError {
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known about a tessera's pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TesseraHealth {
    /// In one word.
    pub state: State,
    /// n for a coded form, or the target number of whole copies.
    pub total: usize,
    /// How many of them were attested.
    pub live: usize,
    /// How many are needed to read it.
    pub needed: usize,
    /// The whole copies, those beside a coded form too.
    pub copies: Copies,
    /// How many of the holders, the worst ones, may vanish.
    pub survives: usize,
    /// Who attested what.
    pub placement: Placement,
    /// Whether holders share neighbourhoods that should not.
    pub crowded: bool,
    /// Whether the capsule is in the library of the node that was asked. It counts for nothing
    /// above: it is lost with that node.
    pub in_library: bool,
}

/// Whole copies of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies {
    /// How many there should be.
    pub total: usize,
    /// How many of these were attested.
    pub live: usize,
}

/// What of a tessera counts, and how complete it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) live: usize,
    pub(crate) needed: usize,
    pub(crate) copies: Copies,
}

impl Counts {
    /// Counts fragments, once the coded form is readable or nothing else is, and the copies beside
    /// them; otherwise whole copies, as many as would do what the target form does.
    pub(crate) fn of(form: &TargetForm, placement: &Placement, plan: &Plan) -> Self {
        let whole = placement::whole_copies(placement);
        let copies = Copies { total: form.whole, live: whole.min(form.whole) };
        let distinct = placement::distinct_fragments(placement).len();
        let fragments_count = |shape: &Shape| match form.coded {
            Some(_) => whole == 0 || distinct >= shape.k.into(),
            None => whole == 0 && distinct > 0,
        };
        match plan.coded().map(|coded| coded.shape).filter(fragments_count) {
            Some(shape) => {
                Self { total: shape.n().into(), live: distinct, needed: shape.k.into(), copies }
            }
            None => {
                let total = form.coded.map_or(form.whole, |_| form.survives + 1);
                Self { total, live: whole.min(total), needed: 1, copies }
            }
        }
    }

    /// Whether all that should be is there.
    pub(crate) fn are_complete(&self) -> bool {
        self.live == self.total && self.copies.live == self.copies.total
    }
}

impl TesseraHealth {
    /// Of which nobody could tell anything.
    fn nothing(in_library: bool) -> Self {
        Self {
            state: State::Unreachable,
            total: 0,
            live: 0,
            needed: 1,
            copies: Copies::default(),
            survives: 0,
            placement: Placement::new(),
            crowded: false,
            in_library,
        }
    }
}

impl Replication {
    /// How a tessera is now; `None` if no record of it is found anywhere.
    pub async fn status(&self, tessera: TesseraHash) -> Result<Option<TesseraHealth>, StatusError> {
        let (in_library, unpublished) = self.own_part(tessera).await?;
        let survey = self.survey(tessera).await?;
        self.check_clock_after(&survey).await?;
        if !survey.known && !in_library {
            return Ok(None);
        }
        let dossier = match survey.known || unpublished.is_some() {
            true => self.any_dossier(tessera, &survey).await,
            false => None,
        };
        let mut health = match &dossier {
            Some(dossier) => self.health(dossier, &survey, in_library).await,
            None => TesseraHealth::nothing(in_library),
        };
        health.state = unpublished.unwrap_or(health.state);
        if in_library {
            self.note_seen(tessera, &health);
        }
        Ok(Some(health))
    }

    /// Whether a capsule is in the library here, and its state while its owner has not published
    /// it. What others hold of it then is what was placed before a publication was stopped.
    pub(crate) async fn own_part(
        &self,
        tessera: TesseraHash,
    ) -> Result<(bool, Option<State>), StoreError> {
        let under_way = self.tables().publishing.contains_key(&tessera);
        self.blocking(move |stores| {
            let Some(record) = stores.library.get(&tessera)? else { return Ok((false, None)) };
            let state = match stores.holdings.publication(&tessera)?.state() {
                _ if under_way => Some(State::Publishing),
                PublicationState::Publishing => Some(State::Publishing),
                PublicationState::Local if record.origin == Origin::Created => Some(State::Local),
                PublicationState::Local | PublicationState::Published => None,
            };
            Ok((true, state))
        })
        .await
    }

    /// Counts what a survey found.
    pub(crate) async fn health(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        in_library: bool,
    ) -> TesseraHealth {
        let plan = dossier.plan();
        let placement = survey.placement(plan);
        let ask = Ask::of(plan, true, self.may_hold(dossier.tessera()).await);
        let eligible = self.find_eligible(dossier, &placement, &live_contacts(survey), ask).await;
        let mut counts = Counts::of(&eligible.assignment.target(), &placement, plan);
        let k = plan.coded().map(|coded| coded.shape.k);
        let survives = placement::survives(&placement, k);
        // Those who were seen lately and are silent still count in what there should be: a loss is
        // no smaller target.
        let known = eligible.count + survey.silent.len();
        let expected = TargetForm::of(plan.pack_bytes(), known);
        if counts.needed == 1 && expected.coded.is_none() {
            counts.total = counts.total.max(expected.whole);
        }
        let state = if !placement::is_readable(&placement, k) {
            State::Unreachable
        } else if counts.are_complete()
            && (survey.silent.is_empty() || survives >= expected.survives)
        {
            State::Healthy
        } else {
            State::Degraded
        };
        TesseraHealth {
            state,
            total: counts.total,
            live: counts.live,
            needed: counts.needed,
            copies: counts.copies,
            survives,
            crowded: attested(dossier, survey).is_crowded(),
            placement,
            in_library,
        }
    }

    /// Whether this node could be a holder at all: it did not make the tessera, and its owner did
    /// not drop it.
    pub(crate) async fn may_hold(&self, tessera: TesseraHash) -> bool {
        matches!(self.unwanted(tessera).await, Ok(None))
    }

    /// The dossier kept here, or that of any live holder; of several plans the one that most
    /// holders keep.
    pub(crate) async fn any_dossier(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
    ) -> Option<VerifiedDossier> {
        if let Ok(Some(dossier)) = self.stored_dossier(tessera).await {
            return Some(dossier);
        }
        self.dossiers_of_holders(tessera, survey).await.into_iter().next()
    }

    /// One dossier for each plan that holders keep, the most common plan first.
    pub(crate) async fn dossiers_of_holders(
        &self,
        tessera: TesseraHash,
        survey: &Survey,
    ) -> Vec<VerifiedDossier> {
        let mut by_plan: BTreeMap<ContentHash, Vec<&Contact>> = BTreeMap::new();
        for (id, holder) in survey.live.iter().filter(|(id, _)| **id != self.id()) {
            if let Some(plan) = holder.plan {
                debug_assert_eq!(*id, holder.contact.id);
                by_plan.entry(plan).or_default().push(&holder.contact);
            }
        }
        let mut plans: Vec<_> = by_plan.into_iter().collect();
        plans.sort_by_key(|(_, holders)| std::cmp::Reverse(holders.len()));
        let mut dossiers = Vec::new();
        for (plan, holders) in plans.into_iter().take(MAX_PLANS) {
            for holder in holders.into_iter().take(MAX_TELLERS) {
                match self.take_dossier(holder, tessera).await {
                    Ok(dossier) if dossier.plan_hash() == plan => {
                        dossiers.push(dossier);
                        break;
                    }
                    Ok(_) => tracing::warn!(holder = %holder.id, %tessera, "attests another plan"),
                    Err(error) => {
                        tracing::info!(holder = %holder.id, %tessera, %error, "no dossier");
                    }
                }
            }
        }
        dossiers
    }
}

/// Where all live holders are.
pub(crate) fn live_contacts(survey: &Survey) -> BTreeMap<NodeId, Contact> {
    survey.live.iter().map(|(id, holder)| (*id, holder.contact.clone())).collect()
}

/// Those who attest pieces of a plan, without room for more.
pub(crate) fn attested(dossier: &VerifiedDossier, survey: &Survey) -> Assignment {
    let placement = survey.placement(dossier.plan());
    let candidates = placement.into_iter().filter_map(|(id, pieces)| {
        let address = survey.live.get(&id)?.contact.addresses.first()?;
        Some(Candidate { id, subnet: Subnet::of(address.ip()), pieces, room: 0 })
    });
    Assignment::new(dossier.tessera().dht_key(), dossier.plan().pack_bytes(), candidates)
}
