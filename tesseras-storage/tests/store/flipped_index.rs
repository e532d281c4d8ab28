//! One bit of a hash in the index flips: nothing is removed for it, the check calls it damage, and a
//! rebuild mends it. The bits are flipped in the file of the database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tesseras_core::code::Piece;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HeldPiece, HoldingRepository as _, TesseraRepository as _,
};
use tesseras_crypto::hash::blake3;
use tesseras_storage::{Disagreement, Rebuilt, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::things::{
    Capsule, add, add_capsule, assert_tidy, capsule, content, dossier, open, put, read, tree,
};

/// Where a hash is in the database, and what the rows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// The row that refers to the object, and its copy in the index by object.
    Reference,
    /// Only the row.
    ReferenceRow,
    /// Only its copy in the index.
    ReferenceIndex,
    /// The row of the object itself.
    Object,
}

const SPOTS: [Spot; 4] = [Spot::Reference, Spot::ReferenceRow, Spot::ReferenceIndex, Spot::Object];

impl Spot {
    /// Whether SQLite itself sees that two copies differ, and the database is replaced.
    fn is_seen_by_sqlite(self) -> bool {
        matches!(self, Self::ReferenceRow | Self::ReferenceIndex)
    }

    fn has(self, before: &[u8], after: &[u8], tessera: &TesseraHash) -> bool {
        let is_row = before.ends_with(tessera.as_bytes());
        let is_index = after.starts_with(tessera.as_bytes());
        match self {
            Self::Reference => is_row || is_index,
            Self::ReferenceRow => is_row,
            Self::ReferenceIndex => is_index,
            Self::Object => !is_row && !is_index,
        }
    }
}

fn database(dir: &Path) -> PathBuf {
    dir.join("db/tesseras.db")
}

/// Every place of a hash in a file.
fn places(bytes: &[u8], hash: &ContentHash) -> Vec<usize> {
    let windows = bytes.windows(ContentHash::LEN).enumerate();
    windows.filter(|(_, window)| window == hash.as_bytes()).map(|(at, _)| at).collect()
}

/// Flips the last bit of an object's hash at all places of this kind, in a store that is closed.
fn flip(dir: &Path, spot: Spot, tessera: &TesseraHash, object: &ContentHash) {
    let mut bytes = std::fs::read(database(dir)).unwrap();
    let mut flipped = 0;
    for at in places(&bytes, object) {
        let (before, after) = (&bytes[..at], &bytes[at + ContentHash::LEN..]);
        if spot.has(before, after, tessera) {
            bytes[at + ContentHash::LEN - 1] ^= 1;
            flipped += 1;
        }
    }
    assert!(flipped > 0, "{spot:?}");
    std::fs::write(database(dir), bytes).unwrap();
}

fn object(dir: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    dir.join("cas").join(&name[..2]).join(format!("{name}.blob"))
}

fn rebuild(dir: &Path) -> Rebuilt {
    Store::rebuild_library(dir, &StorageConfig::default(), "flipped").unwrap()
}

