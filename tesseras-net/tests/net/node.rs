//! A node for tests: a transport that serves, and a service that follows the instructions in the
//! frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tesseras_core::ids::NodeId;
use tesseras_crypto::{NodeKeys, blake3};
use tesseras_net::{BindConfig, QuinnTransport};
use tesseras_wire::{
    Body, BoxFuture, Peer, Reply, Request, RequestError, Response, Service, Target, Transport as _,
    empty_body, read_to_vec,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Far longer than anything here takes; a test that needs it has failed.
pub const GENEROUS: Duration = Duration::from_secs(20);

pub struct Node {
    pub transport: Arc<QuinnTransport>,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
    pub service: Arc<Obedient>,
    pub id: NodeId,
    /// Results of the bodies that the service read: `Ok(length)`, or the error's text.
    pub seen: mpsc::Receiver<Result<usize, String>>,
}

pub fn config(listen: &str) -> BindConfig {
    BindConfig { work_bits: 0, ..BindConfig::new(listen.parse().unwrap()) }
}

pub fn keys() -> NodeKeys {
    NodeKeys::generate(0).unwrap()
}

impl Node {
    pub async fn on(listen: &str) -> Self {
        Self::start(config(listen), &keys()).await
    }

    pub async fn start(config: BindConfig, keys: &NodeKeys) -> Self {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        // A port that was just released may take a moment to become free.
        let mut patience = 200;
        let transport = loop {
            match QuinnTransport::bind(config.clone(), keys, &tracker, cancel.clone()) {
                Ok(transport) => break transport,
                Err(error) if patience == 0 => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            patience -= 1;
        };
        let (report, seen) = mpsc::channel(64);
        let service = Arc::new(Obedient { report, release: Notify::new() });
        tracker.spawn(transport.clone().serve(service.clone()));
        Self { transport, tracker, cancel, service, id: keys.id(), seen }
    }

    pub fn address(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    pub fn target(&self) -> Target {
        Target { id: Some(self.id), addresses: vec![self.address()] }
    }

    pub async fn ask(&self, target: &Target, order: &str) -> Result<Reply, RequestError> {
        self.send(target, order, None, GENEROUS).await
    }

    pub async fn send(
        &self,
        target: &Target,
        order: &str,
        body: Option<Body>,
        deadline: Duration,
    ) -> Result<Reply, RequestError> {
        let request = Request { body, ..Request::short(order.as_bytes().to_vec(), deadline) };
        tokio::time::timeout(2 * GENEROUS, self.transport.request(target, request))
            .await
            .expect("every request ends")
    }

    /// Sends `who`, and checks that the other side sees us.
    pub async fn meet(&self, target: &Target) -> Result<NodeId, RequestError> {
        let reply = self.ask(target, "who").await?;
        assert_eq!(reply.frame, self.id.as_bytes());
        Ok(reply.peer.id)
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        self.transport.close().await;
        tokio::time::timeout(GENEROUS, self.tracker.wait()).await.expect("all tasks end");
    }

    pub fn misses(&self) -> u64 {
        self.transport.metrics().pool_misses.get()
    }

    pub fn hits(&self) -> u64 {
        self.transport.metrics().pool_hits.get()
    }

    pub fn pool_size(&self) -> i64 {
        self.transport.metrics().pool_size.get()
    }

    pub fn inbound_connections(&self) -> i64 {
        self.transport.metrics().inbound_connections.get()
    }

    pub fn evictions(&self, reason: tesseras_net::Eviction) -> u64 {
        self.transport.metrics().evictions(reason).get()
    }
}

/// Answers according to the instruction in the frame.
pub struct Obedient {
    report: mpsc::Sender<Result<usize, String>>,
    release: Notify,
}

impl Obedient {
    /// Lets one held request continue.
    pub fn release(&self) {
        self.release.notify_one();
    }
}

impl Obedient {
    /// A body without an end, which reports when it is dropped.
    fn endless(&self) -> Response {
        let report = Report(self.report.clone());
        let zeros = stream::repeat_with(move || {
            let _kept = &report;
            Ok(Bytes::from_static(&[0; 1000]))
        });
        Response { frame: b"given".to_vec(), body: Some(Box::pin(zeros)) }
    }
}

/// Reports when it is dropped.
struct Report(mpsc::Sender<Result<usize, String>>);

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.0.try_send(Err("the body was dropped".to_owned()));
    }
}

impl Service for Obedient {
    fn serve(&self, peer: Peer, frame: Vec<u8>, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let order = String::from_utf8_lossy(&frame).into_owned();
            let (order, number) = order.split_once(' ').unwrap_or((&order, ""));
            let number = number.parse().unwrap_or(0);
            match order {
                "who" => reply(peer.id.as_bytes().to_vec()),
                "from" => reply(peer.remote.to_string().into_bytes()),
                "ignore" => reply(b"not read".to_vec()),
                "silence" => std::future::pending().await,
                "hold" => {
                    let _ = self.report.send(Ok(0)).await;
                    self.release.notified().await;
                    reply(b"held".to_vec())
                }
                "hash" => match read_to_vec(body, 64 << 20).await {
                    Ok(bytes) => {
                        let _ = self.report.send(Ok(bytes.len())).await;
                        reply(blake3(&bytes).as_bytes().to_vec())
                    }
                    Err(error) => {
                        let _ = self.report.send(Err(error.to_string())).await;
                        reply(b"broken".to_vec())
                    }
                },
                "give" => Response { frame: b"given".to_vec(), body: Some(noise(number)) },
                "echo" => Response { frame: b"echoed".to_vec(), body: Some(body) },
                "break" => Response { frame: b"given".to_vec(), body: Some(broken_noise(number)) },
                "stall" => {
                    let stalled = noise(number).chain(stream::pending());
                    Response { frame: b"given".to_vec(), body: Some(Box::pin(stalled)) }
                }
                "endless" => self.endless(),
                "held_endless" => {
                    let _ = self.report.send(Ok(0)).await;
                    self.release.notified().await;
                    self.endless()
                }
                "huge" => reply(vec![0; 1 << 20]),
                _ => reply(b"what?".to_vec()),
            }
        })
    }
}

fn reply(frame: Vec<u8>) -> Response {
    Response { frame, body: None }
}

/// This many pseudo-random bytes, always the same, in blocks of 512 that all differ.
pub fn noise_bytes(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    for block in 0_u64.. {
        if bytes.len() >= length {
            break;
        }
        // Hashing is fast even in a debug build; a generator of our own would not be.
        let hash = blake3(&block.to_le_bytes());
        for _ in 0..16 {
            bytes.extend_from_slice(hash.as_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

pub fn noise(length: usize) -> Body {
    if length == 0 {
        return empty_body();
    }
    let mut bytes = Bytes::from(noise_bytes(length));
    let mut size = 1;
    let chunks = std::iter::from_fn(move || {
        size = (size * 7 + 13) % 200_000;
        let chunk = bytes.split_to(size.min(bytes.len()));
        (!chunk.is_empty()).then_some(Ok(chunk))
    });
    Box::pin(stream::iter(chunks))
}

/// The same, but failing at the end.
pub fn broken_noise(length: usize) -> Body {
    let failure = stream::iter([Err(std::io::Error::other("the disk is on fire"))]);
    Box::pin(noise(length).chain(failure))
}
