//! The result of asking all holders of a tessera.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use tesseras_core::contact::{Contact, MAX_ADDRESSES, Subnet};
use tesseras_core::ids::{ContentHash, NodeId};
use tesseras_core::placement::{Assignment, Candidate, Placement};
use tesseras_core::plan::Plan;
use tesseras_core::time::Timestamp;

use crate::messages::AttestedPiece;

/// A node that attested holding something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveHolder {
    /// Its id and address.
    pub contact: Contact,
    /// BLAKE3 of the plan that it keeps.
    pub plan: Option<ContentHash>,
    /// The pieces that it claims to hold.
    pub pieces: Vec<AttestedPiece>,
}

impl LiveHolder {
    /// A node that attested these pieces when it was reached at this address, which is first from
    /// now on: it says where the node is, and the others are unverified.
    pub(crate) fn reached_at(
        reached: SocketAddr,
        mut contact: Contact,
        plan: Option<ContentHash>,
        pieces: Vec<AttestedPiece>,
    ) -> Self {
        contact.addresses.retain(|address| *address != reached);
        contact.addresses.insert(0, reached);
        contact.addresses.truncate(MAX_ADDRESSES);
        Self { contact, plan, pieces }
    }
}

/// The result of asking all known holders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// The nodes that attested, including this one if it holds a piece.
    pub live: BTreeMap<NodeId, LiveHolder>,
    /// Nodes that were expected to hold something, and did not answer.
    pub silent: Vec<Contact>,
    /// When the recorded holders attested last, before this survey; not those that others only named.
    pub last_seen: BTreeMap<NodeId, Timestamp>,
    /// Whether the attestation of any other node was valid, even of holding nothing. If so, this
    /// node's clock is close to that node's.
    pub others_attested: bool,
    /// Nodes whose attestation was not accepted. Where only its date is the reason: how many seconds
    /// this node's clock is ahead of theirs.
    pub refused: BTreeMap<NodeId, Option<i64>>,
    /// Whether any holder was known at all.
    pub known: bool,
    /// How many nodes, possibly including this one, announce something under the key but hold
    /// nothing of this tessera. 0 if holders of this tessera are known from before.
    pub of_another: usize,
}

/// Where a node was reached; `None` if it has no address.
pub(crate) fn neighbourhood(contact: &Contact) -> Option<Subnet> {
    contact.addresses.first().map(|address| Subnet::of(address.ip()))
}

/// The same nodes, one of each neighbourhood first, then a second one of each, and so on. Otherwise
/// their order is kept: names cost nothing, so an order by them would let a stranger be first.
pub(crate) fn round_robin(contacts: Vec<Contact>) -> Vec<Contact> {
    let mut seen: BTreeMap<Option<Subnet>, usize> = BTreeMap::new();
    let ranked = contacts.into_iter().map(|contact| {
        let of_its_own = seen.entry(neighbourhood(&contact)).or_default();
        *of_its_own += 1;
        (*of_its_own, contact)
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, contact)| contact).collect()
}

impl Survey {
    /// The placement as attested. A piece counts only under the checksum of the plan.
    pub fn placement(&self, plan: &Plan) -> Placement {
        let mut placement = Placement::new();
        for (id, holder) in &self.live {
            let pieces: BTreeSet<_> = holder
                .pieces
                .iter()
                .filter(|p| plan.checksum(p.piece) == Some(p.checksum))
                .map(|p| p.piece)
                .collect();
            if !pieces.is_empty() {
                placement.insert(*id, pieces);
            }
        }
        placement
    }

    /// The known holders that did not answer.
    pub(crate) fn silent_ids(&self) -> BTreeSet<NodeId> {
        self.silent.iter().map(|contact| contact.id).collect()
    }

    /// The contacts of all live holders but one.
    pub fn contacts_except(&self, except: NodeId) -> Vec<Contact> {
        let others = self.live.iter().filter(|(id, _)| **id != except);
        others.map(|(_, holder)| holder.contact.clone()).collect()
    }

    /// The contacts of all live holders.
    pub fn contacts(&self) -> BTreeMap<NodeId, Contact> {
        self.live.iter().map(|(id, holder)| (*id, holder.contact.clone())).collect()
    }

