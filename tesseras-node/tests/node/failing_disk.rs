//! A node whose disk fails at each of its touches in turn, once, with an error or because it is
//! full, while the node creates, receives, publishes and fetches: the operations of our
//! files and those of SQLite. It may refuse or report that; afterwards everything that it had
//! acknowledged is there, every byte of it is read, and the same works again.
//!
//! By default one touch in some is tried; `FAILING_DISK_STRIDE=1` tries all.

use std::cell::RefCell;
use std::sync::Arc;

use rustix::io::Errno;
use tempfile::TempDir;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{FragmentStore as _, StoreError, TesseraRepository as _};
use tesseras_core::progress::silent;
use tesseras_core::time::Timestamp;
use tesseras_crypto::CreatorKeys;
use tesseras_node::machine::Machine;
use tesseras_node::{Node, NodeConfig};
use tesseras_power_cut::{Fault, RecordingDisk, record};
use tesseras_replication::status::HealthState;
use tesseras_storage::{StorageConfig, Store};

use crate::network::{MIB, Net, open, try_create_in, until};
use crate::stranger::{Goods, Stranger};

/// One node on a disk that fails when it is told to.
struct Frail {
    root: TempDir,
    disk: Arc<RecordingDisk>,
    node: Node,
}

impl Frail {
    async fn join(net: &mut Net) -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = record(root.path(), Fault::Never).unwrap();
        let config = NodeConfig { data_dir: root.path().join("data"), ..net.config() };
        let machine = Machine { disk: disk.clone(), ..Machine::this() };
        let node = Node::start_on(config, machine, |router| Arc::new(router)).await.unwrap();
        until("the frail node knows the others", async || {
            node.dht().peers().await.len() >= net.nodes.len()
        })
        .await;
        Self { root, disk, node }
    }

    fn contact(&self) -> Contact {
        Contact { id: self.node.id(), addresses: vec![self.node.listen()] }
    }

    /// Another store on the same directory, as `tes` opens it beside `tesd`, on the frail disk.
    fn open_as_tes(&self) -> Result<Store, StoreError> {
        let disk = self.disk.clone();
        let dir = self.root.path().join("data");
        Store::open_on_disk(&dir, &StorageConfig::default(), disk)
    }

    /// Acts with a fault at every touch in turn until the act is over before it comes; after each
    /// the disk is well again, and `recovered` must hold. Returns how many faults came.
    async fn fail_everywhere(
        &self,
        stride: u64,
        mut act: impl AsyncFnMut(u64),
        mut recovered: impl AsyncFnMut(),
    ) -> u64 {
        let mut faults = 0;
        for errno in [Errno::NOSPC, Errno::IO] {
            let mut at = 0;
            loop {
                let next = self.disk.touches() + at;
                self.disk.set_fault(Fault::Once(next, errno));
                act(faults).await;
                let came = self.disk.touches() > next;
                self.disk.set_fault(Fault::Never);
                self.verify();
                recovered().await;
                if !came {
                    break;
                }
                faults += 1;
                at += stride;
            }
        }
        faults
    }

    /// Reads every byte of what is stored.
    fn verify(&self) {
        let store = open(&self.root.path().join("data"));
        store.collect_garbage(Timestamp(u64::MAX)).unwrap();
        let check = store.check().unwrap();
        assert!(check.is_sound(), "{check:#?}");
    }
}

fn stride(default: u64) -> u64 {
    std::env::var("FAILING_DISK_STRIDE").map_or(default, |n| n.parse().unwrap())
}

async fn publish(
    node: &Node,
    hash: TesseraHash,
    keys: &CreatorKeys,
) -> Result<(), Box<dyn std::error::Error>> {
    let replication = node.replication();
    let plan = replication.draft_plan(hash, &silent()).await?;
    let signed = SignedPlan { signatures: keys.sign(&plan), plan };
    replication.publish(hash, signed, &silent()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_on_a_disk_that_fails_is_there_if_it_was_acknowledged() {
    let mut net = Net::new();
    let frail = Frail::join(&mut net).await;
    let stranger = Stranger::at("127.0.100.1");
    let goods = Goods::make(4 * MIB, 20);
    let piece = Piece::Index(3);
    let (mut acknowledged, mut refused) = (0, 0);
    let faults = frail
        .fail_everywhere(
            stride(1),
            async |_| {
                let answer = stranger.put(&frail.contact(), goods.parcel(piece)).await;
                let store = open(&frail.root.path().join("data"));
                let held = store.fragments().list_fragments(&goods.tessera).unwrap();
                match answer {
                    Ok(_) => {
                        acknowledged += 1;
                        let reader = store.fragments().read_fragment(&held[0]).unwrap();
                        assert!(crate::stranger::read(&*reader) == goods.bytes(piece));
                    }
                    Err(_) => refused += 1,
                }
            },
            async || {
                stranger.put(&frail.contact(), goods.parcel(piece)).await.unwrap();
                let store = open(&frail.root.path().join("data"));
                let held = store.fragments().list_fragments(&goods.tessera).unwrap();
                assert!(store.fragments().delete_fragment(&held[0]).unwrap());
            },
        )
        .await;
    eprintln!("receive: {faults} faults, {acknowledged} acknowledged, {refused} refused");
    assert!(acknowledged > 0 && refused > 0);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_and_published_on_a_disk_that_fails_is_whole() {
    let mut net = Net::of(4).await;
    let frail = Frail::join(&mut net).await;
    // Made by the act, and published again after it.
    let made = RefCell::new(None);
    let faults = frail
        .fail_everywhere(
            stride(9),
            async |number| {
                let Ok(store) = frail.open_as_tes() else { return };
                let folder = net.path(&format!("album-{number}"));
                let (bytes, seed) = (3000 + number as usize, 1 + number as u8 % 200);
                let outcome = try_create_in(&store, &folder, bytes, seed);
                drop(store);
                if let Ok((hash, keys)) = outcome {
                    let _ = publish(&frail.node, hash, &keys).await;
                    made.replace(Some((hash, keys)));
                }
            },
            async || {
                let last = made.take();
                if let Some((hash, keys)) = last {
                    let store = open(&frail.root.path().join("data"));
                    assert!(store.library().get(&hash).unwrap().is_some());
                    drop(store);
                    publish(&frail.node, hash, &keys).await.unwrap();
                    let health = frail.node.replication().status(hash).await.unwrap().unwrap();
                    assert_eq!(health.state, HealthState::Healthy);
                }
            },
        )
        .await;
    eprintln!("create and publish: {faults} faults");
    assert!(faults > 1);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_on_a_disk_that_fails_is_whole_or_not_there() {
    let mut net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 100_000, 7);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let frail = Frail::join(&mut net).await;
    let fetch = async || frail.node.replication().fetch(hash, &silent()).await;
    let faults = frail
        .fail_everywhere(
            stride(5),
            async |_| {
                let fetched = fetch().await;
                let store = open(&frail.root.path().join("data"));
                let listed = store.library().get(&hash).unwrap().is_some();
                assert!(listed || fetched.is_err(), "it is told to be here");
            },
            async || {
                fetch().await.unwrap();
                let store = open(&frail.root.path().join("data"));
                assert!(store.check().unwrap().is_sound());
                assert!(store.library().remove(&hash).unwrap().is_some());
            },
        )
        .await;
    eprintln!("fetch: {faults} faults");
    assert!(faults > 1);
    frail.node.stop().await;
}
