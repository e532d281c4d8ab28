//! Remembers peers that recently did not answer: they are asked last, and no request waits for
//! them.
//!
//! Anyone may name a false address for a node. So a failure counts against a node only if it has
//! answered at one of the addresses before; otherwise only that node at that address is remembered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::contact::{Contact, MAX_ADDRESSES, canonical};
use crate::ids::NodeId;
use crate::time::Timestamp;

/// The most silent peers that are remembered; the one that has been silent longest is dropped.
pub const MAX_SILENT_PEERS: usize = 4096;
/// The most pairs of a node and an address at which it did not answer; as above.
pub const MAX_SILENT_ADDRESSES: usize = 4096;
/// The most peers whose addresses are remembered; the one that answered least recently is dropped.
pub const MAX_PROVEN_PEERS: usize = 4096;
/// How long a peer counts as silent after its first failure; doubles with each further one.
pub const SILENT_FOR: Duration = Duration::from_secs(30);
/// The longest time that a peer counts as silent without another failure.
pub const SILENT_FOR_AT_MOST: Duration = Duration::from_secs(60 * 60);

/// A peer that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentPeer {
    /// Its id.
    pub id: NodeId,
    /// How many requests in a row it has failed.
    pub failures: u32,
    /// Until when it counts as silent.
    pub until: Timestamp,
}

/// Failures in a row, and until when they count.
#[derive(Debug, Clone, Copy)]
struct Silence {
    failures: u32,
    until: Timestamp,
}

impl Silence {
    /// After one more failure. Further failures while the last one counts are ignored: they are of
    /// requests that were in flight at the same time.
    fn after(before: Option<Self>, now: Timestamp) -> Self {
        let failures = match before {
            Some(known) if now < known.until => return known,
            Some(known) => known.failures.saturating_add(1),
            None => 1,
        };
        let doubled = 1 << (failures - 1).min(16);
        Self { failures, until: now.plus((SILENT_FOR * doubled).min(SILENT_FOR_AT_MOST)) }
    }
}

/// Records one more failure; at most `most` are kept.
fn note_failure<K: Ord + Copy>(
    silent: &mut BTreeMap<K, Silence>,
    key: K,
    most: usize,
    now: Timestamp,
) {
    let silence = Silence::after(silent.get(&key).copied(), now);
    silent.insert(key, silence);
    if silent.len() > most
        && let Some((oldest, _)) = silent.iter().min_by_key(|(key, known)| (known.until, **key))
    {
        let oldest = *oldest;
        silent.remove(&oldest);
    }
}

/// Where a node has answered, the last address first.
#[derive(Debug, Default)]
struct Proven {
    addresses: Vec<SocketAddr>,
    /// Grows with each answer of any node.
    number: u64,
}

/// All silent peers known to one node. One success clears a peer.
#[derive(Debug, Default)]
pub struct PeerMemory {
    silent: BTreeMap<NodeId, Silence>,
    silent_at: BTreeMap<(NodeId, SocketAddr), Silence>,
    proven: BTreeMap<NodeId, Proven>,
    last: u64,
}

impl PeerMemory {
    /// Starts with what was known before.
    pub fn new(known: impl IntoIterator<Item = SilentPeer>) -> Self {
        let known = known.into_iter().take(MAX_SILENT_PEERS);
        let silent =
            known.map(|SilentPeer { id, failures, until }| (id, Silence { failures, until }));
        Self { silent: silent.collect(), ..Self::default() }
    }

    /// A peer answered.
    pub fn answered(&mut self, id: &NodeId) {
        self.silent.remove(id);
    }

    /// A peer answered at an address that was dialled, now or before the last start.
    pub fn met(&mut self, id: NodeId, address: SocketAddr) {
        let address = canonical(address);
        self.silent_at.remove(&(id, address));
        self.last += 1;
        let proven = self.proven.entry(id).or_default();
        proven.number = self.last;
        proven.addresses.retain(|known| *known != address);
        proven.addresses.insert(0, address);
        proven.addresses.truncate(MAX_ADDRESSES);
        if self.proven.len() > MAX_PROVEN_PEERS
            && let Some((oldest, _)) = self.proven.iter().min_by_key(|(_, proven)| proven.number)
        {
            let oldest = *oldest;
            self.proven.remove(&oldest);
        }
    }

    /// A peer did not answer, wherever it was asked.
    pub fn failed(&mut self, id: NodeId, now: Timestamp) {
        note_failure(&mut self.silent, id, MAX_SILENT_PEERS, now);
    }

    /// A peer did not answer at any of these addresses. Returns whether that counts against the peer
    /// itself: it has answered at one of them before, or none is named.
    pub fn failed_at(&mut self, id: NodeId, addresses: &[SocketAddr], now: Timestamp) -> bool {
        self.unreached(id, addresses, now);
        let is_blamed = addresses.is_empty() || self.has_met(&id, addresses);
        if is_blamed {
            self.failed(id, now);
        }
        is_blamed
    }

