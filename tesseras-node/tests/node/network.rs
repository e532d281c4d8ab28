//! A small network of real nodes, each in a /24 of its own.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tesseras_capsule::{CreateError, CreateOptions, create};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{
    FragmentStore as _, HeldPiece, HoldingRepository as _, TesseraRepository as _,
};
use tesseras_core::progress::{Meter, silent};
use tesseras_core::time::Clock;
use tesseras_crypto::CreatorKeys;
use tesseras_node::loopback::{self, LoopbackNetwork};
use tesseras_node::machine::Machine;
use tesseras_node::{Node, NodeConfig, clock, identity};
use tesseras_replication::fetch::{FetchError, Fetched};
use tesseras_replication::publish::{PublishError, Published};
use tesseras_replication::repair::Repaired;
use tesseras_replication::status::TesseraHealth;
use tesseras_storage::{StorageConfig, Store};

use crate::gate::{Gate, Gated};

/// Work that takes no time.
pub const WORK_BITS: u32 = 4;
pub const MIB: usize = tesseras_core::units::MIB as usize;
/// How long nodes may take to find each other.
const JOIN_DEADLINE: Duration = Duration::from_secs(90);

pub struct Net {
    root: TempDir,
    pub nodes: LoopbackNetwork<Member>,
}

/// A node whose incoming requests pass a gate.
pub struct Member {
    inner: loopback::Member,
    pub gate: Arc<Gate>,
}

impl Deref for Member {
    type Target = loopback::Member;

    fn deref(&self) -> &loopback::Member {
        &self.inner
    }
}

impl AsRef<loopback::Member> for Member {
    fn as_ref(&self) -> &loopback::Member {
        &self.inner
    }
}

fn configure(config: &mut NodeConfig) {
    config.dht.work_bits = WORK_BITS;
    config.replication.limits.min_free_space = 0;
    config.join_patience = Duration::from_secs(2);
    config.replication.answer_deadline = Duration::from_secs(3);
    config.replication.transfer_deadline = Duration::from_secs(6);
}

impl Net {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let nodes = LoopbackNetwork::new(root.path(), configure);
        Self { root, nodes }
    }

    pub async fn of(count: usize) -> Self {
        let mut net = Self::new();
        for _ in 0..count {
            net.join().await;
        }
        net.settle().await;
        net
    }

    /// One owner, and nodes with room for a few fragments of a capsule of 4 MiB, but for no whole
    /// copy of it.
    pub async fn tight(count: usize) -> Self {
        let mut net = Self::new();
        for _ in 0..count {
            let config = net.tight_config();
            net.join_with(config).await;
        }
        net.settle().await;
        net
    }

    pub fn tight_config(&mut self) -> NodeConfig {
        let mut config = self.config();
        config.replication.limits.deficit_allowance = 3_000_000;
        config.replication.limits.repair_share = 3_000_000;
        config
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The settings of one more node.
    pub fn config(&mut self) -> NodeConfig {
        self.nodes.next_config()
    }

    pub async fn join(&mut self) -> usize {
        let config = self.config();
        self.join_with(config).await
    }

    pub async fn join_with(&mut self, config: NodeConfig) -> usize {
        self.join_at(config, clock::system()).await
    }

    /// A node joins whose clock says something else.
    pub async fn join_at(&mut self, config: NodeConfig, clock: Clock) -> usize {
        let dir = config.data_dir.clone();
        let keys = identity::load_or_create(&dir, config.dht.work_bits).unwrap();
        let gate = Arc::new(Gate::new(keys));
        let node = Node::start_on(config, Machine { clock, ..Machine::this() }, {
            let gate = gate.clone();
            |router| Arc::new(Gated { router, gate })
        });
        let node = node.await.unwrap();
        let inner = loopback::Member::new(node, &dir, &StorageConfig::default()).unwrap();
        self.nodes.add(Member { inner, gate });
        self.nodes.len() - 1
    }

    /// Waits until everybody knows everybody.
    pub async fn settle(&self) {
        assert!(self.nodes.settle(JOIN_DEADLINE).await);
    }

    /// Stops a node at once and erases its disk.
    pub async fn destroy(&mut self, id: NodeId) {
        self.nodes.remove(id).unwrap().inner.destroy().await.unwrap();
    }

    pub fn by_id(&self, id: NodeId) -> Option<&Member> {
        self.nodes.by_id(id)
    }
}

impl Member {
    /// Stops the node; its data directory stays.
    pub async fn stop(self) {
        self.inner.node.stop().await;
    }

    /// Makes a capsule of about `bytes` bytes.
    pub fn create(&self, folder: &Path, bytes: usize, seed: u8) -> (TesseraHash, CreatorKeys) {
        create_in(&self.store, folder, bytes, seed)
    }

    pub async fn publish(
        &self,
        hash: TesseraHash,
        keys: &CreatorKeys,
    ) -> Result<Published, PublishError> {
        let replication = self.node.replication();
        let plan = replication.draft_plan(hash, &silent()).await?;
        let signed = SignedPlan { signatures: keys.sign(&plan), plan };
        replication.publish(hash, signed, &silent()).await
    }

