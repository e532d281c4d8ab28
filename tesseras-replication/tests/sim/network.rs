//! The simulated network: latency, loss of nodes, partitions, and nodes that misbehave. Everything
//! that happens in it goes into the world's trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::plan::Plan;
use tesseras_core::ports::HoldingRepository as _;
use tesseras_core::time::ClockOffset;
use tesseras_replication::attestation::{Question, attest};
use tesseras_replication::messages::{AttestedPiece, Request as Message, Stored, refusal};
use tesseras_replication::{BlockingPool, Directory};
use tesseras_wire::codec::{self, Answer, Refusal};
use tesseras_wire::{
    Body, BoxFuture, BoxStream, Peer, Reply, Request, RequestError, Response, Target, Transport,
    empty_body,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::world::{Place, Shared};

/// How a node behaves towards others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Follows the protocol.
    Honest,
    /// Accepts requests and never answers.
    Silent,
    /// It answers after this long.
    Late(Duration),
    /// It attests every piece of the plan that it keeps.
    Boasts,
    /// Serves pieces with wrong bytes.
    Corrupts,
    /// It stops in the middle of a piece.
    Stalls,
    /// It sends and takes pieces barely faster than the slowest that is accepted.
    Drips,
    /// It drips, and begins a piece so late that another holder has been asked.
    DripsLate,
    /// It says so late that it is busy, and drips when it is asked again.
    BusyThenDrips,
    /// It stops in the middle of a dossier.
    Withholds,
    /// It answers that it is busy, after this long.
    Busy(Duration),
    /// It loses what it has acknowledged.
    Forgets,
    /// It acknowledges pieces at once, keeps none, and attests them.
    KeepsNothing,
    /// It receives all of a piece, and refuses it then.
    Refuses,
    /// Rosters do not reach it.
    DeafToRosters,
}

impl Conduct {
    fn drips(self) -> bool {
        matches!(self, Self::Drips | Self::DripsLate | Self::BusyThenDrips)
    }
}

/// Blocking work runs at once, on the caller; then the caller yields, so that it can be interrupted
/// when the work is done and its result has not been seen. While disks are slow, the work is done
/// that much later, whether or not its caller still waits.
pub struct SimDisk {
    pub world: Weak<Shared>,
    pub waiting: Mutex<JoinSet<()>>,
}

impl BlockingPool for SimDisk {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let delay = self.world.upgrade().map_or(Duration::ZERO, |world| world.disk_delay());
        if delay.is_zero() {
            work();
            return Box::pin(tokio::task::yield_now());
        }
        let (done, ended) = oneshot::channel();
        let later = async move {
            sleep(delay).await;
            work();
            let _ = done.send(());
        };
        self.waiting.lock().unwrap().spawn(later);
        Box::pin(async move { ended.await.unwrap() })
    }
}

/// The transport of one node.
pub struct SimTransport {
    pub world: Weak<Shared>,
    pub from: usize,
}

impl Transport for SimTransport {
    fn request<'a>(
        &'a self,
        target: &'a Target,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>> {
        Box::pin(async move {
            let world = self.world.upgrade().ok_or(RequestError::Unavailable("the world ended"))?;
            let mut error = RequestError::NoAddress;
            let Request { frame, mut body, deadline, .. } = request;
            for address in &target.addresses {
                let Some(to) = world.reached(self.from, *address) else {
                    sleep(deadline).await;
                    error = RequestError::Deadline;
                    continue;
                };
                let place = world.place(to);
                if let Some(expected) = target.id.filter(|id| *id != place.id) {
                    error =
                        RequestError::WrongNode { address: *address, expected, found: place.id };
                    continue;
                }
                let body = body.take().unwrap_or_else(empty_body);
                return exchange(&world, self.from, to, frame, body, deadline).await;
            }
            Err(error)
        })
    }
}

