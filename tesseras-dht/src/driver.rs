//! The DHT node at work: one task owns the [`Engine`], feeds it what happens, and has its effects
//! carried out by tasks of their own.
//!
//! The owner never waits for anything but the next event, so it cannot be the reason that a reply
//! is not taken. What others ask is refused as busy when the queue is full; what this node's own
//! layers ask waits for room.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::Timestamp;
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{
    BoxStream, Peer, PeerObserver, Request as Outgoing, Target, Transport, is_the_peers_fault,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::DhtConfig;
use crate::engine::{
    Beginnings, Command, Effect, Engine, Event, InboundId, Moment, OperationId, Outcome, Status,
    Ticket,
};
use crate::messages::{KINDS, Request, Response};
use crate::records::{HolderRecord, Identity};

/// Requests that are out at once; more wait for a place.
const MAX_OUTGOING: usize = 128;
/// Events that wait for the owner, of each queue.
const QUEUE: usize = 1024;
/// Commands of the layers above that run at once; more wait for a place.
const MAX_COMMANDS: usize = 64;
/// Records found that wait to be taken.
const FOUND: usize = 512;
/// A transport that forgets its deadline is given up on after this much longer.
const GRACE: Duration = Duration::from_secs(2);

/// What the wall clock says, for the dates of records; the node's own adapter.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

type Read = Box<dyn FnOnce(&Engine, Duration) + Send>;

/// Who waits for a command.
struct Waiter {
    done: oneshot::Sender<Outcome>,
    /// Is told what is found before it is done.
    found: Option<mpsc::Sender<HolderRecord>>,
}

/// What the handle asks of the owner.
enum Call {
    Command(Command, Waiter),
    Asked(Peer, Request, oneshot::Sender<Result<Response, Refusal>>),
    Tell(Event),
    Read(Read),
}

/// What the owner does next.
enum Action {
    Stop,
    Handle(Event),
    Call(Call),
}

/// A handle of a running DHT node; clones share it. After shutdown everything it is asked comes
/// back empty.
#[derive(Clone)]
pub struct Dht {
    calls: mpsc::Sender<Call>,
    commands: Arc<Semaphore>,
}

struct Owner {
    engine: Engine,
    rng: StdRng,
    clock: WallClock,
    started: Instant,
    transport: Arc<dyn Transport>,
    tracker: TaskTracker,
    token: CancellationToken,
    outgoing: Arc<Semaphore>,
    reports: mpsc::Sender<Event>,
    running: BTreeMap<OperationId, Waiter>,
    asked: BTreeMap<InboundId, oneshot::Sender<Result<Response, Refusal>>>,
    last_number: u64,
}

impl Dht {
    /// Starts a node. Its tasks belong to `tracker` and end when `token` is cancelled.
    pub fn start(
        config: DhtConfig,
        identity: Arc<dyn Identity>,
        transport: Arc<dyn Transport>,
        beginnings: Beginnings,
        clock: WallClock,
        tracker: &TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let (calls, calls_in) = mpsc::channel(QUEUE);
        let (reports, reports_in) = mpsc::channel(QUEUE);
        let owner = Owner {
            engine: Engine::new(config, identity, beginnings),
            rng: rand::make_rng(),
            clock,
            started: Instant::now(),
            transport,
            tracker: tracker.clone(),
            token,
            outgoing: Arc::new(Semaphore::new(MAX_OUTGOING)),
            reports,
            running: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_number: 0,
        };
        tracker.spawn(owner.run(calls_in, reports_in));
        Self { calls, commands: Arc::new(Semaphore::new(MAX_COMMANDS)) }
    }

    /// Answers another node's request; `None` if it is not of one of [`KINDS`], so that another
    /// service may know it.
    pub async fn serve(&self, peer: Peer, frame: &[u8]) -> Option<Vec<u8>> {
        let kind = codec::kind(frame)?;
        if !KINDS.contains(&kind.as_str()) {
            return None;
        }
        let request = match codec::decode::<Request>(frame) {
            Ok(request) => request,
            Err(error) => return Some(codec::refuse(Refusal::MALFORMED, error.to_string())),
        };
        let (answer, answered) = oneshot::channel();
        if self.calls.try_send(Call::Asked(peer, request, answer)).is_err() {
            return Some(codec::refuse(Refusal::BUSY, "too many requests at once"));
        }
        let frame = match answered.await {
            Ok(Ok(response)) => response
                .encode()
                .unwrap_or_else(|error| codec::refuse(Refusal::INTERNAL, error.to_string())),
            Ok(Err(refusal)) => codec::refuse(&refusal.code, refusal.message),
            Err(_) => codec::refuse(Refusal::INTERNAL, "this node is shutting down"),
        };
        Some(frame)
    }

    /// Everyone in the routing table, and those who wait for a place in a full bucket: reached at
    /// the address given, though perhaps not lately.
    pub async fn peers(&self) -> Vec<Contact> {
        self.read(|engine, _| engine.peers()).await.unwrap_or_default()
    }

    /// The `n` peers of the routing table nearest to a point, without asking anyone.
    pub async fn closest(&self, key: DhtKey, n: usize) -> Vec<Contact> {
        self.read(move |engine, _| engine.closest(&key, n)).await.unwrap_or_default()
    }

    /// The k nodes nearest to a point that answered just now, nearest first.
    pub async fn lookup(&self, target: DhtKey) -> Vec<Contact> {
        match self.command(Command::Lookup(target)).await {
            Some(Outcome::Contacts(contacts)) => contacts,
            _ => Vec::new(),
        }
    }

    /// Who says that it holds this tessera: checked records, the newest of each holder. Hints.
    pub async fn find_holders(&self, key: DhtKey) -> Vec<HolderRecord> {
        match self.command(Command::FindHolders(key)).await {
            Some(Outcome::Holders(records)) => records,
            _ => Vec::new(),
        }
    }

    /// The same records as soon as each is found; ends with the search. Of a holder more than one
    /// may come, the newest last.
    pub fn holders(&self, key: DhtKey) -> BoxStream<'_, HolderRecord> {
        let (found, records) = mpsc::channel(FOUND);
        let records = stream::unfold(records, |mut records| async move {
            let record = records.recv().await?;
            Some((record, records))
        });
        // It has no records of its own to give: it only has to be awaited.
        let search = stream::once(self.command_with(Command::FindHolders(key), Some(found)));
        Box::pin(stream::select(records, search.filter_map(|_| ready(None))))
    }

    /// Tells the nodes nearest to each key that this node holds something of it, and returns how
    /// many other nodes keep each record now. Due again after
    /// [`REANNOUNCE_EVERY`](crate::REANNOUNCE_EVERY), which is the caller's to see to.
    pub async fn announce(&self, keys: Vec<DhtKey>) -> BTreeMap<DhtKey, usize> {
        match self.command(Command::Announce(keys)).await {
            Some(Outcome::Announced(stored)) => stored,
            _ => BTreeMap::new(),
        }
    }

    /// Where a node listens now: it has just answered there. For when its address is dead.
    pub async fn resolve(&self, id: NodeId) -> Option<Contact> {
        match self.command(Command::Resolve(id)).await {
            Some(Outcome::Resolved(contact)) => contact,
            _ => None,
        }
    }

    /// Peers of the routing table, and if those are fewer than `n`, more from lookups all over the
    /// space until there are `n` or no more appear.
    pub async fn discover(&self, n: usize) -> Vec<Contact> {
        match self.command(Command::Discover(n)).await {
            Some(Outcome::Contacts(contacts)) => contacts,
            _ => Vec::new(),
        }
    }

    /// How this node stands; `None` after shutdown.
    pub async fn status(&self) -> Option<Status> {
        self.read(|engine, now| engine.status(now)).await
    }

    async fn command(&self, command: Command) -> Option<Outcome> {
        self.command_with(command, None).await
    }

    async fn command_with(
        &self,
        command: Command,
        found: Option<mpsc::Sender<HolderRecord>>,
    ) -> Option<Outcome> {
        let _place = self.commands.acquire().await.ok()?;
        let (done, outcome) = oneshot::channel();
        self.calls.send(Call::Command(command, Waiter { done, found })).await.ok()?;
        outcome.await.ok()
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine, Duration) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, value) = oneshot::channel();
        let read: Read = Box::new(move |engine, now| {
            // The asker may have stopped waiting.
            let _ = done.send(read(engine, now));
        });
        self.calls.send(Call::Read(read)).await.ok()?;
        value.await.ok()
    }
}

