//! Rows: publish and fetch over real nodes in this process, on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tesseras_core::code::{CodedForm, WHOLE_COPIES};
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::SignedPlan;
use tesseras_core::progress::silent;
use tesseras_net::RateLimit;
use tesseras_node::NodeConfig;
use tesseras_node::loopback::{self, LoopbackNetwork, Member};
use tesseras_replication::admission::Limits;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::failure::Result;
use crate::lap::{Contest, LAPS, Lap, Table, Work, lap_on_warm_memory};
use crate::scene::{PHOTO, Scene, pack};
use crate::wire::{OwnTransport, PULL, PUSH, PlainQuinn};

const WORK_BITS: u32 = 4;
const BYTES_OF_CACHE: u64 = 4 << 20;
/// How long nodes may take to find each other.
const PATIENCE: Duration = Duration::from_secs(60);
const NOT_ACQUAINTED: &str = "the nodes do not find each other";

/// The number of pieces of a pack, their length, and how many are needed.
struct Pieces {
    all: usize,
    needed: usize,
    bytes: u64,
}

/// Both sides of the contests: nodes with capsules to publish, and bare transports.
struct Setup<'a> {
    scene: &'a Scene,
    runtime: &'a Runtime,
    /// How many nodes publishing and fetching go over.
    nodes: u8,
    network: LoopbackNetwork,
    /// One capsule a lap.
    hashes: Vec<TesseraHash>,
    pieces: Pieces,
    own: OwnTransport,
    plain: PlainQuinn,
}

impl<'a> Setup<'a> {
    /// Starts this many nodes and then the owner of the capsules.
    async fn start(scene: &'a Scene, runtime: &'a Runtime, nodes: u8) -> Result<Self> {
        let mut network = LoopbackNetwork::new(scene.path("nodes"), configure);
        for _ in 0..=nodes {
            network.join().await?;
        }
        if !network.settle(PATIENCE).await {
            return Err(NOT_ACQUAINTED.into());
        }
        let store = &newest(&network)?.store;
        let mut hashes = Vec::new();
        for number in 0..LAPS as u64 {
            let album = scene.album("album", number + 1, scene.bytes(), PHOTO)?;
            hashes.push(scene.create(store, &album)?.hash);
        }
        scene.remove("album")?;
        let pieces = Pieces::of_pack(pack(store, &hashes[0])?.bytes());
        let files = scene.empty("pieces")?;
        let own = OwnTransport::start(nodes, &files).await?;
        let plain = PlainQuinn::start(nodes, &files).await?;
        Ok(Self { scene, runtime, nodes, network, hashes, pieces, own, plain })
    }

    /// Measures publishing; publishes without measuring if only fetching is measured.
    fn publish_row(&self, table: &mut Table) -> Result<()> {
        let Self { scene, nodes, network, hashes, own, plain, .. } = self;
        let Pieces { all, bytes, .. } = self.pieces;
        let owner = newest(network)?;
        let mut drafts = Vec::new();
        let mut publish = |number: usize| -> Result<Lap> {
            let (lap, draft) = lap_on_warm_memory(|| {
                self.runtime.block_on(publish(scene, owner, hashes[number]))
            })?;
            drafts.push(format!("{:.2} of {:.2} s", draft.as_secs_f64(), lap.time.as_secs_f64()));
            Ok(lap)
        };
        let name = publish_name(*nodes);
        let is_wanted = table.wants(&name);
        table.add(Contest {
            name,
            work: Work::Bytes(scene.bytes()),
            real: Box::new(&mut publish),
            bare: vec![
                (
                    "own transport, all pieces, 4 at once",
                    Box::new(|_| self.bare(own.all(PUSH, all, bytes))),
                ),
                (
                    "plain quinn, all pieces at once",
                    Box::new(|_| self.bare(plain.all(PUSH, all, bytes))),
                ),
            ],
        })?;
        if !is_wanted {
            (0..LAPS).try_for_each(|number| publish(number).map(drop))?;
        }
        table.note(format!(
            "publish: {all} pieces of {bytes} bytes; reading and coding (the plan) took {}",
            drafts.join(", ")
        ));
        Ok(())
    }

    /// Measures fetching what was published, by the newest node.
    fn fetch_row(&self, table: &mut Table) -> Result<()> {
        let Self { scene, nodes, network, hashes, own, plain, .. } = self;
        let Pieces { needed, bytes, .. } = self.pieces;
        let fetcher = newest(network)?;
        table.add(Contest {
            name: fetch_name(*nodes),
            work: Work::Bytes(scene.bytes()),
            real: Box::new(|number| {
                let (replication, silent) = (fetcher.node.replication(), silent());
                let fetching = replication.fetch(hashes[number], &silent);
                Ok(lap_on_warm_memory(|| Ok(self.runtime.block_on(fetching)?))?.0)
            }),
            bare: vec![
                (
                    "own transport, k pieces, 4 at once",
                    Box::new(|_| self.bare(own.all(PULL, needed, bytes))),
                ),
                (
                    "plain quinn, k pieces at once",
                    Box::new(|_| self.bare(plain.all(PULL, needed, bytes))),
                ),
            ],
        })
    }

