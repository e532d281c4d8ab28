//! The steps of `tes demo`: publish, destroy nodes, fetch and repair, on a network of real nodes.

mod network;
mod pictures;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tesseras_capsule::{CreateOptions, Created, StoredCapsule, create, export, verify_directory};
use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::{Meter, silent};
use tesseras_crypto::CreatorKeys;
use tesseras_node::clock;
use tesseras_node::loopback::{LoopbackNetwork, Member};
use tesseras_replication::publish::Published;
use tesseras_replication::status::TesseraHealth;
use tokio::time::Instant;

use crate::command_error::CommandError;
use crate::human::{count, short, size};
use crate::output::Output;

/// The parameters of a demo.
pub struct Plot {
    /// The folder to publish; sample files are generated if there is none.
    pub folder: Option<PathBuf>,
    /// The number of nodes.
    pub nodes: u8,
    /// Where to keep the fetched files; deleted with the demo if there is none.
    pub keep: Option<PathBuf>,
}

/// The result of a demo. Every number comes from a node's answer.
#[derive(Debug, Serialize)]
pub struct Walked {
    /// The tessera.
    pub hash: TesseraHash,
    /// The number of its memories.
    pub memories: u64,
    /// The total length of its files, in bytes.
    pub bytes: u64,
    /// The target number of pieces: fragments, or whole copies.
    pub fragments: u64,
    /// The number of nodes that hold them.
    pub holders: u64,
    /// How many of these nodes can fail at once without loss.
    pub survives: u64,
    /// How many nodes were destroyed, including the owner's.
    pub killed: u64,
    /// Whether the fetched files equal the published ones byte for byte.
    pub identical: bool,
    /// How many pieces were rebuilt.
    pub restored: u64,
    /// Whether every hash and both signatures of the fetched capsule are valid.
    pub valid: bool,
    /// The duration, in seconds.
    pub seconds: u64,
    /// The directory of the fetched files, if they were to be kept.
    pub path: Option<PathBuf>,
}

/// Reports each step: on stdout, or on stderr with `--json`.
struct Teller(Output);

impl Teller {
    fn tell(&self, text: &str) {
        if self.0.is_json() {
            self.0.note(text);
        } else {
            // A failed write does not stop the demo: its result is reported separately.
            drop(self.0.raw(format!("{text}\n").as_bytes()));
        }
    }
}

/// Runs the demo and reports each step.
pub async fn walk(plot: Plot, scene: PathBuf, output: Output) -> Result<Walked, CommandError> {
    let start = Instant::now();
    let teller = Teller(output);
    if let Some(keep) = &plot.keep
        && keep.exists()
    {
        return Err(CommandError::new(format!("{} already exists", keep.display()))
            .with_hint("name a folder that does not exist yet"));
    }
    let folder = folder(plot.folder, &scene).await?;
    let nodes = plot.nodes;
    teller
        .tell(&format!("1. {nodes} nodes start on this machine, each with its own disk and key."));
    let mut network = network::start(&scene, nodes).await?;
    let owner = newest(&network);
    let keys = CreatorKeys::generate().map_err(|e| CommandError::new(e.to_string()))?;
    let made = pack(&teller, owner, &folder, &keys).await?;
    let hash = made.hash;
    let before = files_of(owner, hash, &scene.join("before")).await?;
    let (published, health) = publish(&teller, owner, hash, &keys).await?;

    let mut doomed = fullest(&health.placement, health.survives);
    // Any node repairs what it holds, and only that.
    let left = health.placement.keys().find(|id| !doomed.contains(id));
    let keeper = *left.ok_or_else(|| CommandError::new("no holder would be left"))?;
    teller.tell(&format!("4. {}", words::dies(doomed.len() as u64)));
    doomed.push(owner.node.id());
    // Files that cannot be deleted now are deleted with the temporary directory.
    let _ = network.destroy(&doomed).await;
    network.join().await.map_err(failed)?;
    fetch(&teller, newest(&network), hash).await?;
    let restored = repair(&teller, network.by_id(keeper).ok_or_else(unknown)?, hash).await?;

    let fresh = newest(&network);
    let to = plot.keep.clone().unwrap_or_else(|| scene.join("after"));
    let after = files_of(fresh, hash, &to).await?;
    let directory = after.directory.clone();
    let report = tokio::task::spawn_blocking(move || {
        verify_directory(&directory, Some(&hash), &Meter::silent())
    });
    let report = report.await.map_err(failed)?.map_err(failed)?;
    network.stop().await;
    Ok(Walked {
        hash,
        memories: made.memories,
        bytes: made.bytes,
        fragments: published.fragments as u64,
        holders: published.holders as u64,
        survives: health.survives as u64,
        killed: doomed.len() as u64,
        identical: before.digests == after.digests,
        restored,
        valid: report.valid,
        seconds: start.elapsed().as_secs(),
        path: plot.keep.map(|_| after.directory),
    })
}

/// The given folder, or one with generated sample files.
async fn folder(named: Option<PathBuf>, scene: &Path) -> Result<PathBuf, CommandError> {
    if let Some(folder) = named {
        return Ok(folder);
    }
    let folder = scene.join("A summer by the sea");
    let drawn = folder.clone();
    let drawing = tokio::task::spawn_blocking(move || pictures::draw(&drawn));
    let drawn = drawing.await.map_err(failed)?;
    drawn.map_err(|e| CommandError::io("draw pictures in", &folder, &e))?;
    Ok(folder)
}

