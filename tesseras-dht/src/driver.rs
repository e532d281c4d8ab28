//! The DHT node at work: one task owns the [`Engine`], feeds it what happens, and has its effects
//! carried out by tasks of their own.
//!
//! The owner never waits for anything but the next event, so it cannot be the reason that a reply
//! is not taken. What others ask is refused as busy when the queue is full; what this node's own
//! layers ask waits for room.

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
use crate::engine::{Bootstrap, Command, Engine, Event, Found, Outcome, Status};
use crate::messages::{KINDS, Request};
use crate::records::{HolderRecord, Identity};

/// Calls that wait for the owner.
const QUEUE: usize = 1024;
/// Commands of the layers above that run at once; more wait for a place.
const MAX_COMMANDS: usize = 64;
/// Findings of one search that wait to be taken.
const FOUND: usize = 512;

/// A handle of a running DHT node; clones share it. After shutdown everything it is asked comes
/// back empty.
#[derive(Clone)]
pub struct Dht {
    calls: mpsc::Sender<Call>,
    commands: Arc<Semaphore>,
}

impl Dht {
    /// Starts a node. Its tasks belong to `tracker` and end when `token` is cancelled.
    pub fn start(
        config: DhtConfig,
        identity: Arc<dyn Identity>,
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

    /// Nodes that answer on the way to a point, each as soon as it has; ends once the k nearest have
    /// answered. Dropped earlier, it ends the lookup.
    pub fn lookup(&self, target: DhtKey) -> BoxStream<'_, Contact> {
        self.find_nodes(Command::Lookup(target))
    }

    /// Who says that it holds this tessera: checked records, each as soon as it is found. Of a holder
    /// more than one may come, the newest last. Hints. Dropped, it ends the search.
    pub fn find_holders(&self, key: DhtKey) -> BoxStream<'_, HolderRecord> {
        let found = self.search(Command::FindHolders(key));
        Box::pin(found.filter_map(|found| ready(found.holder())))
    }

    /// Tells the nodes nearest to each key that this node holds something of it, and returns how
    /// many other nodes keep each record now. Due again after
    /// [`REANNOUNCE_EVERY`](crate::REANNOUNCE_EVERY), which is the caller's to see to. It goes on if
    /// the future is dropped.
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
    /// space until there are `n` or no more appear. Dropped, it ends the search.
    pub fn discover(&self, n: usize) -> BoxStream<'_, Contact> {
        self.find_nodes(Command::Discover(n))
    }

    /// How this node stands; `None` after shutdown.
    pub async fn status(&self) -> Option<Status> {
        self.read(|engine, now| engine.status(now)).await
    }

    fn find_nodes(&self, command: Command) -> BoxStream<'_, Contact> {
        Box::pin(self.search(command).filter_map(|found| ready(found.node())))
    }

    /// What a search finds, until it ends.
    fn search(&self, command: Command) -> impl Stream<Item = Found> + Send + '_ {
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

    async fn command(&self, command: Command) -> Option<Outcome> {
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
