//! Peers met, kept across restarts.

use super::StoreError;
use crate::contact::Contact;
use crate::peer_memory::SilentPeer;
use crate::time::Timestamp;

/// Where peers were last reached, so that a node finds the network again without a bootstrap.
pub trait PeerRepository: Send + Sync {
    /// Remembers peers that answered; at most 1024 in all, those unseen for longest go. Hints: not
    /// synced before the call returns.
    fn remember_peers(&self, peers: &[Contact], now: Timestamp) -> Result<(), StoreError>;

    /// Remembers, of the peers that are remembered, which did not answer lately; all others count
    /// as awake. Hints: not synced before the call returns.
    fn remember_silent(&self, silent: &[SilentPeer]) -> Result<(), StoreError>;

    /// Those that did not answer lately, as far as they are remembered.
    fn silent_peers(&self) -> Result<Vec<SilentPeer>, StoreError>;

    /// Up to `limit` peers, last seen first.
    fn known_peers(&self, limit: usize) -> Result<Vec<Contact>, StoreError>;
}
