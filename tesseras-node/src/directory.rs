//! How replication finds nodes: through the DHT.

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

/// How long to wait before asking again while joining.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// For how long an answer to where a node is now is the answer to all who ask. After a death many
/// ask for the same node at once.
const RESOLVED_FOR: Duration = Duration::from_secs(15);
/// How many such answers are kept; when full, more are not.
const MAX_RESOLVED: usize = 1024;

/// Where a node is now, once that is known.
type Resolved = Arc<OnceCell<Option<Contact>>>;

/// The DHT as replication's [`Directory`].
pub struct DhtDirectory {
    dht: Dht,
    id: NodeId,
    memory: SharedMemory,
    /// As of the last look; kept fresh by a job, and by every search.
    own_addresses: Arc<Mutex<Vec<SocketAddr>>>,
    /// Until when it is expected that nobody is known yet.
    joined_by: Instant,
    /// Who was asked for lately, and since when.
    resolved: Mutex<BTreeMap<NodeId, (Instant, Resolved)>>,
}

impl DhtDirectory {
    /// The directory of the node `id`, which may take this long to join before an empty answer is
    /// believed.
    pub fn new(dht: Dht, id: NodeId, memory: SharedMemory, join_patience: Duration) -> Self {
        let joined_by = Instant::now() + join_patience;
        let resolved = Mutex::default();
        Self { dht, id, memory, own_addresses: Arc::default(), joined_by, resolved }
    }

    /// Where to find where a node is now, together with all who ask for it at this time.
    fn resolution(&self, id: NodeId) -> Resolved {
        let mut resolved = lock(&self.resolved);
        resolved.retain(|_, (since, _)| since.elapsed() < RESOLVED_FOR);
        if resolved.len() >= MAX_RESOLVED {
            return resolved.get(&id).map(|(_, known)| known.clone()).unwrap_or_default();
        }
        resolved.entry(id).or_insert_with(|| (Instant::now(), Resolved::default())).1.clone()
    }

    /// Waits until some peer is known, while the node is still joining.
    async fn joined(&self) {
        while Instant::now() < self.joined_by && self.dht.peers().await.is_empty() {
            sleep(JOIN_PAUSE).await;
        }
    }

    /// Looks up anew where this node was reached.
    pub async fn refresh_own_addresses(&self) {
        if let Some(status) = self.dht.status().await {
            let mut own = lock(&self.own_addresses);
            *own = if status.reachable { status.addresses } else { Vec::new() };
        }
    }
}

/// What one search finds, once it has ended.
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
        // A few more than wanted: some of them will not answer, or not accept.
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
        // Those who are known are asked at once; the network is searched for nearer ones, or more,
        // meanwhile.
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
            self.dht.status().await?.clock.filter(ClockOffset::is_off)
        })
    }
}
