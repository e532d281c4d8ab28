//! Real nodes that keep a capsule for its owner: each a process of its own, each in a /24 of its own.
//! What happens to them happens to processes and to files.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tesseras_capsule::{CreateOptions, StoredCapsule, create};
use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{FragmentStore as _, HeldPiece, TesseraRepository as _};
use tesseras_core::progress::Meter;
use tesseras_crypto::CreatorKeys;
use tesseras_node::{clock, loopback};
use tesseras_rpc::calls::{
    AskPeers, AskTesseraStatus, Call, DraftPlan, Fetch, Publish, Repair, Scrub,
};
use tesseras_rpc::messages::{PublishReply, TesseraStatus};
use tesseras_rpc::{Client, socket_path};
use tesseras_storage::{StorageConfig, Store};

use crate::process::{Process, tesd};

/// Repairs happen all the time, and a holder that is away is missed soon.
const CONFIG: &str = "[node]\nwork_bits = 0\n[dht]\nrequests_per_second = 100000\n\
    [replication]\nmin_free_space = 0\nrepair_interval_secs = 2\nrepair_jitter_secs = 1\n\
    grace_secs = 1\nsteward_step_secs = 1\nrepair_bandwidth = 0\n";
/// Nodes that others join through.
const BOOTSTRAP: usize = 3;
/// Bytes of a capsule that is coded where enough nodes are there.
const LONG: usize = 4 << 20;

/// A running node. It is killed when this is dropped, and its disk is erased.
struct Holder {
    _process: Process,
    home: TempDir,
    id: NodeId,
    listen: SocketAddr,
}

impl Holder {
    /// Starts one at node `number`'s address.
    fn start(number: u8, bootstrap: &[SocketAddr]) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let config = home.path().join("node.toml");
        fs::write(&config, CONFIG).expect("written");
        let mut command = tesd(home.path());
        command.stderr(File::create(home.path().join("log")).expect("made"));
        command.args(["--listen", &loopback::address(number).to_string(), "--config"]);
        command.arg(&config).arg("--data-dir").arg(home.path().join("data"));
        if !bootstrap.is_empty() {
            let peers: Vec<_> = bootstrap.iter().map(SocketAddr::to_string).collect();
            command.arg("--bootstrap").arg(peers.join(","));
        }
        let process = Process::start(&mut command);
        let field = |name: &str| process.field(name).expect("it is ready").to_owned();
        let id = field("node").parse().expect("an id");
        let listen = field("listen").parse().expect("an address");
        Self { _process: process, home, id, listen }
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Its data directory, opened as `tes` opens it.
    fn store(&self) -> Store {
        Store::open(&self.data(), &StorageConfig::default()).expect("it opens")
    }

    /// Asks it as `tes` does.
    async fn ask<C: Call>(&self, call: C) -> C::Answer {
        let client = Client::connect(&socket_path(&self.data())).await.expect("it runs");
        client.ask(call, |_| {}).await.expect("it is done")
    }

    fn held(&self, hash: TesseraHash) -> Vec<HeldPiece> {
        self.store().fragments().list_fragments(&hash).expect("listed")
    }

    fn has_whole(&self, hash: TesseraHash) -> bool {
        self.held(hash).iter().any(|held| held.piece == Piece::Whole)
    }

    /// The file with these bytes.
    fn blob(&self, hash: &ContentHash) -> PathBuf {
        let name = hash.to_string();
        self.data().join(format!("cas/{}/{name}.blob", &name[..2]))
    }

    async fn publish(&self, hash: TesseraHash, keys: &CreatorKeys) -> PublishReply {
        let plan = self.ask(DraftPlan { hash }).await.plan;
        let signed = Some(SignedPlan { signatures: keys.sign(&plan), plan });
        self.ask(Publish { hash, signed }).await
    }

    /// Fetches a capsule; the bytes of its only photo.
    async fn fetched(&self, hash: TesseraHash) -> Vec<u8> {
        self.ask(Fetch { hash }).await;
        let (store, to) = (self.store(), tempfile::tempdir().expect("a directory"));
        let record = store.library().get(&hash).expect("read").expect("listed");
        let capsule = StoredCapsule::of_record(&*store.blobs(), &record).expect("sound");
        let path = tesseras_capsule::export(&capsule, &*store.blobs(), to.path(), &Meter::silent());
        photo_below(&path.expect("exported")).expect("it is there")
    }
}

/// The bytes of the first photo in a directory or below.
fn photo_below(directory: &Path) -> Option<Vec<u8>> {
    fs::read_dir(directory).expect("listed").find_map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return photo_below(&path);
        }
        path.extension()
            .is_some_and(|extension| extension == "jpg")
            .then(|| fs::read(path).expect("read"))
    })
}

/// Noise that begins as a JPEG does (xorshift64).
fn photo(bytes: usize) -> Vec<u8> {
    let mut photo = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while photo.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        photo.extend(state.to_le_bytes());
    }
    photo
}

/// Nodes that have been started, in order; the first one is the owner's.
struct Network(Vec<Holder>);

impl Network {
    /// So many nodes that know each other.
    async fn of(nodes: u8) -> Self {
        let mut network = Self(Vec::new());
        for number in 1..=nodes {
            network.join(number);
        }
        network.settle().await;
        network
    }

