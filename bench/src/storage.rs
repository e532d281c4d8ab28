//! Rows: an attestation from the index, and a hot fragment from the cache.

use std::hint::black_box;

use prometheus::Registry;
use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{BlobReader, BlobStore as _, Charge, FragmentStore, HeldPiece, PeerAt};
use tesseras_crypto::{Blake3, NodeKeys};
use tesseras_node::clock;
use tesseras_replication::attestation::{Question, attest};
use tesseras_replication::bulk::CHUNK;
use tesseras_replication::messages::AttestedPiece;
use tesseras_storage::{StorageMetrics, Store};

use crate::failure::Result;
use crate::lap::{Contest, LAPS, Table, Work, lap};
use crate::scene::{Noise, Scene, open};

const FRAGMENTS: u8 = 100;
const FRAGMENT: usize = 2 << 20;
const CACHE: u64 = 64 << 20;
const TESSERA: TesseraHash = TesseraHash::new([1; 32]);
/// What is too short to be measured once is measured so many times.
const ATTESTATIONS: u32 = 2000;
const READS: u32 = 1000;

/// Measures both.
pub fn rows(scene: &Scene, table: &mut Table) -> Result<()> {
    if !["attest 100 fragments", "cache: hot 2 MiB fragment"].iter().any(|row| table.wants(row)) {
        return Ok(());
    }
    let store = open(&scene.empty("holder")?)?;
    let held = fill(&store)?;
    attest_row(&store, &held, table)?;
    cache_row(&store, &held[0], table)?;
    drop(store);
    scene.remove("holder")
}

/// Both sides ask a cache without room, as a node does whose cache is full of other things, so
/// that each reading of a fragment is counted and goes to the disk.
fn attest_row(store: &Store, held: &[HeldPiece], table: &mut Table) -> Result<()> {
    let name = "attest 100 fragments";
    let counted = |metrics| store.cached_fragments(0).with_metrics(metrics);
    let ours = StorageMetrics::new(&Registry::new())?;
    let theirs = StorageMetrics::new(&Registry::new())?;
    let (indexed, read_back) = (counted(ours.clone()), counted(theirs.clone()));
    let keys = NodeKeys::generate(0)?;
    let nonce = [2; 32];
    let asker = NodeId::new([3; 20]);
    let question = Question { asker, holder: keys.id(), tessera: TESSERA, nonce };
    let say =
        |pieces| drop(black_box(attest(&keys, &question, clock::system().now(), None, pieces)));
    let said = |f: &HeldPiece| AttestedPiece { piece: f.piece, checksum: f.checksum };
    table.add(Contest {
        name: name.to_owned(),
        work: Work::Bytes(u64::from(FRAGMENTS) * FRAGMENT as u64),
        real: Box::new(|_| {
            let (lap, ()) = lap(|| {
                for _ in 0..ATTESTATIONS {
                    say(indexed.list_fragments(&TESSERA)?.iter().map(said).collect());
                }
                Ok(())
            })?;
            Ok(lap.part_of(ATTESTATIONS))
        }),
        bare: vec![(
            "read and hash all of them",
            Box::new(|_| {
                let attested = lap(|| {
                    let mut pieces = Vec::new();
                    for fragment in held {
                        let reader = read_back.read_fragment(fragment)?;
                        let mut hasher = Blake3::default();
                        read(&*reader, |bytes| hasher.update(bytes))?;
                        pieces.push(AttestedPiece {
                            piece: fragment.piece,
                            checksum: hasher.finish(),
                        });
                    }
                    say(pieces);
                    Ok(())
                })?;
                Ok(attested.0)
            }),
        )],
    })?;
    if table.wants(name) {
        let reads =
            |m: &StorageMetrics| m.fragment_cache_hits.get() + m.fragment_cache_misses.get();
        table.note(format!(
            "{name}: fragments read in all laps: {} by ours ({} attestations), {} by theirs ({LAPS})",
            reads(&ours),
            ATTESTATIONS as usize * LAPS,
            reads(&theirs),
        ));
    }
    Ok(())
}

/// A fragment as it is read to be sent: in chunks, each in memory of its own or shared with the
/// cache.
fn cache_row(store: &Store, fragment: &HeldPiece, table: &mut Table) -> Result<()> {
    let (cached, fragments) = (store.cached_fragments(CACHE), store.fragments());
    read(&*cached.read_fragment(fragment)?, |_| ())?;
    let many = |from: &dyn FragmentStore, hash: bool| {
        let (lap, ()) = lap(|| {
            for _ in 0..READS {
                let reader = from.read_fragment(fragment)?;
                let mut hasher = Blake3::default();
                read(&*reader, |bytes| {
                    if hash {
                        hasher.update(bytes)
                    }
                })?;
                black_box(hasher.finish());
            }
            Ok(())
        })?;
        Ok(lap.part_of(READS))
    };
    table.add(Contest {
        name: "cache: hot 2 MiB fragment".to_owned(),
        work: Work::Bytes(FRAGMENT as u64),
        real: Box::new(|_| many(&cached, false)),
        bare: vec![
            ("file store, page cache warm", Box::new(|_| many(&*fragments, false))),
            ("file store and BLAKE3, as on a miss", Box::new(|_| many(&*fragments, true))),
        ],
    })
}

/// Stores 100 fragments of one tessera.
fn fill(store: &Store) -> Result<Vec<HeldPiece>> {
    let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet: Subnet::V4([10, 0, 0]) });
    let mut noise = Noise::new(1);
    let mut held = Vec::new();
    for index in 0..FRAGMENTS {
        let mut writer = store.blobs().stage()?;
        writer.write(&noise.take(FRAGMENT))?;
        let staged = writer.finish()?;
        let (checksum, bytes) = (staged.hash, staged.bytes);
        let fragment = HeldPiece { tessera: TESSERA, piece: Piece::Index(index), checksum, bytes };
        store.fragments().store_fragment(&fragment, staged, &charge)?;
        held.push(fragment);
    }
    Ok(held)
}

/// Reads all of it in chunks, as it is sent.
fn read(reader: &dyn BlobReader, mut sink: impl FnMut(&[u8])) -> Result<()> {
    let mut at = 0;
    while at < reader.bytes() {
        let chunk = black_box(reader.read_chunk(at, CHUNK)?);
        sink(&chunk);
        at += chunk.len() as u64;
    }
    Ok(())
}
