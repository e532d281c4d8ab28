//! Answers to other nodes' requests. Their input is bounded, and an announced address counts only
//! after a dial back.

use std::net::SocketAddr;

use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_wire::codec::Refusal;

use super::events::{Effect, InboundId};
use super::state::{Engine, PendingHello, Purpose, Turn};
use crate::config::{MAX_CONTACTS, RECORDS_PER_ANNOUNCE};
use crate::messages::{AnnounceReply, Contacts, DhtRequest, DhtResponse, Greeted, Holders, Pong};
use crate::records::{HolderRecord, RecordError};
use tesseras_core::address;

/// The most greetings that are dialled back at once; more are refused as busy.
const MAX_HELLOS: usize = 64;

impl Engine {
    pub(super) fn on_request(
        &mut self,
        turn: &mut Turn<'_>,
        inbound: InboundId,
        from: NodeId,
        remote: SocketAddr,
        request: DhtRequest,
    ) {
        if !matches!(request, DhtRequest::Hello { .. }) {
            // A greeting is checked by a dial back anyway.
            self.look_for(turn, &from);
        }
        let answer = match request {
            DhtRequest::Ping {} => Ok(DhtResponse::Pong(Pong { date: Some(turn.wall) })),
            DhtRequest::FindNode { target } => {
                Ok(DhtResponse::Contacts(Contacts { contacts: self.tell(&target, from, remote) }))
            }
            DhtRequest::FindHolders { key, page } => {
                let (records, more) = self.records.page(&key, page, turn.wall);
                let contacts = self.tell(&key, from, remote);
                Ok(DhtResponse::Holders(Holders { records, more, contacts }))
            }
            DhtRequest::Announce { records } => {
                Ok(DhtResponse::Announced(self.keep(turn, from, remote, records)))
            }
            DhtRequest::Hello { addresses } => {
                match self.begin_hello(turn, inbound, from, remote, &addresses) {
                    Ok(()) => return,
                    Err(refusal) => Err(refusal),
                }
            }
        };
        turn.effects.push(Effect::Answer { inbound, answer });
    }

    /// The contacts nearest to a point that are useful to the requesting node.
    fn tell(&self, target: &DhtKey, asker: NodeId, remote: SocketAddr) -> Vec<Contact> {
        let n = self.config.k.min(MAX_CONTACTS);
        let mut contacts = self.table.closest(target, n + 1, true);
        contacts.retain(|contact| contact.id != asker);
        for contact in &mut contacts {
            contact.addresses.retain(|known| address::makes_sense_to(*known, remote.ip()));
        }
        contacts.retain(|contact| !contact.addresses.is_empty());
        contacts.truncate(n);
        contacts
    }

    fn keep(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        remote: SocketAddr,
        records: Vec<HolderRecord>,
    ) -> AnnounceReply {
        let mut announced = AnnounceReply { stored: 0, refused: Vec::new() };
        let mut forged = false;
        for (position, record) in (0..).zip(records) {
            // Verifying a signature costs far more than sending one again.
            let kept = (position as usize) < RECORDS_PER_ANNOUNCE
                && !forged
                && (self.records.holds(&record, turn.wall)
                    || match record.check(&*self.identity, self.config.work_bits, turn.wall) {
                        Ok(()) => self.records.insert(record, from, remote.ip(), turn.wall).is_ok(),
                        Err(error) => {
                            forged = error == RecordError::Signature;
                            false
                        }
                    });
            if kept {
                announced.stored += 1;
            } else {
                announced.refused.push(position);
            }
        }
        announced
    }

    /// Dials back the addresses that a peer announces; the answer waits for the result.
    fn begin_hello(
        &mut self,
        turn: &mut Turn<'_>,
        inbound: InboundId,
        from: NodeId,
        remote: SocketAddr,
        addresses: &[SocketAddr],
    ) -> Result<(), Refusal> {
        let busy = self.hellos.len() >= MAX_HELLOS
            || self.hellos.values().any(|pending| pending.from == from);
        if busy {
            return Err(Refusal::new(Refusal::BUSY, "too many greetings at once"));
        }
        let mut to_dial = address::cleaned(addresses, remote.ip());
        if from == self.id {
            to_dial.clear();
        }
        let pending = PendingHello { from, remote, waiting: to_dial.len(), reached: Vec::new() };
        self.hellos.insert(inbound, pending);
        for address in to_dial {
            let purpose = Purpose::DialBack { inbound, address };
            let deadline = self.config.dial_back_deadline;
            let contact = Contact { id: from, addresses: vec![address] };
            self.send(turn, &contact, DhtRequest::Ping {}, deadline, purpose);
        }
        self.finish_hello(turn, inbound);
        Ok(())
    }

    /// One dial back has ended. A success has already been recorded in the routing table.
    pub(super) fn on_dialled_back(
        &mut self,
        turn: &mut Turn<'_>,
        inbound: InboundId,
        address: SocketAddr,
        reached: bool,
    ) {
        if let Some(pending) = self.hellos.get_mut(&inbound) {
            pending.waiting = pending.waiting.saturating_sub(1);
            if reached {
                pending.reached.push(address);
            }
            self.finish_hello(turn, inbound);
        }
    }

    fn finish_hello(&mut self, turn: &mut Turn<'_>, inbound: InboundId) {
        let done = self.hellos.get(&inbound).is_some_and(|pending| pending.waiting == 0);
        if !done {
            return;
        }
        if let Some(pending) = self.hellos.remove(&inbound) {
            let greeted = Greeted {
                observed: pending.remote,
                reached: pending.reached,
                addresses: self.reach.to_try(turn.now, Some(pending.remote.ip())),
                date: Some(turn.wall),
            };
            turn.effects
                .push(Effect::Answer { inbound, answer: Ok(DhtResponse::Greeted(greeted)) });
        }
    }
}
