//! Short requests to one node, several in one frame. While one frame is under way, what else that
//! node is to be asked gathers for the next: a lone request is sent at once and as it is, and many
//! at a time become few frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared, select};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tesseras_wire::codec::{self, Answer};
use tesseras_wire::{BoxFuture, Peer, Reply, RequestError, Target, Transport};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::ask_error::AskError;
use super::hedges::Hedges;
use crate::messages::{BatchAnswer, MAX_BATCH, Request};

/// How long a batch gathers at most while the one before it is under way.
const GATHER_AT_MOST: Duration = Duration::from_millis(50);

/// What became of one request of a batch.
enum Outcome {
    /// The frame that answers it, and who answered.
    Answered(Peer, Vec<u8>),
    /// The batch got no answer.
    Failed(RequestError),
    /// The batch was answered, and this request was not: it is to be sent alone.
    Alone,
}

/// Requests that gather, each with whom to tell; `None` once they are sent.
type Gathering = Arc<Mutex<Option<Vec<(Request, oneshot::Sender<Outcome>)>>>>;
/// The sending of a batch. It goes on as long as anybody waits for it.
type Sending = BoxFuture<'static, ()>;

/// The newest batch to one node.
struct Batch {
    gathering: Gathering,
    sending: WeakShared<Sending>,
}

/// The batches to all nodes.
pub(super) struct Batches {
    way: Way,
    /// By where a node is to be reached: one that is asked elsewhere is asked apart.
    newest: Mutex<BTreeMap<(NodeId, Vec<SocketAddr>), Batch>>,
}

/// How a frame is sent.
#[derive(Clone)]
struct Way {
    transport: Arc<dyn Transport>,
    /// Where it is counted.
    hedges: Arc<Hedges>,
    /// How long each batch waits for its answer, connecting included.
    deadline: Duration,
}

impl Batches {
    /// Sends through this transport.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        hedges: Arc<Hedges>,
        deadline: Duration,
    ) -> Self {
        Self { way: Way { transport, hedges, deadline }, newest: Mutex::default() }
    }

    /// Sends a short request to a node, with others that it is sent at this time; returns the frame
    /// that answers it.
    pub(super) async fn ask(
        &self,
        to: &Contact,
        request: &Request,
    ) -> Result<(Peer, Vec<u8>), AskError> {
        let (sending, outcome) = self.join(to, request.clone());
        sending.await;
        match outcome.await.unwrap_or(Outcome::Alone) {
            Outcome::Answered(peer, frame) => Ok((peer, frame)),
            Outcome::Failed(error) => Err(error.into()),
            Outcome::Alone => {
                let frame = codec::encode(request)?;
                let reply = self.way.send(&Target::from(to), frame).await?;
                Ok((reply.peer, reply.frame))
            }
        }
    }

    /// Adds a request to the batch that gathers, or begins one.
    fn join(
        &self,
        to: &Contact,
        request: Request,
    ) -> (Shared<Sending>, oneshot::Receiver<Outcome>) {
        let (tell, outcome) = oneshot::channel();
        let mut newest = lock(&self.newest);
        newest.retain(|_, batch| batch.sending.upgrade().is_some());
        let key = (to.id, to.addresses.clone());
        let before = newest
            .get(&key)
            .and_then(|batch| Some((batch.sending.upgrade()?, batch.gathering.clone())));
        if let Some((sending, gathering)) = &before
            && let Some(requests) = &mut *lock(gathering)
            && requests.len() < MAX_BATCH
        {
            requests.push((request, tell));
            return (sending.clone(), outcome);
        }
        let gathering: Gathering = Arc::new(Mutex::new(Some(vec![(request, tell)])));
        let sending =
            self.begin(to, gathering.clone(), before.map(|(sending, _)| sending)).shared();
        if let Some(weak) = sending.downgrade() {
            newest.insert(key, Batch { gathering, sending: weak });
        }
        (sending, outcome)
    }

    /// Sends what has gathered once the batch before it is done.
    fn begin(
        &self,
        to: &Contact,
        gathering: Gathering,
        before: Option<Shared<Sending>>,
    ) -> Sending {
        let (way, target) = (self.way.clone(), Target::from(to));
        Box::pin(async move {
            if let Some(before) = before {
                select(before, Box::pin(sleep(GATHER_AT_MOST))).await;
            }
            let requests = lock(&gathering).take().unwrap_or_default();
            // Who does not wait any more need not be asked for.
            let open = requests.into_iter().filter(|(_, tell)| !tell.is_closed());
            let (requests, tell): (Vec<_>, Vec<_>) = open.unzip();
            exchange(&way, &target, requests, tell).await;
        })
    }
}

/// Sends requests in one frame, and tells each what became of it.
async fn exchange(
    way: &Way,
    target: &Target,
    mut requests: Vec<Request>,
    tell: Vec<oneshot::Sender<Outcome>>,
) {
    let is_one = requests.len() == 1;
    let request = match requests.pop() {
        None => return,
        Some(request) if is_one => request,
        Some(last) => {
            requests.push(last);
            Request::Batch { requests }
        }
    };
    // Who was not told, and is told nothing here, sends alone.
    let Ok(frame) = codec::encode(&request) else { return };
    match way.send(target, frame).await {
        Err(error) => {
            for tell in tell {
                let _ = tell.send(Outcome::Failed(error.clone()));
            }
        }
        Ok(reply) => {
            let Reply { peer, frame, .. } = reply;
            for (tell, frame) in tell.into_iter().zip(frames(frame, is_one)) {
                let _ = tell.send(Outcome::Answered(peer, frame));
            }
        }
    }
}

/// The frames that answer the requests, in their order; none if they were not answered one by one.
fn frames(frame: Vec<u8>, is_one: bool) -> Vec<Vec<u8>> {
    if is_one {
        return vec![frame];
    }
    match codec::decode::<Answer<BatchAnswer>>(&frame) {
        Ok(Answer::Ok(BatchAnswer { answers })) => {
            answers.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()
        }
        Ok(Answer::Error(refusal)) => {
            tracing::debug!(%refusal, "a batch was refused");
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(%error, "no answer to a batch");
            Vec::new()
        }
    }
}

impl Way {
    async fn send(&self, target: &Target, frame: Vec<u8>) -> Result<Reply, RequestError> {
        self.hedges.sent();
        let request = tesseras_wire::Request { frame, body: None, deadline: self.deadline };
        self.transport.request(target, request).await
    }
}
