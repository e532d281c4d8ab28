//! The simulated world: its nodes, its invariants, and the operations of tests.
//!
//! After every event these hold, by name: `acknowledged_is_kept` (what a node acknowledged is in
//! its store, unless the test removed it), `stored_bytes_are_the_plans`,
//! `nothing_unpublished_is_announced`, `a_holder_keeps_one_plan`. After every flow:
//! `survives_is_honest` (what status promises is true of the real stores) and
//! `fetched_is_bit_identical`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId, TesseraHash};
use tesseras_core::placement::{self, Placement};
use tesseras_core::plan::{Plan, SignedPlan};
use tesseras_core::ports::{FragmentStore as _, HoldingRepository as _, Origin};
use tesseras_core::progress::silent;
use tesseras_core::time::{Clock, Timestamp};
use tesseras_crypto::{NodeKeys, blake3};
use tesseras_replication::admission::Limits;
use tesseras_replication::fetch::{FetchError, Fetched};
use tesseras_replication::policy::hedging::Requests;
use tesseras_replication::publish::{PublishError, Published};
use tesseras_replication::repair::{RepairError, Repaired};
use tesseras_replication::status::TesseraHealth;
use tesseras_replication::{Parts, RepairConfig, Replication, ReplicationConfig};
use tesseras_wire::{Peer, RememberingTransport, SharedMemory};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::capsules::{Made, SimCapsules, add, album, coded, creator, film, many, small};
use crate::memory::Memory;
use crate::network::{Conduct, Records, SimDirectory, SimDisk, SimTransport};

/// The date when every world begins.
const BEGINNING: u64 = 1_800_000_000;
/// The time between two rounds of a node.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How many events a failure shows.
const SHOWN: usize = 30;

/// One node and where it is.
#[derive(Clone)]
pub struct Place {
    pub id: NodeId,
    pub address: SocketAddr,
    pub keys: Arc<NodeKeys>,
    pub clock: Clock,
    pub memory: Memory,
    pub replication: Replication,
    /// Its work for other nodes; ends with it.
    pub tasks: Arc<Mutex<JoinSet<()>>>,
    pub alive: bool,
    pub conduct: Conduct,
    /// The side of a partition that it is on.
    pub side: u8,
    /// Its connection, if that is slow.
    pub line: Option<Line>,
}

/// A slow connection: all bytes of a node pass one after the other.
#[derive(Clone)]
pub struct Line {
    bytes_per_second: u64,
    /// When all that has been handed over has passed.
    free_at: Arc<Mutex<Instant>>,
}

impl Line {
    /// When these bytes have passed.
    pub fn pass(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap();
        let takes = Duration::from_micros(bytes as u64 * 1_000_000 / self.bytes_per_second);
        *free_at = (*free_at).max(Instant::now()) + takes;
        *free_at
    }
}

impl Place {
    pub fn as_peer(&self) -> Peer {
        let public = self.keys.public();
        Peer {
            id: self.id,
            public_key: public.public_key,
            nonce: public.nonce,
            remote: self.address,
        }
    }

    pub fn contact(&self) -> Contact {
        Contact { id: self.id, addresses: vec![self.address] }
    }
}

/// State shared by all nodes.
pub struct Shared {
    seed: u64,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    places: Vec<Place>,
    records: Records,
    acknowledged: BTreeSet<(usize, TesseraHash, Piece)>,
    /// What nodes that keep nothing have acknowledged.
    claimed: BTreeSet<(usize, TesseraHash, Piece)>,
    /// Which requests of whom nodes that are busy at first have seen.
    refused: BTreeSet<(usize, NodeId, Vec<u8>)>,
    /// How long an announcement takes beside the latency.
    announcing: Duration,
    /// How long blocking work takes at most, which it seldom does.
    disk_delay: Duration,
    /// How many requests of each kind were answered.
    answered: BTreeMap<String, usize>,
    /// When how many bytes of pieces and dossiers reached or left each node.
    moved: BTreeMap<usize, Vec<(Duration, u64)>>,
    /// How the nodes that join repair.
    repair: RepairConfig,
    events: VecDeque<String>,
    count: usize,
    trace: u64,
    violated: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn place(&self, index: usize) -> Place {
        self.state().places[index].clone()
    }

