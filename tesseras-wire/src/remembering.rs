//! A transport that remembers which peers did not answer, for all parts of a node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tesseras_core::peer_memory::{PeerMemory, SilentPeer};
use tesseras_core::time::Clock;
use tokio::time::Instant;

use crate::{BoxFuture, Reply, Request, RequestError, Target, Transport};

/// The longest deadline of a request to a peer that was silent lately.
const SILENT_PEER_DEADLINE: Duration = Duration::from_secs(2);
/// A request that was cancelled after this long without an answer counts as a failure, unless the
/// peer may let it wait for longer.
const CANCELLED_AFTER: Duration = Duration::from_millis(250);

/// The peers that were silent lately, shared by all parts of one node. Cheap to clone; clones share
/// their state.
#[derive(Debug, Clone)]
pub struct SharedMemory {
    memory: Arc<Mutex<PeerMemory>>,
    clock: Clock,
}

impl SharedMemory {
    /// Starts with what was known before.
    pub fn new(known: Vec<SilentPeer>, clock: Clock) -> Self {
        Self { memory: Arc::new(Mutex::new(PeerMemory::new(known))), clock }
    }

    /// Whether a peer was silent lately.
    pub fn is_silent(&self, id: &NodeId) -> bool {
        lock(&self.memory).is_silent(id, self.clock.now())
    }

    /// Whether a peer was silent lately, in general or at all addresses of this contact.
    pub fn is_silent_at(&self, contact: &Contact) -> bool {
        lock(&self.memory).is_silent_at(contact, self.clock.now())
    }

    /// Whether a peer has answered at this address before.
    pub fn has_met(&self, id: &NodeId, address: SocketAddr) -> bool {
        lock(&self.memory).has_met(id, &[address])
    }

    /// The same peers, with those that were silent lately at the end.
    pub fn silent_last(&self, mut contacts: Vec<Contact>) -> Vec<Contact> {
        let (memory, now) = (lock(&self.memory), self.clock.now());
        contacts.sort_by_key(|contact| memory.is_silent_at(contact, now));
        contacts
    }

    /// Records where peers answered before the last start.
    pub fn have_answered(&self, contacts: &[Contact]) {
        let mut memory = lock(&self.memory);
        for Contact { id, addresses } in contacts {
            addresses.iter().rev().for_each(|address| memory.met(*id, *address));
        }
    }

    /// All entries, to be kept across a restart.
    pub fn list(&self) -> Vec<SilentPeer> {
        lock(&self.memory).list()
    }

    /// A peer answered, at an address that was dialled if that is known.
    fn answered(&self, id: &NodeId, dialled: Option<SocketAddr>) {
        let mut memory = lock(&self.memory);
        memory.answered(id);
        if let Some(address) = dialled {
            memory.met(*id, address);
        }
    }

    /// A request to a peer failed. Returns whether that counts against the peer.
    fn failed(&self, contact: &Contact) -> bool {
        let Contact { id, addresses } = contact;
        lock(&self.memory).failed_at(*id, addresses, self.clock.now())
    }

    /// Another node answered at this address: the peer may be well at another one. Returns whether
    /// it was at this one before.
    fn is_elsewhere(&self, id: NodeId, address: SocketAddr) -> bool {
        let mut memory = lock(&self.memory);
        memory.unreached(id, &[address], self.clock.now());
        memory.has_met(&id, &[address])
    }

    /// The same addresses, with those at which the peer has answered before at the beginning: they
    /// are dialled first, so a failure to answer in time is not that of an address that someone
    /// else has named.
    fn proven_first(&self, id: &NodeId, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let memory = lock(&self.memory);
        let mut addresses = addresses.to_vec();
        addresses.sort_by_key(|address| !memory.has_met(id, &[*address]));
        addresses
    }
}

