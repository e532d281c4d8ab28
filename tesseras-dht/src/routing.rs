//! The routing table of Kademlia (section 2.2): 160 buckets of peers, least recently seen first.
//! Only peers that were dialled with success enter it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::{Rng, RngExt};
use tesseras_core::contact::{Contact, MAX_ADDRESSES, Subnet};
use tesseras_core::ids::{DhtKey, NodeId};

use crate::config::DhtConfig;

/// One bucket for each possible length of a common prefix.
pub const BUCKETS: usize = 160;
/// After this many failures in a row a peer leaves the table.
pub const MAX_FAILURES: u8 = 2;
/// A peer seen this recently is not pinged to make room for another.
pub const EVICTION_QUIET: Duration = Duration::from_secs(60);

/// A peer of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingEntry {
    /// Its id and the addresses that were dialled with success, the most recent first.
    pub contact: Contact,
    /// When it last answered.
    pub last_seen: Duration,
    /// How many requests in a row have failed.
    pub failures: u8,
}

/// The result of adding a peer that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is new in the table.
    New,
    /// It was in the table and moved to the end of its bucket.
    Known,
    /// Its bucket is full. It waits among the replacements; `ping` is the least recently seen peer,
    /// if it should now be checked.
    Waiting {
        /// The peer to ping.
        ping: Option<Contact>,
    },
    /// Its neighbourhood has reached its limit in the bucket or the table.
    SubnetFull,
    /// It is this node itself.
    Own,
}

#[derive(Debug, Default)]
struct Bucket {
    /// The least recently seen first.
    entries: Vec<RoutingEntry>,
    /// The most recent last.
    replacements: VecDeque<Contact>,
    /// The peer with an eviction ping in flight.
    pinged: Option<NodeId>,
    looked_up: Duration,
}

/// The routing table of one node.
#[derive(Debug)]
pub struct RoutingTable {
    own: NodeId,
    k: usize,
    subnet_per_bucket: usize,
    subnet_per_table: usize,
    buckets: Vec<Bucket>,
    subnets: BTreeMap<Subnet, usize>,
}

fn subnets(contact: &Contact) -> BTreeSet<Subnet> {
    let subnets = contact.addresses.iter().map(|address| Subnet::of(address.ip()));
    subnets.filter_map(Subnet::limited).collect()
}

impl RoutingTable {
    /// An empty table of a node.
    pub fn new(own: NodeId, config: &DhtConfig) -> Self {
        Self {
            own,
            k: config.k,
            subnet_per_bucket: config.subnet_per_bucket,
            subnet_per_table: config.subnet_per_table,
            buckets: std::iter::repeat_with(Bucket::default).take(BUCKETS).collect(),
            subnets: BTreeMap::new(),
        }
    }