async fn exchange(
    world: &Arc<Shared>,
    from: usize,
    to: usize,
    frame: Vec<u8>,
    body: Body,
    deadline: Duration,
) -> Result<Reply, RequestError> {
    let kind = codec::kind(&frame).unwrap();
    sleep(world.latency()).await;
    let (asker, place) = (world.place(from), world.place(to));
    let (answer, answered) = oneshot::channel();
    let peer = asker.as_peer();
    let body = flow(world.clone(), from, to, body);
    // A request times out when its body stands still.
    let heard = Arc::new(Mutex::new(Instant::now()));
    let mark = heard.clone();
    let body = body.inspect(move |_| *mark.lock().unwrap() = Instant::now());
    // The rest of a body is not sent once nobody waits for the answer.
    let (_waits, gone) = oneshot::channel::<()>();
    let body: Body = Box::pin(body.take_until(gone));
    let serving = serve(world.clone(), to, peer, kind.clone(), frame, body);
    // Work of a node for another continues if that node no longer waits.
    place.tasks.lock().unwrap().spawn(async move {
        let _ = answer.send(serving.await);
    });
    let mut answered = answered;
    let response = loop {
        let ends = *heard.lock().unwrap() + deadline;
        match timeout_at(ends, &mut answered).await {
            Ok(response) => break response,
            Err(_) if Instant::now() >= *heard.lock().unwrap() + deadline => {
                return Err(RequestError::Deadline);
            }
            Err(_) => {}
        }
    };
    let response = response.map_err(|_| RequestError::Broken("it died".to_owned()))?;
    sleep(world.latency()).await;
    if world.reached(from, place.address) != Some(to) {
        return Err(RequestError::Broken("it died".to_owned()));
    }
    world.answered(&kind);
    world.note(&format!("{from} {kind} {to}: {} bytes", response.frame.len()));
    let body = response.body.unwrap_or_else(empty_body);
    let body = flow(world.clone(), from, to, body);
    Ok(Reply { peer: place.as_peer(), frame: response.frame, body })
}

/// How many bytes of a slow transfer arrive at once.
const PART: usize = 1024;
/// How long a node that drips takes for these: the slowest transfer that is accepted has 8 KiB/s.
const DRIP: Duration = Duration::from_millis(120);

/// When a node begins that drips and begins late.
const LATE: Duration = Duration::from_millis(1200);

