//! The answers of nodes to offers, and the nodes that may be given pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;

use tesseras_core::code::{Piece, WHOLE_COPIES, WIDE};
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::NodeId;
use tesseras_core::placement::{Assignment, Candidate};
use tesseras_core::plan::Plan;
use tesseras_core::ports::Charge;

use super::causes::Causes;
use crate::messages::{Offered, refusal};

/// How many reasons are returned.
const MAX_REASONS: usize = 8;

/// The terms of an offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfferTerms {
    /// How many nodes are wanted.
    pub(crate) wanted: usize,
    /// The length of the smallest piece, in bytes.
    pub(crate) bytes: u64,
    /// The account that pieces would be charged to.
    pub(crate) charge: Charge<()>,
    /// Whether this node may hold pieces itself.
    pub(crate) include_self: bool,
}

impl OfferTerms {
    /// Before the plan is known: whether nodes would take anything at all.
    pub(crate) fn of_unknown(charge: Charge<()>, include_self: bool) -> Self {
        Self { wanted: WIDE.n().into(), bytes: 1, charge, include_self }
    }

    /// For the pieces of a plan: as many nodes as its full form needs.
    pub(crate) fn of(plan: &Plan, charge: Charge<()>, include_self: bool) -> Self {
        let (wanted, bytes) = match plan.coded() {
            Some(form) => (form.shape.n().into(), form.fragment_bytes),
            None => (WHOLE_COPIES, plan.pack_bytes()),
        };
        Self { wanted, bytes, charge, include_self }
    }
}

/// The nodes that may be given pieces of a tessera, by their recent answers.
pub(crate) struct Eligible {
    pub(crate) assignment: Assignment,
    pub(crate) contacts: BTreeMap<NodeId, Contact>,
    pub(crate) has_dossier: BTreeSet<NodeId>,
    /// How many would accept something, or already hold something.
    pub(crate) count: usize,
    /// Why the others would not, as messages for people.
    pub(crate) refusals: Vec<String>,
    /// The same, counted.
    pub(crate) causes: Causes,
}

/// What nodes answered to offers.
#[derive(Default)]
pub(crate) struct Offers {
    candidates: Vec<Candidate>,
    contacts: BTreeMap<NodeId, Contact>,
    has_dossier: BTreeSet<NodeId>,
    refusals: Vec<String>,
    causes: Causes,
}

impl Offers {
    /// Records the answer of one node, and the address at which it was reached; `None` if it did
    /// not answer. Of its room, `beside` bytes are reserved for the dossier, unless the node has
    /// it. `pieces` are those that it holds.
    pub(crate) fn note(
        &mut self,
        contact: Contact,
        answer: Option<(SocketAddr, Offered)>,
        pieces: BTreeSet<Piece>,
        beside: u64,
    ) {
        // The address at which it was reached counts; other addresses in its list are unverified.
        let reached = match &answer {
            Some((remote, _)) => Some(*remote),
            None => contact.addresses.first().copied(),
        };
        let id = contact.id;
        let room = answer.map_or(0, |(_, offered)| self.note_offer(&contact, offered, beside));
        self.contacts.insert(id, contact);
        let Some(subnet) = reached.map(|address| Subnet::of(address.ip())) else { return };
        if room > 0 || !pieces.is_empty() {
            self.candidates.push(Candidate { id, subnet, pieces, room });
        }
    }

    /// Records that a node is given nothing, because its attestation was not accepted: for its date,
    /// if it says by how many seconds this node is ahead.
    pub(crate) fn refuse(&mut self, id: NodeId, ahead: Option<i64>) {
        let why = match ahead {
            Some(ahead) => {
                let minutes = ahead.unsigned_abs() / 60;
                format!("its clock is {minutes} min off, so what it holds does not count")
            }
            None => "its attestation is not valid, so what it holds does not count".to_owned(),
        };
        self.refusals.push(of_node(id, why));
    }

    /// Records what a node offers; returns how many bytes of pieces it would accept.
    fn note_offer(&mut self, contact: &Contact, offered: Offered, beside: u64) -> u64 {
        if offered.has_dossier {
            self.has_dossier.insert(contact.id);
        }
        let told = offered.room.map_or(u64::MAX, |room| match offered.has_dossier {
            true => room,
            false => room.saturating_sub(beside),
        });
        let is_over_quota = offered.code.as_deref() == Some(refusal::OVER_QUOTA);
        if offered.accepts || is_over_quota {
            self.causes.note_short(contact, told);
        }
        if offered.accepts {
            return told;
        }
        self.refusals.extend(offered.reason.map(|reason| of_node(contact.id, reason)));
        0
    }

    /// Records this node itself, which holds `pieces`.
    pub(crate) fn note_self(&mut self, candidate: Candidate, terms: OfferTerms) {
        self.has_dossier.insert(candidate.id);
        if candidate.has_room(terms.bytes) || !candidate.pieces.is_empty() {
            self.candidates.push(candidate);
        }
    }

    /// The nodes that may be given pieces of a plan.
    pub(crate) fn eligible(self, plan: &Plan) -> Eligible {
        let Self { candidates, contacts, has_dossier, refusals, mut causes } = self;
        let count = candidates.len();
        causes.willing = count;
        match plan.coded() {
            Some(form) => causes.need(form.shape.k.into(), form.fragment_bytes),
            None => causes.need(1, plan.pack_bytes()),
        }
        let key = plan.tessera().dht_key();
        let assignment = Assignment::new(key, plan.pack_bytes(), candidates);
        Eligible { assignment, contacts, has_dossier, count, refusals, causes }
    }
}

/// Why a node would not take a piece: its words may be about itself, so it is named.
pub(crate) fn of_node(node: NodeId, reason: impl Display) -> String {
    format!("node {node}: {reason}")
}

/// Reasons without duplicates, at most [`MAX_REASONS`].
pub(crate) fn distinct(mut reasons: Vec<String>) -> Vec<String> {
    reasons.sort();
    reasons.dedup();
    reasons.truncate(MAX_REASONS);
    reasons
}
