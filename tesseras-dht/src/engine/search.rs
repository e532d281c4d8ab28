//! Lookups in progress and their purposes (Kademlia, section 2.3).

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand::RngExt;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::Timestamp;

use super::events::{CommandOutcome, Effect, OperationId, SearchResult};
use super::state::{Answerer, Discovery, Engine, Purpose, Records, Search, Sent, Turn, Want};
use crate::config::{DhtConfig, MAX_CONTACTS, MAX_PAGES, RECORDS_PER_KEY, RECORDS_PER_PAGE};
use crate::lookup::Lookup;
use crate::messages::{Contacts, DhtRequest, Holders};
use crate::records::{HolderRecord, NodeIdentity};
use tesseras_core::address;

/// The most holders that one search returns; nodes' stores may differ.
const MAX_HOLDERS: usize = 4 * RECORDS_PER_KEY;
/// The most holders that those who answer from one neighbourhood may be the first to tell of: whom
/// they make up must not take the place of those that others tell of.
const MAX_TOLD: usize = MAX_HOLDERS / 8;
/// A lookup starts with this many of our own peers per wanted result, since other nodes name only k
/// each, and many of those may be dead.
const SEEDS_PER_RESULT: usize = 4;
/// A discovery ends after this many lookups in a row that found no new peer, and after this many in
/// all.
const DRY_LOOKUPS: usize = 3;
const MAX_DISCOVERY_LOOKUPS: usize = 32;

impl Want {
    /// The command that ends with this search, alone or with several like it.
    fn awaited_by(&self) -> Option<OperationId> {
        match self {
            Self::Nodes(op) | Self::Node(op) | Self::Discovery(op) | Self::Holders(op, _) => {
                Some(*op)
            }
            Self::Neighbourhood | Self::Refresh | Self::Targets(_) => None,
        }
    }
}

/// A request sent for a search.
pub(super) struct Page {
    pub(super) search: u64,
    pub(super) peer: NodeId,
    pub(super) page: u32,
}

/// The answer to either kind of search request.
pub(super) struct SearchAnswer {
    records: Vec<HolderRecord>,
    more: bool,
    contacts: Vec<Contact>,
}

impl From<Contacts> for SearchAnswer {
    fn from(answer: Contacts) -> Self {
        Self { records: Vec::new(), more: false, contacts: answer.contacts }
    }
}

impl From<Holders> for SearchAnswer {
    fn from(answer: Holders) -> Self {
        Self { records: answer.records, more: answer.more, contacts: answer.contacts }
    }
}

impl Records {
    /// Adds a record from a peer if it is of this key and passes its checks; returns whether it is
    /// new.
    fn add(
        &mut self,
        record: HolderRecord,
        (peer, remote): (NodeId, IpAddr),
        key: &DhtKey,
        identity: &dyn NodeIdentity,
        config: &DhtConfig,
        wall: Timestamp,
    ) -> bool {
        if record.key != *key {
            return false;
        }
        let node = record.node();
        let subnet = Subnet::of(remote);
        let teller = (subnet, Some(peer).filter(|_| subnet.is_local()));
        let told = self.told.get(&teller).copied().unwrap_or(0);
        let has_room = self.records.len() < MAX_HOLDERS && told < MAX_TOLD;
        let known = self.records.get(&node);
        let useful = known.map_or(has_room, |known| known.date < record.date);
        let is_new = useful && record.check(identity, config.work_bits, wall).is_ok();
        if is_new && self.records.insert(node, record).is_none() {
            *self.told.entry(teller).or_default() += 1;
        }
        is_new
    }
}

impl Engine {
    pub(super) fn start_lookup(&mut self, turn: &mut Turn<'_>, op: OperationId, target: DhtKey) {
        self.search(turn, target, Want::Nodes(op));
    }

    pub(super) fn start_resolution(&mut self, turn: &mut Turn<'_>, op: OperationId, id: NodeId) {
        if id == self.id {
            let contact = Contact { id, addresses: self.reach.addresses(turn.now) };
            let outcome = CommandOutcome::Resolved(Some(contact));
            turn.effects.push(Effect::Finished { operation: op, outcome });
            return;
        }
        self.search(turn, id.into(), Want::Node(op));
    }