/// What becomes of the requests of other protocols reaches the routing table, too.
impl PeerObserver for Dht {
    fn answered(&self, id: NodeId, address: SocketAddr) {
        // Where the queue is full, or the node stopping, nothing is lost: the next request tells.
        let _ = self.calls.try_send(Call::Tell(Event::Observed { id, address }));
    }

    fn failed(&self, id: NodeId) {
        let _ = self.calls.try_send(Call::Tell(Event::Accused { id }));
    }

    fn doubted(&self, id: NodeId) {
        let _ = self.calls.try_send(Call::Tell(Event::Doubted { id }));
    }
}

impl Owner {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>, mut reports: mpsc::Receiver<Event>) {
        self.handle(Event::Tick);
        loop {
            let wakes_at = self.started + self.engine.wakes_at(self.started.elapsed());
            let action = tokio::select! {
                biased;
                () = self.token.cancelled() => Action::Stop,
                Some(event) = reports.recv() => Action::Handle(event),
                () = tokio::time::sleep_until(wakes_at) => Action::Handle(Event::Tick),
                call = calls.recv() => call.map_or(Action::Stop, Action::Call),
            };
            match action {
                Action::Stop => return,
                Action::Handle(event) => self.handle(event),
                Action::Call(call) => self.take(call),
            }
        }
    }

    fn take(&mut self, call: Call) {
        match call {
            Call::Command(command, waiter) => {
                let operation = OperationId(self.number());
                self.running.insert(operation, waiter);
                self.handle(Event::Commanded { operation, command });
            }
            Call::Asked(peer, request, answer) => {
                let inbound = InboundId(self.number());
                self.asked.insert(inbound, answer);
                let (from, remote) = (peer.id, peer.remote);
                self.handle(Event::Asked { inbound, from, remote, request });
            }
            Call::Tell(event) => self.handle(event),
            Call::Read(read) => read(&self.engine, self.started.elapsed()),
        }
    }

    fn handle(&mut self, event: Event) {
        let moment = Moment { elapsed: self.started.elapsed(), wall: (self.clock)() };
        for effect in self.engine.handle(moment, &mut self.rng, event) {
            match effect {
                Effect::Send { ticket, id, addresses, request, deadline } => {
                    self.send(ticket, Target { id, addresses }, request, deadline);
                }
                // The asker may have stopped waiting; then nobody minds.
                Effect::Answer { inbound, answer } => {
                    if let Some(asker) = self.asked.remove(&inbound) {
                        let _ = asker.send(answer);
                    }
                }
                Effect::Found { operation, record } => {
                    let waiter = self.running.get(&operation);
                    if let Some(found) = waiter.and_then(|waiter| waiter.found.as_ref()) {
                        // One that takes none for long does without; they are hints.
                        let _ = found.try_send(record);
                    }
                }
                Effect::Finished { operation, outcome } => {
                    if let Some(waiter) = self.running.remove(&operation) {
                        let _ = waiter.done.send(outcome);
                    }
                }
            }
        }
    }

    /// Sends a request from a task of its own, which reports what came of it.
    fn send(&self, ticket: Ticket, target: Target, request: Request, deadline: Duration) {
        let transport = Arc::clone(&self.transport);
        let outgoing = Arc::clone(&self.outgoing);
        let reports = self.reports.clone();
        let token = self.token.clone();
        self.tracker.spawn(async move {
            let exchange = async {
                let _place = outgoing.acquire().await;
                let event = ask(&*transport, ticket, &target, &request, deadline).await;
                // The owner is gone only at shutdown.
                let _ = reports.send(event).await;
            };
            token.run_until_cancelled(exchange).await;
        });
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

async fn ask(
    transport: &dyn Transport,
    ticket: Ticket,
    target: &Target,
    request: &Request,
    deadline: Duration,
) -> Event {
    let frame = match codec::encode(request) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::error!(%error, "a request of our own does not fit a frame");
            return Event::Failed { ticket, blame: false };
        }
    };
    let outgoing = Outgoing { frame, body: None, deadline };
    let exchange = transport.request(target, outgoing);
    let reply = match tokio::time::timeout(deadline + GRACE, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            tracing::debug!(peer = ?target.id, addresses = ?target.addresses, %error, "no answer");
            return Event::Failed { ticket, blame: is_the_peers_fault(&error) };
        }
        Err(_) => return Event::Failed { ticket, blame: true },
    };
    let (from, remote) = (reply.peer.id, reply.peer.remote);
    match Response::decode(request.kind(), &reply.frame) {
        Ok(answer) => Event::Replied { ticket, from, remote, answer },
        Err(error) => {
            tracing::debug!(peer = %from, %remote, %error, "an answer that cannot be read");
            Event::Failed { ticket, blame: true }
        }
    }
}
