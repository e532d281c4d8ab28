//! Runs the DHT node: one task owns the [`Engine`], feeds it events, and has its effects carried
//! out by tasks of their own.
//!
//! The owner only ever waits for the next event, so replies are always taken promptly. When the
//! queue is full, requests of other nodes are refused as busy; calls of this node's own layers wait
//! for room.

mod owner;

use std::collections::BTreeMap;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::Clock;
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{BoxStream, Peer, PeerObserver, Transport};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::owner::{Call, Owner};
use crate::config::DhtConfig;
use crate::engine::{Bootstrap, Command, CommandOutcome, Engine, Event, SearchResult, Status};
use crate::messages::{DhtRequest, KINDS};
use crate::records::{HolderRecord, NodeIdentity};

/// Capacity of the owner's call queue.
const QUEUE: usize = 1024;
/// Commands of the layers above that run at once; more wait.
const MAX_COMMANDS: usize = 64;
/// Capacity of the queue of one search's results.
const FOUND: usize = 512;

/// A handle of a running DHT node; clones share it. After shutdown every call returns an empty
/// result.
#[derive(Clone)]
pub struct Dht {
    calls: mpsc::Sender<Call>,
    commands: Arc<Semaphore>,
}

impl Dht {
    /// Starts a node. Its tasks belong to `tracker` and end when `token` is cancelled.
    pub fn start(
        config: DhtConfig,
        identity: Arc<dyn NodeIdentity>,
        transport: Arc<dyn Transport>,
        bootstrap: Bootstrap,
        clock: Clock,
        tracker: &TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let (calls, calls_in) = mpsc::channel(QUEUE);
        let engine = Engine::new(config, identity, bootstrap);
        let owner = Owner::new(engine, transport, clock, tracker.clone(), token);
        tracker.spawn(owner.run(calls_in));
        Self { calls, commands: Arc::new(Semaphore::new(MAX_COMMANDS)) }
    }

    /// Answers another node's request, a frame of this [kind](codec::kind); `None` if it is not in
    /// [`KINDS`], so that another service may handle it.
    pub async fn serve(&self, peer: Peer, kind: &str, frame: &[u8]) -> Option<Vec<u8>> {
        if !KINDS.contains(&kind) {
            return None;
        }
        let request = match codec::decode::<DhtRequest>(frame) {
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

    /// All peers of the routing table and all replacements waiting for a place in a full bucket.
    /// Each was reached at the address given, though perhaps not recently.
    pub async fn peers(&self) -> Vec<Contact> {
        self.read(|engine, _| engine.peers()).await.unwrap_or_default()
    }

    /// The `n` peers of the routing table nearest to a point, without sending a request.
    pub async fn closest(&self, key: DhtKey, n: usize) -> Vec<Contact> {
        self.read(move |engine, _| engine.closest(&key, n)).await.unwrap_or_default()
    }

    /// Nodes that answer during a lookup, each as soon as it answers; ends once the k nearest have
    /// answered. Dropping the stream ends the lookup.
    pub fn lookup(&self, target: DhtKey) -> BoxStream<'_, Contact> {
        self.find_nodes(Command::Lookup(target))
    }

    /// Checked records of the nodes that claim to hold this tessera, each as soon as it is found.
    /// There may be several of one holder, the newest last. Records are hints. Dropping the stream
    /// ends the search.
    pub fn find_holders(&self, key: DhtKey) -> BoxStream<'_, HolderRecord> {
        let found = self.search(Command::FindHolders(key));
        Box::pin(found.filter_map(|found| ready(found.holder())))
    }

    /// Tells the nodes nearest to each key that this node holds something of it, and returns how
    /// many other nodes now keep each record. The caller must announce again after
    /// [`REANNOUNCE_EVERY`](crate::REANNOUNCE_EVERY). The announcement continues if the future is
    /// dropped.
    pub async fn announce(&self, keys: Vec<DhtKey>) -> BTreeMap<DhtKey, usize> {
        match self.command(Command::Announce(keys)).await {
            Some(CommandOutcome::Announced(stored)) => stored,
            _ => BTreeMap::new(),
        }
    }

    /// The address at which a node listens now, confirmed by an answer. Used when its known address
    /// is dead.
    pub async fn resolve(&self, id: NodeId) -> Option<Contact> {
        match self.command(Command::Resolve(id)).await {
            Some(CommandOutcome::Resolved(contact)) => contact,
            _ => None,
        }
    }

    /// Peers of the routing table, and if there are fewer than `n`, more from lookups all over the
    /// space until there are `n` or no new ones appear. Dropping the stream ends the search.
    pub fn discover(&self, n: usize) -> BoxStream<'_, Contact> {
        self.find_nodes(Command::Discover(n))
    }

    /// The state of this node; `None` after shutdown.
    pub async fn status(&self) -> Option<Status> {
        self.read(|engine, now| engine.status(now)).await
    }

    fn find_nodes(&self, command: Command) -> BoxStream<'_, Contact> {
        Box::pin(self.search(command).filter_map(|found| ready(found.node())))
    }

    /// The results of a search until it ends.
    fn search(&self, command: Command) -> impl Stream<Item = SearchResult> + Send + '_ {
        let begun = stream::once(async move {
            let place = self.commands.acquire().await.ok()?;
            let (finds, found) = mpsc::channel(FOUND);
            self.calls.send(Call::Search(command, finds)).await.ok()?;
            Some((found, place))
        });
        begun.filter_map(ready).flat_map(|begun| {
            stream::unfold(begun, |(mut found, place)| async move {
                let next = found.recv().await?;
                Some((next, (found, place)))
            })
        })
    }

    async fn command(&self, command: Command) -> Option<CommandOutcome> {
        let _place = self.commands.acquire().await.ok()?;
        let (done, outcome) = oneshot::channel();
        self.calls.send(Call::Command(command, done)).await.ok()?;
        outcome.await.ok()
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine, Duration) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, value) = oneshot::channel();
        let read = Box::new(move |engine: &Engine, now| {
            // The caller may have dropped its end.
            let _ = done.send(read(engine, now));
        });
        self.calls.send(Call::Read(read)).await.ok()?;
        value.await.ok()
    }
}

/// The routing table also learns from the results of other protocols' requests.
impl PeerObserver for Dht {
    fn answered(&self, id: NodeId, address: SocketAddr) {
        // Dropping this when the queue is full or the node is stopping is harmless: the next
        // request reports again.
        let _ = self.calls.try_send(Call::Tell(Event::Observed { id, address }));
    }

    fn failed(&self, id: NodeId) {
        let _ = self.calls.try_send(Call::Tell(Event::Accused { id }));
    }

    fn doubted(&self, id: NodeId) {
        let _ = self.calls.try_send(Call::Tell(Event::Doubted { id }));
    }
}