    pub(super) fn start_holder_search(
        &mut self,
        turn: &mut Turn<'_>,
        op: OperationId,
        key: DhtKey,
    ) {
        let mut found = Records::default();
        for page in 0..MAX_PAGES {
            let (records, more) = self.records.page(&key, page, turn.wall);
            for record in records {
                let told = SearchResult::Holder(record.clone());
                turn.effects.push(Effect::Found { operation: op, found: told });
                found.records.insert(record.node(), record);
            }
            if !more {
                break;
            }
        }
        self.search(turn, key, Want::Holders(op, found));
    }

    pub(super) fn start_discovery(&mut self, turn: &mut Turn<'_>, op: OperationId, wanted: usize) {
        let healthy = self.table.entries().filter(|entry| entry.failures == 0);
        let known: BTreeMap<_, _> =
            healthy.map(|entry| (entry.contact.id, entry.contact.clone())).collect();
        for contact in known.values().cloned() {
            let found = SearchResult::Node(contact);
            turn.effects.push(Effect::Found { operation: op, found });
        }
        let offset = turn.rng.random();
        self.discoveries.insert(op, Discovery { wanted, known, lookups: 0, dry: 0, offset });
        self.advance_discovery(turn, op);
    }

    /// Ends a search whose caller is gone. Answers still in flight are ignored.
    pub(super) fn abandon(&mut self, operation: OperationId) {
        self.discoveries.remove(&operation);
        self.searches.retain(|_, search| search.want.awaited_by() != Some(operation));
    }

    /// Starts a lookup from the routing table.
    pub(super) fn search(&mut self, turn: &mut Turn<'_>, target: DhtKey, want: Want) {
        self.note_lookup(&target, turn.now);
        let mut lookup = match want {
            Want::Node(_) => {
                Lookup::of_node(NodeId::new(*target.as_bytes()), &self.config, turn.now)
            }
            Want::Targets(_) => Lookup::of_targets(target, &self.config, turn.now),
            _ => Lookup::new(target, &self.config, turn.now),
        };
        for contact in self.table.closest(&target, self.config.k * SEEDS_PER_RESULT, false) {
            match self.silent.is_silent_at(&contact, turn.wall) {
                true => lookup.add_silent(contact),
                false => lookup.add(contact),
            }
        }
        let number = self.number();
        self.searches.insert(number, Search { lookup, want });
        self.advance_search(turn, number);
    }

    /// Sends the requests that the lookup wants, and ends it when it is done.
    pub(super) fn advance_search(&mut self, turn: &mut Turn<'_>, number: u64) {
        let Some(search) = self.searches.get_mut(&number) else { return };
        for lost in search.lookup.lost(turn.now) {
            // Marked silent until it answers, so that the next search does not wait for it as well.
            self.silent.failed_at(lost.id, &lost.addresses, turn.wall);
        }
        loop {
            let Some(search) = self.searches.get_mut(&number) else { return };
            let asked = search.lookup.next(turn.now);
            if asked.is_empty() {
                break;
            }
            for contact in asked {
                match self.is_awaited(&contact, turn.wall) {
                    true => self.give_up_on(number, &contact.id),
                    false => self.ask(turn, number, &contact, 0),
                }
            }
        }
        let is_done = |search: &mut Search| search.lookup.is_done(turn.now);
        if let Some(search) = self.searches.extract_if(number..=number, |_, s| is_done(s)).next() {
            self.finish_search(turn, search.1);
        }
    }

    /// Whether a silent peer already has a request in flight at these addresses: concurrent
    /// searches need not each wait for it. If it answers, it is not silent for the next one.
    fn is_awaited(&self, contact: &Contact, wall: Timestamp) -> bool {
        let is_there = |sent: &Sent| {
            sent.id == Some(contact.id)
                && contact.addresses.iter().all(|address| sent.addresses.contains(address))
        };
        self.silent.is_silent_at(contact, wall) && self.sent.values().any(is_there)
    }

    fn give_up_on(&mut self, number: u64, peer: &NodeId) {
        if let Some(search) = self.searches.get_mut(&number) {
            search.lookup.failed(peer);
        }
    }

    fn ask(&mut self, turn: &mut Turn<'_>, number: u64, contact: &Contact, page: u32) {
        let Some(search) = self.searches.get(&number) else { return };
        let target = search.lookup.target();
        let request = match search.want {
            Want::Holders(..) => DhtRequest::FindHolders { key: target, page },
            _ => DhtRequest::FindNode { target },
        };
        let purpose = Purpose::Search { search: number, peer: contact.id, page };
        self.send(turn, contact, request, self.config.request_deadline, purpose);
    }

