//! The address at which each node answered last, so that it is dialled there first: some of its
//! other addresses may be dead or unreachable from here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;

/// The most nodes that are remembered; when full, the one with the lowest id is dropped.
const MAX_NODES: usize = 1024;

/// The address at which each node answered last.
#[derive(Debug, Default)]
pub(super) struct LastAddress(Mutex<BTreeMap<NodeId, SocketAddr>>);

impl LastAddress {
    /// Records the address at which a node answered.
    pub(super) fn note(&self, node: NodeId, address: SocketAddr) {
        let mut known = lock(&self.0);
        if known.insert(node, address).is_none() && known.len() > MAX_NODES {
            known.pop_first();
        }
    }

    /// Moves the address at which a node answered last to the front, if it is in the list.
    pub(super) fn put_first(&self, node: Option<NodeId>, addresses: &mut [SocketAddr]) {
        let last = node.and_then(|node| lock(&self.0).get(&node).copied());
        if let Some(position) = addresses.iter().position(|address| Some(*address) == last) {
            addresses[..=position].rotate_right(1);
        }
    }
}
