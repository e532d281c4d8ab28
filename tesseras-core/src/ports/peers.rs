//! Peers met, kept across restarts.

use super::StoreError;
use crate::contact::Contact;
use crate::time::Timestamp;

/// Where peers were last reached, so that a node finds the network again without a bootstrap.
pub trait PeerRepository: Send + Sync {
    /// Remembers peers that answered; at most 1024 in all, those unseen for longest go. Hints: not
    /// synced before the call returns.
    fn remember_peers(&self, peers: &[Contact], now: Timestamp) -> Result<(), StoreError>;

    /// Up to `limit` peers, last seen first.
    fn known_peers(&self, limit: usize) -> Result<Vec<Contact>, StoreError>;
}