    /// A peer is not at these addresses, whether it is elsewhere or gone.
    pub fn unreached(&mut self, id: NodeId, addresses: &[SocketAddr], now: Timestamp) {
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let key = (id, canonical(*address));
            note_failure(&mut self.silent_at, key, MAX_SILENT_ADDRESSES, now);
        }
    }

    /// Whether a peer has answered at one of these addresses.
    pub fn has_met(&self, id: &NodeId, addresses: &[SocketAddr]) -> bool {
        let proven = self.proven.get(id);
        let is_proven = |address: &SocketAddr| {
            proven.is_some_and(|proven| proven.addresses.contains(&canonical(*address)))
        };
        addresses.iter().any(is_proven)
    }

    /// Whether a peer was silent lately.
    pub fn is_silent(&self, id: &NodeId, now: Timestamp) -> bool {
        self.silent.get(id).is_some_and(|known| now < known.until)
    }

    /// Whether a peer was silent lately, in general or at all addresses of this contact.
    pub fn is_silent_at(&self, contact: &Contact, now: Timestamp) -> bool {
        let Contact { id, addresses } = contact;
        let is_silent = |address: &SocketAddr| {
            let known = self.silent_at.get(&(*id, canonical(*address)));
            known.is_some_and(|known| now < known.until)
        };
        self.is_silent(id, now) || (!addresses.is_empty() && addresses.iter().all(is_silent))
    }

    /// All silent peers, to be kept across a restart.
    pub fn list(&self) -> Vec<SilentPeer> {
        let all = self.silent.iter();
        all.map(|(id, known)| SilentPeer { id: *id, failures: known.failures, until: known.until })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeId {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        NodeId::new(bytes)
    }

    #[test]
    fn silence_grows_with_each_failure_and_one_answer_ends_it() {
        let mut memory = PeerMemory::default();
        let silent = |memory: &PeerMemory, now| memory.is_silent(&node(1), Timestamp(now));
        assert!(!silent(&memory, 0));
        memory.failed(node(1), Timestamp(100));
        memory.failed(node(1), Timestamp(101));
        assert!(silent(&memory, 129) && !silent(&memory, 130), "what was out at once is one");
        memory.failed(node(1), Timestamp(200));
        assert!(silent(&memory, 259) && !silent(&memory, 260));
        for again in 1..100 {
            memory.failed(node(1), Timestamp(again * 10_000));
        }
        assert!(silent(&memory, 990_000 + 3599) && !silent(&memory, 990_000 + 3600));
        let known = PeerMemory::new(memory.list());
        assert!(silent(&known, 990_000), "it survives a restart");
        memory.answered(&node(1));
        assert!(!silent(&memory, 990_000));
        memory.failed(node(1), Timestamp(1_000_000));
        assert!(!silent(&memory, 1_000_030), "it begins anew");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = PeerMemory::default();
        for number in 0..=MAX_SILENT_PEERS as u32 {
            memory.failed(node(number), Timestamp(u64::from(number)));
        }
        assert_eq!(memory.list().len(), MAX_SILENT_PEERS);
        let now = Timestamp(1);
        assert!(!memory.is_silent(&node(0), now) && memory.is_silent(&node(1), now));
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_failure_at_an_address_that_others_named_is_not_the_nodes() {
        let mut memory = PeerMemory::default();
        let contact = |addresses: &[SocketAddr]| {
            let addresses = addresses.to_vec();
            Contact { id: node(1), addresses }
        };
        let now = Timestamp(100);
        memory.met(node(1), at(1));
        assert!(!memory.failed_at(node(1), &[at(9)], now));
        assert!(!memory.is_silent(&node(1), now));
        assert!(!memory.is_silent_at(&contact(&[at(1)]), now));
        assert!(!memory.is_silent_at(&contact(&[at(9), at(1)]), now));
        assert!(memory.is_silent_at(&contact(&[at(9)]), now), "the address is not asked again");
        assert!(!memory.is_silent_at(&contact(&[at(9)]), Timestamp(130)));
        assert!(!memory.is_silent_at(&Contact { id: node(2), addresses: vec![at(9)] }, now));

        assert!(memory.failed_at(node(1), &[at(9), at(1)], now), "it was known there");
        assert!(memory.is_silent_at(&contact(&[at(5)]), now));
        memory.answered(&node(1));
        memory.met(node(1), at(9));
        assert!(!memory.is_silent_at(&contact(&[at(9)]), now), "it is there after all");
    }

    #[test]
    fn what_is_known_of_addresses_is_bounded() {
        let mut memory = PeerMemory::default();
        for number in 0..=MAX_PROVEN_PEERS as u32 {
            memory.met(node(number), at(1));
            memory.unreached(node(number), &[at(2)], Timestamp(u64::from(number)));
        }
        assert!(!memory.has_met(&node(0), &[at(1)]) && memory.has_met(&node(1), &[at(1)]));
        assert_eq!(memory.silent_at.len(), MAX_SILENT_ADDRESSES);
        (1..10).for_each(|port| memory.met(node(1), at(port)));
        assert!(!memory.has_met(&node(1), &[at(5)]) && memory.has_met(&node(1), &[at(6)]));
    }
}
