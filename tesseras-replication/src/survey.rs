//! Asking all possible holders of a tessera for attestations. A stream: its reader continues with
//! what is known, and nothing waits for the slowest.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use futures_util::StreamExt as _;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{PlacedPiece, StoreError};
use tesseras_wire::{BoxFuture, BoxStream};
use tokio::time::{Duration, Instant, sleep_until};

use crate::holder::Holder;
use crate::messages::Attestation;
use crate::peers::{AskError, Peers};
use crate::policy::patience::{Manner, Patience};
use crate::policy::slots::Slots;
use crate::policy::survey::{LiveHolder, Survey};
use crate::ports::Directory;

/// The most holders that are asked about one tessera; the code never needs as many.
const MAX_ASKED: usize = 512;

/// The nodes that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The recorded holders.
    Known,
    /// Those, and the holders found in the network.
    Network,
}

/// A survey in progress.
pub(crate) struct Surveying<'a> {
    peers: &'a Peers,
    holder: &'a Holder,
    directory: &'a dyn Directory,
    tessera: TesseraHash,
    /// When it started, or when the last answer came: while answers arrive, more can be expected.
    heard_at: Instant,
    patience: Patience,
    /// What this node placed, by its ledger.
    placed: Vec<PlacedPiece>,
    /// Whether nothing of the tessera was known here before.
    is_new: bool,
    /// Whether the network names this node as a holder.
    announced_here: bool,
    /// All possible holders other than this node.
    possible: BTreeMap<NodeId, PossibleHolder>,
    /// Those that are to be asked once there is a slot.
    waiting: VecDeque<Contact>,
    events: FuturesUnordered<BoxFuture<'a, Event>>,
    slots: Slots,
    finding: Option<BoxStream<'a, Contact>>,
    survey: Survey,
}

/// A possible holder.
struct PossibleHolder {
    contact: Contact,
    state: HolderState,
    /// Whether it was silent lately: it is asked, but not waited for.
    was_silent: bool,
    /// Whether its address was looked up again.
    resolved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HolderState {
    Waiting,
    Asked(Instant),
    Failed,
    Answered,
}

enum Event {
    Answer { contact: Contact, result: Result<(Attestation, SocketAddr), AskError>, sent: Instant },
    Resolved { id: NodeId, contact: Option<Contact> },
}

/// Asks all possible holders, and returns once all have answered or are overdue.
pub(crate) async fn survey(
    peers: &Peers,
    holder: &Holder,
    directory: &dyn Directory,
    tessera: TesseraHash,
    scope: Scope,
    manner: Manner,
) -> Result<Survey, StoreError> {
    Ok(Surveying::begin(peers, holder, directory, tessera, scope, manner).await?.finish().await)
}

/// Asks only the recorded holders of a tessera, and only if there are as many as there should be.
/// `None` if they do not attest everything there should be.
pub(crate) async fn survey_if_full(
    peers: &Peers,
    holder: &Holder,
    directory: &dyn Directory,
    plan: &Plan,
) -> Result<Option<Survey>, StoreError> {
    let (tessera, scope) = (plan.tessera(), Scope::Known);
    let begun = Surveying::begin(peers, holder, directory, tessera, scope, Manner::Quick);
    let mut surveying = begun.await?;
    if surveying.hopeful() < surveying.so_far().attested(plan).holders_when_full() {
        return Ok(None);
    }
    surveying.settle().await;
    if !surveying.so_far().attested(plan).is_full() {
        return Ok(None);
    }
    Ok(Some(surveying.end().await))
}

impl<'a> Surveying<'a> {
    /// Starts with the recorded holders; the network is asked for more in the meantime.
    pub(crate) async fn begin(
        peers: &'a Peers,
        holder: &'a Holder,
        directory: &'a dyn Directory,
        tessera: TesseraHash,
        scope: Scope,
        manner: Manner,
    ) -> Result<Self, StoreError> {
        let known = holder.remembered(tessera).await?;
        let plan = known.plan.as_deref();
        let addresses = directory.own_addresses();
        let own = holder.as_live_holder(tessera, plan, addresses).await?;
        let mut surveying = Self {
            peers,
            holder,
            directory,
            tessera,
            heard_at: Instant::now(),
            patience: Patience::new(manner, peers.answer_deadline()),
            placed: known.placed,
            is_new: known.plan.is_none(),
            announced_here: false,
            possible: BTreeMap::new(),
            waiting: VecDeque::new(),
            events: FuturesUnordered::new(),
            slots: Slots::default(),
            finding: (scope == Scope::Network).then(|| directory.find_holders(tessera.dht_key())),
            survey: Survey::default(),
        };
        let seen = known.holders.iter().filter_map(|known| Some((known.contact.id, known.seen?)));
        surveying.survey.last_seen = seen.collect();
        let mut remembered: Vec<Contact> =
            known.holders.into_iter().map(|known| known.contact).collect();
        let unaddressed = surveying.placed.iter().map(|placed| placed.holder);
        remembered.extend(unaddressed.map(|id| Contact { id, addresses: Vec::new() }));
        for contact in remembered {
            surveying.expect(contact);
        }
        surveying.is_new &= surveying.possible.is_empty() && own.is_none();
        surveying.survey.known = !surveying.possible.is_empty() || own.is_some();
        surveying.survey.live.extend(own.map(|own| (own.contact.id, own)));
        Ok(surveying)
    }

