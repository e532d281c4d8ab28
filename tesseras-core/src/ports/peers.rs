//! Peers met, kept across restarts.

use super::StoreError;
use crate::contact::Contact;
use crate::peer_memory::SilentPeer;
use crate::time::Timestamp;

/// Where peers were last reached, so that a node finds the network again without a bootstrap.
pub trait PeerRepository: Send + Sync {
    /// Records peers that answered; at most 1024 in total, and the least recently seen are dropped.
    /// Hints: not synced before the call returns.
    fn remember_peers(&self, peers: &[Contact], now: Timestamp) -> Result<(), StoreError>;

    /// Records which of the known peers recently did not answer; all others are marked as
    /// responsive. Hints: not synced before the call returns.
    fn remember_silent(&self, silent: &[SilentPeer]) -> Result<(), StoreError>;

    /// The known peers that recently did not answer.
    fn silent_peers(&self) -> Result<Vec<SilentPeer>, StoreError>;

    /// Up to `limit` peers, most recently seen first.
    fn known_peers(&self, limit: usize) -> Result<Vec<Contact>, StoreError>;
}