/// An observer of the results of requests, such as the routing table. It is called on the
/// requester's task, so it must not block.
pub trait PeerObserver: Send + Sync + 'static {
    /// A peer answered at the address that was dialled.
    fn answered(&self, id: NodeId, address: SocketAddr);

    /// A request failed to a peer that has answered at that address before.
    fn failed(&self, id: NodeId);

    /// Such a peer took longer than the caller would wait: it may be silent, or only slow.
    fn doubted(&self, id: NodeId);
}

/// A [`Transport`] that records for every request whether the peer answered, and shortens the
/// deadline for peers that did not lately.
pub struct RememberingTransport {
    inner: Arc<dyn Transport>,
    memory: SharedMemory,
    observer: Option<Arc<dyn PeerObserver>>,
}

impl RememberingTransport {
    /// Sends through another transport.
    pub fn new(inner: Arc<dyn Transport>, memory: SharedMemory) -> Self {
        Self { inner, memory, observer: None }
    }

    /// Reports the results to an observer as well.
    pub fn observed_by(self, observer: Arc<dyn PeerObserver>) -> Self {
        Self { observer: Some(observer), ..self }
    }
}

impl Transport for RememberingTransport {
    fn request<'a>(
        &'a self,
        target: &'a Target,
        mut request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>> {
        Box::pin(async move {
            let Some(id) = target.id else { return self.inner.request(target, request).await };
            let addresses = self.memory.proven_first(&id, &target.addresses);
            let target = &Target { addresses: addresses.clone(), ..target.clone() };
            let contact = Contact { id, addresses };
            if self.memory.is_silent_at(&contact) && request.body.is_none() {
                request.deadline = request.deadline.min(SILENT_PEER_DEADLINE);
            }
            // A transfer takes time; cancelling it says nothing about the peer.
            let frame_only = request.body.is_none();
            let silent_after = CANCELLED_AFTER + request.may_queue_for;
            let in_flight = InFlight {
                contact,
                transport: self,
                since: Instant::now(),
                silent_after,
                frame_only,
                open: true,
            };
            let result = self.inner.request(target, request).await;
            in_flight.end(target, &result);
            result
        })
    }
}

/// A request in flight.
struct InFlight<'a> {
    /// The peer, and where it was looked for.
    contact: Contact,
    transport: &'a RememberingTransport,
    since: Instant,
    /// After how long without an answer the peer counts as silent.
    silent_after: Duration,
    /// Whether only a frame was sent.
    frame_only: bool,
    open: bool,
}

impl InFlight<'_> {
    fn end(mut self, target: &Target, result: &Result<Reply, RequestError>) {
        self.open = false;
        let RememberingTransport { memory, observer, .. } = self.transport;
        let id = self.contact.id;
        match result {
            Ok(reply) => {
                // The source address proves an address only if that address was dialled.
                let dialled = Some(reply.peer.remote).filter(|remote| target.names(*remote));
                memory.answered(&id, dialled);
                if let (Some(observer), Some(remote)) = (observer, dialled) {
                    observer.answered(id, remote);
                }
            }
            Err(error) if is_the_peers_fault(error) => {
                let counts = match error {
                    RequestError::WrongNode { address, .. } => memory.is_elsewhere(id, *address),
                    _ => memory.failed(&self.contact),
                };
                if let (true, Some(observer)) = (counts, observer) {
                    observer.failed(id);
                }
            }
            Err(_) => {}
        }
    }
}

impl Drop for InFlight<'_> {
    /// The caller cancelled the request, for example because another peer answered first.
    fn drop(&mut self) {
        let is_failure = self.open && self.frame_only && self.since.elapsed() >= self.silent_after;
        if is_failure
            && self.transport.memory.failed(&self.contact)
            && let Some(observer) = &self.transport.observer
        {
            observer.doubted(self.contact.id);
        }
    }
}

