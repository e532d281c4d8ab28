//! Measures the memory of a `tesd` configured for a small board: alone, among peers, with many
//! pieces, and after answering many requests.
//!
//!     cargo build --release -p tesd
//!     cargo run --release -p tesseras-bench --example idle -- target/release/tesd
//!
//! The daemon is a process of its own; its peers and clients are in this one. It holds a piece of 4
//! KiB of each of 5,000 tesserae, with their dossiers.

use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{BlobStore as _, Charge, FragmentStore as _, HeldPiece, PeerAt};
use tesseras_core::ports::{HoldingRepository as _, StoreError};
use tesseras_core::signature::SignaturePair;
use tesseras_crypto::{NodeKeys, blake3};
use tesseras_net::{BindConfig, QuinnTransport};
use tesseras_node::{Node, NodeConfig};
use tesseras_replication::messages::{Attestation, Request};
use tesseras_storage::{StorageConfig, Store};
use tesseras_wire::codec::{self, Answer};
use tesseras_wire::{Target, Transport as _, read_to_vec};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PEERS: usize = 24;
const HELD: u64 = 5000;
const PIECE_BYTES: usize = 4096;
const REQUESTS: u64 = 600;
/// As many as one connection allows.
const AT_ONCE: usize = 32;
const WRITERS: u64 = 8;
/// Longer than the runtime keeps an idle blocking thread.
const REST: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "\
[node]
work_bits = 0
[dht]
requests_per_second = 100000
[performance]
sqlite_cache_size_kb = 2000
fragment_cache_size_mb = 8
";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(tesd) = std::env::args().nth(1) else {
        eprintln!("usage: idle PATH-OF-TESD");
        return ExitCode::from(2);
    };
    match run(Path::new(&tesd)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(tesd: &Path) -> Result<()> {
    let root = tempfile::Builder::new().prefix("tesseras-idle-").tempdir()?;
    eprintln!("{:<40} {:>7} {:>9} {:>9} {:>8}", "MiB", "now", "not code", "peak", "threads");

    let mut daemon = Daemon::start(tesd, root.path(), "empty", &[])?;
    sleep(REST).await;
    daemon.show("alone, nothing held")?;
    daemon.end()?;

    let mut peers = Vec::new();
    for number in 0..PEERS {
        let listen = SocketAddr::from(([127, 0, number as u8 + 1, 1], 0));
        let mut config = NodeConfig::new(root.path().join(number.to_string()), listen);
        config.dht.work_bits = 0;
        peers.push(Node::start(config).await?);
    }
    let addresses: Vec<_> = peers.iter().map(Node::listen).collect();
    let full = root.path().join("full");
    tokio::task::spawn_blocking(move || fill(&full)).await??;

    let mut daemon = Daemon::start(tesd, root.path(), "full", &addresses)?;
    sleep(REST).await;
    daemon.show(&format!("{HELD} pieces held, {PEERS} peers"))?;
    // By then everything that it holds has been announced.
    sleep(Duration::from_secs(45)).await;
    daemon.show("the same after a minute, all announced")?;
    ask(&daemon.contact).await?;
    daemon.show(&format!("{REQUESTS} requests answered, just now"))?;
    sleep(REST).await;
    daemon.show("the same, at rest")?;
    daemon.end()?;
    for peer in peers {
        peer.stop().await;
    }
    Ok(())
}

/// A `tesd` in a process of its own. Killed when dropped.
struct Daemon {
    child: Child,
    contact: Contact,
}

impl Daemon {
    fn start(tesd: &Path, root: &Path, name: &str, bootstrap: &[SocketAddr]) -> Result<Self> {
        let config = root.join("idle.toml");
        fs::write(&config, CONFIG)?;
        let mut command = Command::new(tesd);
        command.args(["--listen", "127.0.200.1:0", "--config"]).arg(&config);
        command.arg("--data-dir").arg(root.join(name)).stdout(Stdio::piped());
        for peer in bootstrap {
            command.args(["--bootstrap", &peer.to_string()]);
        }
        let mut child = command.env("RUST_LOG", "warn").spawn()?;
        let mut ready = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("it is piped")?).read_line(&mut ready)?;
        let field = |name: &str| {
            let found = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.ok_or_else(|| format!("tesd said {ready:?}"))
        };
        let contact =
            Contact { id: field("node=")?.parse()?, addresses: vec![field("listen=")?.parse()?] };
        Ok(Self { child, contact })
    }

    fn show(&self, what: &str) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            Ok(word.ok_or_else(|| format!("no {name}"))?.parse()?)
        };
        let mib = |name: &str| Ok::<_, Box<dyn Error + Send + Sync>>(field(name)? / 1024.0);
        let (now, own, peak) = (mib("VmRSS:")?, mib("RssAnon:")?, mib("VmHWM:")?);
        eprintln!("{what:<40} {now:>7.1} {own:>9.1} {peak:>9.1} {:>8}", field("Threads:")?);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn tessera(number: u64) -> TesseraHash {
    blake3(&manifest(number)).into()
}

