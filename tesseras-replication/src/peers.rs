//! Requests to other nodes. Uses the network only: no store, no disk.

mod ask_all;
mod ask_error;
mod batches;
mod hedges;
mod permits;
mod transfer_state;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde::de::DeserializeOwned;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::lock::lock;
use tesseras_core::ports::Charge;
use tesseras_core::time::Clock;
use tesseras_core::words::{code_word, one_line};
use tesseras_crypto::{NodeKeys, NodePublic};
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{Body, Peer, RequestError, SharedMemory, Target, Transport};
use tokio::time::{sleep, timeout};

use crate::attestation::{self, Question};
use crate::bulk::{BodyReader, ReceiveError};
use crate::dossier::{MAX_DOSSIER_BYTES, VerifiedDossier};
use crate::messages::{
    Announced, Attestation, Bulk, MAX_HOLDERS, Offered, Request, Stored, refusal,
};

pub(crate) use ask_all::ask_all;
pub use ask_error::AskError;
use batches::Batches;
use hedges::Hedges;
use permits::Permits;
pub(crate) use permits::{LATE, Priority, TransferPermit};
pub(crate) use transfer_state::TransferState;

/// The deadline for receiving a dossier of at most 16 MiB.
const DOSSIER_DEADLINE: Duration = Duration::from_secs(120);

/// How often, and after which failures, a request is retried.
#[derive(Clone, Copy)]
struct Retry {
    retries: u32,
    pause: Duration,
    after: fn(&AskError) -> bool,
}

/// Retries while the other node is busy.
const WHILE_BUSY: Retry = Retry { retries: 6, pause: Duration::from_millis(500), after: is_busy };
/// Retries for requests that place a piece or ask for an attestation.
const PATIENTLY: Retry = Retry { retries: 10, ..WHILE_BUSY };
/// How long a node may be busy, in addition to the deadline of an answer: as long as all retries
/// take if each is refused at once.
const BUSY: Duration = Duration::from_secs(5);
const _: () = assert!(BUSY.as_millis() == PATIENTLY.retries as u128 * PATIENTLY.pause.as_millis());
/// Retries until there is an answer other than busy.
const WHILE_UNANSWERED: Retry = Retry { retries: 2, after: has_not_answered, ..WHILE_BUSY };

fn is_busy(error: &AskError) -> bool {
    error.is_refusal(Refusal::BUSY)
}

fn has_not_answered(error: &AskError) -> bool {
    is_busy(error) || !matches!(error, AskError::Refused(_))
}

/// Timeouts for other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For a short answer, including the time to connect.
    pub answer: Duration,
    /// How long a transfer may stall.
    pub transfer: Duration,
}

/// A piece whose bytes have not been read and verified yet.
pub(crate) struct IncomingPiece {
    pub(crate) bytes: u64,
    pub(crate) checksum: ContentHash,
    pub(crate) body: BodyReader,
}

/// A piece that another node is asked to keep, without its bytes.
pub(crate) struct Parcel<'a> {
    pub(crate) dossier: &'a VerifiedDossier,
    pub(crate) piece: Piece,
    pub(crate) bytes: u64,
    /// Other nodes that attest the tessera, if it is placed as a repair; otherwise none.
    pub(crate) witnesses: Vec<Contact>,
    pub(crate) priority: Priority,
    pub(crate) state: &'a TransferState,
}

/// What is needed to reach other nodes.
pub(crate) struct PeersConfig {
    /// This node's keys.
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) transport: Arc<dyn Transport>,
    /// The peers that were silent lately.
    pub(crate) memory: SharedMemory,
    pub(crate) clock: Clock,
    /// The source of nonces.
    pub(crate) rng: StdRng,
    pub(crate) deadlines: Deadlines,
    /// Concurrent transfers that a task starts in each direction; in total at most twice as many.
    pub(crate) max_transfers: usize,
    /// The most hedged requests that may turn out to be unnecessary, in percent of all requests.
    pub(crate) hedge_percent: u8,
}

/// A client for requests to other nodes.
pub struct Peers {
    keys: Arc<NodeKeys>,
    transport: Arc<dyn Transport>,
    memory: SharedMemory,
    clock: Clock,
    rng: Mutex<StdRng>,
    deadlines: Deadlines,
    max_transfers: usize,
    hedges: Arc<Hedges>,
    batches: Batches,
    incoming: Permits,
    outgoing: Permits,
}

impl Peers {
    /// Creates the client.
    pub(crate) fn new(config: PeersConfig) -> Self {
        let PeersConfig { keys, transport, memory, clock, rng, deadlines, .. } = config;
        let hedges = Arc::new(Hedges::new(config.hedge_percent));
        let max_transfers = config.max_transfers;
        Self {
            keys,
            batches: Batches::new(transport.clone(), hedges.clone(), deadlines.answer),
            hedges,
            transport,
            memory,
            clock,
            rng: Mutex::new(rng),
            deadlines,
            max_transfers,
            incoming: Permits::new(max_transfers),
            outgoing: Permits::new(max_transfers),
        }
    }

