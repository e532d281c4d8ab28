//! Batches of short requests to one node. While one frame is in flight, further requests to that
//! node are collected for the next: a single request is sent at once and unbatched, and many
//! concurrent ones share few frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared, select};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{BoxFuture, Peer, Reply, RequestError, Target, Transport};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::ask_error::AskError;
use super::hedges::Hedges;
use crate::messages::{BatchAnswer, MAX_BATCH, Request};

/// The longest time that a batch is collected while the one before it is in flight.
const GATHER_AT_MOST: Duration = Duration::from_millis(50);

/// The result of one request of a batch.
enum BatchOutcome {
    /// The answer frame, and the node that answered.
    Answered(Peer, Vec<u8>),
    /// The batch got no answer.
    Failed(RequestError),
    /// The batch was answered, but this request was not: it must be sent on its own.
    Alone,
}

/// Requests that are being collected, each with its result channel; `None` once they are sent.
type Gathering = Arc<Mutex<Option<Vec<(Request, oneshot::Sender<BatchOutcome>)>>>>;
/// The sending of a batch. It continues as long as a request of it is waited for.
type SendingBatch = BoxFuture<'static, ()>;

/// The newest batch to one node.
struct Batch {
    gathering: Gathering,
    sending: WeakShared<SendingBatch>,
}

/// The batches to all nodes.
pub(super) struct Batches {
    sender: Sender,
    /// Keyed by node and addresses: requests to other addresses of a node are not batched with
    /// these.
    newest: Mutex<BTreeMap<(NodeId, Vec<SocketAddr>), Batch>>,
}

/// Sends frames.
#[derive(Clone)]
struct Sender {
    transport: Arc<dyn Transport>,
    /// Counts the requests.
    hedges: Arc<Hedges>,
    /// The deadline of each batch, including the time to connect.
    deadline: Duration,
}

impl Batches {
    /// Sends through this transport.
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        hedges: Arc<Hedges>,
        deadline: Duration,
    ) -> Self {
        Self { sender: Sender { transport, hedges, deadline }, newest: Mutex::default() }
    }

    /// Sends a short request to a node, batched with concurrent ones; returns its answer frame.
    pub(super) async fn ask(
        &self,
        to: &Contact,
        request: &Request,
    ) -> Result<(Peer, Vec<u8>), AskError> {
        let (sending, outcome) = self.join(to, request.clone());
        sending.await;
        match outcome.await.unwrap_or(BatchOutcome::Alone) {
            BatchOutcome::Answered(peer, frame) => Ok((peer, frame)),
            BatchOutcome::Failed(error) => Err(error.into()),
            BatchOutcome::Alone => {
                let frame = codec::encode(request)?;
                let reply = self.sender.send(&Target::from(to), frame).await?;
                Ok((reply.peer, reply.frame))
            }
        }
    }

    /// Adds a request to the batch that is being collected, or starts one.
    fn join(
        &self,
        to: &Contact,
        request: Request,
    ) -> (Shared<SendingBatch>, oneshot::Receiver<BatchOutcome>) {
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

    /// Sends the collected batch once the one before it is done.
    fn begin(
        &self,
        to: &Contact,
        gathering: Gathering,
        before: Option<Shared<SendingBatch>>,
    ) -> SendingBatch {
        let (sender, target) = (self.sender.clone(), Target::from(to));
        Box::pin(async move {
            if let Some(before) = before {
                select(before, Box::pin(sleep(GATHER_AT_MOST))).await;
            }
            let requests = lock(&gathering).take().unwrap_or_default();
            // Requests whose caller is gone are left out.
            let open = requests.into_iter().filter(|(_, tell)| !tell.is_closed());
            let (requests, tell): (Vec<_>, Vec<_>) = open.unzip();
            exchange(&sender, &target, requests, tell).await;
        })
    }
}

/// Sends requests in one frame, and reports the result of each.
async fn exchange(
    sender: &Sender,
    target: &Target,
    mut requests: Vec<Request>,
    tell: Vec<oneshot::Sender<BatchOutcome>>,
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
    // A request without a result here is then sent on its own.
    let Ok(frame) = codec::encode(&request) else { return };
    match sender.send(target, frame).await {
        Err(error) => {
            for tell in tell {
                let _ = tell.send(BatchOutcome::Failed(error.clone()));
            }
        }
        Ok(reply) => {
            let Reply { peer, frame, .. } = reply;
            let frames = frames(frame, tell.len());
            for (tell, frame) in tell.into_iter().zip(frames) {
                let _ = tell.send(BatchOutcome::Answered(peer, frame));
            }
        }
    }
}

/// The answer frames, in the order of the requests; empty if they were not answered one by one.
fn frames(frame: Vec<u8>, requests: usize) -> Vec<Vec<u8>> {
    if requests == 1 {
        return vec![frame];
    }
    match codec::decode_answer::<BatchAnswer>(&frame) {
        Ok(Ok(BatchAnswer { answers })) => {
            answers.into_iter().map(serde_bytes::ByteBuf::into_vec).collect()
        }
        // One by one they would be too many, too: each is tried again later.
        Ok(Err(refusal)) if refusal.code == Refusal::BUSY => vec![frame; requests],
        Ok(Err(refusal)) => {
            tracing::debug!(%refusal, "a batch was refused");
            Vec::new()
        }
        Err(error) => {
            tracing::debug!(%error, "no answer to a batch");
            Vec::new()
        }
    }
}

impl Sender {
    async fn send(&self, target: &Target, frame: Vec<u8>) -> Result<Reply, RequestError> {
        self.hedges.note_request();
        let request = tesseras_wire::Request::short(frame, self.deadline);
        self.transport.request(target, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_was_refused_as_busy_is_not_sent_one_by_one() {
        let refused = codec::refuse(Refusal::BUSY, "later");
        assert_eq!(frames(refused.clone(), 3), vec![refused; 3]);
        let unknown = codec::refuse(Refusal::UNKNOWN_REQUEST, "what?");
        assert_eq!(frames(unknown, 3), Vec::<Vec<u8>>::new());
    }
}
