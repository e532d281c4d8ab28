//! Dispatches each request of another node to the part that handles its kind.

use tesseras_dht::Dht;
use tesseras_replication::{Replication, messages};
use tesseras_wire::codec::{self, Refusal};
use tesseras_wire::{Body, BoxFuture, Peer, Response, Service};

/// Answers all requests of other nodes.
pub struct Router {
    /// Answers requests about nodes and records.
    pub dht: Dht,
    /// Answers requests about pieces.
    pub replication: Replication,
}

impl Service for Router {
    fn cost(&self, frame: &[u8]) -> u32 {
        messages::cost(frame)
    }

    fn serve(&self, peer: Peer, frame: Vec<u8>, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let Some(kind) = codec::kind(&frame) else {
                let frame = codec::refuse(Refusal::MALFORMED, "this is not a request");
                return Response { frame, body: None };
            };
            if let Some(frame) = self.dht.serve(peer, &kind, &frame).await {
                return Response { frame, body: None };
            }
            match self.replication.serve(peer, &kind, &frame, body).await {
                Some(response) => response,
                None => {
                    let why = format!("requests of kind {kind:?} are not known here");
                    Response { frame: codec::refuse(Refusal::UNKNOWN_REQUEST, why), body: None }
                }
            }
        })
    }
}