fn manifest(number: u64) -> Vec<u8> {
    format!("{number:>1000}").into_bytes()
}

/// Makes a data directory that holds a piece of many tesserae.
fn fill(dir: &Path) -> Result<()> {
    let store = Store::open(dir, &StorageConfig::default())?;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let write = |writer: u64| {
            let store = &store;
            scope.spawn(move || {
                (writer..HELD).step_by(WRITERS as usize).try_for_each(|n| hold(store, n))
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        writers.into_iter().map(|writer| writer.join()).collect()
    });
    for outcome in outcomes {
        outcome.map_err(|_| "a writer panicked")??;
    }
    Ok(())
}

fn hold(store: &Store, number: u64) -> std::result::Result<(), StoreError> {
    let signatures = || SignaturePair { ed25519: vec![1; 64], ml_dsa_65: vec![2; 3309] };
    let dossier = Dossier {
        manifest: manifest(number),
        manifest_signatures: signatures(),
        ed25519_pem: vec![1; 113],
        ml_dsa_65_pem: vec![2; 2726],
        plan: vec![3; 300],
        plan_signatures: signatures(),
    };
    store.holdings().put_dossier(&tessera(number), &dossier)?;
    let mut bytes = vec![0; PIECE_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    let mut writer = store.blobs().stage()?;
    writer.write(&bytes)?;
    let staged = writer.finish()?;
    let fragment = HeldPiece {
        tessera: tessera(number),
        piece: Piece::Whole,
        checksum: staged.hash,
        bytes: PIECE_BYTES as u64,
    };
    let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet: Subnet::V4([10, 0, 0]) });
    store.fragments().store_fragment(&fragment, staged, &charge)
}

/// Asks it for pieces and attestations.
async fn ask(holder: &Contact) -> Result<()> {
    let keys = NodeKeys::generate(0)?;
    let bind =
        BindConfig { work_bits: 0, ..BindConfig::new(SocketAddr::from(([127, 0, 201, 1], 0))) };
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let transport = QuinnTransport::bind(bind, &keys, &tracker, cancel)?;
    let target = Target::from(holder);
    stream::iter(0..REQUESTS)
        .map(|number| ask_one(&transport, &target, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    transport.close().await;
    Ok(())
}

/// Asks for a piece, or for an attestation.
async fn ask_one(transport: &QuinnTransport, holder: &Target, number: u64) -> Result<()> {
    let tessera = tessera(number / 2);
    let is_piece = number.is_multiple_of(2);
    let request = if is_piece {
        Request::GetPiece { tessera, piece: Piece::Whole, offset: 0 }
    } else {
        Request::Attest { tessera, nonce: [7; 32] }
    };
    let frame = codec::encode(&request)?;
    let request = tesseras_wire::Request::short(frame, PATIENCE);
    let reply = transport.request(holder, request).await?;
    let answered = if is_piece {
        read_to_vec(reply.body, 1 << 20).await?.len() == PIECE_BYTES
    } else {
        matches!(codec::decode(&reply.frame)?, Answer::<Attestation>::Ok(said) if said.pieces.len() == 1)
    };
    if answered { Ok(()) } else { Err(format!("request {number} was refused").into()) }
}
