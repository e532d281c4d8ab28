//! The task that owns the [`Engine`]. It only ever waits for the next event; requests are sent from
//! tasks of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tesseras_core::time::Clock;
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{Peer, Request as Outgoing, Target, Transport, is_the_peers_fault};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{
    Command, CommandOutcome, Effect, Engine, Event, InboundId, Moment, OperationId, SearchResult,
    Ticket,
};
use crate::messages::{DhtRequest, DhtResponse};

/// The most requests of this node in flight; more wait.
const MAX_OUTGOING: usize = 128;
/// The most dials back in flight; more wait. Strangers choose the addresses.
const MAX_DIAL_BACKS: usize = 128;
/// Capacity of the queue of reports to the owner.
const REPORTS: usize = 1024;
/// How long after its deadline a request is given up if the transport does not do so itself.
const GRACE: Duration = Duration::from_secs(2);

type Read = Box<dyn FnOnce(&Engine, Duration) + Send>;

/// Calls from the handle to the owner.
pub(super) enum Call {
    /// Run a command and return its result.
    Command(Command, oneshot::Sender<CommandOutcome>),
    /// Run a search and stream its results.
    Search(Command, mpsc::Sender<SearchResult>),
    Asked(Peer, DhtRequest, oneshot::Sender<Result<DhtResponse, Refusal>>),
    Tell(Event),
    Read(Read),
}

/// The receiver of a command's result.
enum Waiter {
    Outcome(oneshot::Sender<CommandOutcome>),
    Finds(mpsc::Sender<SearchResult>),
}

impl Waiter {
    fn is_gone(&self) -> bool {
        match self {
            Self::Outcome(done) => done.is_closed(),
            Self::Finds(finds) => finds.is_closed(),
        }
    }
}

/// What the owner does next.
enum Action {
    Stop,
    Handle(Event),
    Call(Call),
}

/// Feeds the engine with events and has its effects carried out.
pub(super) struct Owner {
    engine: Engine,
    rng: StdRng,
    clock: Clock,
    started: Instant,
    transport: Arc<dyn Transport>,
    tracker: TaskTracker,
    token: CancellationToken,
    outgoing: Arc<Semaphore>,
    dial_backs: Arc<Semaphore>,
    reports: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    running: BTreeMap<OperationId, Waiter>,
    asked: BTreeMap<InboundId, oneshot::Sender<Result<DhtResponse, Refusal>>>,
    last_number: u64,
}

impl Owner {
    pub(super) fn new(
        engine: Engine,
        transport: Arc<dyn Transport>,
        clock: Clock,
        tracker: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        Self {
            engine,
            rng: rand::make_rng(),
            clock,
            started: Instant::now(),
            transport,
            tracker,
            token,
            outgoing: Arc::new(Semaphore::new(MAX_OUTGOING)),
            dial_backs: Arc::new(Semaphore::new(MAX_DIAL_BACKS)),
            reports: mpsc::channel(REPORTS),
            running: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_number: 0,
        }
    }