    /// How many peers it holds.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.entries.len()).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.entries.is_empty())
    }

    /// All peers, bucket by bucket.
    pub fn entries(&self) -> impl Iterator<Item = &RoutingEntry> {
        self.buckets.iter().flat_map(|bucket| &bucket.entries)
    }

    /// Replacements: peers that were reached and wait for a place in a full bucket.
    pub fn waiting(&self) -> impl Iterator<Item = &Contact> {
        self.buckets.iter().flat_map(|bucket| &bucket.replacements)
    }

    /// A peer by its id.
    pub fn get(&self, id: &NodeId) -> Option<&RoutingEntry> {
        let bucket = &self.buckets[self.index(&DhtKey::from(*id))?];
        bucket.entries.iter().find(|entry| entry.contact.id == *id)
    }

    /// The `n` peers nearest to a point. Peers whose last request failed come last, and are left
    /// out if `for_others`.
    pub fn closest(&self, target: &DhtKey, n: usize, for_others: bool) -> Vec<Contact> {
        let mut closest = self.nearest(target, n, |entry| entry.failures == 0);
        if !for_others && closest.len() < n {
            let missing = n - closest.len();
            closest.extend(self.nearest(target, missing, |entry| entry.failures > 0));
        }
        closest
    }

    /// Walks the buckets in order of their distance from the target: the target's own, then all
    /// deeper ones at once, then one by one towards the far half.
    fn nearest(
        &self,
        target: &DhtKey,
        n: usize,
        wanted: fn(&RoutingEntry) -> bool,
    ) -> Vec<Contact> {
        let own = self.index(target).unwrap_or(BUCKETS);
        let groups = [own..(own + 1).min(BUCKETS), (own + 1).min(BUCKETS)..BUCKETS];
        let farther = (0..own).rev().map(|index| index..index + 1);
        let mut nearest = Vec::new();
        for group in groups.into_iter().chain(farther) {
            if nearest.len() >= n {
                break;
            }
            let entries = self.buckets[group].iter().flat_map(|bucket| &bucket.entries);
            let mut entries: Vec<_> = entries.filter(|entry| wanted(entry)).collect();
            entries.sort_by_cached_key(|entry| entry.contact.id.distance(target));
            let missing = n - nearest.len();
            nearest.extend(entries.into_iter().take(missing).map(|entry| entry.contact.clone()));
        }
        nearest
    }

    /// The least recently seen peers, without those whose last request failed.
    pub fn least_recently_seen(&self, n: usize) -> Vec<NodeId> {
        let mut entries: Vec<_> = self.entries().filter(|entry| entry.failures == 0).collect();
        entries.sort_unstable_by_key(|entry| (entry.last_seen, entry.contact.id));
        entries.into_iter().take(n).map(|entry| entry.contact.id).collect()
    }

    /// A peer answered at the address that was dialled.
    pub fn seen(&mut self, id: NodeId, address: SocketAddr, now: Duration) -> Admission {
        let Some(index) = self.index(&DhtKey::from(id)) else { return Admission::Own };
        let position = self.buckets[index].entries.iter().position(|entry| entry.contact.id == id);
        if let Some(position) = position {
            let mut entry = self.buckets[index].entries.remove(position);
            self.uncount(&entry.contact);
            let mut moved = entry.contact.clone();
            moved.addresses.retain(|known| *known != address);
            moved.addresses.insert(0, address);
            moved.addresses.truncate(MAX_ADDRESSES);
            if self.has_room(index, &moved) {
                entry.contact = moved;
            }
            entry.last_seen = now;
            entry.failures = 0;
            self.count(&entry.contact);
            let bucket = &mut self.buckets[index];
            bucket.entries.push(entry);
            if bucket.pinged == Some(id) {
                bucket.pinged = None;
            }
            return Admission::Known;
        }
        let contact = Contact { id, addresses: vec![address] };
        if !self.has_room(index, &contact) {
            return Admission::SubnetFull;
        }
        if self.buckets[index].entries.len() < self.k {
            self.admit(index, contact, now);
            return Admission::New;
        }
        let bucket = &mut self.buckets[index];
        bucket.replacements.retain(|waiting| waiting.id != id);
        bucket.replacements.push_back(contact);
        if bucket.replacements.len() > self.k {
            bucket.replacements.pop_front();
        }
        let mut ping = None;
        if bucket.pinged.is_none() {
            let oldest =
                bucket.entries.iter().min_by_key(|entry| (entry.failures == 0, entry.last_seen));
            ping = oldest
                .filter(|entry| entry.failures > 0 || entry.last_seen + EVICTION_QUIET <= now)
                .map(|entry| entry.contact.clone());
            bucket.pinged = ping.as_ref().map(|contact| contact.id);
        }
        Admission::Waiting { ping }
    }

    /// A request to a peer failed. It leaves the table when this was an eviction ping or the second
    /// failure in a row, and the most recent replacement that fits takes its place. Returns the
    /// peer that left.
    pub fn failed(&mut self, id: &NodeId, now: Duration) -> Option<Contact> {
        let index = self.index(&DhtKey::from(*id))?;
        let bucket = &mut self.buckets[index];
        bucket.replacements.retain(|waiting| waiting.id != *id);
        let position = bucket.entries.iter().position(|entry| entry.contact.id == *id)?;
        let entry = &mut bucket.entries[position];
        entry.failures += 1;
        if entry.failures < MAX_FAILURES && bucket.pinged != Some(*id) {
            return None;
        }
        let gone = bucket.entries.remove(position).contact;
        if bucket.pinged == Some(*id) {
            bucket.pinged = None;
        }
        self.uncount(&gone);
        let mut waiting = std::mem::take(&mut self.buckets[index].replacements);
        while let Some(contact) = waiting.pop_back() {
            if self.has_room(index, &contact) {
                self.admit(index, contact, now);
                break;
            }
        }
        self.buckets[index].replacements = waiting;
        Some(gone)
    }

    /// An eviction ping could not be sent, or failed because of this node.
    pub fn ping_was_lost(&mut self, id: &NodeId) {
        if let Some(index) = self.index(&DhtKey::from(*id))
            && self.buckets[index].pinged == Some(*id)
        {
            self.buckets[index].pinged = None;
        }
    }

    /// How many buckets are worth a lookup of their own: all up to the last non-empty one.
    pub fn depth(&self) -> usize {
        self.buckets.iter().rposition(|bucket| !bucket.entries.is_empty()).map_or(0, |i| i + 1)
    }

    /// Records that the bucket of this point is being looked up.
    pub fn looked_up(&mut self, target: &DhtKey, now: Duration) {
        if let Some(index) = self.index(target) {
            self.buckets[index].looked_up = now;
        }
    }

    /// The least recently looked-up bucket and when that was; `None` while the table is empty.
    pub fn stalest(&self) -> Option<(usize, Duration)> {
        let worth = self.buckets[..self.depth()].iter().enumerate();
        worth.map(|(index, bucket)| (index, bucket.looked_up)).min_by_key(|(_, at)| *at)
    }

    /// A random point in a bucket's range.
    pub fn random_point(&self, index: usize, rng: &mut dyn Rng) -> DhtKey {
        let mut point: [u8; 20] = rng.random();
        let own = self.own.as_bytes();
        let (whole, bit) = (index / 8, index % 8);
        point[..whole].copy_from_slice(&own[..whole]);
        // The first `bit` bits are ours, the next is inverted, the rest is random.
        let kept = !(0xff_u8 >> bit);
        let flipped = 0x80_u8 >> bit;
        point[whole] =
            (own[whole] & kept) | (!own[whole] & flipped) | (point[whole] & !kept & !flipped);
        DhtKey::new(point)
    }

    /// The bucket of a point; `None` for this node's own id.
    fn index(&self, point: &DhtKey) -> Option<usize> {
        let shared = self.own.distance(point).leading_zeros() as usize;
        (shared < BUCKETS).then_some(shared)
    }

    fn has_room(&self, index: usize, contact: &Contact) -> bool {
        subnets(contact).iter().all(|subnet| {
            let in_table = self.subnets.get(subnet).copied().unwrap_or(0);
            let in_bucket = self.buckets[index]
                .entries
                .iter()
                .filter(|entry| {
                    entry.contact.addresses.iter().any(|a| Subnet::of(a.ip()) == *subnet)
                })
                .count();
            in_table < self.subnet_per_table && in_bucket < self.subnet_per_bucket
        })
    }

    fn admit(&mut self, index: usize, contact: Contact, now: Duration) {
        self.count(&contact);
        self.buckets[index].entries.push(RoutingEntry { contact, last_seen: now, failures: 0 });
    }

    fn count(&mut self, contact: &Contact) {
        for subnet in subnets(contact) {
            *self.subnets.entry(subnet).or_default() += 1;
        }
    }

    fn uncount(&mut self, contact: &Contact) {
        for subnet in subnets(contact) {
            if let Some(count) = self.subnets.get_mut(&subnet) {
                *count -= 1;
                if *count == 0 {
                    self.subnets.remove(&subnet);
                }
            }
        }
    }
}