    pub async fn fetch(&self, hash: TesseraHash) -> Result<Fetched, FetchError> {
        self.node.replication().fetch(hash, &silent()).await
    }

    pub async fn repair(&self, hash: TesseraHash) -> Repaired {
        self.node.replication().repair(hash, &silent()).await.unwrap()
    }

    pub async fn health(&self, hash: TesseraHash) -> TesseraHealth {
        self.node.replication().status(hash).await.unwrap().expect("it is known")
    }

    /// The pieces it holds of a tessera.
    pub fn held(&self, hash: TesseraHash) -> Vec<HeldPiece> {
        self.store.fragments().list_fragments(&hash).unwrap()
    }

    /// Forgets a capsule and all about it, so that it can be fetched again.
    pub fn forget(&self, hash: TesseraHash) {
        self.store.library().remove(&hash).unwrap().expect("in the library");
        self.store.holdings().block(&hash, clock::system().now()).unwrap();
        self.store.library().unblock(&hash).unwrap();
    }

    /// Removes all of a tessera and keeps it out, as `tes drop` does.
    pub fn drop_tessera(&self, hash: TesseraHash) {
        self.store.holdings().block(&hash, clock::system().now()).unwrap();
        self.store.library().remove(&hash).unwrap();
        for piece in self.held(hash) {
            assert!(self.store.fragments().delete_fragment(&piece).unwrap());
        }
    }

    /// Every file of the exported capsule.
    pub fn export(&self, hash: TesseraHash, to: &Path) -> Vec<(String, Vec<u8>)> {
        let record = self.store.library().get(&hash).unwrap().expect("in the library");
        let blobs = self.store.blobs();
        let capsule = tesseras_capsule::StoredCapsule::of_record(&*blobs, &record).unwrap();
        let path = tesseras_capsule::export(&capsule, &*blobs, to, &Meter::silent()).unwrap();
        tree(&path)
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(dir, &StorageConfig::default()).unwrap()
}

/// Makes a capsule of about `bytes` bytes, as `tes create` does.
pub fn create_in(
    store: &Store,
    folder: &Path,
    bytes: usize,
    seed: u8,
) -> (TesseraHash, CreatorKeys) {
    try_create_in(store, folder, bytes, seed).unwrap()
}

/// [`create_in`], on a disk that may fail.
pub fn try_create_in(
    store: &Store,
    folder: &Path,
    bytes: usize,
    seed: u8,
) -> Result<(TesseraHash, CreatorKeys), CreateError> {
    let keys = CreatorKeys::from_seeds(&[seed; 32], &[seed + 1; 32]);
    album(folder, bytes, seed);
    let options = CreateOptions { created: clock::system().now(), ..CreateOptions::default() };
    let (blobs, library) = (store.blobs(), store.library());
    let made = create(folder, &options, &keys, &*blobs, &*library, &Meter::silent())?;
    assert!(made.skipped.is_empty(), "{:?}", made.skipped);
    Ok((made.hash, keys))
}

/// Whether everything named is there and whole, nothing else is, and nothing is left in `tmp/` but
/// the pieces of unfinished tasks.
pub fn is_tidy(store: &Store, dir: &Path) -> bool {
    let check = store.check().unwrap();
    check.is_tidy() && left_in_tmp(dir).is_empty()
}

/// Waits for the files of transfers that were just ended: they are removed on other threads.
pub async fn assert_tidy(store: &Store, dir: &Path) {
    for _ in 0..100 {
        if is_tidy(store, dir) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_tidy(store, dir), "{:#?}, {:?}", store.check(), left_in_tmp(dir));
}

fn left_in_tmp(dir: &Path) -> Vec<String> {
    let names = tree(&dir.join("tmp")).into_iter().map(|(name, _)| name);
    names.filter(|name| !name.starts_with("tasks/")).collect()
}

/// A folder of text files and one recording of noise.
fn album(folder: &Path, bytes: usize, seed: u8) {
    fs::create_dir_all(folder.join("verão 🌞")).unwrap();
    fs::write(folder.join("carta da avó.txt"), format!("Um domingo de sol. {seed}\n")).unwrap();
    fs::write(folder.join("verão 🌞/nota.txt"), format!("A warm afternoon. {seed}\n")).unwrap();
    let data = noise(bytes, seed.into());
    let mut wav = Vec::with_capacity(bytes + 44);
    wav.extend(b"RIFF");
    wav.extend((bytes as u32 + 36).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(44_100u32.to_le_bytes());
    wav.extend(88_200u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((bytes as u32).to_le_bytes());
    wav.extend(data);
    fs::write(folder.join("voz.wav"), wav).unwrap();
}

/// Bytes that no compressor and no accident repeats (xorshift64).
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                match fs::read(&path) {
                    Ok(bytes) => files.push((name, bytes)),
                    // One of a transfer that has just ended is removed on another thread.
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{name}"),
                }
            }
        }
    }
    files.sort();
    files
}

/// Waits until something holds; at most a minute and a half.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..900 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not in time: {what}");
}