    /// A lap of a bare transport; the files that it wrote are deleted.
    fn bare(&self, transfers: impl Future<Output = Result<()>>) -> Result<Lap> {
        let (lap, ()) = lap_on_warm_memory(|| self.runtime.block_on(transfers))?;
        self.scene.empty("pieces")?;
        Ok(lap)
    }

    async fn stop(self) {
        self.own.stop().await;
        self.plain.stop().await;
        self.network.stop().await;
    }
}

impl Pieces {
    fn of_pack(bytes: u64) -> Self {
        match CodedForm::of_pack(bytes) {
            Some(CodedForm { shape, fragment_bytes }) => {
                Self { all: shape.n().into(), needed: shape.k.into(), bytes: fragment_bytes }
            }
            None => Self { all: WHOLE_COPIES, needed: 1, bytes },
        }
    }
}

fn publish_name(nodes: u8) -> String {
    format!("publish to {nodes} nodes")
}

fn fetch_name(nodes: u8) -> String {
    format!("fetch from {nodes} nodes")
}

/// Measures both; a fetch needs a publish before it, measured or not.
pub fn rows(scene: &Scene, nodes: u8, table: &mut Table) -> Result<()> {
    let wants_fetch = table.wants(&fetch_name(nodes));
    if !table.wants(&publish_name(nodes)) && !wants_fetch {
        return Ok(());
    }
    // Configured as in `tesd`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut setup = runtime.block_on(Setup::start(scene, &runtime, nodes))?;
    setup.publish_row(table)?;
    if wants_fetch {
        runtime.block_on(setup.network.join())?;
        let fetcher = std::slice::from_ref(newest(&setup.network)?);
        // All but the owner, who has stored nothing for it.
        runtime.block_on(settle(fetcher, nodes.into()))?;
        setup.fetch_row(table)?;
    }
    runtime.block_on(setup.stop());
    Ok(())
}

/// The node that joined last.
fn newest(network: &LoopbackNetwork) -> Result<&Member> {
    Ok(network.last().ok_or("the network has no nodes")?)
}

/// Starts a node in a new directory of this name, in the /24 of this number.
pub async fn join_at(
    scene: &Scene,
    name: &str,
    number: u8,
    bootstrap: &[SocketAddr],
) -> Result<Member> {
    let config = config(&scene.empty(name)?, loopback::address(number), bootstrap.to_vec());
    Ok(Member::start(config).await?)
}

/// The settings of a node without practical limits.
pub fn config(dir: &Path, listen: SocketAddr, bootstrap: Vec<SocketAddr>) -> NodeConfig {
    let mut config = NodeConfig::new(dir, listen);
    config.bootstrap = bootstrap.into_iter().map(Into::into).collect();
    configure(&mut config);
    config
}

/// Removes all practical limits.
fn configure(config: &mut NodeConfig) {
    config.dht.work_bits = WORK_BITS;
    config.fragment_cache = BYTES_OF_CACHE;
    config.rate_limit = RateLimit { requests_per_second: 10_000, burst: 10_000 };
    let all = u64::MAX / 4;
    config.replication.limits = Limits {
        storage: all,
        min_free_space: 0,
        per_peer: all,
        deficit_allowance: all,
        repair_share: all,
    };
}

/// Waits until each of these nodes knows at least `others` other nodes.
pub async fn settle(members: &[Member], others: usize) -> Result<()> {
    let nodes = members.iter().map(|member| &member.node);
    match loopback::acquainted(nodes, others, PATIENCE).await {
        true => Ok(()),
        false => Err(NOT_ACQUAINTED.into()),
    }
}

/// Drafts, signs and publishes, as `tes publish` does; returns how long the plan took.
pub async fn publish(scene: &Scene, owner: &Member, hash: TesseraHash) -> Result<Duration> {
    let replication = owner.node.replication();
    let start = Instant::now();
    let plan = replication.draft_plan(hash, &silent()).await?;
    let draft = start.elapsed();
    let signed = SignedPlan { signatures: scene.keys.sign(&plan), plan };
    let done = replication.publish(hash, signed, &silent()).await?;
    if done.placed == done.fragments {
        Ok(draft)
    } else {
        Err(format!("only {} of {} pieces: {:?}", done.placed, done.fragments, done.refusals)
            .into())
    }
}
