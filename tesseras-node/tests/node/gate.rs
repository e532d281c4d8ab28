//! A node's way in: it notes what is asked, and lies when a test tells it to.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tesseras_core::code::Piece;
use tesseras_core::ids::DhtKey;
use tesseras_core::plan::Plan;
use tesseras_crypto::{NodeKeys, blake3};
use tesseras_dht::messages::DhtRequest;
use tesseras_node::clock;
use tesseras_node::router::Router;
use tesseras_replication::attestation::{self, Question};
use tesseras_replication::messages::{Attestation, AttestedPiece, Bulk, Request, Stored, refusal};
use tesseras_wire::codec::{self, Answer, Refusal};
use tesseras_wire::{Body, BoxFuture, Peer, Response, Service, body_from_bytes, read_to_vec};
use tokio::sync::Notify;

/// How a node lies. About everything else it is honest.
#[derive(Debug, Clone)]
pub enum Lie {
    /// Pieces with one bit flipped.
    WrongBytes,
    /// Pieces that end a byte early.
    TooFewBytes,
    /// Pieces that go on for a byte.
    TooManyBytes,
    /// Pieces that are announced shorter than the plan says, and are.
    WrongLength,
    /// Half of each piece, then silence.
    HalfAndSilence,
    /// No answer to those who want a piece.
    SilentOnPieces,
    /// Thanks for each piece, and none is kept.
    KeepNothing,
    /// No answer to those who bring a piece.
    SilentOnPuts,
    /// No answer to those who want to know what is held.
    SilentOnAttest,
    /// Pieces are refused.
    Refuse,
    /// Everything that the plan knows is attested.
    AttestAll(Box<Plan>),
    /// The attestation is signed over something else.
    BadSignature,
    /// This instead of the dossier.
    Dossier(Vec<u8>),
    /// This frame to those who ask for room.
    AnswerToOffers(Vec<u8>),
    /// This frame to those who bring a piece.
    AnswerToPuts(Vec<u8>),
}

pub struct Gate {
    keys: NodeKeys,
    state: Mutex<State>,
    let_go: Notify,
}

#[derive(Default)]
struct State {
    lie: Option<Lie>,
    asked: Vec<Request>,
    sought: Vec<DhtKey>,
}

impl Gate {
    pub fn new(keys: NodeKeys) -> Self {
        Self { keys, state: Mutex::default(), let_go: Notify::new() }
    }

    pub fn lie(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Stops lying, and refuses what waits for an answer.
    pub fn be_honest(&self) {
        self.state().lie = None;
        self.let_go.notify_waiters();
    }

    /// What was asked about pieces since the last time.
    pub fn take_asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.state().asked)
    }

    /// How many requests about pieces came since the last time that they were taken.
    pub fn asked_so_far(&self) -> usize {
        self.state().asked.len()
    }

    /// The points to which the nearest nodes were asked for since the last time.
    pub fn take_sought(&self) -> Vec<DhtKey> {
        std::mem::take(&mut self.state().sought)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

pub struct Gated {
    pub router: Router,
    pub gate: std::sync::Arc<Gate>,
}

impl Service for Gated {
    fn cost(&self, frame: &[u8]) -> u32 {
        self.router.cost(frame)
    }

    fn serve(&self, peer: Peer, frame: Vec<u8>, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let Ok(request) = codec::decode::<Request>(&frame) else {
                if let Ok(DhtRequest::FindNode { target }) = codec::decode(&frame) {
                    self.gate.state().sought.push(target);
                }
                return self.router.serve(peer, frame, body).await;
            };
            let lie = {
                let mut state = self.gate.state();
                state.asked.push(request.clone());
                state.lie.clone()
            };
            match (lie, request) {
                (Some(Lie::SilentOnPieces), Request::GetPiece { .. })
                | (Some(Lie::SilentOnPuts), Request::PutPiece { .. })
                | (Some(Lie::SilentOnAttest), Request::Attest { .. }) => {
                    self.gate.let_go.notified().await;
                    refused(Refusal::INTERNAL)
                }
                (Some(Lie::KeepNothing), Request::PutPiece { .. }) => answer(&Stored {}, None),
                (Some(Lie::Refuse), Request::GetPiece { .. }) => refused(refusal::NOT_HELD),
                (Some(lie), Request::GetPiece { .. }) => {
                    spoil(&lie, self.router.serve(peer, frame, body).await).await
                }
                (Some(Lie::Dossier(bytes)), Request::GetDossier { .. }) => {
                    answer(&Bulk { bytes: bytes.len() as u64 }, Some(body_from_bytes(bytes)))
                }
                (Some(Lie::AnswerToOffers(frame)), Request::Offer { .. })
                | (Some(Lie::AnswerToPuts(frame)), Request::PutPiece { .. }) => {
                    Response { frame, body: None }
                }
                (Some(Lie::AttestAll(plan)), Request::Attest { tessera, nonce }) => {
                    let keys = &self.gate.keys;
                    let question = Question { asker: peer.id, holder: keys.id(), tessera, nonce };
                    answer(&attest_all(keys, &question, &plan), None)
                }
                (Some(Lie::BadSignature), Request::Attest { .. }) => {
                    let honest = self.router.serve(peer, frame, body).await;
                    let mut said: Attestation = ok(&honest.frame);
                    said.date.0 += 1;
                    answer(&said, None)
                }
                _ => self.router.serve(peer, frame, body).await,
            }
        })
    }
}

async fn spoil(lie: &Lie, honest: Response) -> Response {
    let Some(body) = honest.body else { return honest };
    let mut bytes = read_to_vec(body, 64 << 20).await.unwrap();
    let whole = bytes.len() as u64;
    match lie {
        Lie::WrongBytes => bytes[whole as usize / 2] ^= 1,
        Lie::TooFewBytes => bytes.truncate(bytes.len() - 1),
        Lie::TooManyBytes => bytes.push(0),
        Lie::WrongLength => {
            bytes.truncate(bytes.len() - 1024);
            return answer(&Bulk { bytes: whole - 1024 }, Some(body_from_bytes(bytes)));
        }
        Lie::HalfAndSilence => {
            bytes.truncate(bytes.len() / 2);
            let half = stream::iter([Ok(Bytes::from(bytes))]);
            let body: Body = Box::pin(half.chain(stream::pending()));
            return answer(&Bulk { bytes: whole }, Some(body));
        }
        _ => {}
    }
    answer(&Bulk { bytes: whole }, Some(body_from_bytes(bytes)))
}

fn attest_all(keys: &NodeKeys, question: &Question, plan: &Plan) -> Attestation {
    let indexes = (0..plan.coded().map_or(0, |form| form.shape.n())).map(Piece::Index);
    let pieces = [Piece::Whole].into_iter().chain(indexes);
    let attested = |piece| AttestedPiece { piece, checksum: plan.checksum(piece).unwrap() };
    let hash = blake3(plan.render().as_bytes());
    attestation::attest(
        keys,
        question,
        clock::system().now(),
        Some(hash),
        pieces.map(attested).collect(),
    )
}

fn ok<T: serde::de::DeserializeOwned>(frame: &[u8]) -> T {
    match codec::decode(frame).unwrap() {
        Answer::Ok(answer) => answer,
        Answer::Error(refusal) => panic!("{refusal}"),
    }
}

fn answer<T: Serialize>(answer: &T, body: Option<Body>) -> Response {
    Response { frame: codec::encode(&Answer::Ok(answer)).unwrap(), body }
}

fn refused(code: &str) -> Response {
    Response { frame: codec::refuse(code, "no"), body: None }
}