/// Removes a database with its log.
fn remove_database(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = entry.unwrap();
        if file.file_name().to_str().unwrap().starts_with(name) {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
}

fn is_whole(store: &Store, capsule: &Capsule) -> bool {
    let files = std::iter::once(&capsule.manifest).chain(&capsule.files);
    let stored = |bytes: &Vec<u8>| {
        store.blobs().open(&blake3(bytes)).is_ok_and(|reader| read(&*reader) == *bytes)
    };
    store.library().get(&capsule.record.hash).unwrap().as_ref() == Some(&capsule.record)
        && files.into_iter().all(stored)
}

/// A file that nothing refers to.
fn stray(dir: &Path) -> PathBuf {
    let bytes = content(999, 500);
    let path = object(dir, &blake3(&bytes));
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_photo_whose_hash_flipped_in_the_index_is_kept_named_and_mended() {
    for spot in SPOTS {
        let dir = tempfile::tempdir().unwrap();
        let capsules = [capsule(1), capsule(2)];
        let store = open(dir.path());
        capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
        drop(store);
        let photo = blake3(&capsules[0].files[3]);
        flip(dir.path(), spot, &capsules[0].record.hash, &photo);
        let stray = stray(dir.path());

        let store = open(dir.path());
        for _ in 0..2 {
            store.collect_garbage(END_OF_TIME).unwrap();
            assert!(object(dir.path(), &photo).exists(), "{spot:?}: the only copy was removed");
            assert!(stray.exists(), "{spot:?}: nothing is removed meanwhile");
        }
        let check = store.check().unwrap();
        assert!(!check.is_intact(), "{spot:?}: {check:#?}");
        drop(store);

        let rebuilt = rebuild(dir.path());
        assert_eq!(rebuilt.incomplete, [], "{spot:?}");
        assert_eq!(rebuilt.set_aside.is_some(), spot.is_seen_by_sqlite(), "{spot:?}");
        if let Some(aside) = rebuilt.set_aside {
            remove_database(&aside);
        }
        let store = open(dir.path());
        assert!(capsules.iter().all(|capsule| is_whole(&store, capsule)), "{spot:?}");
        assert!(store.check().unwrap().is_intact(), "{spot:?}: {:#?}", store.check());
        store.collect_garbage(END_OF_TIME).unwrap();
        assert!(!stray.exists(), "{spot:?}: garbage is removed again");
        assert!(capsules.iter().all(|capsule| is_whole(&store, capsule)), "{spot:?}");
        assert_tidy(&store);
        for capsule in &capsules {
            store.library().remove(&capsule.record.hash).unwrap();
        }
        assert_eq!(tree(&dir.path().join("cas")).len(), 0, "{spot:?}: what is dropped goes");
    }
}

#[test]
fn a_capsule_that_is_added_again_gets_the_rows_back_that_flipped() {
    for spot in [Spot::Reference, Spot::Object] {
        let dir = tempfile::tempdir().unwrap();
        let capsule = capsule(1);
        let store = open(dir.path());
        add_capsule(&store, &capsule);
        drop(store);
        flip(dir.path(), spot, &capsule.record.hash, &blake3(&capsule.files[3]));
        let store = open(dir.path());
        assert!(!store.check().unwrap().is_intact(), "{spot:?}");
        assert!(!add(&store, &capsule.manifest, &capsule.files).unwrap(), "{spot:?}: it is listed");
        assert!(is_whole(&store, &capsule), "{spot:?}");
        store.collect_garbage(END_OF_TIME).unwrap();
        assert!(is_whole(&store, &capsule), "{spot:?}");
        assert_tidy(&store);
        store.library().remove(&capsule.record.hash).unwrap();
        assert_eq!(tree(&dir.path().join("cas")).len(), 0, "{spot:?}: what is dropped goes");
    }
}

/// A piece held for others, with the plan that names it.
pub fn held(store: &Store) -> (HeldPiece, Vec<u8>) {
    let theirs = capsule(9);
    let bytes = content(77, 3000);
    let (tessera, checksum) = (theirs.record.hash, blake3(&bytes));
    let plan = Plan::new(tessera, bytes.len() as u64, checksum, Vec::new()).unwrap();
    let plan = plan.render().into_bytes();
    let dossier = Dossier { plan, ..dossier(&theirs.manifest) };
    store.holdings().put_dossier(&tessera, &dossier).unwrap();
    let piece = HeldPiece { tessera, piece: Piece::Whole, checksum, bytes: bytes.len() as u64 };
    put(store, &piece, &bytes).unwrap();
    (piece, bytes)
}

#[test]
fn a_held_piece_whose_hash_flipped_in_the_index_is_kept_and_mended() {
    for spot in SPOTS {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (piece, bytes) = held(&store);
        drop(store);
        flip_piece(dir.path(), spot, &piece);
        let store = open(dir.path());
        store.collect_garbage(END_OF_TIME).unwrap();
        assert!(object(dir.path(), &piece.checksum).exists(), "{spot:?}: it was removed");
        assert!(!store.check().unwrap().is_intact(), "{spot:?}");
        drop(store);
        let rebuilt = rebuild(dir.path());
        assert!(object(dir.path(), &piece.checksum).exists(), "{spot:?}");
        if spot.is_seen_by_sqlite() {
            assert!(rebuilt.set_aside.is_some(), "{spot:?}: what it knew of others is in there");
            continue;
        }
        let store = open(dir.path());
        assert_eq!(store.fragments().list_fragments(&piece.tessera).unwrap(), [piece]);
        assert!(read(&*store.fragments().read_fragment(&piece).unwrap()) == bytes, "{spot:?}");
        assert_tidy(&store);
        assert!(store.fragments().delete_fragment(&piece).unwrap());
        assert!(!object(dir.path(), &piece.checksum).exists(), "{spot:?}");
    }
}

/// [`flip`] for a whole piece, whose number takes one byte between tessera and checksum.
fn flip_piece(dir: &Path, spot: Spot, piece: &HeldPiece) {
    let mut bytes = std::fs::read(database(dir)).unwrap();
    let mut flipped = 0;
    for at in places(&bytes, &piece.checksum) {
        let (before, after) = (&bytes[..at - 1], &bytes[at + ContentHash::LEN..]);
        if spot.has(before, after, &piece.tessera) {
            bytes[at + ContentHash::LEN - 1] ^= 1;
            flipped += 1;
        }
    }
    assert!(flipped > 0, "{spot:?}");
    std::fs::write(database(dir), bytes).unwrap();
}

/// The capsule that is dropped has the photo, too; the row of the photo itself is damaged.
#[test]
fn a_drop_does_not_take_the_photo_of_another_capsule_along() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, dropped) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &kept);
    add_capsule(&store, &dropped);
    drop(store);
    // Both have it.
    let key = blake3(&kept.files[0]);
    let mut flipped = 0;
    let mut bytes = std::fs::read(database(dir.path())).unwrap();
    for at in places(&bytes, &key) {
        let (before, after) = (&bytes[..at], &bytes[at + ContentHash::LEN..]);
        let is_object = [&kept, &dropped]
            .iter()
            .all(|capsule| Spot::Object.has(before, after, &capsule.record.hash));
        if is_object {
            bytes[at + ContentHash::LEN - 1] ^= 1;
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    std::fs::write(database(dir.path()), bytes).unwrap();
    let store = open(dir.path());
    store.library().remove(&dropped.record.hash).unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(object(dir.path(), &key).exists());
    drop(store);
    rebuild(dir.path());
    assert!(is_whole(&open(dir.path()), &kept));
}

#[test]
fn nothing_is_removed_while_a_manifest_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let capsule = capsule(1);
    let store = open(dir.path());
    add_capsule(&store, &capsule);
    let stray = stray(dir.path());
    let manifest = object(dir.path(), &capsule.record.hash.into());
    std::fs::write(&manifest, &capsule.manifest[1..]).unwrap();
    store.collect_garbage(END_OF_TIME).unwrap();
    assert!(stray.exists());
    std::fs::write(&manifest, &capsule.manifest).unwrap();
    store.collect_garbage(END_OF_TIME).unwrap();
    assert!(!stray.exists());
    assert_tidy(&store);
}

