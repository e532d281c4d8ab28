//! The state of one DHT node and how it sends. The events are handled in the files beside this one.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::peer_memory::PeerMemory;
use tesseras_core::time::Timestamp;

use super::events::{Effect, InboundId, OperationId, Ticket};
use super::neighbours::Neighbours;
use crate::clocks::Clocks;
use crate::config::DhtConfig;
use crate::lookup::Lookup;
use crate::messages::DhtRequest;
use crate::reachability::Reachability;
use crate::records::{HolderRecord, NodeIdentity, RecordStore};
use crate::routing::RoutingTable;

/// One turn of the state machine: its inputs and the effects so far.
pub(super) struct Turn<'a> {
    pub(super) now: Duration,
    pub(super) wall: Timestamp,
    pub(super) rng: &'a mut dyn Rng,
    pub(super) effects: Vec<Effect>,
}

/// What a request was sent for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    /// To learn which node listens at a bootstrap or remembered address.
    Knock,
    /// To introduce this node to a peer and learn how the peer sees it.
    Greet(NodeId),
    /// To check an announced address.
    DialBack { inbound: InboundId, address: SocketAddr },
    /// To check whether the oldest peer of a full bucket is alive.
    Evict(NodeId),
    /// To advance a search.
    Search { search: u64, peer: NodeId, page: u32 },
    /// To store records.
    Announce { operation: OperationId, keys: Vec<DhtKey> },
}

/// The answering node, as proven by the handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answerer {
    pub(super) id: NodeId,
    /// The source address of its packets.
    pub(super) remote: SocketAddr,
    /// The same address, if it is the one that was dialled.
    pub(super) dialled: Option<SocketAddr>,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: Option<NodeId>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) purpose: Purpose,
    pub(super) at: Duration,
}

/// One DHT node.
pub struct Engine {
    pub(super) config: DhtConfig,
    pub(super) id: NodeId,
    pub(super) identity: Arc<dyn NodeIdentity>,
    pub(super) table: RoutingTable,
    pub(super) records: RecordStore,
    pub(super) reach: Reachability,
    pub(super) clocks: Clocks,
    pub(super) neighbours: Neighbours,
    pub(super) silent: PeerMemory,
    pub(super) searches: BTreeMap<u64, Search>,
    pub(super) announcements: BTreeMap<OperationId, Announcement>,
    pub(super) discoveries: BTreeMap<OperationId, Discovery>,
    pub(super) hellos: BTreeMap<InboundId, PendingHello>,
    pub(super) sent: BTreeMap<Ticket, Sent>,
    pub(super) last_number: u64,
    pub(super) next_sweep: Duration,
    /// When the next tick was due, and since when the machine has not slept.
    pub(super) due: Duration,
    pub(super) woke_at: Duration,
}

/// The purpose of a lookup.
#[derive(Debug)]
pub(super) enum Want {
    /// The nodes nearest to this one.
    Neighbourhood,
    /// Peers of one bucket.
    Refresh,
    /// The nodes nearest to a point.
    Nodes(OperationId),
    /// One node.
    Node(OperationId),
    /// Peers in general.
    Discovery(OperationId),
    /// The nodes that should keep records of the target.
    Targets(OperationId),
    /// Records of the target.
    Holders(OperationId, Records),
}

/// A lookup and its purpose.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) lookup: Lookup,
    pub(super) want: Want,
}

/// The checked records found so far, the newest of each holder.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) records: BTreeMap<NodeId, HolderRecord>,
    /// How many holders a neighbourhood was the first to tell of; on local networks, a node.
    pub(super) told: BTreeMap<(Subnet, Option<NodeId>), usize>,
}

/// A search for many peers.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) wanted: usize,
    pub(super) known: BTreeMap<NodeId, Contact>,
    pub(super) lookups: usize,
    pub(super) dry: usize,
    pub(super) offset: u8,
}

/// One announcement in progress.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    pub(super) waiting: VecDeque<DhtKey>,
    pub(super) looking: usize,
    /// Keys of this chunk, looked up or being looked up.
    pub(super) in_chunk: usize,
    /// This chunk's keys by target.
    pub(super) batches: BTreeMap<NodeId, (Contact, Vec<DhtKey>)>,
    pub(super) ready: VecDeque<(Contact, Vec<DhtKey>)>,
    pub(super) sending: usize,
    /// This chunk's records.
    pub(super) records: BTreeMap<DhtKey, HolderRecord>,
    pub(super) stored: BTreeMap<DhtKey, usize>,
    /// All nodes, when a lookup has found fewer than k: then all keys go to all of them.
    pub(super) everyone: Option<Vec<Contact>>,
}

/// A greeting whose dials back are in progress.
#[derive(Debug)]
pub(super) struct PendingHello {
    pub(super) from: NodeId,
    pub(super) remote: SocketAddr,
    /// How many dials are in flight.
    pub(super) waiting: usize,
    pub(super) reached: Vec<SocketAddr>,
}

impl Engine {
    pub(super) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        to: &Contact,
        request: DhtRequest,
        deadline: Duration,
        purpose: Purpose,
    ) {
        self.dispatch(turn, Some(to.id), to.addresses.clone(), request, deadline, purpose);
    }

    pub(super) fn dispatch(
        &mut self,
        turn: &mut Turn<'_>,
        id: Option<NodeId>,
        addresses: Vec<SocketAddr>,
        request: DhtRequest,
        deadline: Duration,
        purpose: Purpose,
    ) {
        let ticket = Ticket(self.number());
        let at = turn.now;
        let is_dial_back = matches!(purpose, Purpose::DialBack { .. });
        self.sent.insert(ticket, Sent { id, addresses: addresses.clone(), purpose, at });
        let send = Effect::Send { ticket, id, addresses, request, deadline, is_dial_back };
        turn.effects.push(send);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}
