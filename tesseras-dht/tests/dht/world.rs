//! Many engines in one virtual network: an event queue, a clock that only moves with it, and one
//! seed that decides everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::Timestamp;
use tesseras_crypto::NodeKeys;
use tesseras_dht::engine::{
    Bootstrap, Command, CommandOutcome, Effect, Engine, Event, InboundId, Moment, OperationId,
    Ticket,
};
use tesseras_dht::messages::DhtResponse;
use tesseras_dht::{DhtConfig, HolderRecord};
use tesseras_wire::codec;

/// When the virtual world begins, in seconds since 1970.
pub const EPOCH: u64 = 1_700_000_000;

#[derive(Debug)]
enum Item {
    Tick,
    Event(Event),
    Timeout(Ticket),
}

pub struct Node {
    pub engine: Engine,
    pub address: SocketAddr,
    pub alive: bool,
    /// Whether others can dial it.
    pub reachable: bool,
    /// Until when it does nothing, like a sleeping machine: events in the meantime are handled
    /// then.
    pub asleep_until: Duration,
    /// How many seconds its clock is ahead of the world's.
    pub ahead: i64,
    /// The records that it tells everybody who asks for holders, a page at a time.
    pub forges: Vec<HolderRecord>,
    /// Requests that it awaits answers to.
    waiting: BTreeSet<Ticket>,
    next_tick: Duration,
}

pub struct World {
    pub nodes: Vec<Node>,
    /// Requests to addresses where no node is.
    pub to_the_dead: usize,
    /// The fraction of all requests and answers that is lost.
    pub loss: f64,
    pub now: Duration,
    pub rng: StdRng,
    pub messages: usize,
    pub ticks: usize,
    queue: BTreeMap<(Duration, u64), (usize, Item)>,
    at_address: BTreeMap<SocketAddr, usize>,
    /// Who asked: node and ticket of a request that another node is answering.
    asked: BTreeMap<InboundId, (usize, Ticket)>,
    pub outcomes: BTreeMap<OperationId, CommandOutcome>,
    /// Results of searches for holders so far, the newest record of each.
    found: BTreeMap<OperationId, BTreeMap<NodeId, HolderRecord>>,
    number: u64,
    /// A fingerprint of all events.
    pub trace: u64,
}

pub fn config() -> DhtConfig {
    DhtConfig { work_bits: 0, ..DhtConfig::default() }
}

/// A private address of its own for each node.
pub fn address_of(index: usize) -> SocketAddr {
    let index = u16::try_from(index).expect("few nodes");
    let [high, low] = index.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 0, high, low).into(), 4433)
}

