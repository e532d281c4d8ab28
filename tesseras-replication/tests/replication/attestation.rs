//! Attesting is cheap: only the index is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{DhtKey, NodeId, TesseraHash};
use tesseras_core::ports::{
    BlobReader, BlobStore as _, Charge, FragmentStore, HeldPiece, PeerAt, StagedBlob, StoreError,
    TesseraRecord,
};
use tesseras_core::time::{Clock, ClockOffset, Timestamp};
use tesseras_crypto::{NodeKeys, NodePublic, blake3};
use tesseras_replication::admission::Limits;
use tesseras_replication::attestation::{Question, is_valid};
use tesseras_replication::messages::{Attestation, AttestedPiece, Request};
use tesseras_replication::{
    Capsules, Directory, OpenCapsule, Parts, Replication, ReplicationConfig, Stores, TokioBlocking,
    UnpackingCapsule,
};
use tesseras_storage::{StorageConfig, Store};
use tesseras_wire::codec::{self, Answer, Refusal};
use tesseras_wire::{
    BoxFuture, BoxStream, Peer, Reply, RequestError, SharedMemory, Target, Transport, empty_body,
};

const NOW: Timestamp = Timestamp(1_800_000_000);
const TESSERA: TesseraHash = TesseraHash::new([7; 32]);

mockall::mock! {
    Fragments {}

    impl FragmentStore for Fragments {
        fn store_fragment(
            &self,
            fragment: &HeldPiece,
            staged: StagedBlob,
            charge: &Charge,
        ) -> Result<(), StoreError>;
        fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError>;
        fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError>;
        fn list_attestable_fragments(
            &self,
            tessera: &TesseraHash,
        ) -> Result<Vec<HeldPiece>, StoreError>;
        fn mark_damaged(&self, fragment: &HeldPiece) -> Result<bool, StoreError>;
        fn count_damaged(&self) -> Result<u64, StoreError>;
        fn read_fragment(&self, fragment: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError>;
        fn delete_fragment(&self, fragment: &HeldPiece) -> Result<bool, StoreError>;
        fn held_tesserae<'a>(
            &self,
            after: Option<&'a TesseraHash>,
            limit: usize,
        ) -> Result<Vec<TesseraHash>, StoreError>;
        fn totals(&self) -> Result<(u64, u64), StoreError>;
    }
}

/// Everything but the disk; attesting uses none of it.
struct Nobody;

impl Transport for Nobody {
    fn request<'a>(
        &'a self,
        _: &'a Target,
        _: tesseras_wire::Request,
    ) -> BoxFuture<'a, Result<Reply, RequestError>> {
        unreachable!("nobody is asked")
    }
}

impl Directory for Nobody {
    fn find_holders(&self, _: DhtKey) -> BoxStream<'_, Contact> {
        unreachable!("nobody is looked for")
    }

    fn candidates(&self, _: DhtKey, _: usize) -> BoxStream<'_, Contact> {
        unreachable!("nobody is looked for")
    }

    fn resolve(&self, _: NodeId) -> BoxFuture<'_, Option<Contact>> {
        unreachable!("nobody is looked for")
    }

    fn announce(&self, _: Vec<DhtKey>) -> BoxFuture<'_, ()> {
        unreachable!("nothing is announced")
    }

    fn own_addresses(&self) -> Vec<SocketAddr> {
        unreachable!("nobody wants to know")
    }

    fn clock_offset(&self) -> BoxFuture<'_, Option<ClockOffset>> {
        unreachable!("no clock is compared")
    }
}

impl Capsules for Nobody {
    fn open(&self, _: &TesseraRecord) -> Result<Arc<dyn OpenCapsule>, StoreError> {
        unreachable!("nothing is published")
    }

    fn unpack(&self, _: &TesseraHash) -> Box<dyn UnpackingCapsule> {
        unreachable!("nothing is unpacked")
    }
}

