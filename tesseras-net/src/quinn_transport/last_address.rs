//! Where each node answered last, so that it is dialled there first: of its other addresses some
//! may be dead, or not lead to here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;

/// Of how many nodes it is remembered; when full, of the one with the first id no more.
const MAX_NODES: usize = 1024;

/// The address at which each node answered last.
#[derive(Debug, Default)]
pub(super) struct LastAddress(Mutex<BTreeMap<NodeId, SocketAddr>>);

impl LastAddress {
    /// A node answered.
    pub(super) fn note(&self, node: NodeId, address: SocketAddr) {
        let mut known = lock(&self.0);
        if known.insert(node, address).is_none() && known.len() > MAX_NODES {
            known.pop_first();
        }
    }

    /// Moves the address at which a node answered last to the front, if it is one of these.
    pub(super) fn put_first(&self, node: Option<NodeId>, addresses: &mut [SocketAddr]) {
        let last = node.and_then(|node| lock(&self.0).get(&node).copied());
        if let Some(position) = addresses.iter().position(|address| Some(*address) == last) {
            addresses[..=position].rotate_right(1);
        }
    }
}
