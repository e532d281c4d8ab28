//! The events and effects of the state machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::time::{ClockOffset, Timestamp};
use tesseras_wire::codec::Refusal;

use crate::messages::{DhtRequest, DhtResponse};
use crate::records::HolderRecord;

/// The time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the node started; never goes back.
    pub elapsed: Duration,
    /// Wall-clock time, for the dates of records.
    pub wall: Timestamp,
}

/// A request that the engine sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// A command given to the engine; the number is chosen by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// A request of another node; the number is chosen by the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundId(pub u64);

/// An input of the state machine.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed; due at [`Engine::wakes_at`](super::Engine::wakes_at) at the latest.
    Tick,
    /// A request was answered. Every ticket gets exactly one `Replied` or `Failed`.
    Replied {
        /// The ticket of the request.
        ticket: Ticket,
        /// The answering node, as proven by the handshake.
        from: NodeId,
        /// The source address of its packets.
        remote: SocketAddr,
        /// The answer or the refusal.
        answer: Result<DhtResponse, Refusal>,
    },
    /// A request failed or its answer could not be decoded.
    Failed {
        /// The ticket of the request.
        ticket: Ticket,
        /// Whether the peer is at fault; false when this node had no connection to spare.
        blame: bool,
    },
    /// A request of another node.
    Asked {
        /// Identifies the request in [`Effect::Answer`].
        inbound: InboundId,
        /// The requesting node, as proven by the handshake.
        from: NodeId,
        /// The source address of its packets.
        remote: SocketAddr,
        /// The request.
        request: DhtRequest,
    },
    /// A command of the layers above.
    Commanded {
        /// Identifies the command in its result.
        operation: OperationId,
        /// The search or announcement to run.
        command: Command,
    },
    /// The caller no longer waits for the result of a command: a search ends, an announcement
    /// continues.
    Abandoned {
        /// The number of the command.
        operation: OperationId,
    },
    /// A peer answered another protocol at an address that was dialled.
    Observed {
        /// The peer.
        id: NodeId,
        /// The address that was dialled.
        address: SocketAddr,
    },
    /// A peer has failed a request of another protocol.
    Accused {
        /// The peer.
        id: NodeId,
    },
    /// A peer was slower than another protocol would wait.
    Doubted {
        /// The peer.
        id: NodeId,
    },
}

/// Commands of the layers above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The k nodes nearest to a point.
    Lookup(DhtKey),
    /// All holder records of a key.
    FindHolders(DhtKey),
    /// Announce that this node holds something of these tesserae.
    Announce(Vec<DhtKey>),
    /// Find the current address of a node.
    Resolve(NodeId),
    /// Find at least this many peers, if the network has as many.
    Discover(usize),
}

/// Result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Of a lookup or discovery: nodes that answered. A lookup returns the nearest first.
    Contacts(Vec<Contact>),
    /// Of a search for holders: checked records, the newest of each holder.
    Holders(Vec<HolderRecord>),
    /// Of an announcement: how many other nodes keep the record of each key.
    Announced(BTreeMap<DhtKey, usize>),
    /// Of a search for one node.
    Resolved(Option<Contact>),
}

/// An intermediate result of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchResult {
    /// A node that has just answered or, at the start of a discovery, a peer of the routing table.
    Node(Contact),
    /// A checked record, newer than any reported before of its holder.
    Holder(HolderRecord),
}

impl SearchResult {
    /// The node, if it is one.
    pub fn node(self) -> Option<Contact> {
        match self {
            Self::Node(contact) => Some(contact),
            Self::Holder(_) => None,
        }
    }

    /// The record, if it is one.
    pub fn holder(self) -> Option<HolderRecord> {
        match self {
            Self::Node(_) => None,
            Self::Holder(record) => Some(record),
        }
    }
}

/// An output of the state machine.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send a request and report the result.
    Send {
        /// Identifies the request in the report.
        ticket: Ticket,
        /// The node that must answer; `None` accepts any and learns its id.
        id: Option<NodeId>,
        /// Addresses to dial, best first.
        addresses: Vec<SocketAddr>,
        /// The request.
        request: DhtRequest,
        /// How long to wait, including the time to connect.
        deadline: Duration,
        /// Whether it checks an address that another node announces. Such requests are a stranger's
        /// choice and must not delay others.
        is_dial_back: bool,
    },
    /// Answer another node's request.
    Answer {
        /// The number of the request.
        inbound: InboundId,
        /// The answer, or the reason for refusing.
        answer: Result<DhtResponse, Refusal>,
    },
    /// A search found something. The nearest nodes and the newest records are also in its final
    /// result.
    Found {
        /// The number of the search.
        operation: OperationId,
        /// A node or a record.
        found: SearchResult,
    },
    /// A command has ended.
    Finished {
        /// The number of the command.
        operation: OperationId,
        /// Its result.
        outcome: CommandOutcome,
    },
}

/// Addresses of this node and the peers it starts with.
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    /// Addresses at which this node may be reached: the advertised ones, the listen address, or
    /// those of its interfaces.
    pub candidates: Vec<SocketAddr>,
    /// The port of a wildcard listen address: an IP that two neighbourhoods report becomes a
    /// candidate with this port. `None` when the listen address is concrete or an address is
    /// advertised.
    pub wildcard_port: Option<u16>,
    /// Addresses of bootstrap nodes, whose ids are not known yet.
    pub addresses: Vec<SocketAddr>,
    /// Peers met before the last restart.
    pub remembered: Vec<Contact>,
    /// Peers that were silent at that time.
    pub silent: Vec<SilentPeer>,
}

/// The state of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether a peer has recently dialled one of this node's addresses with success.
    pub reachable: bool,
    /// The addresses this node announces: the proven ones, or else the candidates.
    pub addresses: Vec<SocketAddr>,
    /// Peers in the routing table.
    pub peers: usize,
    /// Holder records kept for others.
    pub records: usize,
    /// How far this node's clock is from its peers'; `None` while unknown.
    pub clock: Option<ClockOffset>,
    /// Bootstrap addresses that were tried and have not answered since the start.
    pub silent_bootstrap: Vec<SocketAddr>,
    /// How long this node has been running.
    pub running_for: Duration,
}