/// Whether a request failed because the peer is gone or does not answer.
pub fn is_the_peers_fault(error: &RequestError) -> bool {
    match error {
        RequestError::Connect { .. }
        | RequestError::WrongNode { .. }
        | RequestError::Deadline
        | RequestError::Broken(_) => true,
        RequestError::NoAddress
        | RequestError::FrameTooLong(_)
        | RequestError::Body(_)
        | RequestError::Unavailable(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tesseras_core::time::Timestamp;

    use super::*;
    use crate::{Peer, empty_body};

    /// Answers at once, never, or as another node, depending on the first byte of the id.
    struct SomeAnswer;

    impl Transport for SomeAnswer {
        fn request<'a>(
            &'a self,
            target: &'a Target,
            request: Request,
        ) -> BoxFuture<'a, Result<Reply, RequestError>> {
            Box::pin(async move {
                let id = target.id.expect("known");
                if id.as_bytes()[0] == 0 {
                    tokio::time::sleep(request.deadline).await;
                    return Err(RequestError::Deadline);
                }
                let remote = SocketAddr::from(([127, 0, 0, 1], 1));
                if id.as_bytes()[0] == 2 {
                    let found = NodeId::new([3; 20]);
                    return Err(RequestError::WrongNode { address: remote, expected: id, found });
                }
                let peer = Peer { id, public_key: [0; 32], nonce: [0; 8], remote };
                Ok(Reply { peer, frame: Vec::new(), body: empty_body() })
            })
        }
    }

    #[derive(Default)]
    struct Notes(Mutex<Vec<(u8, &'static str)>>);

    impl Notes {
        fn note(&self, id: NodeId, what: &'static str) {
            self.0.lock().unwrap().push((id.as_bytes()[0], what));
        }
    }

    impl PeerObserver for Notes {
        fn answered(&self, id: NodeId, address: SocketAddr) {
            assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], 1)));
            self.note(id, "answered");
        }

        fn failed(&self, id: NodeId) {
            self.note(id, "failed");
        }

        fn doubted(&self, id: NodeId) {
            self.note(id, "doubted");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_observer_is_told_how_requests_end_and_of_addresses_that_were_dialled() {
        let (_, notes, transport) = observed();
        let [dead, alive] = [0, 1].map(|byte| NodeId::new([byte; 20]));
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], 1));
        let dialled = SocketAddr::from(([127, 0, 0, 1], 1));
        for addresses in [vec![elsewhere], vec![elsewhere, dialled]] {
            let target = Target { id: Some(alive), addresses };
            assert!(transport.request(&target, request()).await.is_ok());
        }
        let target = asked(dead);
        let asking = transport.request(&target, request());
        assert!(tokio::time::timeout(CANCELLED_AFTER, asking).await.is_err());
        assert!(transport.request(&target, request()).await.is_err());
        let expected = [(1, "answered"), (0, "doubted"), (0, "failed")];
        assert_eq!(*notes.0.lock().unwrap(), expected);
    }

    /// A transport that has met nobody, its memory, and what its observer is told.
    fn observed() -> (SharedMemory, Arc<Notes>, RememberingTransport) {
        let memory = SharedMemory::new(Vec::new(), Clock::new(|| Timestamp(1000)));
        let notes = Arc::new(Notes::default());
        let transport = RememberingTransport::new(Arc::new(SomeAnswer), memory.clone());
        (memory, notes.clone(), transport.observed_by(notes))
    }

    fn asked(id: NodeId) -> Target {
        Target { id: Some(id), addresses: Vec::new() }
    }

    fn request() -> Request {
        Request::short(Vec::new(), Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_remembered_and_waited_for_briefly_until_it_answers() {
        let (memory, _, transport) = observed();
        let [dead, alive] = [0, 1].map(|byte| NodeId::new([byte; 20]));
        let begun = Instant::now();
        assert!(transport.request(&asked(dead), request()).await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert!(transport.request(&asked(alive), request()).await.is_ok());
        assert!(memory.is_silent(&dead) && !memory.is_silent(&alive));
        let misnamed = NodeId::new([2; 20]);
        assert!(transport.request(&asked(misnamed), request()).await.is_err());
        assert!(!memory.is_silent(&misnamed), "the address may have been false");
        let contacts = [dead, alive].map(|id| Contact { id, addresses: Vec::new() });
        let ordered = memory.silent_last(contacts.to_vec());
        assert_eq!(ordered.iter().map(|c| c.id).collect::<Vec<_>>(), [alive, dead]);
        let begun = Instant::now();
        assert!(transport.request(&asked(dead), request()).await.is_err());
        assert_eq!(begun.elapsed(), SILENT_PEER_DEADLINE);
        memory.answered(&dead, None);
        assert!(!memory.is_silent(&dead));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_others_named_costs_its_deadline_once_and_harms_nobody() {
        let (memory, notes, transport) = observed();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let node = NodeId::new([0; 20]);
        memory.have_answered(&[Contact { id: node, addresses: vec![at(1)] }]);
        let ask = async |port| {
            let begun = Instant::now();
            let target = Target { id: Some(node), addresses: vec![at(port)] };
            assert!(transport.request(&target, request()).await.is_err());
            begun.elapsed()
        };
        let whole = request().deadline;
        assert_eq!((ask(8).await, ask(8).await), (whole, SILENT_PEER_DEADLINE));
        assert_eq!(ask(9).await, whole, "it may be there");
        assert!(!memory.is_silent(&node) && notes.0.lock().unwrap().is_empty());
        assert_eq!(ask(1).await, whole, "it has answered there");
        assert!(memory.is_silent(&node));
        assert_eq!(*notes.0.lock().unwrap(), [(0, "failed")]);
        assert_eq!(ask(7).await, SILENT_PEER_DEADLINE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_impostor_beside_the_true_address_does_not_silence_a_node() {
        let (memory, notes, transport) = observed();
        // Another node answers at port 1.
        let [own, impostor] = [5, 1].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let node = NodeId::new([2; 20]);
        memory.have_answered(&[Contact { id: node, addresses: vec![own] }]);
        let target = Target { id: Some(node), addresses: vec![impostor, own] };
        assert!(transport.request(&target, request()).await.is_err());
        let silent_at =
            |address| memory.is_silent_at(&Contact { id: node, addresses: vec![address] });
        assert!(!silent_at(own) && silent_at(impostor));
        assert!(notes.0.lock().unwrap().is_empty());
        assert_eq!(memory.proven_first(&node, &target.addresses), [own, impostor]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_may_let_a_request_wait_is_not_silent_while_it_may() {
        let (memory, _, transport) = observed();
        let peer = NodeId::new([0; 20]);
        let queue = Duration::from_secs(5);
        for (patience, is_silent) in [(queue, false), (queue + CANCELLED_AFTER, true)] {
            let target = asked(peer);
            let queued = Request { may_queue_for: queue, ..request() };
            let asking = transport.request(&target, queued);
            assert!(tokio::time::timeout(patience, asking).await.is_err());
            assert_eq!(memory.is_silent(&peer), is_silent);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_was_given_up_counts_if_it_was_open_for_long() {
        let (memory, _, transport) = observed();
        let dead = NodeId::new([0; 20]);
        let target = asked(dead);
        let with_bytes = Request { body: Some(empty_body()), ..request() };
        let sending = transport.request(&target, with_bytes);
        assert!(tokio::time::timeout(CANCELLED_AFTER, sending).await.is_err());
        assert!(!memory.is_silent(&dead), "a cancelled transfer is not a failure");
        for (patience, is_silent) in [(CANCELLED_AFTER / 2, false), (CANCELLED_AFTER, true)] {
            let target = asked(dead);
            let asking = transport.request(&target, request());
            assert!(tokio::time::timeout(patience, asking).await.is_err());
            assert_eq!(memory.is_silent(&dead), is_silent);
        }
    }
}
