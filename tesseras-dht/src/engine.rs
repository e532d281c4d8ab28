//! A DHT node as a pure state machine (Maymounkov and Mazières, Kademlia, 2002): events and the
//! time go in, effects come out. It opens no socket, reads no clock and has no randomness of its
//! own, so a thousand of them run in one test, and a failure replays from its seed.
//!
//! The parts: `joining` greets peers and proves reachability, on the schedule kept by `neighbours`;
//! `search` runs lookups; `announce` distributes holder records; `serve` answers other nodes;
//! `events` defines what goes in and out, `state` what is known and in progress.

mod announce;
mod events;
mod joining;
mod neighbours;
mod search;
mod serve;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tesseras_core::contact::{Contact, canonical};
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::peer_memory::PeerMemory;
use tesseras_wire::codec::Refusal;

use crate::clocks::{Clocks, Known};
use crate::config::DhtConfig;
use crate::messages::{DhtRequest, DhtResponse};
use crate::reachability::Reachability;
use crate::records::{NodeIdentity, RecordStore};
use crate::routing::{Admission, RoutingTable};
use tesseras_core::address;

pub use self::events::{
    Bootstrap, Command, CommandOutcome, Effect, Event, InboundId, Moment, OperationId,
    SearchResult, Status, Ticket,
};

use self::neighbours::Neighbours;
use self::search::Page;
use self::state::{Answerer, Purpose, Turn};

pub use self::state::Engine;

/// A tick that is late by this much means that the whole machine has slept.
const SLEPT: Duration = Duration::from_secs(10);
/// How often expired records are swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);