    /// Handles events until the node is told to stop.
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>) {
        self.handle(Event::Tick);
        loop {
            let wakes_at = self.started + self.engine.wakes_at(self.started.elapsed());
            let action = tokio::select! {
                biased;
                () = self.token.cancelled() => Action::Stop,
                Some(event) = self.reports.1.recv() => Action::Handle(event),
                () = tokio::time::sleep_until(wakes_at) => Action::Handle(Event::Tick),
                call = calls.recv() => call.map_or(Action::Stop, Action::Call),
            };
            match action {
                Action::Stop => return,
                Action::Handle(event) => self.handle(event),
                Action::Call(call) => self.take(call),
            }
            self.abandon_searches();
        }
    }

    /// Ends the searches whose receivers are gone.
    fn abandon_searches(&mut self) {
        let gone = self.running.extract_if(.., |_, waiter| waiter.is_gone());
        for operation in gone.map(|(operation, _)| operation).collect::<Vec<_>>() {
            self.handle(Event::Abandoned { operation });
        }
    }

    fn take(&mut self, call: Call) {
        match call {
            Call::Command(command, done) => self.begin(command, Waiter::Outcome(done)),
            Call::Search(command, finds) => self.begin(command, Waiter::Finds(finds)),
            Call::Asked(peer, request, answer) => {
                let inbound = InboundId(self.number());
                self.asked.insert(inbound, answer);
                let (from, remote) = (peer.id, peer.remote);
                self.handle(Event::Asked { inbound, from, remote, request });
            }
            Call::Tell(event) => self.handle(event),
            Call::Read(read) => read(&self.engine, self.started.elapsed()),
        }
    }

    fn begin(&mut self, command: Command, waiter: Waiter) {
        let operation = OperationId(self.number());
        self.running.insert(operation, waiter);
        self.handle(Event::Commanded { operation, command });
    }

    fn handle(&mut self, event: Event) {
        let moment = Moment { elapsed: self.started.elapsed(), wall: self.clock.now() };
        for effect in self.engine.handle(moment, &mut self.rng, event) {
            match effect {
                Effect::Send { ticket, id, addresses, request, deadline, is_dial_back } => {
                    let places = if is_dial_back { &self.dial_backs } else { &self.outgoing };
                    self.send(ticket, Target { id, addresses }, request, deadline, places);
                }
                // The caller may have dropped its end.
                Effect::Answer { inbound, answer } => {
                    if let Some(asker) = self.asked.remove(&inbound) {
                        let _ = asker.send(answer);
                    }
                }
                Effect::Found { operation, found } => {
                    if let Some(Waiter::Finds(finds)) = self.running.get(&operation) {
                        // A slow receiver misses results; they are hints.
                        let _ = finds.try_send(found);
                    }
                }
                Effect::Finished { operation, outcome } => {
                    if let Some(Waiter::Outcome(done)) = self.running.remove(&operation) {
                        let _ = done.send(outcome);
                    }
                }
            }
        }
    }

    /// Sends a request, as soon as one of these places is free, from a task of its own, which reports
    /// how it ended.
    fn send(
        &self,
        ticket: Ticket,
        target: Target,
        request: DhtRequest,
        deadline: Duration,
        places: &Arc<Semaphore>,
    ) {
        let transport = Arc::clone(&self.transport);
        let places = Arc::clone(places);
        let reports = self.reports.0.clone();
        let token = self.token.clone();
        self.tracker.spawn(async move {
            let exchange = async {
                let _place = places.acquire().await;
                let event = ask(&*transport, ticket, &target, &request, deadline).await;
                // The owner is gone only at shutdown.
                let _ = reports.send(event).await;
            };
            token.run_until_cancelled(exchange).await;
        });
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

async fn ask(
    transport: &dyn Transport,
    ticket: Ticket,
    target: &Target,
    request: &DhtRequest,
    deadline: Duration,
) -> Event {
    let frame = match codec::encode(request) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::error!(%error, "own request is larger than a frame");
            return Event::Failed { ticket, blame: false };
        }
    };
    let outgoing = Outgoing::short(frame, deadline);
    let exchange = transport.request(target, outgoing);
    let reply = match tokio::time::timeout(deadline + GRACE, exchange).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            tracing::debug!(peer = ?target.id, addresses = ?target.addresses, %error, "no answer");
            return Event::Failed { ticket, blame: is_the_peers_fault(&error) };
        }
        Err(_) => return Event::Failed { ticket, blame: true },
    };
    let (from, remote) = (reply.peer.id, reply.peer.remote);
    match DhtResponse::decode(request.kind(), &reply.frame) {
        Ok(answer) => Event::Replied { ticket, from, remote, answer },
        Err(error) => {
            tracing::debug!(peer = %from, %remote, %error, "the answer cannot be decoded");
            Event::Failed { ticket, blame: true }
        }
    }
}