    pub(super) fn on_search_answer(
        &mut self,
        turn: &mut Turn<'_>,
        page: Page,
        from: Answerer,
        answer: SearchAnswer,
    ) {
        let Page { search: number, peer, page } = page;
        let Answerer { remote, dialled, .. } = from;
        let own = self.id;
        let Some(search) = self.searches.get_mut(&number) else { return };
        for contact in answer.contacts.into_iter().take(MAX_CONTACTS) {
            let addresses = address::cleaned(&contact.addresses, remote.ip());
            let contact = Contact { id: contact.id, addresses };
            match self.silent.is_silent_at(&contact, turn.wall) {
                _ if contact.id == own => {}
                true => search.lookup.add_silent(contact),
                false => search.lookup.add(contact),
            }
        }
        if let Want::Holders(operation, found) = &mut search.want {
            let target = search.lookup.target();
            for record in answer.records.into_iter().take(RECORDS_PER_PAGE) {
                let news = record.clone();
                let teller = (peer, remote.ip());
                if found.add(record, teller, &target, &*self.identity, &self.config, turn.wall) {
                    let found = SearchResult::Holder(news);
                    turn.effects.push(Effect::Found { operation: *operation, found });
                }
            }
            if answer.more && page + 1 < MAX_PAGES {
                let contact = Contact { id: peer, addresses: vec![remote] };
                return self.ask(turn, number, &contact, page + 1);
            }
        }
        if let Some(contact) = search.lookup.answered(&peer, dialled, turn.now)
            && let Want::Nodes(operation) = search.want
        {
            turn.effects.push(Effect::Found { operation, found: SearchResult::Node(contact) });
        }
        self.advance_search(turn, number);
    }

    pub(super) fn on_search_failure(&mut self, turn: &mut Turn<'_>, number: u64, peer: &NodeId) {
        self.give_up_on(number, peer);
        self.advance_search(turn, number);
    }

    fn finish_search(&mut self, turn: &mut Turn<'_>, search: Search) {
        let Search { lookup, want } = search;
        let (operation, outcome) = match want {
            Want::Neighbourhood => return self.on_looked_around(turn, &lookup.closest()),
            Want::Refresh => return self.on_refreshed(turn),
            Want::Targets(op) => return self.on_targets(turn, op, &lookup),
            Want::Discovery(op) => {
                if let Some(discovery) = self.discoveries.get_mut(&op) {
                    for contact in discovery.learn(&lookup) {
                        let found = SearchResult::Node(contact);
                        turn.effects.push(Effect::Found { operation: op, found });
                    }
                }
                return self.advance_discovery(turn, op);
            }
            Want::Nodes(op) => (op, CommandOutcome::Contacts(lookup.closest())),
            Want::Node(op) => (op, CommandOutcome::Resolved(lookup.found_node())),
            Want::Holders(op, found) => {
                (op, CommandOutcome::Holders(found.records.into_values().collect()))
            }
        };
        turn.effects.push(Effect::Finished { operation, outcome });
    }

    fn advance_discovery(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        let Some(discovery) = self.discoveries.get_mut(&operation) else { return };
        if let Some(target) = discovery.next_target(turn) {
            return self.search(turn, target, Want::Discovery(operation));
        }
        if let Some(discovery) = self.discoveries.remove(&operation) {
            let outcome = CommandOutcome::Contacts(discovery.known.into_values().collect());
            turn.effects.push(Effect::Finished { operation, outcome });
        }
    }
}

impl Discovery {
    /// Random, but spread evenly: the first byte runs through the space in bit-reversed order.
    fn next_target(&mut self, turn: &mut Turn<'_>) -> Option<DhtKey> {
        let over = self.known.len() >= self.wanted
            || self.dry >= DRY_LOOKUPS
            || self.lookups >= MAX_DISCOVERY_LOOKUPS;
        if over {
            return None;
        }
        let mut target: [u8; 20] = turn.rng.random();
        target[0] = u8::try_from(self.lookups).unwrap_or(0).reverse_bits() ^ self.offset;
        self.lookups += 1;
        Some(DhtKey::new(target))
    }

    /// Adds the nodes that answered, and returns the new ones.
    fn learn(&mut self, lookup: &Lookup) -> Vec<Contact> {
        let mut new = Vec::new();
        for contact in lookup.all_answered() {
            if self.known.insert(contact.id, contact.clone()).is_none() {
                new.push(contact.clone());
            }
        }
        self.dry = if new.is_empty() { self.dry + 1 } else { 0 };
        new
    }
}
