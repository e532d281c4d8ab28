//! Another node, in the test's own process, that stores pieces on a `tesd` and reads them back.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tesseras_capsule::{CreateOptions, create};
use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::progress::{Meter, silent};
use tesseras_crypto::{CreatorKeys, NodeKeys};
use tesseras_net::QuinnTransport;
use tesseras_net::settings::BindConfig;
use tesseras_node::{Node, NodeConfig, clock};
use tesseras_replication::messages::{Bulk, Request};
use tesseras_storage::{StorageConfig, Store};
use tesseras_wire::codec::{self, Answer};
use tesseras_wire::{Target, Transport as _, read_to_vec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::node::{FOR_EVER, Running, until};

/// A node on loopback, whose key needs no proof of work.
pub async fn node(dir: &TempDir, name: &str, holders: &[&Running]) -> Node {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let mut config = NodeConfig::new(dir.path().join(name), listen);
    config.bootstrap = holders.iter().map(|holder| holder.contact.addresses[0].into()).collect();
    config.dht.work_bits = 0;
    config.replication.limits.min_free_space = 0;
    // All peers are known at once; no others join.
    config.join_patience = Duration::ZERO;
    // Long enough for a holder that waits for a lock.
    config.replication.answer_deadline = FOR_EVER;
    config.replication.transfer_deadline = FOR_EVER;
    Node::start(config).await.expect("it starts")
}

/// A node with a creator that publishes.
pub struct Owner {
    dir: TempDir,
    node: Node,
    store: Store,
    keys: CreatorKeys,
}

impl Owner {
    /// One that knows only these holders.
    pub async fn knowing(holders: &[&Running]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let node = node(&dir, "owner", holders).await;
        let store = Store::open(&dir.path().join("owner"), &StorageConfig::default());
        let keys = CreatorKeys::from_seeds(&[1; 32], &[2; 32]);
        until("it knows all holders", FOR_EVER, async || {
            let known = node.dht().peers().await;
            holders.iter().all(|holder| known.iter().any(|peer| peer.id == holder.contact.id))
        })
        .await;
        Self { dir, node, store: store.expect("it opens"), keys }
    }

    /// A capsule with one text file of this many bytes.
    pub fn capsule(&self, bytes: usize) -> TesseraHash {
        let folder = self.dir.path().join(format!("album {bytes}"));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("letter.txt"), "a".repeat(bytes)).expect("written");
        let options = CreateOptions { created: clock::system().now(), ..CreateOptions::default() };
        let (blobs, library) = (self.store.blobs(), self.store.library());
        create(&folder, &options, &self.keys, &*blobs, &*library, &Meter::silent())
            .expect("made")
            .hash
    }

    /// Gives every holder a whole copy; returns how many accepted it, or why too few did.
    pub async fn publish(&self, hash: TesseraHash) -> Result<usize, String> {
        let replication = self.node.replication();
        let plan = replication.draft_plan(hash, &silent()).await.map_err(|e| e.to_string())?;
        let signed = SignedPlan { signatures: self.keys.sign(&plan), plan };
        let published = replication.publish(hash, signed, &silent()).await;
        published.map(|published| published.placed).map_err(|error| error.to_string())
    }
}

/// A peer that only sends requests.
pub struct Asker(Arc<QuinnTransport>);

impl Asker {
    /// A new one.
    pub fn new() -> Self {
        let keys = NodeKeys::generate(0).expect("random");
        let listen = "127.0.0.1:0".parse().expect("an address");
        let bind = BindConfig { work_bits: 0, ..BindConfig::new(listen) };
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        Self(QuinnTransport::bind(bind, &keys, &tracker, cancel).expect("it binds"))
    }

    /// The body of a holder's answer.
    pub async fn get(&self, from: &Contact, request: &Request) -> Vec<u8> {
        let frame = codec::encode(request).expect("short");
        let request = tesseras_wire::Request::short(frame, FOR_EVER);
        let reply = self.0.request(&Target::from(from), request).await.expect("an answer");
        match codec::decode::<Answer<Bulk>>(&reply.frame).expect("an answer") {
            Answer::Ok(bulk) => {
                let got = read_to_vec(reply.body, 64 << 20).await.expect("all of it");
                assert_eq!(got.len() as u64, bulk.bytes);
                got
            }
            Answer::Error(refusal) => panic!("{refusal:?}"),
        }
    }
}