/// The same bytes, in small parts.
fn in_parts(body: Body) -> Body {
    let split = |chunk: std::io::Result<bytes::Bytes>| {
        let parts: Vec<_> = match chunk {
            Ok(chunk) => {
                let starts = (0..chunk.len()).step_by(PART);
                starts.map(|at| Ok(chunk.slice(at..chunk.len().min(at + PART)))).collect()
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(parts)
    };
    Box::pin(body.flat_map(split))
}

fn dripping(body: Body) -> Body {
    Box::pin(in_parts(body).then(|part| async move {
        sleep(DRIP).await;
        part
    }))
}

/// Bytes take time to arrive, and the stream breaks when one end dies. Those of a slow line wait for
/// each other.
fn flow(world: Arc<Shared>, one: usize, other: usize, body: Body) -> Body {
    let is_slow = [one, other]
        .map(|end| world.place(end))
        .iter()
        .any(|place| place.line.is_some() || place.conduct.drips());
    let body = if is_slow { in_parts(body) } else { body };
    Box::pin(body.then(move |chunk| {
        let world = world.clone();
        async move {
            sleep(Duration::from_millis(1)).await;
            let bytes = chunk.as_ref().map_or(0, bytes::Bytes::len);
            for line in [one, other].into_iter().filter_map(|end| world.place(end).line) {
                let passed = line.pass(bytes);
                sleep_until(passed).await;
            }
            world.moved([one, other], bytes);
            let address = world.place(other).address;
            match world.reached(one, address) {
                Some(_) => chunk,
                None => Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        }
    }))
}

async fn serve(
    world: Arc<Shared>,
    at: usize,
    peer: Peer,
    kind: String,
    frame: Vec<u8>,
    body: Body,
) -> Response {
    let place = world.place(at);
    let conduct = place.conduct;
    match conduct {
        Conduct::Silent => return std::future::pending().await,
        Conduct::Late(time) => sleep(time).await,
        Conduct::DripsLate if kind == "get_piece" => sleep(LATE).await,
        Conduct::BusyThenDrips if kind == "get_piece" && world.is_new((at, peer.id, &frame)) => {
            sleep(LATE).await;
            return Response { frame: codec::refuse(Refusal::BUSY, "later"), body: None };
        }
        Conduct::Busy(time) => {
            sleep(time).await;
            return Response { frame: codec::refuse(Refusal::BUSY, "later"), body: None };
        }
        Conduct::Boasts if kind == "attest" => {
            let all = [Piece::Whole].into_iter().chain((0..24).map(Piece::Index));
            return boast(&place, &place, all, &frame, &peer);
        }
        Conduct::KeepsNothing if kind == "put_piece" => {
            if let Ok(Message::PutPiece { tessera, piece, .. }) = codec::decode(&frame) {
                world.claimed(at, tessera, piece);
            }
            sleep(Duration::from_millis(50)).await;
            let frame = codec::encode(&Answer::Ok(Stored {})).unwrap();
            return Response { frame, body: None };
        }
        Conduct::Refuses if kind == "put_piece" => {
            body.for_each(|_| std::future::ready(())).await;
            return Response { frame: codec::refuse(refusal::DECLINED, "no"), body: None };
        }
        Conduct::DeafToRosters if kind == "roster" => return std::future::pending().await,
        // It knows the plan of the first node, which publishes.
        Conduct::KeepsNothing if kind == "attest" => {
            return boast(&place, &world.place(0), world.claims(at), &frame, &peer);
        }
        // It knows no batches, so it is asked one by one.
        Conduct::Boasts | Conduct::KeepsNothing if kind == "batch" => {
            let frame = codec::refuse(Refusal::UNKNOWN_REQUEST, "no batches here");
            return Response { frame, body: None };
        }
        _ => {}
    }
    let body = if conduct.drips() { dripping(body) } else { body };
    let served = place.replication.serve(peer, &kind, &frame, body).await;
    let mut response = served.unwrap();
    if let Ok(Message::PutPiece { tessera, piece, .. }) = codec::decode(&frame)
        && let Ok(Answer::Ok(Stored {})) = codec::decode(&response.frame)
    {
        if conduct == Conduct::Forgets {
            place.memory.lose(&tessera, piece);
        } else {
            world.acknowledged(at, tessera, piece);
        }
    }
    if kind == "get_piece" {
        response.body = response.body.map(|body| match conduct {
            Conduct::Corrupts => corrupted(body),
            Conduct::Stalls => stalled(body),
            _ if conduct.drips() => dripping(body),
            _ => body,
        });
    }
    if kind == "get_dossier" && conduct == Conduct::Withholds {
        response.body = response.body.map(|body| stalled(in_parts(body)));
    }
    world.check_node(at);
    response
}

/// The attestation of these pieces, whether or not they are held, by the plan that `knows` keeps.
fn boast(
    place: &Place,
    knows: &Place,
    all: impl IntoIterator<Item = Piece>,
    frame: &[u8],
    peer: &Peer,
) -> Response {
    let Ok(Message::Attest { tessera, nonce }) = codec::decode(frame) else { unreachable!() };
    let plan = knows.memory.plan(&tessera).unwrap();
    let parsed = plan.as_ref().and_then(|bytes| Plan::parse(bytes).ok());
    let pieces: Vec<_> = all
        .into_iter()
        .filter_map(|piece| {
            Some(AttestedPiece { piece, checksum: parsed.as_ref()?.checksum(piece)? })
        })
        .collect();
    let question = Question { asker: peer.id, holder: place.id, tessera, nonce };
    let plan = plan.filter(|_| !pieces.is_empty()).map(|bytes| tesseras_crypto::blake3(&bytes));
    let attestation = attest(&place.keys, &question, place.clock.now(), plan, pieces);
    Response { frame: codec::encode(&Answer::Ok(attestation)).unwrap(), body: None }
}

fn corrupted(body: Body) -> Body {
    Box::pin(body.map(|chunk| {
        chunk.map(|bytes| {
            let mut bytes = bytes.to_vec();
            bytes[0] ^= 1;
            bytes.into()
        })
    }))
}

fn stalled(body: Body) -> Body {
    Box::pin(body.take(1).chain(stream::once(std::future::pending())))
}

/// One node's directory: all nodes ever announced, including dead ones.
pub struct SimDirectory {
    pub world: Weak<Shared>,
    pub own: usize,
}

impl SimDirectory {
    fn world(&self) -> Arc<Shared> {
        self.world.upgrade().unwrap()
    }
}

fn one_by_one(contacts: Vec<Contact>, world: Arc<Shared>) -> BoxStream<'static, Contact> {
    Box::pin(stream::iter(contacts).then(move |contact| {
        let latency = world.latency();
        async move {
            sleep(latency).await;
            contact
        }
    }))
}

impl Directory for SimDirectory {
    fn find_holders(&self, key: DhtKey) -> BoxStream<'_, Contact> {
        let world = self.world();
        let found = world.records(&key, self.own);
        one_by_one(found, world)
    }

    fn candidates(&self, key: DhtKey, wanted: usize) -> BoxStream<'_, Contact> {
        let world = self.world();
        let mut all = world.everybody(self.own);
        all.sort_by_key(|contact| contact.id.distance(&key));
        all.truncate((2 * wanted).max(32));
        Box::pin(stream::iter(all))
    }

    fn resolve(&self, id: NodeId) -> BoxFuture<'_, Option<Contact>> {
        let world = self.world();
        Box::pin(async move {
            sleep(world.latency()).await;
            world.everybody(self.own).into_iter().find(|contact| contact.id == id)
        })
    }

    fn announce(&self, keys: Vec<DhtKey>) -> BoxFuture<'_, ()> {
        let world = self.world();
        Box::pin(async move {
            sleep(world.latency() + world.announcing()).await;
            keys.into_iter().for_each(|key| world.announced(self.own, key));
        })
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        vec![self.world().place(self.own).address]
    }

    fn clock_offset(&self) -> BoxFuture<'_, Option<ClockOffset>> {
        Box::pin(std::future::ready(None))
    }
}

/// Records of holders, by key.
pub type Records = BTreeMap<DhtKey, BTreeMap<NodeId, Contact>>;