impl Engine {
    /// A node with this initial state only. It does nothing before its first [`Event::Tick`].
    pub fn new(config: DhtConfig, identity: Arc<dyn NodeIdentity>, bootstrap: Bootstrap) -> Self {
        let config = config.bounded();
        let id = identity.public().id();
        Self {
            table: RoutingTable::new(id, &config),
            records: RecordStore::new(id, &config),
            reach: Reachability::new(
                &bootstrap.candidates,
                bootstrap.wildcard_port,
                config.hello_every,
            ),
            clocks: Clocks::new(config.hello_every),
            neighbours: Neighbours::new(bootstrap.addresses, bootstrap.remembered, id),
            silent: PeerMemory::new(bootstrap.silent),
            searches: BTreeMap::new(),
            announcements: BTreeMap::new(),
            discoveries: BTreeMap::new(),
            hellos: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_number: 0,
            next_sweep: SWEEP_EVERY,
            due: Duration::MAX,
            woke_at: Duration::ZERO,
            config,
            id,
            identity,
        }
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The settings of this node.
    pub fn config(&self) -> &DhtConfig {
        &self.config
    }

    /// All peers of the routing table and all replacements that wait for a place in it.
    pub fn peers(&self) -> Vec<Contact> {
        let entries = self.table.entries().map(|entry| &entry.contact);
        entries.chain(self.table.waiting()).cloned().collect()
    }

    /// The `n` peers of the routing table nearest to a point.
    pub fn closest(&self, target: &DhtKey, n: usize) -> Vec<Contact> {
        self.table.closest(target, n, false)
    }

    /// The routing table, for tests and invariants.
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// The record store, for tests and invariants.
    pub fn records(&self) -> &RecordStore {
        &self.records
    }

    /// The state of this node.
    pub fn status(&self, now: Duration) -> Status {
        Status {
            reachable: self.reach.is_reachable(now),
            addresses: self.reach.addresses(now),
            peers: self.table.len(),
            records: self.records.len(),
            clock: self.clocks.offset(now, self.known_clocks()),
            silent_bootstrap: self.neighbours.silent_bootstrap(),
            running_for: now,
        }
    }

    fn known_clocks(&self) -> Known {
        let contacts = self.table.entries().map(|entry| &entry.contact);
        Known::at(contacts.filter_map(|contact| contact.addresses.first()).map(|at| at.ip()))
    }

    /// When the next [`Event::Tick`] is due; never earlier than `now`.
    pub fn wakes_at(&self, now: Duration) -> Duration {
        let searches = self.searches.values().map(|search| search.lookup.wakes_at(now));
        let stalest = self.table.stalest().filter(|_| self.neighbours.may_refresh());
        let refresh = stalest.map(|(_, at)| at + self.config.refresh_every);
        let earliest = searches
            .chain(refresh)
            .chain(self.neighbours.wakes_at(self.table.is_empty()))
            .chain([self.next_sweep])
            .min();
        earliest.unwrap_or(self.next_sweep).max(now)
    }

    /// Handles one event and returns the effects to carry out.
    pub fn handle(&mut self, moment: Moment, rng: &mut dyn Rng, event: Event) -> Vec<Effect> {
        let mut turn = Turn { now: moment.elapsed, wall: moment.wall, rng, effects: Vec::new() };
        let date_jumped = self.clocks.look(turn.now, turn.wall);
        let woke_late = turn.now > self.due.saturating_add(SLEPT);
        if date_jumped || woke_late {
            self.wake(turn.now);
        }
        match event {
            Event::Tick => self.tick(&mut turn),
            Event::Replied { ticket, from, remote, answer } => {
                self.on_reply(&mut turn, ticket, from, remote, answer);
            }
            Event::Failed { ticket, blame } => self.on_failure(&mut turn, ticket, blame),
            Event::Asked { inbound, from, remote, request } => {
                self.on_request(&mut turn, inbound, from, canonical(remote), request);
            }
            Event::Commanded { operation, command } => {
                self.on_command(&mut turn, operation, command);
            }
            Event::Abandoned { operation } => self.abandon(operation),
            Event::Observed { id, address } => {
                self.silent.answered(&id);
                self.met(&mut turn, id, canonical(address), true);
            }
            Event::Accused { id } => self.accuse(&turn, &id),
            Event::Doubted { id } => {
                self.neighbours.greet_at(id, turn.now);
                self.send_greetings(&mut turn);
            }
        }
        self.due = self.wakes_at(turn.now);
        turn.effects
    }

    /// The machine may have slept, which some clocks show and others do not. Peers may have dropped
    /// this node meanwhile, and their answers were missed, so all peers are greeted: they dial back
    /// and learn this node again. If only the wall clock was set, their answers show the offset.
    fn wake(&mut self, now: Duration) {
        self.woke_at = now;
        self.greet_everyone(now);
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        if turn.now >= self.next_sweep {
            self.records.expire(turn.wall);
            self.next_sweep = turn.now + SWEEP_EVERY;
        }
        self.tend_neighbours(turn);
        let running: Vec<u64> = self.searches.keys().copied().collect();
        for search in running {
            self.advance_search(turn, search);
        }
    }

    fn on_command(&mut self, turn: &mut Turn<'_>, operation: OperationId, command: Command) {
        match command {
            Command::Lookup(target) => self.start_lookup(turn, operation, target),
            Command::FindHolders(key) => self.start_holder_search(turn, operation, key),
            Command::Announce(keys) => self.start_announcement(turn, operation, keys),
            Command::Resolve(id) => self.start_resolution(turn, operation, id),
            Command::Discover(n) => self.start_discovery(turn, operation, n),
        }
    }

    fn on_reply(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: Ticket,
        from: NodeId,
        remote: SocketAddr,
        answer: Result<DhtResponse, Refusal>,
    ) {
        let Some(sent) = self.sent.remove(&ticket) else { return };
        if sent.id.is_none() {
            self.neighbours.bootstrap_answered(&sent.addresses);
        }
        if from == self.id || sent.id.is_some_and(|expected| expected != from) {
            return self.dispatch_failure(turn, sent.purpose);
        }
        self.silent.answered(&from);
        // Proven is what was dialled; a remote port that nobody announced proves nothing.
        let remote = canonical(remote);
        let dialled = sent.addresses.contains(&remote).then_some(remote);
        let purpose = sent.purpose;
        if let Some(address) = dialled {
            let greet = match purpose {
                Purpose::Knock | Purpose::Greet(_) => false,
                // It has just greeted us, so it already knows this node.
                Purpose::DialBack { .. } => self.reach.wants_opinions(turn.now),
                _ => true,
            };
            self.met(turn, from, address, greet);
        }
        // Anyone can cause a dial back to itself; such samples count only while there are few
        // others.
        let chosen = !matches!(purpose, Purpose::DialBack { .. });
        if let Some(date) = answer.as_ref().ok().and_then(DhtResponse::date)
            && (chosen || self.clocks.wants_more(turn.now))
        {
            self.clocks.learn((from, remote.ip()), date, turn.now, turn.wall);
        }
        self.dispatch_answer(turn, purpose, Answerer { id: from, remote, dialled }, answer);
    }

    /// Passes the answer to the code that sent the request.
    fn dispatch_answer(
        &mut self,
        turn: &mut Turn<'_>,
        purpose: Purpose,
        from: Answerer,
        answer: Result<DhtResponse, Refusal>,
    ) {
        match (purpose, answer) {
            (Purpose::Knock, Ok(DhtResponse::Greeted(greeted))) => {
                self.neighbours.knocks = self.neighbours.knocks.saturating_sub(1);
                self.on_greeted(turn, from.id, from.remote, &greeted);
            }
            (Purpose::Greet(id), Ok(DhtResponse::Greeted(greeted))) => {
                self.neighbours.greeted(&id);
                self.on_greeted(turn, from.id, from.remote, &greeted);
            }
            (Purpose::DialBack { inbound, address }, Ok(DhtResponse::Pong(_))) => {
                self.on_dialled_back(turn, inbound, address, true);
            }
            (Purpose::Search { search, peer, page }, Ok(DhtResponse::Contacts(answer))) => {
                let page = Page { search, peer, page };
                self.on_search_answer(turn, page, from, answer.into());
            }
            (Purpose::Search { search, peer, page }, Ok(DhtResponse::Holders(answer))) => {
                let page = Page { search, peer, page };
                self.on_search_answer(turn, page, from, answer.into());
            }
            (Purpose::Announce { operation, keys }, Ok(DhtResponse::Announced(answer))) => {
                self.on_announced(turn, operation, &keys, Some(&answer));
            }
            (Purpose::Evict(_), _) => {}
            // It is alive but refused, or sent an unexpected answer.
            (purpose, _) => self.dispatch_failure(turn, purpose),
        }
    }

    fn on_failure(&mut self, turn: &mut Turn<'_>, ticket: Ticket, blame: bool) {
        if let Some(sent) = self.sent.remove(&ticket) {
            // A peer asked before this node slept may well have answered.
            let blame = blame && sent.at >= self.woke_at;
            // A node that announces a false address beside a correct one is not dead.
            let is_dial_back = matches!(sent.purpose, Purpose::DialBack { .. });
            match sent.id {
                Some(id) if blame && !is_dial_back => self.unanswered(turn, &id, &sent.addresses),
                None if blame => self.neighbours.bootstrap_failed(&sent.addresses),
                _ => {}
            }
            self.dispatch_failure(turn, sent.purpose);
        }
    }

    /// Reports to the code that sent the request that there is no answer.
    fn dispatch_failure(&mut self, turn: &mut Turn<'_>, purpose: Purpose) {
        match purpose {
            Purpose::Knock => {
                self.neighbours.knocks = self.neighbours.knocks.saturating_sub(1);
            }
            Purpose::Greet(id) => self.neighbours.greeting_failed(id, turn.now),
            Purpose::DialBack { inbound, address } => {
                self.on_dialled_back(turn, inbound, address, false);
            }
            Purpose::Evict(id) => self.table.ping_was_lost(&id),
            Purpose::Search { search, peer, .. } => self.on_search_failure(turn, search, &peer),
            Purpose::Announce { operation, keys } => {
                self.on_announced(turn, operation, &keys, None);
            }
        }
    }

    /// A peer did not answer at these addresses. It counts against the peer if it has answered at
    /// one of them before: anyone may name an address.
    fn unanswered(&mut self, turn: &Turn<'_>, id: &NodeId, addresses: &[SocketAddr]) {
        let is_listed = |contact: &Contact| addresses.iter().any(|a| contact.addresses.contains(a));
        let is_known = self.silent.failed_at(*id, addresses, turn.wall);
        if is_known || self.table.get(id).is_some_and(|entry| is_listed(&entry.contact)) {
            self.accuse(turn, id);
        }
    }

    /// A peer failed. It may leave the table and is then searched for from time to time; otherwise
    /// it is greeted again soon, because silent peers are not asked otherwise.
    fn accuse(&mut self, turn: &Turn<'_>, id: &NodeId) {
        self.silent.failed(*id, turn.wall);
        if let Some(gone) = self.table.failed(id, turn.now) {
            self.neighbours.remember(gone, turn.now);
        } else if self.table.get(id).is_some() {
            self.neighbours.greet_again(*id, turn.now);
        }
    }

    /// A peer answered at an address that was dialled. `greet` introduces this node to a new peer.
    fn met(&mut self, turn: &mut Turn<'_>, id: NodeId, address: SocketAddr, greet: bool) {
        if !address::is_dialable(address) {
            return;
        }
        self.silent.met(id, address);
        self.neighbours.bootstrap_answered(&[address]);
        let admission = self.table.seen(id, address, turn.now);
        if matches!(admission, Admission::New | Admission::Known) {
            self.neighbours.found_again(&id);
        }
        match admission {
            Admission::New => {
                self.begin_joining(turn.now);
                if greet {
                    self.neighbours.greet_at(id, turn.now);
                }
                self.send_greetings(turn);
            }
            Admission::Waiting { ping: Some(oldest) } => {
                let deadline = self.config.request_deadline;
                let purpose = Purpose::Evict(oldest.id);
                self.send(turn, &oldest, DhtRequest::Ping {}, deadline, purpose);
            }
            Admission::Known | Admission::Waiting { ping: None } => {}
            Admission::SubnetFull | Admission::Own => {}
        }
    }
}