pub fn keys(rng: &mut StdRng) -> NodeKeys {
    NodeKeys::from_parts(&rng.random(), rng.random())
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: Vec::new(),
            to_the_dead: 0,
            loss: 0.0,
            now: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            messages: 0,
            ticks: 0,
            queue: BTreeMap::new(),
            at_address: BTreeMap::new(),
            asked: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            found: BTreeMap::new(),
            number: 0,
            trace: 0,
        }
    }

    /// A network of `n` nodes that join through the first, a little after each other.
    pub fn joined(seed: u64, n: usize) -> Self {
        let mut world = Self::new(seed);
        for index in 0..n {
            let bootstrap = (index > 0).then(|| address_of(0)).into_iter().collect();
            world.add(bootstrap, address_of(index), true);
            world.run_for(Duration::from_millis(50));
        }
        world.run_for(Duration::from_secs(60));
        world
    }

    pub fn add(
        &mut self,
        bootstrap: Vec<SocketAddr>,
        address: SocketAddr,
        reachable: bool,
    ) -> usize {
        let bootstrap =
            Bootstrap { candidates: vec![address], addresses: bootstrap, ..Bootstrap::default() };
        let keys = keys(&mut self.rng);
        self.add_with(keys, bootstrap, address, reachable)
    }

    pub fn add_with(
        &mut self,
        keys: NodeKeys,
        bootstrap: Bootstrap,
        address: SocketAddr,
        reachable: bool,
    ) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node {
            engine: Engine::new(config(), Arc::new(keys), bootstrap),
            address,
            alive: true,
            reachable,
            asleep_until: Duration::ZERO,
            ahead: 0,
            forges: Vec::new(),
            waiting: BTreeSet::new(),
            next_tick: self.now,
        });
        self.at_address.insert(address, index);
        self.put(self.now, index, Item::Tick);
        index
    }

    /// Runs a command on a node and returns its result.
    pub fn command(&mut self, node: usize, command: Command) -> CommandOutcome {
        let operation = self.begin(node, command);
        let limit = self.now + Duration::from_secs(600);
        while !self.outcomes.contains_key(&operation) {
            assert!(self.now < limit, "a command that never ends");
            self.step();
        }
        self.outcomes.remove(&operation).expect("just seen")
    }

    /// Starts a command on a node.
    pub fn begin(&mut self, node: usize, command: Command) -> OperationId {
        self.number += 1;
        let operation = OperationId(self.number);
        self.put(self.now, node, Item::Event(Event::Commanded { operation, command }));
        operation
    }

    /// The caller no longer waits for the result.
    pub fn abandon(&mut self, node: usize, operation: OperationId) {
        self.put(self.now, node, Item::Event(Event::Abandoned { operation }));
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    pub fn lookup(&mut self, node: usize, target: DhtKey) -> Vec<Contact> {
        match self.command(node, Command::Lookup(target)) {
            CommandOutcome::Contacts(contacts) => contacts,
            other => panic!("{other:?}"),
        }
    }

    /// The `n` live nodes nearest to a point, from global knowledge.
    pub fn truly_closest(&self, target: &DhtKey, n: usize, but: usize) -> Vec<NodeId> {
        let live = self.nodes.iter().enumerate().filter(|(i, node)| node.alive && *i != but);
        let mut ids: Vec<_> = live.map(|(_, node)| node.engine.id()).collect();
        ids.sort_by_cached_key(|id| id.distance(target));
        ids.truncate(n);
        ids
    }

    fn put(&mut self, at: Duration, node: usize, item: Item) {
        self.number += 1;
        self.queue.insert((at, self.number), (node, item));
    }

    fn step(&mut self) {
        let Some(((at, _), (index, item))) = self.queue.pop_first() else {
            panic!("nothing will ever happen again");
        };
        self.now = at;
        if !self.nodes[index].alive {
            return;
        }
        let asleep_until = self.nodes[index].asleep_until;
        if asleep_until > at {
            return self.put(asleep_until, index, item);
        }
        let node = &mut self.nodes[index];
        let event = match item {
            Item::Tick if node.next_tick > at => return,
            Item::Tick => {
                self.ticks += 1;
                Event::Tick
            }
            Item::Timeout(ticket) => {
                if !node.waiting.remove(&ticket) {
                    return;
                }
                Event::Failed { ticket, blame: true }
            }
            Item::Event(Event::Replied { ticket, from, remote, answer }) => {
                if !node.waiting.remove(&ticket) {
                    return;
                }
                Event::Replied { ticket, from, remote, answer }
            }
            Item::Event(event) => event,
        };
        let wall = Timestamp(EPOCH.saturating_add_signed(node.ahead)).plus(at);
        let moment = Moment { elapsed: at, wall };
        let effects = node.engine.handle(moment, &mut self.rng, event);
        for effect in effects {
            self.carry_out(index, effect);
        }
        let node = &mut self.nodes[index];
        let wakes_at = node.engine.wakes_at(at).max(at + Duration::from_millis(1));
        if wakes_at < node.next_tick || node.next_tick <= at {
            node.next_tick = wakes_at;
            self.put(wakes_at, index, Item::Tick);
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        let delay = Duration::from_millis(self.rng.random_range(5..80));
        self.trace = self.trace.rotate_left(5)
            ^ u64::try_from(self.now.as_nanos()).expect("short")
            ^ (index as u64) << 48;
        match effect {
            Effect::Send { ticket, id, addresses, request, deadline, .. } => {
                self.messages += 1;
                codec::encode(&request).expect("a request fits a frame");
                self.nodes[index].waiting.insert(ticket);
                self.put(self.now + deadline, index, Item::Timeout(ticket));
                let to = addresses.iter().filter_map(|address| self.at_address.get(address));
                let to = to.copied().find(|to| {
                    let node = &self.nodes[*to];
                    node.alive && node.reachable && id.is_none_or(|id| id == node.engine.id())
                });
                let Some(to) = to else {
                    self.to_the_dead += 1;
                    return;
                };
                if self.rng.random_bool(self.loss) {
                    return;
                }
                self.number += 1;
                let inbound = InboundId(self.number);
                self.asked.insert(inbound, (index, ticket));
                // Its packets come from some other port than it listens on.
                let remote = SocketAddr::new(self.nodes[index].address.ip(), 50_000);
                let from = self.nodes[index].engine.id();
                let event = Event::Asked { inbound, from, remote, request };
                self.put(self.now + delay, to, Item::Event(event));
            }
            Effect::Answer { inbound, mut answer } => {
                let forges = &mut self.nodes[index].forges;
                if let Ok(DhtResponse::Holders(holders)) = &mut answer
                    && !forges.is_empty()
                {
                    let page = 64.min(forges.len());
                    holders.records = forges[..page].to_vec();
                    holders.more = true;
                    forges.rotate_left(page);
                }
                if let Ok(answer) = &answer {
                    answer.encode().expect("an answer fits a frame");
                }
                let (asker, ticket) = self.asked.remove(&inbound).expect("one answer each");
                if self.rng.random_bool(self.loss) {
                    return;
                }
                let from = self.nodes[index].engine.id();
                let remote = self.nodes[index].address;
                let event = Event::Replied { ticket, from, remote, answer };
                self.put(self.now + delay, asker, Item::Event(event));
            }
            Effect::Found { operation, found } => {
                if let Some(record) = found.holder() {
                    self.found.entry(operation).or_default().insert(record.node(), record);
                }
            }
            Effect::Finished { operation, outcome } => {
                if let CommandOutcome::Holders(records) = &outcome {
                    let found = self.found.remove(&operation).unwrap_or_default();
                    let found: Vec<_> = found.into_values().collect();
                    assert_eq!(found, *records, "what is found is told at once");
                }
                self.outcomes.insert(operation, outcome);
            }
        }
    }
}
