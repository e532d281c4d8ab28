//! Remembers peers that recently did not answer: they are asked last, and no request waits for
//! them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Timestamp;

/// The most silent peers that are remembered; the one that has been silent longest is dropped.
pub const MAX_SILENT_PEERS: usize = 4096;
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

/// All silent peers known to one node. One success clears a peer.
#[derive(Debug, Default)]
pub struct PeerMemory {
    silent: BTreeMap<NodeId, SilentPeer>,
}

impl PeerMemory {
    /// Starts with what was known before.
    pub fn new(known: impl IntoIterator<Item = SilentPeer>) -> Self {
        let known = known.into_iter().take(MAX_SILENT_PEERS);
        Self { silent: known.map(|peer| (peer.id, peer)).collect() }
    }

    /// A peer answered.
    pub fn answered(&mut self, id: &NodeId) {
        self.silent.remove(id);
    }

    /// A peer did not answer. Further failures while it counts as silent are ignored: they are
    /// requests that were in flight at the same time.
    pub fn failed(&mut self, id: NodeId, now: Timestamp) {
        let failures = match self.silent.get(&id) {
            Some(known) if now < known.until => return,
            Some(known) => known.failures.saturating_add(1),
            None => 1,
        };
        let doubled = 1 << (failures - 1).min(16);
        let until = now.plus((SILENT_FOR * doubled).min(SILENT_FOR_AT_MOST));
        self.silent.insert(id, SilentPeer { id, failures, until });
        if self.silent.len() > MAX_SILENT_PEERS
            && let Some(oldest) = self.silent.values().min_by_key(|peer| (peer.until, peer.id))
        {
            let oldest = oldest.id;
            self.silent.remove(&oldest);
        }
    }

    /// Whether a peer was silent lately.
    pub fn is_silent(&self, id: &NodeId, now: Timestamp) -> bool {
        self.silent.get(id).is_some_and(|peer| now < peer.until)
    }

    /// All entries, to be kept across a restart.
    pub fn list(&self) -> Vec<SilentPeer> {
        self.silent.values().copied().collect()
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
}
