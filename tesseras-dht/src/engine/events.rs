//! What goes into the state machine and what comes out of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::time::{ClockOffset, Timestamp};
use tesseras_wire::codec::Refusal;

use crate::messages::{Request, Response};
use crate::records::HolderRecord;

/// The time, as both clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the node started; never goes back.
    pub elapsed: Duration,
    /// What the wall clock says, for the dates of records.
    pub wall: Timestamp,
}

/// A request that the engine sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// A command that the engine was given; numbered by who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// A request of another node; numbered by who received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboundId(pub u64);

/// What happens to a node.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time has passed; due at [`Engine::wakes_at`](super::Engine::wakes_at) at the latest.
    Tick,
    /// A request was answered. Every ticket gets exactly one `Replied` or `Failed`.
    Replied {
        /// Which.
        ticket: Ticket,
        /// Who answered, as the handshake proved.
        from: NodeId,
        /// Where its packets come from.
        remote: SocketAddr,
        /// What it said.
        answer: Result<Response, Refusal>,
    },
    /// A request was not answered, or not with an answer that can be read.
    Failed {
        /// Which.
        ticket: Ticket,
        /// Whether the fault is the peer's; not when this node had no connection to spare.
        blame: bool,
    },
    /// Another node asks.
    Asked {
        /// To be named in the answer.
        inbound: InboundId,
        /// Who asks, as the handshake proved.
        from: NodeId,
        /// Where its packets come from.
        remote: SocketAddr,
        /// What it asks.
        request: Request,
    },
    /// This node's own layers above want something.
    Commanded {
        /// To be named in the outcome.
        operation: OperationId,
        /// What.
        command: Command,
    },
    /// Nobody waits for what came of a command any more: a search ends, an announcement does not.
    Abandoned {
        /// Which.
        operation: OperationId,
    },
    /// A peer that another protocol dialled at this address has answered there.
    Observed {
        /// Who.
        id: NodeId,
        /// Where.
        address: SocketAddr,
    },
    /// A peer has failed a request of another protocol.
    Accused {
        /// Who.
        id: NodeId,
    },
    /// A peer was slower than another protocol would wait for.
    Doubted {
        /// Who.
        id: NodeId,
    },
}

/// What the layers above may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The k nodes nearest to a point.
    Lookup(DhtKey),
    /// All holder records of a key.
    FindHolders(DhtKey),
    /// Say that this node holds something of these tesserae.
    Announce(Vec<DhtKey>),
    /// Where a node listens now.
    Resolve(NodeId),
    /// At least so many peers, if there are as many.
    Discover(usize),
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a lookup or discovery: nodes that answered, nearest first in a lookup.
    Contacts(Vec<Contact>),
    /// Of a search for holders: checked records, the newest of each holder.
    Holders(Vec<HolderRecord>),
    /// Of an announcement: how many other nodes keep the record of each key.
    Announced(BTreeMap<DhtKey, usize>),
    /// Of a search for one node.
    Resolved(Option<Contact>),
}

/// What a search finds on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A node that answered just now, or, to begin a discovery with, one of the routing table.
    Node(Contact),
    /// A checked record, newer than any that was told before of its holder.
    Holder(HolderRecord),
}

impl Found {
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

/// What a node wants done.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Send a request and report what comes of it.
    Send {
        /// To be named in the report.
        ticket: Ticket,
        /// Who must answer; `None` learns it.
        id: Option<NodeId>,
        /// Where to dial, best first.
        addresses: Vec<SocketAddr>,
        /// What to ask.
        request: Request,
        /// How long to wait, connecting included.
        deadline: Duration,
    },
    /// Answer another node's request.
    Answer {
        /// Which.
        inbound: InboundId,
        /// With what.
        answer: Result<Response, Refusal>,
    },
    /// A search found something; what counts of it is in its outcome, too.
    Found {
        /// Which search.
        operation: OperationId,
        /// What.
        found: Found,
    },
    /// A command is done.
    Finished {
        /// Which.
        operation: OperationId,
        /// With what.
        outcome: Outcome,
    },
}

/// Where this node may be reached, and whom it knows to begin with.
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    /// Where this node may be reached: what it advertises, listens on, or its interfaces have.
    pub candidates: Vec<SocketAddr>,
    /// The port of a wildcard listen address, so that an IP that two neighbourhoods report becomes
    /// a candidate; `None` when the listen address is concrete or one is advertised.
    pub wildcard_port: Option<u16>,
    /// Where nodes are whose ids are not known yet.
    pub addresses: Vec<SocketAddr>,
    /// Peers met before the last restart.
    pub remembered: Vec<Contact>,
    /// Those of all peers that were silent then.
    pub silent: Vec<SilentPeer>,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether a peer has lately dialled one of our addresses with success.
    pub reachable: bool,
    /// Where we say that we listen: the addresses so proven, or else the candidates.
    pub addresses: Vec<SocketAddr>,
    /// Peers in the routing table.
    pub peers: usize,
    /// Holder records kept for others.
    pub records: usize,
    /// How far this node's clock is from its peers'; `None` while that is not known.
    pub clock: Option<ClockOffset>,
    /// Bootstrap addresses that were tried and have not answered since the start.
    pub silent_bootstrap: Vec<SocketAddr>,
    /// How long this node has been running.
    pub running_for: Duration,
}