    /// Whether a node was silent lately, in general or at all addresses of this contact.
    pub(crate) fn is_silent_at(&self, contact: &Contact) -> bool {
        self.memory.is_silent_at(contact)
    }

    /// Puts nodes into a random order.
    pub(crate) fn shuffle<T>(&self, nodes: &mut [T]) {
        nodes.shuffle(&mut *lock(&self.rng));
    }

    /// Counts the requests and the hedges.
    pub(crate) fn hedges(&self) -> &Hedges {
        &self.hedges
    }

    /// This node's id.
    pub(crate) fn me(&self) -> NodeId {
        self.keys.id()
    }

    /// Concurrent transfers that a task starts in one direction.
    pub(crate) fn max_transfers(&self) -> usize {
        self.max_transfers
    }

    /// Whether a node has answered at this address before.
    pub(crate) fn has_met(&self, id: &NodeId, address: SocketAddr) -> bool {
        self.memory.has_met(id, address)
    }

    /// The timeout for a short answer.
    pub(crate) fn answer_deadline(&self) -> Duration {
        self.deadlines.answer
    }

    /// How long a transfer may stall.
    pub(crate) fn transfer_deadline(&self) -> Duration {
        self.deadlines.transfer
    }

    /// Asks a node for an attestation, and verifies its signature. Also returns the address at
    /// which it was reached.
    pub(crate) async fn attest(
        &self,
        to: &Contact,
        tessera: TesseraHash,
    ) -> Result<(Attestation, SocketAddr), AskError> {
        let nonce: [u8; 32] = lock(&self.rng).random();
        let question = Question { asker: self.me(), holder: to.id, tessera, nonce };
        let request = Request::Attest { tessera, nonce };
        let (peer, answer) = self.short::<Attestation>(PATIENTLY, to, &request).await?;
        let holder = NodePublic { public_key: peer.public_key, nonce: peer.nonce };
        let now = self.clock.now();
        if attestation::is_valid(&answer, &question, &holder, now) {
            return Ok((answer, peer.remote));
        }
        let is_of_its_date = attestation::is_valid(&answer, &question, &holder, answer.date);
        Err(match is_of_its_date {
            true => AskError::OtherDate { ahead: now.ahead_of(answer.date) },
            false => AskError::BadAttestation,
        })
    }

    /// Asks whether a node would hold more of a tessera. Also returns the address at which it was
    /// reached.
    pub(crate) async fn offer(
        &self,
        to: &Contact,
        tessera: TesseraHash,
        bytes: u64,
        charge: Charge<()>,
    ) -> Result<(SocketAddr, Offered), AskError> {
        let request = Request::Offer { tessera, bytes, charge };
        let (peer, mut offered) = self.short::<Offered>(WHILE_BUSY, to, &request).await?;
        // It is shown to people.
        offered.reason = offered.reason.as_deref().map(one_line);
        offered.code = offered.code.as_deref().map(code_word);
        Ok((peer.remote, offered))
    }

    /// Whether this node transfers anything that its owner asked for.
    pub(crate) fn is_transferring(&self) -> bool {
        self.incoming.are_taken_interactively() || self.outgoing.are_taken_interactively()
    }

    /// Waits for a permit of this node to receive.
    pub(crate) async fn incoming_permit(&self, priority: Priority) -> TransferPermit {
        self.incoming.acquire(priority).await
    }

    /// Fetches the dossier from a holder, and verifies it. The caller has a permit.
    pub(crate) async fn take_dossier(
        &self,
        from: &Contact,
        tessera: TesseraHash,
    ) -> Result<VerifiedDossier, AskError> {
        let request = Request::GetDossier { tessera };
        let taking = async {
            let (Bulk { bytes }, mut body) =
                again(WHILE_BUSY, || self.bulk(from, &request)).await?;
            if bytes > MAX_DOSSIER_BYTES {
                return Err(AskError::BadLength(bytes));
            }
            let encoded = body.read(bytes).await?;
            Ok(VerifiedDossier::decode(&encoded, &tessera)?)
        };
        match timeout(DOSSIER_DEADLINE, taking).await {
            Ok(dossier) => dossier,
            Err(_) => Err(AskError::Receive(ReceiveError::TooSlow)),
        }
    }