    /// How many may turn out to hold something: those that are asked and were not silent lately,
    /// and those that have attested.
    pub(crate) fn hopeful(&self) -> usize {
        let open = |holder: &&PossibleHolder| {
            !holder.was_silent
                && !matches!(holder.state, HolderState::Failed | HolderState::Answered)
        };
        self.possible.values().filter(open).count() + self.survey.live.len()
    }

    /// What is known so far.
    pub(crate) fn so_far(&self) -> &Survey {
        &self.survey
    }

    /// The next node that attested holding something; `None` once all have answered or are overdue.
    pub(crate) async fn next(&mut self) -> Option<LiveHolder> {
        loop {
            self.ask_more();
            let (look_up_at, give_up_at) = (self.look_up_at(), self.give_up_at());
            let free_at = self.free_at();
            let finding: OptionFuture<_> = self.finding.as_mut().map(|found| found.next()).into();
            tokio::select! {
                biased;
                Some(event) = self.events.next(), if !self.events.is_empty() => {
                    if let Some(holder) = self.heard(event) {
                        return Some(holder);
                    }
                }
                Some(found) = finding => match found {
                    Some(contact) => self.found(contact),
                    None => self.finding = None,
                },
                () = sleep_until(free_at.unwrap_or(self.heard_at)), if free_at.is_some() => {}
                () = sleep_until(look_up_at.unwrap_or(self.heard_at)), if look_up_at.is_some() => {
                    self.look_up_the_late();
                }
                () = sleep_until(give_up_at.unwrap_or(self.heard_at)), if give_up_at.is_some() => {
                    return None;
                }
                else => return None,
            }
        }
    }

