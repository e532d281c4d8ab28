//! A network in memory: a real implementation of the Transport port that calls the other node's
//! `serve`, with a handshake that cannot be lied to and addresses that may lead nowhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tesseras_core::time::{Clock, Timestamp};
use tesseras_crypto::{NodeKeys, NodePublic};
use tesseras_dht::{Bootstrap, Dht, DhtConfig};
use tesseras_wire::{BoxFuture, Peer, Reply, Request, RequestError, Target, Transport, codec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Clone)]
struct Listener {
    public: NodePublic,
    dht: Dht,
}

/// Which node listens where. A node that is not listed cannot be dialled.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<BTreeMap<SocketAddr, Listener>>>);

struct Line {
    board: Switchboard,
    public: NodePublic,
    /// The source address of this node's packets.
    remote: SocketAddr,
}

pub struct Node {
    pub dht: Dht,
    pub id: NodeId,
    pub address: SocketAddr,
    pub token: CancellationToken,
    pub tracker: TaskTracker,
}

impl Switchboard {
    fn at(&self, address: &SocketAddr) -> Option<Listener> {
        lock(&self.0).get(address).cloned()
    }

    /// Starts a node that says that it listens at `address`, and does if it is `reachable`.
    pub fn start(&self, address: SocketAddr, bootstrap: Vec<SocketAddr>, reachable: bool) -> Node {
        // The same ids in every run: with other ids, a bucket may be too small for all.
        let mut seed = [1; 32];
        seed[..4].copy_from_slice(&match address.ip() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        });
        let keys = NodeKeys::from_parts(&seed, [0; 8]);
        let public = keys.public();
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        let remote = SocketAddr::new(address.ip(), 50_000);
        let line = Line { board: self.clone(), public, remote };
        let dht = Dht::start(
            DhtConfig {
                work_bits: 0,
                request_deadline: Duration::from_secs(1),
                slow_after: Duration::from_millis(200),
                ..DhtConfig::default()
            },
            Arc::new(keys),
            Arc::new(line),
            Bootstrap { candidates: vec![address], addresses: bootstrap, ..Bootstrap::default() },
            Clock::new(|| Timestamp(1_700_000_000)),
            &tracker,
            token.clone(),
        );
        if reachable {
            let listener = Listener { public, dht: dht.clone() };
            lock(&self.0).insert(address, listener);
        }
        Node { dht, id: public.id(), address, token, tracker }
    }

    /// The node at this address stops listening.
    pub fn cut(&self, address: &SocketAddr) {
        lock(&self.0).remove(address);
    }
}

impl Transport for Line {
    fn request<'a>(
        &'a self,
        target: &'a Target,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>> {
        Box::pin(async move {
            let mut error = RequestError::NoAddress;
            for address in &target.addresses {
                let Some(listener) = self.board.at(address) else {
                    // A dead address is noticed only when the deadline has passed.
                    tokio::time::sleep(request.deadline).await;
                    error = RequestError::Deadline;
                    continue;
                };
                let found = listener.public.id();
                if let Some(expected) = target.id.filter(|expected| *expected != found) {
                    error = RequestError::WrongNode { address: *address, expected, found };
                    continue;
                }
                let me = peer(&self.public, self.remote);
                let kind = codec::kind(&request.frame).expect("a request");
                let serve = listener.dht.serve(me, &kind, &request.frame);
                let answered = tokio::time::timeout(request.deadline, serve).await;
                let Ok(answer) = answered else { return Err(RequestError::Deadline) };
                let frame =
                    answer.unwrap_or_else(|| codec::refuse("unknown_request", "not of the DHT"));
                let peer = peer(&listener.public, *address);
                return Ok(Reply { peer, frame, body: Box::pin(stream::empty()) });
            }
            Err(error)
        })
    }
}

/// As its transport would show a node.
pub fn peer(public: &NodePublic, remote: SocketAddr) -> Peer {
    Peer { id: public.id(), public_key: public.public_key, nonce: public.nonce, remote }
}