    /// One more node, at node `number`'s address.
    fn join(&mut self, number: u8) {
        let first: Vec<_> = self.0.iter().take(BOOTSTRAP).map(|holder| holder.listen).collect();
        self.0.push(Holder::start(number, &first));
    }

    /// Waits until all know each other.
    async fn settle(&self) {
        for holder in &self.0 {
            until("all are known", async || {
                holder.ask(AskPeers {}).await.peers.len() >= self.0.len() - 1
            })
            .await;
        }
    }

    /// The owner makes and publishes a capsule with one photo.
    async fn publish(&self, photo: &[u8]) -> (TesseraHash, PublishReply) {
        let folder = tempfile::tempdir().expect("a directory");
        fs::write(folder.path().join("photo.jpg"), photo).expect("written");
        let keys = CreatorKeys::from_seeds(&[1; 32], &[2; 32]);
        let options = CreateOptions { created: clock::system().now(), ..CreateOptions::default() };
        let store = self.0[0].store();
        let (blobs, library) = (store.blobs(), store.library());
        let made = create(folder.path(), &options, &keys, &*blobs, &*library, &Meter::silent());
        let hash = made.expect("made").hash;
        (hash, self.0[0].publish(hash, &keys).await)
    }
}

/// Waits until something holds; at most a minute and a half.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..900 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not in time: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_nodes_of_one_machine_join_five_holders_and_leave_and_nothing_is_lost() {
    let mut network = Network::of(6).await;
    let photo = photo(LONG);
    let (hash, published) = network.publish(&photo).await;
    assert_eq!((published.fragments, published.placed), (5, 5), "whole copies: {published:?}");
    for _ in 0..12 {
        network.join(99);
    }
    network.settle().await;
    let machine = network.0.split_off(6);
    let holders = &network.0[1..];
    until("the machine is given something", async || {
        machine.iter().any(|node| !node.held(hash).is_empty())
    })
    .await;
    // Whoever would let a copy go had the time for it: each has looked again at what the others hold.
    for holder in holders {
        holder.ask(Repair { hash: Some(hash) }).await;
    }
    drop(machine);
    assert!(holders.iter().all(|holder| holder.has_whole(hash)), "they keep it");
    network.0.remove(0);
    network.join(7);
    let reader = network.0.last().expect("it joined");
    assert!(reader.fetched(hash).await == photo, "bit for bit");
}

/// Whether nothing is missing.
fn is_whole(status: &TesseraStatus) -> bool {
    let TesseraStatus { fragments, copies, .. } = status;
    fragments.live == fragments.total && copies.live == copies.total
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_gone_and_a_third_of_the_holders_die_and_all_is_mended_without_a_command() {
    let mut network = Network::of(13).await;
    let photo = photo(LONG);
    let (hash, published) = network.publish(&photo).await;
    assert_eq!((published.fragments, published.placed), (24, 24), "{published:?}");
    drop(network.0.remove(0));
    // A holder of a whole copy among them.
    network.0.sort_by_key(|holder| !holder.has_whole(hash));
    drop(network.0.drain(..1));
    drop(network.0.drain(8..));
    assert_eq!(network.0.len(), 8);
    let indices = || {
        let held = network.0.iter().flat_map(|holder| holder.held(hash));
        let held = held.filter(|held| held.piece != Piece::Whole).map(|held| held.piece);
        held.collect::<std::collections::BTreeSet<_>>().len()
    };
    until("all fragments are there again", async || indices() == 24).await;
    let looked = &network.0[0];
    until("nothing is missing", async || is_whole(&looked.ask(AskTesseraStatus { hash }).await))
        .await;
    let mut told = Vec::new();
    for holder in &network.0 {
        told.extend(holder.ask(AskTesseraStatus { hash }).await.last_repair);
    }
    let by = told.iter().find(|last| last.here).expect("one of them did it");
    assert!(by.pieces > 0 && by.reason.is_some(), "{told:?}");
    assert!(network.0.iter().any(|holder| holder.id == by.node_id), "{told:?}");
    network.join(20);
    let reader = network.0.last().expect("it joined");
    assert!(reader.fetched(hash).await == photo, "bit for bit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_on_a_holders_disk_is_found_by_a_scrub_and_mended() {
    let network = Network::of(4).await;
    let (hash, published) = network.publish(&photo(100_000)).await;
    assert_eq!(published.placed, 3, "{published:?}");
    let holder = &network.0[1];
    let held = holder.held(hash).remove(0);
    let path = holder.blob(&held.checksum);
    let was = fs::read(&path).expect("stored");
    let mut rotten = was.clone();
    rotten[was.len() / 2] ^= 1;
    fs::write(&path, rotten).expect("written");
    let found = holder.ask(Scrub {}).await;
    assert_eq!((found.corrupt, found.repaired, found.failed), (1, 1, 0), "{found:?}");
    assert!(fs::read(&path).expect("mended") == was, "bit for bit");
    let found = holder.ask(Scrub {}).await;
    assert_eq!((found.corrupt, found.damaged.len()), (0, 0), "{found:?}");
}
