//! Rows: publish and fetch over real nodes in this process, on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tesseras_core::code::{CodedForm, WHOLE_COPIES};
use tesseras_core::ids::TesseraHash;
use tesseras_core::progress::silent;
use tesseras_net::RateLimit;
use tesseras_node::{Node, NodeConfig, loopback};
use tesseras_replication::admission::Limits;
use tesseras_storage::Store;
use tokio::time::Instant;

use crate::failure::Result;
use crate::lap::{Contest, LAPS, Lap, Table, Work, lap_on_warm_memory};
use crate::scene::{PHOTO, Scene, open, pack};
use crate::wire::{OwnTransport, PULL, PUSH, PlainQuinn};

const WORK_BITS: u32 = 4;
const BYTES_OF_CACHE: u64 = 4 << 20;
/// How long nodes may take to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node in this process, and its store.
pub struct Member {
    pub node: Node,
    pub store: Store,
}

/// The number of pieces of a pack, their length, and how many are needed.
struct Pieces {
    all: usize,
    needed: usize,
    bytes: u64,
}

/// Measures both; a fetch needs a publish before it, measured or not.
pub fn rows(scene: &Scene, nodes: u8, table: &mut Table) -> Result<()> {
    if !table.wants("publish") && !table.wants("fetch") {
        return Ok(());
    }
    // Configured as in `tesd`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut network, pieces, hashes) = runtime.block_on(prepare(scene, nodes))?;
    let owner = network.pop().ok_or("there is an owner")?;
    let files = scene.empty("pieces")?;
    let own = runtime.block_on(OwnTransport::start(nodes, &files))?;
    let plain = runtime.block_on(PlainQuinn::start(nodes, &files))?;

    let mut drafts = Vec::new();
    let mut publish = |number: usize| -> Result<Lap> {
        let (lap, draft) =
            lap_on_warm_memory(|| runtime.block_on(publish(scene, &owner, hashes[number])))?;
        drafts.push(format!("{:.2} of {:.2} s", draft.as_secs_f64(), lap.time.as_secs_f64()));
        Ok(lap)
    };
    let bare = |work: BoxFuture<'_, Result<()>>| -> Result<Lap> {
        let (lap, ()) = lap_on_warm_memory(|| runtime.block_on(work))?;
        scene.empty("pieces")?;
        Ok(lap)
    };
    let Pieces { all, needed, bytes } = pieces;
    table.add(Contest {
        name: format!("publish to {nodes} nodes"),
        work: Work::Bytes(scene.bytes()),
        real: Box::new(&mut publish),
        bare: vec![
            (
                "own transport, all pieces, 4 at once",
                Box::new(|_| bare(own.all(PUSH, all, bytes).boxed())),
            ),
            (
                "plain quinn, all pieces at once",
                Box::new(|_| bare(plain.all(PUSH, all, bytes).boxed())),
            ),
        ],
    })?;
    if table.wants("fetch") {
        (0..LAPS).filter(|_| !table.wants("publish")).try_for_each(|n| publish(n).map(drop))?;
        let fetcher = runtime.block_on(join(scene, &network, nodes + 2))?;
        runtime.block_on(settle(std::slice::from_ref(&fetcher), network.len()))?;
        table.add(Contest {
            name: format!("fetch from {nodes} nodes"),
            work: Work::Bytes(scene.bytes()),
            real: Box::new(|number| {
                let (replication, silent) = (fetcher.node.replication(), silent());
                let fetching = replication.fetch(hashes[number], &silent);
                Ok(lap_on_warm_memory(|| Ok(runtime.block_on(fetching)?))?.0)
            }),
            bare: vec![
                (
                    "own transport, k pieces, 4 at once",
                    Box::new(|_| bare(own.all(PULL, needed, bytes).boxed())),
                ),
                (
                    "plain quinn, k pieces at once",
                    Box::new(|_| bare(plain.all(PULL, needed, bytes).boxed())),
                ),
            ],
        })?;
        network.push(fetcher);
    }
    network.push(owner);
    table.note(format!(
        "publish: {all} pieces of {bytes} bytes; reading and coding (the plan) took {}",
        drafts.join(", ")
    ));
    runtime.block_on(async {
        own.stop().await;
        plain.stop().await;
        futures_util::future::join_all(network.into_iter().map(|m| m.node.stop())).await;
    });
    Ok(())
}

/// Starts the nodes and then the owner of as many capsules as there are laps.
async fn prepare(scene: &Scene, nodes: u8) -> Result<(Vec<Member>, Pieces, Vec<TesseraHash>)> {
    let mut network = Vec::new();
    for number in 1..=nodes + 1 {
        let member = join(scene, &network, number).await?;
        network.push(member);
    }
    settle(&network, usize::from(nodes)).await?;
    let store = &network[usize::from(nodes)].store;
    let mut hashes = Vec::new();
    for number in 0..LAPS as u64 {
        let hash =
            scene.create(store, &scene.album("album", number + 1, scene.bytes(), PHOTO)?)?.hash;
        hashes.push(hash);
    }
    scene.remove("album")?;
    let bytes = pack(store, &hashes[0])?.bytes();
    let pieces = match CodedForm::of_pack(bytes) {
        Some(CodedForm { shape, fragment_bytes }) => {
            Pieces { all: shape.n().into(), needed: shape.k.into(), bytes: fragment_bytes }
        }
        None => Pieces { all: WHOLE_COPIES, needed: 1, bytes },
    };
    Ok((network, pieces, hashes))
}

/// Starts a node, each in a /24 of its own.
async fn join(scene: &Scene, others: &[Member], number: u8) -> Result<Member> {
    let bootstrap: Vec<SocketAddr> = others.iter().take(3).map(|m| m.node.listen()).collect();
    join_at(scene, &format!("node-{number}"), number, &bootstrap).await
}

/// Starts a node in a new folder of this name, in the /24 of this number.
pub async fn join_at(
    scene: &Scene,
    name: &str,
    number: u8,
    bootstrap: &[SocketAddr],
) -> Result<Member> {
    let dir = scene.empty(name)?;
    let node = Node::start(config(&dir, loopback::address(number), bootstrap.to_vec())).await?;
    Ok(Member { node, store: open(&dir)? })
}

/// The settings of a node without practical limits.
pub fn config(dir: &Path, listen: SocketAddr, bootstrap: Vec<SocketAddr>) -> NodeConfig {
    let mut config = NodeConfig::new(dir, listen);
    config.bootstrap = bootstrap;
    config.work_bits = WORK_BITS;
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
    config
}

/// Waits until each of these nodes knows so many others.
pub async fn settle(members: &[Member], others: usize) -> Result<()> {
    let nodes = members.iter().map(|member| &member.node);
    match loopback::acquainted(nodes, others, PATIENCE).await {
        true => Ok(()),
        false => Err("the nodes do not find each other".into()),
    }
}

/// Drafts, signs and publishes, as `tes publish` does; returns how long the plan took.
pub async fn publish(scene: &Scene, owner: &Member, hash: TesseraHash) -> Result<Duration> {
    let replication = owner.node.replication();
    let start = Instant::now();
    let plan = replication.draft_plan(hash, &silent()).await?;
    let draft = start.elapsed();
    let signatures = scene.keys.sign(&plan);
    let done = replication.publish(hash, plan, signatures, &silent()).await?;
    if done.placed == done.fragments {
        Ok(draft)
    } else {
        Err(format!("only {} of {} pieces: {:?}", done.placed, done.fragments, done.refusals)
            .into())
    }
}
