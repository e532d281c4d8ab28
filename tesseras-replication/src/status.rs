//! How a tessera is: asked of its holders now, counted conservatively.

use std::collections::BTreeMap;

use tesseras_core::code::{Piece, WHOLE_COPIES};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::placement::{self, Placement};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Origin, Publication, StoreError};

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

/// What is known about a tessera's pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TesseraHealth {
    /// In one word.
    pub state: State,
    /// n, or the target number of whole copies.
    pub total: usize,
    /// How many of them were attested.
    pub live: usize,
    /// How many are needed to read it.
    pub needed: usize,
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

/// Which form of a tessera counts, and how complete it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) coded: bool,
    pub(crate) live: usize,
    pub(crate) needed: usize,
}

impl Form {
    /// The coded form, once it is readable or nothing else is; whole copies otherwise.
    pub(crate) fn of(placement: &Placement, plan: &Plan) -> Self {
        let whole = placement::whole_copies(placement);
        let distinct = placement::distinct_fragments(placement).len();
        match plan.coded() {
            Some(form) if distinct >= usize::from(form.shape.k) || (whole == 0 && distinct > 0) => {
                Self { coded: true, live: distinct, needed: form.shape.k.into() }
            }
            _ => Self { coded: false, live: whole, needed: 1 },
        }
    }
}

impl Replication {
    /// How a tessera is now; `None` if no record of it is found anywhere.
    pub async fn status(&self, tessera: TesseraHash) -> Result<Option<TesseraHealth>, StoreError> {
        let (in_library, unpublished) = self.own_part(tessera).await?;
        let survey = self.survey(tessera).await?;
        if !survey.known && !in_library {
            return Ok(None);
        }
        let dossier = match survey.known || unpublished.is_some() {
            true => self.any_dossier(tessera, &survey).await,
            false => None,
        };
        let Some(dossier) = dossier else {
            let state = unpublished.unwrap_or(State::Unreachable);
            let placement = Placement::new();
            let (total, live, needed, survives, crowded) = (0, 0, 1, 0, false);
            let health = TesseraHealth {
                state,
                total,
                live,
                needed,
                survives,
                placement,
                crowded,
                in_library,
            };
            if in_library {
                self.note_seen(tessera, &health);
            }
            return Ok(Some(health));
        };
        let mut health = self.health(&dossier, &survey, in_library).await;
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
            let state = match stores.holdings.publication(&tessera)? {
                _ if under_way => Some(State::Publishing),
                Publication::Publishing => Some(State::Publishing),
                Publication::Draft if record.origin == Origin::Created => Some(State::Local),
                Publication::Draft | Publication::Published => None,
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
        let form = Form::of(&placement, plan);
        let total = match plan.coded() {
            Some(coded) if form.coded => coded.shape.n().into(),
            _ => self.wanted_copies(dossier, survey, &placement).await,
        };
        let k = plan.coded().map(|coded| coded.shape.k);
        let live = form.live.min(total);
        let state = if !placement::is_readable(&placement, k) {
            State::Unreachable
        } else if live == total {
            State::Healthy
        } else {
            State::Degraded
        };
        TesseraHealth {
            state,
            total,
            live,
            needed: form.needed,
            survives: placement::survives(&placement, k),
            crowded: is_crowded(survey, &placement),
            placement,
            in_library,
        }
    }

    /// How many whole copies there should be: seven, or as many as there are nodes for.
    async fn wanted_copies(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        placement: &Placement,
    ) -> usize {
        let copies = placement::whole_copies(placement);
        if copies >= WHOLE_COPIES {
            return WHOLE_COPIES;
        }
        let ask = Ask {
            wanted: WHOLE_COPIES,
            bytes: dossier.plan().pack_bytes(),
            repair: true,
            include_self: self.may_hold(dossier.tessera()).await,
        };
        let live = live_contacts(survey);
        self.find_eligible(dossier, placement, &live, ask).await.count.min(WHOLE_COPIES)
    }

    /// Whether this node could be a holder at all: it did not make the tessera, and its person
    /// did not drop it.
    pub(crate) async fn may_hold(&self, tessera: TesseraHash) -> bool {
        self.refuse_unwanted(tessera).await.is_ok()
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

fn is_crowded(survey: &Survey, placement: &Placement) -> bool {
    use tesseras_core::contact::Subnet;
    use tesseras_core::placement::{Assignment, Candidate};
    let candidates = placement.iter().filter_map(|(id, pieces): (_, &_)| {
        let address = survey.live.get(id)?.contact.addresses.first()?;
        let subnet = Subnet::of(address.ip());
        Some(Candidate { id: *id, subnet, pieces: pieces.clone(), open: false })
    });
    Assignment::new(tesseras_core::ids::DhtKey::new([0; 20]), candidates).is_crowded()
}

/// All pieces of a plan's coded form.
pub(crate) fn coded_pieces(plan: &Plan) -> impl Iterator<Item = Piece> + use<> {
    (0..plan.coded().map_or(0, |form| form.shape.n())).map(Piece::Index)
}
