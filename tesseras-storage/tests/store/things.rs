//! Things to put into a store.

use std::path::Path;

use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, CreatorId, NodeId, TesseraHash};
use tesseras_core::ports::{
    BlobReader, BlobStore as _, Charge, Fragment, FragmentStore as _, NewTessera, Origin,
    StagedBlob, StoreError, TesseraRecord, TesseraRepository as _,
};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::blake3;
use tesseras_storage::{StorageConfig, Store};

pub fn open(dir: &Path) -> Store {
    Store::open(dir, &StorageConfig::default()).unwrap()
}

pub fn charge() -> Charge {
    Charge::Peer { id: NodeId::new([1; 20]), subnet: Subnet::V4([10, 0, 0]) }
}

/// Bytes that nothing but this number has.
pub fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length.max(8), number as u8);
    bytes
}

pub fn tessera(number: u64) -> TesseraHash {
    blake3(&number.to_le_bytes()).into()
}

pub fn fragment(number: u64, index: u8, bytes: &[u8]) -> Fragment {
    Fragment {
        tessera: tessera(number),
        piece: Piece::Index(index),
        checksum: blake3(bytes),
        bytes: bytes.len() as u64,
    }
}

pub fn stage(store: &Store, bytes: &[u8]) -> Result<StagedBlob, StoreError> {
    let mut writer = store.blobs().stage()?;
    writer.write(bytes)?;
    writer.finish()
}

pub fn put(store: &Store, fragment: &Fragment, bytes: &[u8]) -> Result<(), StoreError> {
    let staged = stage(store, bytes)?;
    store.fragments().store_fragment(fragment, staged, &charge())
}

pub fn read(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The capsule with this MANIFEST.
pub fn record(manifest: &[u8]) -> TesseraRecord {
    TesseraRecord {
        hash: blake3(manifest).into(),
        title: "a title".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        creator: CreatorId::new([3; 32]),
        memories: 1,
        files: 2,
        bytes: 3,
        signatures: signatures(),
        origin: Origin::Created,
        added: Timestamp(1),
    }
}

/// Adds a capsule, staging all of it.
pub fn add(store: &Store, manifest: &[u8], files: &[Vec<u8>]) -> Result<bool, StoreError> {
    let mut staged = vec![stage(store, manifest)?];
    for file in files {
        match stage(store, file) {
            Ok(blob) => staged.push(blob),
            Err(error) => {
                staged.into_iter().for_each(|blob| store.blobs().discard(blob));
                return Err(error);
            }
        }
    }
    let content: Vec<ContentHash> = staged.iter().map(|s| s.hash).collect();
    store.library().add(NewTessera { record: record(manifest), content, staged })
}

pub fn signatures() -> SignaturePair {
    SignaturePair { ed25519: vec![1; 64], ml_dsa_65: vec![2; 3309] }
}

pub fn dossier(manifest: &[u8]) -> Dossier {
    Dossier {
        manifest: manifest.to_vec(),
        manifest_signatures: signatures(),
        ed25519_pem: vec![1; 100],
        ml_dsa_65_pem: vec![2; 2700],
        plan: vec![3; 1000],
        plan_signatures: signatures(),
    }
}

/// Everything named is there, and nothing else.
pub fn assert_tidy(store: &Store) {
    let check = store.check().unwrap();
    assert!(check.is_sound() && check.orphans.is_empty(), "{check:#?}");
}