/// Every place of every hash, one after the other, in a store with capsules and held pieces.
#[test]
fn no_bit_of_a_hash_in_the_index_costs_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let capsules = [capsule(1), capsule(2)];
    let store = open(dir.path());
    capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
    held(&store);
    drop(store);
    let (sound, files) = (std::fs::read(database(dir.path())).unwrap(), tree(dir.path()));
    let stored: BTreeSet<PathBuf> = tree(&dir.path().join("cas")).into_keys().collect();
    let hashes = stored.iter().map(|path| path.file_stem().unwrap().to_str().unwrap());
    let hashes: Vec<ContentHash> = hashes.map(|name| name.parse().unwrap()).collect();
    let all: Vec<usize> = hashes.iter().flat_map(|hash| places(&sound, hash)).collect();
    let mut is_named = false;
    for (number, at) in all.iter().enumerate() {
        // Not in the last byte alone: some rows are then out of their order.
        let (byte, bit) = (at + number % ContentHash::LEN, number % 8);
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in &files {
            let to = dir.path().join(path.strip_prefix(root(&files)).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, bytes).unwrap();
        }
        let mut bytes = sound.clone();
        bytes[byte] ^= 1 << bit;
        std::fs::write(database(dir.path()), bytes).unwrap();
        if let Ok(store) = Store::open(dir.path(), &StorageConfig::default()) {
            let _ = store.collect_garbage(END_OF_TIME);
            let found = store.check().map_or_else(|_| Vec::new(), |check| check.disagreements);
            is_named |= found.iter().any(|one| matches!(one, Disagreement::Tessera(_)));
        }
        rebuild(dir.path());
        let store = open(dir.path());
        let _ = store.collect_garbage(END_OF_TIME);
        let left = tree(&dir.path().join("cas")).len();
        assert_eq!(left, stored.len(), "byte {byte}, bit {bit}");
        let is_whole = capsules.iter().all(|capsule| is_whole(&store, capsule));
        assert!(is_whole, "byte {byte}, bit {bit}");
    }
    assert!(is_named, "also a flipped hash in the list of tesserae");
    eprintln!("{} places of a hash", all.len());
}

/// The directory that all these files are below.
fn root(files: &std::collections::BTreeMap<PathBuf, Vec<u8>>) -> PathBuf {
    let database = files.keys().find(|path| path.ends_with("db/tesseras.db")).unwrap();
    database.ancestors().nth(2).unwrap().to_owned()
}