    /// The node reached at an address, if any.
    pub fn reached(&self, from: usize, address: SocketAddr) -> Option<usize> {
        let state = self.state();
        let side = state.places[from].side;
        let at = |place: &Place| place.address == address && place.alive && place.side == side;
        let to = state.places.iter().position(at)?;
        state.places[from].alive.then_some(to)
    }

    /// The one-way latency of a message.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.state().rng.random_range(1..40))
    }

    /// How long an announcement takes beside the latency.
    pub fn announcing(&self) -> Duration {
        self.state().announcing
    }

    /// How long some blocking work takes: seldom long, otherwise next to nothing.
    pub fn disk_delay(&self) -> Duration {
        let mut state = self.state();
        let long = state.disk_delay;
        if long.is_zero() || state.rng.random_ratio(1, 4) {
            return long;
        }
        Duration::from_millis(state.rng.random_range(1..10))
    }

    /// All nodes but one, including dead ones.
    pub fn everybody(&self, but: usize) -> Vec<Contact> {
        let state = self.state();
        let others = state.places.iter().enumerate().filter(|(index, _)| *index != but);
        others.map(|(_, place)| place.contact()).collect()
    }

    /// The nodes announced at a key, as far as `asker` can see.
    pub fn records(&self, key: &DhtKey, asker: usize) -> Vec<Contact> {
        let state = self.state();
        let side = state.places[asker].side;
        let found = state.records.get(key).into_iter().flat_map(|found| found.values());
        let is_visible = |contact: &&Contact| {
            state.places.iter().any(|place| place.id == contact.id && place.side == side)
        };
        found.filter(is_visible).cloned().collect()
    }

    pub fn announced(&self, by: usize, key: DhtKey) {
        let place = self.place(by);
        let all = [small, coded, album, film].into_iter().map(|made| made()).chain(many());
        if let Some(made) = all.into_iter().find(|made| made.record.hash.dht_key() == key) {
            let known = place.memory.publication(&made.record.hash).unwrap();
            if !known.confirmed && !known.published {
                self.violate("nothing_unpublished_is_announced", &format!("by {by}"));
            }
        }
        self.note(&format!("{by} announces"));
        let contact = place.contact();
        self.state().records.entry(key).or_default().insert(contact.id, contact);
    }

    /// Records what a node that keeps nothing has acknowledged.
    pub fn claimed(&self, by: usize, tessera: TesseraHash, piece: Piece) {
        self.state().claimed.insert((by, tessera, piece));
    }

    /// Whether a node sees this request of this peer for the first time.
    pub fn is_new(&self, (at, peer, frame): (usize, NodeId, &[u8])) -> bool {
        self.state().refused.insert((at, peer, frame.to_vec()))
    }

    /// The pieces that a node that keeps nothing has acknowledged.
    pub fn claims(&self, by: usize) -> Vec<Piece> {
        let state = self.state();
        let own = state.claimed.iter().filter(|(of, ..)| *of == by);
        own.map(|(_, _, piece)| *piece).collect()
    }

    /// Records what a node has acknowledged.
    pub fn acknowledged(&self, by: usize, tessera: TesseraHash, piece: Piece) {
        self.note(&format!("{by} stored {piece}"));
        self.state().acknowledged.insert((by, tessera, piece));
        let place = self.place(by);
        let plan = place.memory.plan(&tessera).unwrap().map(|bytes| Plan::parse(&bytes).unwrap());
        let held = place.memory.list_fragments(&tessera).unwrap();
        let held = held.into_iter().find(|held| held.piece == piece);
        let Some((plan, held)) = plan.zip(held) else { return };
        let reader = place.memory.read_fragment(&held).unwrap();
        let mut bytes = vec![0; reader.bytes() as usize];
        reader.read_at(0, &mut bytes).unwrap();
        if Some(blake3(&bytes)) != plan.checksum(piece) {
            self.violate("stored_bytes_are_the_plans", &format!("{by} stored {piece}"));
        }
    }

    /// Checks the invariants of one node.
    pub fn check_node(&self, index: usize) {
        let place = self.place(index);
        let acknowledged: Vec<_> = {
            let state = self.state();
            let of = |of: &&(usize, TesseraHash, Piece)| of.0 == index;
            state.acknowledged.iter().filter(of).copied().collect()
        };
        let mut held: BTreeMap<TesseraHash, BTreeSet<Piece>> = BTreeMap::new();
        for (_, tessera, piece) in acknowledged {
            let held = held.entry(tessera).or_insert_with(|| {
                let held = place.memory.list_fragments(&tessera).unwrap();
                held.into_iter().map(|held| held.piece).collect()
            });
            if place.alive && !held.contains(&piece) {
                self.violate("acknowledged_is_kept", &format!("{index} lost {piece}"));
            }
        }
    }

    /// Bytes have passed between two nodes.
    pub fn moved(&self, between: [usize; 2], bytes: usize) {
        let at = self.begun.elapsed();
        let mut state = self.state();
        for node in between {
            state.moved.entry(node).or_default().push((at, bytes as u64));
        }
    }

    /// Counts an answered request.
    pub fn answered(&self, kind: &str) {
        *self.state().answered.entry(kind.to_owned()).or_default() += 1;
    }

    /// Adds an event to the trace.
    pub fn note(&self, event: &str) {
        let at = self.begun.elapsed().as_millis();
        let mut state = self.state();
        let line = format!("{at:>8} ms: {event}");
        for byte in line.bytes() {
            state.trace = (state.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.count += 1;
        state.events.push_back(line);
        if state.events.len() > SHOWN {
            state.events.pop_front();
        }
    }

    fn violate(&self, invariant: &str, what: &str) {
        self.note(&format!("VIOLATED {invariant}: {what}"));
        self.state().violated.get_or_insert_with(|| format!("{invariant}: {what}"));
    }
}

/// A world under test.
pub struct World {
    pub shared: Arc<Shared>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = tesseras_core::lock::lock(&self.shared.state);
            let events: Vec<_> = state.events.iter().map(String::as_str).collect();
            eprintln!(
                "SIM_SEED={} after {} events:\n{}",
                self.shared.seed,
                state.count,
                events.join("\n")
            );
        }
    }
}