async fn pack(
    teller: &Teller,
    owner: &Member,
    folder: &Path,
    keys: &CreatorKeys,
) -> Result<Created, CommandError> {
    let made = make(owner, folder, keys).await?;
    teller.tell(&format!(
        "2. Ana packs {} ({}) into a signed capsule.",
        count(made.memories, "memory", "memories"),
        size(made.bytes)
    ));
    for skipped in &made.skipped {
        teller.tell(&format!("   left out: {} ({})", skipped.path, skipped.reason));
    }
    Ok(made)
}

async fn publish(
    teller: &Teller,
    owner: &Member,
    hash: TesseraHash,
    keys: &CreatorKeys,
) -> Result<(Published, TesseraHealth), CommandError> {
    let replication = owner.node.replication();
    let plan = replication.draft_plan(hash, &silent()).await.map_err(failed)?;
    let signed = SignedPlan { signatures: keys.sign(&plan), plan };
    let published = replication.publish(hash, signed, &silent()).await.map_err(failed)?;
    let health = replication.status(hash).await.map_err(failed)?.ok_or_else(unknown)?;
    teller.tell(&format!(
        "3. She publishes it: {}.\n   The nodes say: {}",
        words::held(&health),
        words::may_die(health.survives)
    ));
    Ok((published, health))
}

async fn fetch(teller: &Teller, fresh: &Member, hash: TesseraHash) -> Result<(), CommandError> {
    let fetching = Instant::now();
    let fetched = fresh.node.replication().fetch(hash, &silent()).await.map_err(failed)?;
    teller.tell(&format!(
        "5. Her sister, on a new computer, types the hash {}…\n   \
         It comes back from {} in {:.1} s.",
        short(&hash),
        count(fetched.holders as u64, "node", "nodes"),
        fetching.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// One holder repairs the tessera; returns how many pieces were rebuilt.
async fn repair(teller: &Teller, keeper: &Member, hash: TesseraHash) -> Result<u64, CommandError> {
    let repaired = keeper.node.replication().repair(hash, &silent()).await.map_err(failed)?;
    let health = keeper.node.replication().status(hash).await.map_err(failed)?;
    let health = health.ok_or_else(unknown)?;
    teller.tell(&format!(
        "6. A node that is left notices what is missing and brings back {}.\n   \
         Held now: {}.\n   The nodes say: {}",
        count(repaired.restored as u64, "piece", "pieces"),
        words::held(&health),
        words::may_die(health.survives)
    ));
    if let Some(part) = words::not_all(&health) {
        teller.tell(&format!("   Not all is back yet: {part} live."));
    }
    Ok(repaired.restored as u64)
}

async fn make(
    owner: &Member,
    folder: &Path,
    keys: &CreatorKeys,
) -> Result<tesseras_capsule::Created, CommandError> {
    let options = CreateOptions {
        created: clock::system().now(),
        creator_name: Some("Ana".to_owned()),
        ..CreateOptions::default()
    };
    let (blobs, library) = (owner.store.blobs(), owner.store.library());
    Ok(create(folder, &options, keys, &*blobs, &*library, &Meter::silent())?)
}

/// An exported directory and the hashes of its files.
struct Exported {
    directory: PathBuf,
    digests: BTreeMap<PathBuf, tesseras_core::ids::ContentHash>,
}

async fn files_of(member: &Member, hash: TesseraHash, to: &Path) -> Result<Exported, CommandError> {
    let (store, to) = (member.store.clone(), to.to_owned());
    let exported = tokio::task::spawn_blocking(move || {
        let record = store.library().get(&hash)?;
        let record = record.ok_or_else(|| CommandError::new("the capsule is not there"))?;
        let blobs = store.blobs();
        let capsule = StoredCapsule::of_record(&*blobs, &record)?;
        let directory = export(&capsule, &*blobs, &to, &Meter::silent())?;
        let mut digests = BTreeMap::new();
        digest_all(&directory, Path::new(""), &mut digests)
            .map_err(|error| CommandError::io("read", &directory, &error))?;
        Ok(Exported { directory, digests })
    });
    exported.await.map_err(failed)?
}

fn digest_all(
    root: &Path,
    below: &Path,
    digests: &mut BTreeMap<PathBuf, tesseras_core::ids::ContentHash>,
) -> std::io::Result<()> {
    use std::io::Read as _;
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            digest_all(root, &path, digests)?;
            continue;
        }
        let mut file = fs::File::open(entry.path())?;
        let mut hasher = tesseras_crypto::Blake3::default();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        digests.insert(path, hasher.finish());
    }
    Ok(())
}

/// The node that joined most recently.
fn newest(network: &LoopbackNetwork) -> &Member {
    network.last().expect("the network has nodes")
}

/// The holders with most data: a whole copy counts more than any number of fragments.
fn fullest(placement: &Placement, count: usize) -> Vec<NodeId> {
    let mut holders: Vec<_> = placement.iter().collect();
    let held = |pieces: &BTreeSet<Piece>| (pieces.contains(&Piece::Whole), pieces.len());
    holders.sort_by_key(|(_, pieces)| std::cmp::Reverse(held(pieces)));
    holders.into_iter().take(count).map(|(id, _)| *id).collect()
}

fn unknown() -> CommandError {
    CommandError::new("none of the nodes knows the tessera")
}

fn failed(error: impl std::fmt::Display) -> CommandError {
    CommandError::new(error.to_string())
}