    /// Waits until all have answered or are overdue.
    pub(crate) async fn settle(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Changes the manner: from now on, it decides when a node is overdue.
    pub(crate) fn set_manner(&mut self, manner: Manner) {
        self.patience.set_manner(manner);
    }

    /// Waits until all have answered or are overdue, and records the result.
    pub(crate) async fn finish(mut self) -> Survey {
        self.settle().await;
        self.end().await
    }

    /// Ends with what is known, and records it: nodes that have not answered count as silent. If that
    /// cannot be recorded, the result is still valid.
    pub(crate) async fn end(self) -> Survey {
        let survey = self.as_of_now();
        // Pieces that a holder itself no longer attests are removed from the ledger.
        let lacks = |p: &PlacedPiece| {
            let live = survey.live.get(&p.holder);
            self.has_answered(&p.holder)
                && live.is_none_or(|live| live.pieces.iter().all(|held| held.piece != p.piece))
        };
        let gone = self.placed.iter().copied().filter(lacks).collect();
        if let Err(error) = self.holder.remember_survey(self.tessera, &survey, gone).await {
            tracing::warn!(tessera = %self.tessera, %error, "the holders could not be recorded");
        }
        survey
    }

    /// What the survey would be if it ended now.
    pub(crate) fn as_of_now(&self) -> Survey {
        let mut survey = self.survey.clone();
        // A node without an address has not been seen for so long that it is no longer expected.
        let is_silent = |holder: &&PossibleHolder| {
            holder.state != HolderState::Answered && !holder.contact.addresses.is_empty()
        };
        let silent = self.possible.values().filter(is_silent);
        survey.silent = silent.map(|holder| holder.contact.clone()).collect();
        survey.known |= !self.possible.is_empty();
        let answered = || self.possible.keys().filter(|id| self.has_answered(id));
        // A key is a prefix of a hash, so it may be that of another tessera.
        if self.is_new {
            let without = answered().filter(|id| !survey.live.contains_key(id)).count();
            survey.of_another = without + usize::from(self.announced_here);
            survey.known = without < answered().count() || !survey.silent.is_empty();
        }
        survey.others_attested = answered().next().is_some();
        survey
    }

    fn has_answered(&self, id: &NodeId) -> bool {
        self.possible.get(id).is_some_and(|holder| holder.state == HolderState::Answered)
    }

    /// Adds a possible holder, to be asked at its reported address.
    fn expect(&mut self, contact: Contact) {
        let is_too_many = self.possible.len() >= MAX_ASKED;
        if contact.id == self.peers.me() || self.possible.contains_key(&contact.id) || is_too_many {
            return;
        }
        let (id, state) = match contact.addresses.is_empty() {
            true => (contact.id, HolderState::Failed),
            false => (contact.id, HolderState::Waiting),
        };
        if state == HolderState::Waiting {
            self.waiting.push_back(contact.clone());
        }
        let was_silent = self.peers.is_silent_at(&contact);
        self.possible.insert(id, PossibleHolder { contact, state, was_silent, resolved: false });
        if state == HolderState::Failed {
            self.look_up(id);
        }
    }

    /// The network names a holder: it is asked at once, even if it is recorded at another address.
    fn found(&mut self, contact: Contact) {
        if contact.id == self.peers.me() {
            self.announced_here = true;
            return;
        }
        match self.possible.get(&contact.id) {
            Some(_) => self.moved(contact),
            None => self.expect(contact),
        }
    }

    /// A node that has not answered may be at another address.
    fn moved(&mut self, contact: Contact) {
        let Some(holder) = self.possible.get_mut(&contact.id) else { return };
        let is_elsewhere = contact.addresses.iter().any(|a| !holder.contact.addresses.contains(a));
        if holder.state != HolderState::Answered && is_elsewhere {
            holder.state = HolderState::Waiting;
            holder.was_silent = self.peers.is_silent_at(&contact);
            holder.contact = contact.clone();
            self.slots.release(contact.id);
            self.waiting.push_back(contact);
        }
    }

    /// When a slot becomes free for one that waits for it.
    fn free_at(&self) -> Option<Instant> {
        let free_at = self.slots.next_free_at(self.patience.overdue_after(), Instant::now());
        free_at.filter(|_| !self.waiting.is_empty())
    }

    fn ask_more(&mut self) {
        while self.slots.is_free(self.patience.overdue_after(), Instant::now()) {
            let Some(contact) = self.waiting.pop_front() else { return };
            let now = Instant::now();
            if let Some(holder) = self.possible.get_mut(&contact.id) {
                holder.state = HolderState::Asked(now);
            }
            self.slots.begin(contact.id, now);
            let (peers, tessera) = (self.peers, self.tessera);
            self.events.push(Box::pin(async move {
                let result = peers.attest(&contact, tessera).await;
                Event::Answer { contact, result, sent: now }
            }));
        }
    }

    /// Looks up the current address of a node that does not answer.
    fn look_up(&mut self, id: NodeId) {
        let Some(holder) = self.possible.get_mut(&id) else { return };
        if std::mem::replace(&mut holder.resolved, true) {
            return;
        }
        let directory = self.directory;
        self.events.push(Box::pin(async move {
            Event::Resolved { id, contact: directory.resolve(id).await }
        }));
    }

    fn look_up_the_late(&mut self) {
        let late = self.patience.overdue_after() / 2;
        let is_late = |s: &PossibleHolder| {
            !s.resolved && matches!(s.state, HolderState::Asked(since) if since.elapsed() >= late)
        };
        let ids: Vec<NodeId> =
            self.possible.iter().filter(|(_, s)| is_late(s)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.look_up(id));
    }

    /// When the next node that has not answered is to be looked up.
    fn look_up_at(&self) -> Option<Instant> {
        let late = self.patience.overdue_after() / 2;
        let unresolved = self.possible.values().filter(|holder| !holder.resolved);
        unresolved
            .filter_map(
                |s| if let HolderState::Asked(at) = s.state { Some(at + late) } else { None },
            )
            .min()
    }

    /// When all nodes that have not answered are overdue; `None` while some are still to be asked,
    /// or none has answered.
    fn give_up_at(&self) -> Option<Instant> {
        if !self.waiting.is_empty() || !self.survey.others_attested {
            return None;
        }
        let overdue = self.patience.overdue_after();
        let asked = self.possible.values().filter_map(|holder| match holder.state {
            HolderState::Asked(since) if !holder.was_silent => Some(since + overdue),
            _ => None,
        });
        // Nodes that were silent lately are not waited for; the network's answer is.
        let last = asked.max();
        let is_open = last.is_some() || self.finding.is_some();
        last.max(is_open.then(|| self.heard_at + overdue)).or(Some(self.heard_at))
    }

    fn heard(&mut self, event: Event) -> Option<LiveHolder> {
        match event {
            Event::Resolved { id, contact } => {
                self.expect_elsewhere(id, contact);
                None
            }
            Event::Answer { contact, result, sent } => {
                self.slots.end(contact.id, sent);
                self.answered(contact, result, sent.elapsed())
            }
        }
    }

    fn expect_elsewhere(&mut self, id: NodeId, contact: Option<Contact>) {
        if let Some(contact) = contact.filter(|contact| contact.id == id) {
            self.moved(contact);
        }
    }

    fn answered(
        &mut self,
        contact: Contact,
        result: Result<(Attestation, SocketAddr), AskError>,
        took: Duration,
    ) -> Option<LiveHolder> {
        let (id, tessera) = (contact.id, self.tessera);
        let (Attestation { plan, pieces, .. }, reached) = match result {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(holder = %id, %tessera, %error, "no attestation");
                match error {
                    AskError::BadAttestation => _ = self.survey.refused.insert(id, None),
                    AskError::OtherDate { ahead } => {
                        self.survey.refused.insert(id, Some(ahead));
                    }
                    _ => {}
                }
                let holder = self.possible.get_mut(&id)?;
                // In the meantime it may be asked at another address.
                let is_this = holder.contact.addresses == contact.addresses;
                if is_this && matches!(holder.state, HolderState::Asked(_)) {
                    holder.state = HolderState::Failed;
                    self.look_up(id);
                }
                return None;
            }
        };
        let holder = self.possible.get_mut(&id)?;
        if holder.state == HolderState::Answered {
            return None;
        }
        holder.state = HolderState::Answered;
        self.slots.release(id);
        self.heard_at = Instant::now();
        self.patience.answered_after(took);
        self.survey.others_attested = true;
        self.survey.refused.remove(&id);
        // Some answer that they have nothing (any more).
        if pieces.is_empty() {
            return None;
        }
        let holder = LiveHolder::reached_at(reached, contact, plan, pieces);
        self.survey.live.insert(id, holder.clone());
        Some(holder)
    }
}