/// Runs a test in worlds of several seeds, or of the one in `SIM_SEED`.
pub fn simulate(seeds: std::ops::Range<u64>, nodes: usize, test: impl AsyncFn(&mut World)) {
    let only = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        run(seed, nodes, &test);
    }
}

/// Runs a test in one world; returns its trace and the invariant that was violated, if one was.
pub fn run(seed: u64, nodes: usize, test: &impl AsyncFn(&mut World)) -> (u64, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..nodes {
            world.join();
        }
        test(&mut world).await;
        let state = world.shared.state();
        (state.trace, state.violated.clone())
    })
}

impl World {
    fn new(seed: u64) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            places: Vec::new(),
            records: Records::new(),
            acknowledged: BTreeSet::new(),
            claimed: BTreeSet::new(),
            refused: BTreeSet::new(),
            announcing: Duration::ZERO,
            disk_delay: Duration::ZERO,
            answered: BTreeMap::new(),
            moved: BTreeMap::new(),
            // Every holder repairs at once, whoever is nearer.
            repair: RepairConfig {
                interval: DAY,
                steward_step: Duration::ZERO,
                ..ReplicationConfig::default().repair
            },
            events: VecDeque::new(),
            count: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            violated: None,
        };
        let shared = Shared { seed, begun: Instant::now(), state: Mutex::new(state) };
        Self { shared: Arc::new(shared) }
    }

    /// One more node, in a neighbourhood of its own.
    pub fn join(&mut self) -> usize {
        let (index, seed, rng, repair) = {
            let mut state = self.shared.state();
            let mut seed = [0; 32];
            state.rng.fill_bytes(&mut seed);
            let rng = StdRng::from_rng(&mut state.rng);
            (state.places.len(), seed, rng, state.repair)
        };
        let keys = Arc::new(NodeKeys::from_parts(&seed, [0; 8]));
        let begun = self.shared.begun;
        let clock = Clock::new(move || Timestamp(BEGINNING + begun.elapsed().as_secs()));
        let memory = Memory::default();
        let world = Arc::downgrade(&self.shared);
        let silent = SharedMemory::new(Vec::new(), clock.clone());
        let transport = SimTransport { world: world.clone(), from: index };
        let limits = Limits {
            storage: 1 << 40,
            min_free_space: 0,
            per_peer: 1 << 40,
            deficit_allowance: 1 << 40,
            repair_share: 1 << 40,
        };
        let replication = Replication::new(Parts {
            config: ReplicationConfig {
                hedge_percent: 10,
                limits,
                max_transfers: 4,
                repair,
                answer_deadline: Duration::from_secs(10),
                transfer_deadline: Duration::from_secs(30),
            },
            keys: keys.clone(),
            stores: memory.stores(),
            capsules: Arc::new(SimCapsules(memory.clone())),
            transport: Arc::new(RememberingTransport::new(Arc::new(transport), silent.clone())),
            memory: silent,
            directory: Arc::new(SimDirectory { world: world.clone(), own: index }),
            clock: clock.clone(),
            rng,
            blocking: Arc::new(SimDisk { world, waiting: Mutex::default() }),
        });
        let [high, low] = (index as u16).to_be_bytes();
        let place = Place {
            id: keys.id(),
            address: SocketAddr::from(([30 + high, low, 1, 1], 4000)),
            keys,
            clock,
            memory,
            replication,
            tasks: Arc::default(),
            alive: true,
            conduct: Conduct::Honest,
            side: 0,
            line: None,
        };
        self.shared.state().places.push(place);
        index
    }

    pub fn place(&self, index: usize) -> Place {
        self.shared.place(index)
    }

    pub fn len(&self) -> usize {
        self.shared.state().places.len()
    }

    /// A node dies: its work ends, and it can no longer be reached.
    pub fn kill(&mut self, index: usize) {
        self.shared.note(&format!("{index} dies"));
        let mut state = self.shared.state();
        state.places[index].alive = false;
        state.places[index].tasks.lock().unwrap().abort_all();
    }

    pub fn is_alive(&self, index: usize) -> bool {
        self.shared.state().places[index].alive
    }

    pub fn behave(&mut self, index: usize, conduct: Conduct) {
        self.shared.state().places[index].conduct = conduct;
    }

    /// From now on, all bytes that a node sends and receives pass a line this fast.
    pub fn slow_line(&mut self, index: usize, bytes_per_second: u64) {
        let free_at = Arc::new(Mutex::new(Instant::now()));
        let line = Line { bytes_per_second, free_at };
        self.shared.state().places[index].line = Some(line);
    }

    /// The bandwidth for repairs of the nodes that join from now on, in bytes per second.
    pub fn limit_repairs(&mut self, bytes_per_second: u64) {
        self.shared.state().repair.bandwidth = bytes_per_second;
    }

    /// How long each nearer holder has to repair, before a node does that joins from now on.
    pub fn repair_in_turns(&mut self, step: Duration) {
        self.shared.state().repair.steward_step = step;
    }

    /// When how many bytes of pieces and dossiers reached or left a node since the last call.
    pub fn take_moved(&self, node: usize) -> Vec<(Duration, u64)> {
        self.shared.state().moved.remove(&node).unwrap_or_default()
    }

    /// Partitions the network by index, or heals it.
    pub fn part(&mut self, side: impl Fn(usize) -> u8) {
        self.shared.note("the network is parted anew");
        let mut state = self.shared.state();
        (0..state.places.len()).for_each(|index| state.places[index].side = side(index));
    }

    /// From now on, announcements take so long.
    pub fn announce_slowly(&mut self, time: Duration) {
        self.shared.state().announcing = time;
    }

    /// From now on, blocking work takes up to so long on every node.
    pub fn delay_disks(&mut self, delay: Duration) {
        self.shared.state().disk_delay = delay;
    }

    /// `n` different numbers below `below`, at random.
    pub fn choose(&mut self, n: usize, below: usize) -> Vec<usize> {
        let mut state = self.shared.state();
        let mut all: Vec<usize> = (0..below).collect();
        (0..n.min(below))
            .map(|_| {
                let at = state.rng.random_range(0..all.len());
                all.swap_remove(at)
            })
            .collect()
    }

    /// Time passes.
    pub async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.check();
    }

    /// Makes a node create and publish a capsule.
    pub async fn publish(&self, owner: usize, made: &Made) -> Result<Published, PublishError> {
        let place = self.place(owner);
        add(&place.memory, made, Origin::Created);
        let (replication, hash) = (&place.replication, made.record.hash);
        let plan = replication.draft_plan(hash, &silent()).await?;
        let signed = SignedPlan { signatures: creator().sign(&plan), plan };
        let published = replication.publish(hash, signed, &silent()).await;
        self.check();
        published
    }

    /// Makes a node fetch a capsule; the bytes must be those that were packed.
    pub async fn fetch(&self, by: usize, made: &Made) -> Result<Fetched, FetchError> {
        let place = self.place(by);
        let fetched = place.replication.fetch(made.record.hash, &silent()).await;
        self.check();
        if let Ok(fetched) = &fetched {
            assert_eq!(fetched.record.hash, made.record.hash, "fetched_is_bit_identical");
        }
        fetched
    }

    pub async fn repair(&self, by: usize, made: &Made) -> Result<Repaired, RepairError> {
        let repaired = self.place(by).replication.repair(made.record.hash, &silent()).await;
        self.check();
        repaired
    }

    /// Every live holder repairs the capsule, one after the other; returns how many pieces were
    /// restored.
    pub async fn repair_by_all(&self, made: &Made) -> usize {
        let mut restored = 0;
        for index in (0..self.len()).filter(|index| self.is_alive(*index)) {
            if let Ok(done) = self.repair(index, made).await {
                restored += done.restored;
            }
        }
        restored
    }

    /// A node repairs everything that it maintains, at once.
    pub async fn repair_each(&self, by: usize) -> Vec<Repaired> {
        let replication = self.place(by).replication;
        let all = replication.looked_after().await.unwrap();
        let each = replication.repair_each(all, silent());
        let done: BTreeMap<_, _> =
            each.map(|(tessera, done)| (tessera, done.unwrap())).collect().await;
        self.check();
        done.into_values().collect()
    }

    /// A node repairs everything that it maintains, in its time.
    pub async fn repair_in_time(&self, by: usize) -> Vec<Repaired> {
        let mut done = self.round(by).await;
        done.extend(self.repair_postponed(by).await);
        done.into_values().collect()
    }

    /// A node looks at everything that it maintains; what is not urgent waits for its turn.
    pub async fn round(&self, by: usize) -> BTreeMap<TesseraHash, Repaired> {
        let replication = self.place(by).replication;
        let all = replication.looked_after().await.unwrap();
        let each = replication.repair_round(all);
        let done = each.map(|(tessera, done)| (tessera, done.unwrap())).collect().await;
        self.check();
        done
    }

    /// A node repairs what waits for its turn.
    pub async fn repair_postponed(&self, by: usize) -> BTreeMap<TesseraHash, Repaired> {
        let replication = self.place(by).replication;
        let each = replication.repair_postponed();
        let done = each.map(|(tessera, done)| (tessera, done.unwrap())).collect().await;
        self.check();
        done
    }

    /// Time passes, while these nodes do what `tesd` does: a round a day, at a random moment, and what
    /// is postponed in its turn. Returns how many pieces each has restored, if any.
    pub async fn live(&self, nodes: &[usize], time: Duration) -> Vec<(usize, usize)> {
        let restored = Mutex::new(BTreeMap::new());
        let note = |index: usize, done: BTreeMap<TesseraHash, Repaired>| {
            let pieces: usize = done.values().map(|done| done.restored).sum();
            if pieces > 0 {
                *restored.lock().unwrap().entry(index).or_default() += pieces;
            }
        };
        let each = nodes.iter().map(|index| async {
            let first = self.shared.state().rng.random_range(0..DAY.as_secs());
            let rounds = async {
                sleep(Duration::from_secs(first)).await;
                loop {
                    note(*index, self.round(*index).await);
                    sleep(DAY).await;
                }
            };
            let postponed = async {
                loop {
                    sleep(Duration::from_secs(60)).await;
                    note(*index, self.repair_postponed(*index).await);
                }
            };
            let ((), ()) = tokio::join!(rounds, postponed);
        });
        let _ = timeout(time, join_all(each)).await;
        restored.into_inner().unwrap().into_iter().collect()
    }

    /// How many requests of a kind were answered so far.
    pub fn answered(&self, kind: &str) -> usize {
        self.shared.state().answered.get(kind).copied().unwrap_or(0)
    }

    /// The requests that a node has sent to others.
    pub fn requests(&self, of: usize) -> Requests {
        self.place(of).replication.requests()
    }

    /// The status of a capsule by its holders' attestations; what it promises must be true.
    pub async fn status(&self, by: usize, made: &Made) -> TesseraHealth {
        let health = self.place(by).replication.status(made.record.hash).await;
        let health = health.unwrap().unwrap();
        self.check();
        let k = (made.pack.len() >= 4 << 20).then_some(16);
        let truth = placement::survives(&self.true_placement(made), k);
        if truth < health.survives {
            let what = format!("{} were promised, {truth} is true", health.survives);
            self.shared.violate("survives_is_honest", &what);
        }
        self.check();
        health
    }

    /// The pieces that live nodes really have stored.
    pub fn true_placement(&self, made: &Made) -> Placement {
        let state = self.shared.state();
        let live = state.places.iter().filter(|place| place.alive);
        let held = live.map(|place| {
            let held = place.memory.list_fragments(&made.record.hash).unwrap();
            (place.id, held.into_iter().map(|held| held.piece).collect::<BTreeSet<_>>())
        });
        held.filter(|(_, pieces)| !pieces.is_empty()).collect()
    }

    /// The live nodes that hold something.
    pub fn holders(&self, made: &Made) -> Vec<usize> {
        let placement = self.true_placement(made);
        (0..self.len()).filter(|index| placement.contains_key(&self.place(*index).id)).collect()
    }

    /// How many different fragments, or whole copies, there really are.
    pub fn pieces(&self, made: &Made) -> (usize, usize) {
        let placement = self.true_placement(made);
        (placement::distinct_fragments(&placement).len(), placement::whole_copies(&placement))
    }

    /// Fails if an invariant was violated.
    pub fn check(&self) {
        if self.expects_violation() {
            return;
        }
        let violated = self.shared.state().violated.clone();
        if let Some(violated) = violated {
            panic!("violated: {violated}");
        }
    }

    /// Whether a fault was planted: then the test itself examines the violation.
    fn expects_violation(&self) -> bool {
        self.shared.seed >= PLANTED
    }
}

/// Worlds of this seed and above have a planted fault.
pub const PLANTED: u64 = 1 << 32;
