//! Replication finds nodes through the DHT.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::lock::lock;
use tesseras_core::time::ClockOffset;
use tesseras_dht::Dht;
use tesseras_replication::Directory;
use tesseras_wire::{BoxFuture, BoxStream, SharedMemory};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// The polling interval while joining.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// How long the result of resolving a node is used again, from the start of the search. After a
/// node fails, many flows ask for it at once.
const RESOLVED_FOR: Duration = Duration::from_secs(15);
/// The most such answers that are kept; above that, each request makes its own search.
const MAX_RESOLVED: usize = 1024;

/// The result of resolving a node, once the search has ended.
type Resolved = Arc<OnceCell<Option<Contact>>>;

/// The DHT as replication's [`Directory`].
pub struct DhtDirectory {
    dht: Dht,
    id: NodeId,
    memory: SharedMemory,
    /// As of the last refresh, by a job or by a search.
    own_addresses: Arc<Mutex<Vec<SocketAddr>>>,
    /// Until then the node may still be joining, and knows no peer.
    joined_by: Instant,
    /// The nodes resolved recently, with the start of each search.
    resolved: Mutex<BTreeMap<NodeId, (Instant, Resolved)>>,
}

impl DhtDirectory {
    /// The directory of the node `id`. A search waits for the first peer until `join_patience` after
    /// this call.
    pub fn new(dht: Dht, id: NodeId, memory: SharedMemory, join_patience: Duration) -> Self {
        let joined_by = Instant::now() + join_patience;
        let resolved = Mutex::default();
        Self { dht, id, memory, own_addresses: Arc::default(), joined_by, resolved }
    }

    /// The result of resolving this node, shared by all concurrent requests for it.
    fn resolution(&self, id: NodeId) -> Resolved {
        let mut resolved = lock(&self.resolved);
        resolved.retain(|_, (since, _)| since.elapsed() < RESOLVED_FOR);
        if resolved.len() >= MAX_RESOLVED {
            return resolved.get(&id).map(|(_, known)| known.clone()).unwrap_or_default();
        }
        resolved.entry(id).or_insert_with(|| (Instant::now(), Resolved::default())).1.clone()
    }

    /// Waits until a peer is known, if the node is still joining.
    async fn joined(&self) {
        while Instant::now() < self.joined_by && self.dht.peers().await.is_empty() {
            sleep(JOIN_PAUSE).await;
        }
    }

    /// Refreshes the addresses at which other nodes have reached this node.
    pub async fn refresh_own_addresses(&self) {
        if let Some(status) = self.dht.status().await {
            let mut own = lock(&self.own_addresses);
            *own = if status.reachable { status.addresses } else { Vec::new() };
        }
    }
}

/// The contacts found by one search, once it has ended.
fn in_one_go<'a>(search: impl Future<Output = Vec<Contact>> + Send + 'a) -> BoxStream<'a, Contact> {
    Box::pin(stream::once(search).flat_map(stream::iter))
}

impl Directory for DhtDirectory {
    fn find_holders(&self, key: DhtKey) -> BoxStream<'_, Contact> {
        let begun = stream::once(async move {
            self.joined().await;
            self.refresh_own_addresses().await;
            self.dht.find_holders(key)
        });
        let contact =
            |r: tesseras_dht::HolderRecord| Contact { id: r.node(), addresses: r.addresses };
        Box::pin(begun.flatten().map(contact))
    }

    fn candidates(&self, key: DhtKey, wanted: usize) -> BoxStream<'_, Contact> {
        // More than wanted: some of them will not answer, or not accept.
        let most = wanted.saturating_mul(2).max(32);
        let met = in_one_go(async move {
            self.joined().await;
            let mut met = self.dht.peers().await;
            met.sort_by_key(|contact| contact.id.distance(&key));
            self.memory.silent_last(met)
        });
        let nearest = stream::once(self.joined()).flat_map(move |()| self.dht.lookup(key));
        let too_few =
            stream::once(self.dht.peers()).filter(move |known| ready(known.len() < wanted));
        let others = too_few.flat_map(move |_| self.dht.discover(wanted));
        // Known nodes come first, at once; meanwhile the network is searched for nearer ones, or for
        // more.
        let mut named = BTreeSet::from([self.id]);
        let first = met.take(wanted);
        let all = stream::select(first, nearest.chain(others));
        Box::pin(all.filter(move |contact| ready(named.insert(contact.id))).take(most))
    }

    fn resolve(&self, id: NodeId) -> BoxFuture<'_, Option<Contact>> {
        let resolution = self.resolution(id);
        Box::pin(async move { resolution.get_or_init(|| self.dht.resolve(id)).await.clone() })
    }

    fn announce(&self, keys: Vec<DhtKey>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let stored = self.dht.announce(keys).await;
            tracing::debug!(keys = stored.len(), "announced");
        })
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        lock(&self.own_addresses).clone()
    }

    fn clock_offset(&self) -> BoxFuture<'_, Option<ClockOffset>> {
        Box::pin(async move {
            self.joined().await;
            self.dht.status().await?.clock
        })
    }
}