fn node(store: &Store, fragments: Arc<dyn FragmentStore>, keys: Arc<NodeKeys>) -> Replication {
    let stores = Stores {
        blobs: store.blobs(),
        workbench: store.workbench(),
        library: store.library(),
        fragments,
        holdings: store.holdings(),
        ledger: store.ledger(),
    };
    let limits = Limits {
        storage: 1 << 30,
        min_free_space: 0,
        per_peer: 1 << 30,
        deficit_allowance: 1 << 30,
        repair_share: 1 << 30,
    };
    let patience = Duration::from_secs(5);
    Replication::new(Parts {
        config: ReplicationConfig {
            hedge_percent: 10,
            limits,
            max_transfers: 4,
            repair: ReplicationConfig::default().repair,
            answer_deadline: patience,
            transfer_deadline: patience,
        },
        keys,
        stores,
        capsules: Arc::new(Nobody),
        transport: Arc::new(Nobody),
        memory: SharedMemory::new(Vec::new(), Clock::new(|| NOW)),
        directory: Arc::new(Nobody),
        clock: Clock::new(|| NOW),
        rng: StdRng::seed_from_u64(7),
        blocking: Arc::new(TokioBlocking),
    })
}

/// Asks a node to attest, which it does.
async fn attested(node: &Replication, keys: &NodeKeys) -> Vec<AttestedPiece> {
    ask(node, keys).await.unwrap()
}

/// Asks a node to attest, and verifies the answer.
async fn ask(node: &Replication, keys: &NodeKeys) -> Result<Vec<AttestedPiece>, Refusal> {
    let asker = NodeKeys::generate(0).unwrap();
    let remote = SocketAddr::from(([127, 0, 0, 1], 1));
    let NodePublic { public_key, nonce } = asker.public();
    let peer = Peer { id: asker.id(), public_key, nonce, remote };
    let nonce = [9; 32];
    let frame = codec::encode(&Request::Attest { tessera: TESSERA, nonce }).unwrap();
    let answer = node.serve(peer, "attest", &frame, empty_body()).await.unwrap();
    let attestation = match codec::decode::<Answer<Attestation>>(&answer.frame).unwrap() {
        Answer::Ok(attestation) => attestation,
        Answer::Error(refusal) => return Err(refusal),
    };
    let question = Question { asker: asker.id(), holder: keys.id(), tessera: TESSERA, nonce };
    assert!(is_valid(&attestation, &question, &keys.public(), NOW));
    Ok(attestation.pieces)
}

#[tokio::test]
async fn a_hundred_fragments_are_attested_without_reading_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
    let keys = Arc::new(NodeKeys::generate(0).unwrap());
    let held: Vec<HeldPiece> = (0..100)
        .map(|index| HeldPiece {
            tessera: TESSERA,
            piece: Piece::Index(index),
            checksum: blake3(&[index]),
            bytes: 1 << 20,
        })
        .collect();
    let mut fragments = MockFragments::new();
    fragments.expect_read_fragment().never();
    fragments.expect_list_attestable_fragments().times(1).return_once({
        let held = held.clone();
        move |_| Ok(held)
    });
    let node = node(&store, Arc::new(fragments), keys.clone());
    let pieces = attested(&node, &keys).await;
    let same = |f: HeldPiece| AttestedPiece { piece: f.piece, checksum: f.checksum };
    assert_eq!(pieces, held.into_iter().map(same).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_attestation_says_what_the_disk_has_and_nothing_while_it_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
    let keys = Arc::new(NodeKeys::generate(0).unwrap());
    for index in 0..100_u8 {
        let bytes = vec![index; 3000];
        let mut writer = store.blobs().stage().unwrap();
        writer.write(&bytes).unwrap();
        let staged = writer.finish().unwrap();
        let fragment = HeldPiece {
            tessera: TESSERA,
            piece: Piece::Index(index),
            checksum: blake3(&bytes),
            bytes: bytes.len() as u64,
        };
        let subnet = Subnet::of([10, 0, 0, 1].into());
        let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet });
        store.fragments().store_fragment(&fragment, staged, &charge).unwrap();
    }
    let node = node(&store, Arc::new(store.cached_fragments(1 << 20)), keys.clone());
    let before = attested(&node, &keys).await;
    assert_eq!(before.len(), 100);
    let (cas, away) = (dir.path().join("cas"), dir.path().join("away"));
    std::fs::rename(&cas, &away).unwrap();
    let refused = ask(&node, &keys).await.unwrap_err();
    assert_eq!(refused.code, Refusal::INTERNAL);
    std::fs::rename(&away, &cas).unwrap();
    assert_eq!(attested(&node, &keys).await, before);
    let lost = before[40].checksum.to_string();
    std::fs::remove_file(cas.join(&lost[..2]).join(format!("{lost}.blob"))).unwrap();
    let mut left = before;
    left.remove(40);
    assert_eq!(attested(&node, &keys).await, left);
}