    /// The holders that attest pieces of a plan, without room for more.
    pub fn attested(&self, plan: &Plan) -> Assignment {
        let candidates = self.placement(plan).into_iter().filter_map(|(id, pieces)| {
            // Only this node itself can be without an address; it is nobody's neighbour then.
            let subnet = neighbourhood(&self.live.get(&id)?.contact);
            let subnet = subnet.unwrap_or(Subnet::of(Ipv4Addr::LOCALHOST.into()));
            Some(Candidate { id, subnet, pieces, room: 0 })
        });
        Assignment::new(plan.tessera().dht_key(), plan.pack_bytes(), candidates)
    }

    /// The holders of each attested plan, other than this node, starting with the plan that is kept
    /// in most neighbourhoods, and of these by most holders.
    pub fn holders_by_plan(&self, me: NodeId) -> Vec<(ContentHash, Vec<Contact>)> {
        let mut by_plan: BTreeMap<ContentHash, Vec<Contact>> = BTreeMap::new();
        for (_, holder) in self.live.iter().filter(|(id, _)| **id != me) {
            if let Some(plan) = holder.plan {
                by_plan.entry(plan).or_default().push(holder.contact.clone());
            }
        }
        let mut plans: Vec<_> = by_plan.into_iter().collect();
        plans.sort_by_key(|(_, holders)| {
            let near: BTreeSet<_> = holders.iter().map(neighbourhood).collect();
            Reverse((near.len(), holders.len()))
        });
        plans
    }

    /// How many pieces nodes other than this one attest.
    pub fn pieces_of_others(&self, me: NodeId) -> usize {
        let others = self.live.iter().filter(|(id, _)| **id != me);
        others.map(|(_, holder)| holder.pieces.len()).sum()
    }

    /// How many of the holders, the worst ones, may be lost, by the pieces that count and those of
    /// one neighbourhood together ([`Assignment::survives`]).
    pub fn survives(&self, plan: &Plan) -> usize {
        self.attested(plan).survives()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(near: u8, id: u8) -> Contact {
        let addresses = vec![([8, 8, near, id], 7).into()];
        Contact { id: NodeId::new([id; 20]), addresses }
    }

    fn holder(near: u8, id: u8, plan: u8) -> (NodeId, LiveHolder) {
        let (contact, plan) = (contact(near, id), Some(ContentHash::new([plan; 32])));
        (contact.id, LiveHolder { contact, plan, pieces: Vec::new() })
    }

    #[test]
    fn a_holder_is_where_it_was_reached_whatever_else_is_said() {
        let named: Vec<_> = (1..=MAX_ADDRESSES as u8).map(|n| ([7, 7, n, n], 7).into()).collect();
        let contact = Contact { id: NodeId::new([1; 20]), addresses: named.clone() };
        let reached = ([8, 8, 1, 1], 7).into();
        let holder = LiveHolder::reached_at(reached, contact.clone(), None, Vec::new());
        assert_eq!(holder.contact.addresses[0], reached);
        assert_eq!(holder.contact.addresses[1..], named[..MAX_ADDRESSES - 1]);
        let holder = LiveHolder::reached_at(named[1], contact, None, Vec::new());
        assert_eq!(holder.contact.addresses[..2], [named[1], named[0]]);
        assert_eq!(holder.contact.addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn a_crowd_of_one_neighbourhood_has_no_majority_and_comes_round_robin() {
        let crowd = (1..=30).map(|id| holder(1, id, 66));
        let honest = [holder(2, 50, 7), holder(3, 51, 7)];
        let survey = Survey { live: crowd.chain(honest).collect(), ..Survey::default() };
        let plans = survey.holders_by_plan(NodeId::new([0; 20]));
        let plans: Vec<_> = plans.iter().map(|(plan, of)| (plan.as_bytes()[0], of.len())).collect();
        assert_eq!(plans, [(7, 2), (66, 30)]);

        let ordered = round_robin(
            [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (3, 6)].map(|(n, id)| contact(n, id)).to_vec(),
        );
        let ordered: Vec<u8> = ordered.iter().map(|contact| contact.id.as_bytes()[0]).collect();
        assert_eq!(ordered, [1, 4, 5, 2, 6, 3]);
    }
}
