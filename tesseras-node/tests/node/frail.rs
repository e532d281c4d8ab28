//! A node whose disk fails at each of its touches in turn, and what is on that disk afterwards.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;
use tempfile::TempDir;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{FragmentStore as _, HeldPiece, StoreError};
use tesseras_core::progress::silent;
use tesseras_core::time::Timestamp;
use tesseras_crypto::CreatorKeys;
use tesseras_node::machine::Machine;

use tesseras_node::{Node, NodeConfig, StartError};
use tesseras_power_cut::{Fault, RecordingDisk, Step, Surviving, Volume, record};
use tesseras_rpc::Failure;
use tesseras_rpc::calls::Call;
use tesseras_storage::{StorageConfig, Store};

use crate::network::{Net, open, until};
use crate::reasons::ask_at;
use crate::stranger::blob_path;

/// One node on a disk that fails when it is told to.
pub struct Frail {
    root: TempDir,
    pub disk: Arc<RecordingDisk>,
    config: NodeConfig,
    pub node: Node,
    /// What a kill, or a power cut, would leave of the disk.
    volume: RefCell<Volume>,
}

/// How often the disk was touched by an act without faults, and how many touches failed.
pub struct Failed {
    pub touches: u64,
    pub faults: u64,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} touches, {} faults", self.touches, self.faults)
    }
}

impl Frail {
    pub async fn join(net: &mut Net) -> Self {
        let config = net.config();
        Self::join_with(net, config).await
    }

    pub async fn join_with(net: &Net, config: NodeConfig) -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = record(root.path(), Fault::Never).unwrap();
        let config = NodeConfig { data_dir: root.path().join("data"), ..config };
        let node = start(&disk, &config).await;
        // The others know it there, also after a restart.
        let config = NodeConfig { listen: node.listen(), ..config };
        let volume = RefCell::default();
        let frail = Self { root, disk, config, node, volume };
        frail.is_known(net).await;
        frail
    }

    /// Stops the node, and starts it again on what is on its disk.
    pub async fn restart(self, net: &Net) -> Self {
        let Self { root, disk, config, node, volume } = self;
        node.stop().await;
        let node = start(&disk, &config).await;
        let frail = Self { root, disk, config, node, volume };
        frail.is_known(net).await;
        frail
    }

    /// Waits until it knows all others, and they know where it is.
    async fn is_known(&self, net: &Net) {
        until("the frail node and the others know each other", async || {
            let mut known = self.node.dht().peers().await.len() >= net.nodes.len();
            for member in &net.nodes {
                let peers = member.node.dht().peers().await;
                known &= peers.iter().any(|peer| *peer == self.contact());
            }
            known
        })
        .await;
    }

    pub fn contact(&self) -> Contact {
        Contact { id: self.node.id(), addresses: vec![self.node.listen()] }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Asks the node as `tes` does.
    pub async fn ask<C: Call>(&self, call: C) -> Result<C::Answer, Failure> {
        ask_at(&self.dir(), call).await
    }

    /// Another store on the same directory, as `tes` opens it beside `tesd`, on the frail disk.
    pub fn try_open(&self) -> Result<Store, StoreError> {
        Store::open_on_disk(&self.dir(), &StorageConfig::default(), self.disk.clone())
    }

    /// [`Self::try_open`] while the disk is well.
    pub fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    /// The sound pieces that it holds of a tessera.
    pub fn held(&self, hash: TesseraHash) -> Vec<HeldPiece> {
        self.open().fragments().list_sound_fragments(&hash).unwrap()
    }

    /// Damages the file of a stored object.
    pub fn damage(&self, hash: &ContentHash) {
        use tesseras_disk::Disk as _;
        let path = blob_path(&self.dir(), hash);
        let mut file = std::fs::File::options().write(true).open(&path).unwrap();
        self.disk.write(&mut file, b"rotten").unwrap();
        self.disk.sync_file(&file).unwrap();
    }

    /// Acts with a fault at every touch in turn until the act is over before it comes. After each,
    /// `verify` must hold on what is stored, and also if the node had been killed or had lost its
    /// power at that moment; then the disk is well again, and `recovered` must hold.
    pub async fn fail_everywhere(
        &self,
        stride: u64,
        mut act: impl AsyncFnMut(u64),
        mut verify: impl FnMut(&Store),
        mut recovered: impl AsyncFnMut(),
    ) -> Failed {
        let before = self.disk.touches();
        act(0).await;
        let touches = self.disk.touches() - before;
        assert!(touches > 0, "an act that does not touch the disk cannot fail");
        recovered().await;
        let mut faults = 0;
        for errno in [Errno::NOSPC, Errno::IO] {
            let mut at = 0;
            loop {
                self.let_all_be_synced();
                let next = self.disk.touches() + at;
                self.disk.set_fault(Fault::Once(next, errno));
                act(1 + faults).await;
                let came = self.disk.touches() > next;
                self.disk.set_fault(Fault::Never);
                self.verify_what_survives(&mut verify);
                verify(&self.open());
                recovered().await;
                verify(&self.open());
                if !came {
                    break;
                }
                faults += 1;
                at += stride;
            }
        }
        Failed { touches, faults }
    }

    /// Takes all that was done so far as certain to survive.
    fn let_all_be_synced(&self) {
        let mut volume = self.volume.borrow_mut();
        self.disk.take_steps().iter().for_each(|step| volume.apply(step));
        volume.apply(&Step::SyncFileSystem);
    }

    /// Verifies what is there after a kill, and after a power cut, at this moment.
    fn verify_what_survives(&self, verify: &mut impl FnMut(&Store)) {
        let mut volume = self.volume.borrow_mut();
        self.disk.take_steps().iter().for_each(|step| volume.apply(step));
        for surviving in [Surviving::Everything, Surviving::Nothing] {
            let root = quick_directory();
            volume.image(surviving).write_to(root.path()).unwrap();
            verify(&open(&root.path().join("data")));
        }
    }
}

/// A directory in memory if there is one.
fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Starts a node, once its port is free.
async fn start(disk: &Arc<RecordingDisk>, config: &NodeConfig) -> Node {
    let mut started = None;
    until("the node starts", async || {
        let machine = Machine { disk: disk.clone(), ..Machine::this() };
        match Node::start_on(config.clone(), machine, |router| Arc::new(router)).await {
            Ok(node) => started = Some(node),
            Err(StartError::Bind(_)) => {}
            Err(error) => panic!("{error}"),
        }
        started.is_some()
    })
    .await;
    started.unwrap()
}

/// Reads every byte of what is stored: all that rows name is there, and nothing else.
pub fn assert_sound(store: &Store) {
    assert_sound_but(store, &[]);
}

/// [`assert_sound`], but these objects may be damaged.
pub fn assert_sound_but(store: &Store, damaged: &[ContentHash]) {
    store.collect_garbage(Timestamp(u64::MAX)).unwrap();
    let mut check = store.check().unwrap();
    check.damaged.retain(|hash| !damaged.contains(hash));
    check.lost_pieces.retain(|piece| !damaged.contains(&piece.checksum));
    assert!(check.is_tidy(), "{check:#?}");
}

/// Every how many touches one fails, unless `FAILING_DISK_STRIDE` says it.
pub fn stride(default: u64) -> u64 {
    std::env::var("FAILING_DISK_STRIDE").map_or(default, |n| n.parse().unwrap())
}

pub async fn publish(
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