    /// Asks a holder for a piece of the length given in the plan, with a permit of this node.
    pub(crate) async fn take_piece(
        &self,
        from: &Contact,
        dossier: &VerifiedDossier,
        piece: Piece,
        priority: Priority,
        state: &TransferState,
    ) -> Result<IncomingPiece, AskError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let (Some(expected), Some(checksum)) = (plan.piece_bytes(piece), plan.checksum(piece))
        else {
            return Err(AskError::NoSuchPiece(piece));
        };
        let request = Request::GetPiece { tessera, piece, offset: 0 };
        let asking = || async {
            state.take_permit(&self.incoming, priority).await;
            let asked = self.bulk(from, &request).await;
            // A peer that is busy is waited for without a permit.
            asked.inspect_err(|_| drop(state.give_up_permit()))
        };
        let (Bulk { bytes }, body) = again(WHILE_BUSY, asking).await?;
        if bytes != expected {
            return Err(AskError::BadLength(bytes));
        }
        Ok(IncomingPiece { bytes, checksum, body })
    }

    /// Sends a piece to a node, with the dossier if the node does not have it. `body` yields the
    /// bytes of the piece, anew for each attempt. All that is sent is marked in the parcel's state.
    pub(crate) async fn put_piece(
        &self,
        to: &Contact,
        parcel: &Parcel<'_>,
        with_dossier: bool,
        body: impl Fn() -> Body + Sync,
    ) -> Result<(), AskError> {
        let putting = || self.put_once(to, parcel, with_dossier, body());
        match again(PATIENTLY, putting).await {
            Err(error) if error.is_refusal(refusal::NEED_DOSSIER) && !with_dossier => {
                again(PATIENTLY, || self.put_once(to, parcel, true, body())).await
            }
            done => done,
        }
    }

    async fn put_once(
        &self,
        to: &Contact,
        parcel: &Parcel<'_>,
        with_dossier: bool,
        body: Body,
    ) -> Result<(), AskError> {
        let Parcel { dossier, piece, bytes, ref witnesses, priority, state } = *parcel;
        state.take_permit(&self.outgoing, priority).await;
        let head = if with_dossier { dossier.encode() } else { Vec::new() };
        let request = Request::PutPiece {
            tessera: dossier.tessera(),
            piece,
            bytes,
            dossier_bytes: head.len() as u64,
            witnesses: witnesses.clone(),
        };
        let body = state.marking(crate::bulk::after(head, body));
        let put = self.ask::<Stored>(to, &request, Some(body), self.deadlines.transfer).await;
        drop(state.give_up_permit());
        put.map(|_| ())
    }

    /// Tells a holder about the other holders of a tessera, and that it is published. The holder
    /// announces itself before it answers. Returns whether it knows now that it is published; that
    /// is not asked of older nodes.
    pub(crate) async fn tell_holders(
        &self,
        to: &Contact,
        tessera: TesseraHash,
        holders: &[Contact],
    ) -> Result<bool, AskError> {
        let holders = holders.iter().take(MAX_HOLDERS).cloned().collect();
        let request = Request::Roster { tessera, holders };
        let deadline = self.deadlines.answer;
        let telling = || self.ask::<Announced>(to, &request, None, deadline);
        let (_, Announced { confirmed }, _) = again(WHILE_UNANSWERED, telling).await?;
        Ok(confirmed.unwrap_or(true))
    }

    /// Sends a short request, batched with other requests to that node.
    async fn short<T: DeserializeOwned + Send>(
        &self,
        retry: Retry,
        to: &Contact,
        request: &Request,
    ) -> Result<(Peer, T), AskError> {
        let asking = || async {
            let (peer, frame) = self.batches.ask(to, request).await?;
            Ok((peer, read(&frame)?))
        };
        // A node that says slowly that it is busy must not be asked for minutes.
        match timeout(self.deadlines.answer + BUSY, again(retry, asking)).await {
            Ok(answer) => answer,
            Err(_) => Err(RequestError::Deadline.into()),
        }
    }

    /// Sends a request for bulk bytes. The caller has a permit, and keeps it while it reads them.
    async fn bulk(
        &self,
        from: &Contact,
        request: &Request,
    ) -> Result<(Bulk, BodyReader), AskError> {
        let (_, bulk, body) = self.ask(from, request, None, self.deadlines.transfer).await?;
        Ok((bulk, body))
    }

    /// Sends a request once and decodes its answer; the body has not been read yet.
    async fn ask<T: DeserializeOwned>(
        &self,
        to: &Contact,
        request: &Request,
        body: Option<Body>,
        deadline: Duration,
    ) -> Result<(Peer, T, BodyReader), AskError> {
        let frame = codec::encode(request)?;
        let may_queue_for = request.may_queue_for();
        let request = tesseras_wire::Request { frame, body, deadline, may_queue_for };
        self.hedges.note_request();
        let reply = self.transport.request(&Target::from(to), request).await?;
        Ok((reply.peer, read(&reply.frame)?, BodyReader::new(reply.body)))
    }
}

/// Decodes an answer or a refusal.
fn read<T: DeserializeOwned>(frame: &[u8]) -> Result<T, AskError> {
    Ok(codec::decode_answer(frame)??)
}

/// Retries as long as the failure is transient.
async fn again<T, F: Future<Output = Result<T, AskError>>>(
    retry: Retry,
    attempt: impl Fn() -> F,
) -> Result<T, AskError> {
    for _ in 0..retry.retries {
        match attempt().await {
            Err(error) if (retry.after)(&error) => sleep(retry.pause).await,
            done => return done,
        }
    }
    attempt().await
}
