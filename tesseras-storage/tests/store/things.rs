//! Things to put into a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, CreatorId, NodeId, TesseraHash};
use tesseras_core::manifest::{FileEntry, Manifest, listed};
use tesseras_core::pack::PackLayout;
use tesseras_core::path::CapsulePath;
use tesseras_core::ports::{
    BlobReader, BlobStore as _, Charge, FragmentStore as _, HeldPiece, NewTessera, Origin, PeerAt,
    StagedBlob, StoreError, TesseraRecord, TesseraRepository as _,
};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::{blake3, sha256};
use tesseras_crypto::{CreatorKeys, NamedManifest};
use tesseras_storage::{StorageConfig, Store};

pub fn open(dir: &Path) -> Store {
    Store::open(dir, &StorageConfig::default()).unwrap()
}

pub fn charge() -> Charge {
    Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet: Subnet::V4([10, 0, 0]) })
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

pub fn fragment(number: u64, index: u8, bytes: &[u8]) -> HeldPiece {
    HeldPiece {
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

pub fn put(store: &Store, fragment: &HeldPiece, bytes: &[u8]) -> Result<(), StoreError> {
    let staged = stage(store, bytes)?;
    store.fragments().store_fragment(fragment, staged, &charge())
}

pub fn read(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The capsule with this MANIFEST, or with these bytes for one.
pub fn record(manifest: &[u8]) -> TesseraRecord {
    let hash = blake3(manifest).into();
    if let Ok(named) = NamedManifest::read(manifest, &hash) {
        let layout = PackLayout::new(&hash, named.manifest(), manifest.len() as u64).unwrap();
        let (origin, added) = (Origin::Created, Timestamp(1));
        let manifest = named.manifest();
        return TesseraRecord::of_manifest(hash, manifest, &layout, signatures(), origin, added);
    }
    TesseraRecord {
        hash,
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

fn entry(path: &str, bytes: &[u8]) -> FileEntry {
    FileEntry {
        blake3: blake3(bytes),
        sha256: sha256(bytes),
        bytes: bytes.len() as u64,
        mime: "text/plain".to_owned(),
        path: CapsulePath::new(path).unwrap(),
    }
}

/// A MANIFEST that no other number has and that names these files, at least one.
pub fn manifest(number: u64, files: &[Vec<u8>]) -> Vec<u8> {
    let needed = [listed::ED25519_PEM, listed::ML_DSA_65_PEM, listed::README];
    let needed = needed.map(|path| entry(path, &files[0]));
    let memories = files.iter().enumerate();
    let memories = memories
        .map(|(index, bytes)| entry(&format!("memories/{:04}/media.txt", index + 1), bytes));
    let headers = vec![("title".to_owned(), number.to_string())];
    let all = needed.into_iter().chain(memories).collect();
    let manifest = Manifest::new(CreatorId::new([3; 32]), files.len() as u64, headers, all);
    manifest.unwrap().render().into_bytes()
}

/// A real capsule, small and signed.
pub struct Capsule {
    pub manifest: Vec<u8>,
    pub files: Vec<Vec<u8>>,
    pub record: TesseraRecord,
}

/// The capsule of this number, by the one creator of these tests.
pub fn capsule(number: u64) -> Capsule {
    let keys = CreatorKeys::from_seeds(&[1; 32], &[2; 32]);
    let public = keys.public();
    let files = [
        (listed::ED25519_PEM, public.ed25519_pem().into_bytes()),
        (listed::ML_DSA_65_PEM, public.ml_dsa_65_pem().into_bytes()),
        (listed::README, b"how to read it\n".to_vec()),
        ("memories/0001/media.txt", content(number, 5000)),
    ];
    let entry = |(path, bytes): &(&str, Vec<u8>)| entry(path, bytes);
    let headers =
        [("title", format!("Summer {number}")), ("created", "2026-01-01T00:00:00Z".into())];
    let headers = headers.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let manifest =
        Manifest::new(public.id(), 1, headers, files.iter().map(entry).collect()).unwrap();
    let text = manifest.render().into_bytes();
    let hash = blake3(&text).into();
    let layout = PackLayout::new(&hash, &manifest, text.len() as u64).unwrap();
    let record = TesseraRecord {
        hash,
        title: format!("Summer {number}"),
        created: "2026-01-01T00:00:00Z".to_owned(),
        creator: public.id(),
        memories: 1,
        files: layout.entries().len() as u64,
        bytes: layout.entries().iter().map(|entry| entry.bytes).sum(),
        signatures: keys.sign(&text),
        origin: if number.is_multiple_of(2) { Origin::Created } else { Origin::Fetched },
        added: Timestamp(1_000_000 + number),
    };
    Capsule { manifest: text, files: files.map(|(_, bytes)| bytes).to_vec(), record }
}

/// Adds a real capsule.
pub fn add_capsule(store: &Store, capsule: &Capsule) {
    let all = std::iter::once(&capsule.manifest).chain(&capsule.files);
    let staged: Vec<_> = all.map(|bytes| stage(store, bytes).unwrap()).collect();
    let content = staged.iter().map(|s| s.hash).collect();
    let record = capsule.record.clone();
    assert!(store.library().add(NewTessera { record, content, staged }).unwrap());
}

/// Every file below a directory, with its bytes.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
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
    assert!(check.is_tidy(), "{check:#?}");
}
