//! The incoming side: which peers may connect, which requests are admitted, and how they are
//! answered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use prometheus::IntGauge;
use tesseras_core::contact::{Subnet, canonical};
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connection::{Lease, PooledConnection, code};
use super::outbox::Outbox;
use super::rate::RateLimiter;
use super::stream::{FrameReadError, Receiver, SendError, Sender, Stall, receive_body};
use super::tasks::Tasks;
use super::window::Widths;
use crate::certificate;
use crate::settings::{InboundConfig, RateLimit};
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{MAX_FRAME_BYTES, Peer, Response, Service};

/// With this many handshakes in progress, new peers must first prove their address.
const MANY_HANDSHAKES: usize = InboundConfig::MAX_HANDSHAKES / 4;

/// The state shared by the tasks of the incoming side.
pub(super) struct Inbound {
    service: Arc<dyn Service>,
    tasks: Tasks,
    widths: Widths,
    /// How many of [`Self::connections`] have completed their handshake.
    established: IntGauge,
    config: InboundConfig,
    requests: Semaphore,
    limiter: Mutex<RateLimiter>,
    connections: Mutex<InboundConnections>,
    next_slot: AtomicU64,
}

/// Incoming connections, by an arbitrary number.
#[derive(Default)]
struct InboundConnections(HashMap<u64, InboundConnection>);

struct InboundConnection {
    subnet: Subnet,
    /// `None` until the handshake is done.
    connection: Option<Arc<PooledConnection>>,
}

/// The slot of one of them; freed on drop.
struct Slot {
    inbound: Arc<Inbound>,
    number: u64,
    outbox: Outbox,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut connections = self.inbound.connections();
        connections.0.remove(&self.number);
        self.inbound.count(&connections);
    }
}

impl Inbound {
    pub(super) fn new(
        service: Arc<dyn Service>,
        tasks: Tasks,
        widths: Widths,
        established: IntGauge,
        config: InboundConfig,
        limit: RateLimit,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            tasks,
            widths,
            established,
            config,
            requests: Semaphore::new(config.max_requests.min(Semaphore::MAX_PERMITS)),
            limiter: Mutex::new(RateLimiter::new(limit, Instant::now())),
            connections: Mutex::default(),
            next_slot: AtomicU64::new(0),
        })
    }

    /// Starts a handshake on its own task, or refuses it if a limit is reached.
    pub(super) fn admit(self: &Arc<Self>, incoming: quinn::Incoming) {
        let subnet = Subnet::of(incoming.remote_address().ip());
        let (slot, under_way) = self.take_slot(subnet);
        let Some(slot) = slot else {
            tracing::debug!(%subnet, "refused a connection: too many");
            incoming.refuse();
            return;
        };
        if under_way > MANY_HANDSHAKES && incoming.may_retry() {
            // The sender must prove that it receives at its address before it costs us more.
            let _ = incoming.retry();
            return;
        }
        let inbound = self.clone();
        self.tasks.tracker.spawn(async move {
            tokio::select! {
                () = inbound.tasks.closed.cancelled() => {}
                () = inbound.welcome(incoming, slot) => {}
            }
        });
    }

    /// A slot for a handshake from this subnet, unless there are too many, and how many handshakes
    /// are in progress.
    fn take_slot(self: &Arc<Self>, subnet: Subnet) -> (Option<Slot>, usize) {
        let mut connections = self.connections();
        let under_way = connections.0.values().filter(|one| one.connection.is_none()).count();
        let neighbours = connections.0.values().filter(|one| one.subnet == subnet).count();
        let crowded = subnet.limited().is_some() && neighbours >= self.config.max_per_subnet;
        if crowded || under_way >= InboundConfig::MAX_HANDSHAKES {
            return (None, under_way);
        }
        let number = self.next_slot.fetch_add(1, Ordering::Relaxed);
        connections.0.insert(number, InboundConnection { subnet, connection: None });
        (Some(Slot { inbound: self.clone(), number, outbox: Outbox::default() }), under_way)
    }

    async fn welcome(self: &Arc<Self>, incoming: quinn::Incoming, slot: Slot) {
        let remote = canonical(incoming.remote_address());
        let Ok(connecting) = incoming.accept() else { return };
        let quic = match timeout(self.config.handshake_deadline, connecting).await {
            Ok(Ok(quic)) => quic,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "a handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%remote, "a handshake took too long");
                return;
            }
        };
        // The handshake has parsed this certificate, and checked its proof of work and the
        // possession of its key.
        let public = quic
            .peer_identity()
            .and_then(|identity| {
                identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()
            })
            .and_then(|chain| certificate::read(chain.first()?).ok());
        let Some(public) = public else {
            quic.close(code::SHUTDOWN, b"no certificate");
            return;
        };
        let connection = PooledConnection::new(quic, public, self.widths.clone());
        if !self.fill_slot(slot.number, &connection) {
            tracing::debug!(%remote, node = %connection.id, "refused a connection: no free place");
            connection.close(code::TOO_MANY, "too many connections");
            return;
        }
        let slot = Arc::new(slot);
        let mut stopping = std::pin::pin!(self.tasks.cancel.cancelled());
        loop {
            let stream = tokio::select! {
                () = &mut stopping => break,
                stream = connection.quic.accept_bi() => stream,
            };
            let Ok((send, recv)) = stream else { break };
            let (inbound, slot, connection) = (self.clone(), slot.clone(), connection.clone());
            self.tasks.tracker.spawn(async move {
                // Polls the request first: most are answered at once, without touching shared
                // state.
                tokio::select! {
                    biased;
                    () = inbound.request(&slot, &connection, send, recv) => {}
                    () = inbound.tasks.closed.cancelled() => {}
                }
            });
        }
        for answer in slot.outbox.close() {
            if !answer.drained(&connection.quic, &self.stall()).await {
                return stands_still(connection.id);
            }
        }
    }

    /// Records the connection of a slot, and makes room if all slots are taken; `false` if that
    /// node has too many connections, or none has been idle for long enough to be closed.
    fn fill_slot(&self, number: u64, connection: &Arc<PooledConnection>) -> bool {
        let mut connections = self.connections();
        if connections.of_node(connection.id) >= self.config.max_per_node {
            return false;
        }
        if connections.established() >= self.config.max_connections {
            let oldest = connections.longest_idle(Instant::now());
            let Some(leaving) = oldest.and_then(|number| connections.0.remove(&number)) else {
                return false;
            };
            if let Some(connection) = leaving.connection {
                connection.close(code::IDLE, "its place is needed for another connection");
            }
        }
        if let Some(one) = connections.0.get_mut(&number) {
            one.connection = Some(connection.clone());
        }
        self.count(&connections);
        true
    }

    fn count(&self, connections: &InboundConnections) {
        self.established.set(i64::try_from(connections.established()).unwrap_or(i64::MAX));
    }

    /// Answers one request.
    async fn request(
        &self,
        slot: &Slot,
        connection: &Arc<PooledConnection>,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
    ) {
        let (sender, mut receiver) = (Sender::new(send), Receiver::new(recv));
        let Some(lease) = connection.lease() else { return };
        let peer = lease.peer();
        let permit = self.permit(&peer);
        let response = if permit.is_some() {
            let Some(response) = self.answer(peer, &lease, receiver).await else { return };
            response
        } else {
            receiver.refuse();
            too_many_requests()
        };
        self.respond(slot, &lease, sender, response).await;
    }

    /// The service's answer to a request; `None` if the request could not be read.
    async fn answer(&self, peer: Peer, lease: &Lease, mut receiver: Receiver) -> Option<Response> {
        let frame = match timeout(self.config.frame_deadline, receiver.frame()).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(error @ FrameReadError::TooLong(_))) => {
                receiver.refuse();
                return Some(refuse(Refusal::MALFORMED, error.to_string()));
            }
            Ok(Err(error)) => {
                tracing::debug!(node = %peer.id, %error, "a request could not be read");
                return None;
            }
            Err(_) => {
                tracing::debug!(node = %peer.id, "a request arrived too slowly");
                receiver.refuse();
                return None;
            }
        };
        if !self.charge(&peer, self.service.cost(&frame)) {
            receiver.refuse();
            return Some(too_many_requests());
        }
        let body = receive_body(receiver, lease, self.config.stall_deadline);
        let response = self.service.serve(peer, frame, body).await;
        if response.frame.len() > MAX_FRAME_BYTES {
            tracing::error!(bytes = response.frame.len(), "an answer does not fit a frame");
            return Some(refuse(Refusal::INTERNAL, "the answer does not fit a frame"));
        }
        Some(response)
    }

    /// The permit to be answered now, or `None` for a peer over its rate limit.
    fn permit(&self, peer: &Peer) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let admitted =
            lock(&self.limiter).admit(peer.id, Subnet::of(peer.remote.ip()), Instant::now());
        if !admitted {
            return None;
        }
        self.requests.try_acquire().ok()
    }

    /// Charges a request for what it costs beyond an ordinary one; `false` for a peer that still
    /// owes for the one before.
    fn charge(&self, peer: &Peer, cost: u32) -> bool {
        let (subnet, more) = (Subnet::of(peer.remote.ip()), cost.saturating_sub(1));
        more == 0 || lock(&self.limiter).charge(peer.id, subnet, more, Instant::now())
    }

    async fn respond(&self, slot: &Slot, lease: &Lease, mut sender: Sender, response: Response) {
        let stall = self.stall();
        let bulk = response.body.is_some();
        let sending = async {
            sender.frame(&response.frame).await?;
            if let Some(body) = response.body {
                sender.body(body, &stall).await?;
            }
            Ok::<(), SendError>(sender.finish()?)
        };
        let sent = tokio::select! {
            biased;
            sent = sending => sent,
            () = stall.passed() => return stands_still(lease.id),
        };
        if let Err(error) = sent {
            tracing::debug!(node = %lease.id, %error, "an answer was not sent completely");
            return;
        }
        // Waits until it has arrived, so that a shutdown does not cut off an answer.
        let waiting = if bulk { Some(sender) } else { slot.outbox.keep(sender) };
        if let Some(sender) = waiting
            && !sender.drained(&lease.quic, &stall).await
        {
            stands_still(lease.id);
        }
    }

    /// How long an answer may stall.
    fn stall(&self) -> Stall {
        let patience = self.config.stall_deadline;
        Stall::new(patience, Instant::now() + patience)
    }

    fn connections(&self) -> MutexGuard<'_, InboundConnections> {
        lock(&self.connections)
    }
}

fn too_many_requests() -> Response {
    refuse(Refusal::BUSY, "too many requests, ask again later")
}

fn refuse(refusal: &str, why: impl Into<String>) -> Response {
    Response { frame: codec::refuse(refusal, why), body: None }
}

fn stands_still(node: NodeId) {
    tracing::debug!(%node, "the reader of an answer has stalled");
}

impl InboundConnections {
    fn established(&self) -> usize {
        self.0.values().filter(|one| one.connection.is_some()).count()
    }

    fn of_node(&self, node: NodeId) -> usize {
        self.0.values().filter(|one| one.connection.as_ref().is_some_and(|c| c.id == node)).count()
    }

    fn longest_idle(&self, now: Instant) -> Option<u64> {
        self.0
            .iter()
            .filter_map(|(number, one)| {
                let since = one.connection.as_ref()?.idle_since()?;
                let idle = now.saturating_duration_since(since);
                (idle >= InboundConfig::MIN_IDLE).then_some((since, *number))
            })
            .min()
            .map(|(_, number)| number)
    }
}
