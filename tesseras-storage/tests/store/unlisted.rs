//! What is stored of capsules that the index does not list, as after a bit of it flipped or an older
//! copy of it was put back: nothing takes it away.

use std::path::{Path, PathBuf};

use tesseras_core::code::Piece;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{
    HeldPiece, HoldingRepository as _, NewTessera, StoreError, TesseraRepository as _,
};
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::blake3;
use tesseras_storage::{Rebuilt, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::things::{Capsule, add, add_capsule, capsule, content, dossier, open, put, stage};

fn object(dir: &Path, bytes: &[u8]) -> PathBuf {
    let name = blake3(bytes).to_string();
    dir.join("cas").join(&name[..2]).join(format!("{name}.blob"))
}

fn rebuild(dir: &Path) -> Rebuilt {
    Store::rebuild_library(dir, &StorageConfig::default(), "unlisted").unwrap()
}

/// Flips the last bit of the byte at `offset` from the one place of a hash after which `is_there`
/// finds what it expects, in a store that is closed.
fn flip(dir: &Path, hash: &[u8; 32], offset: usize, is_there: impl Fn(&[u8]) -> bool) {
    let index = dir.join("db/tesseras.db");
    let mut bytes = std::fs::read(&index).unwrap();
    let places: Vec<usize> = (0..bytes.len() - 64)
        .filter(|at| bytes[*at..at + 32] == *hash && is_there(&bytes[at + 32..]))
        .collect();
    let [at] = places[..] else { panic!("{} places", places.len()) };
    bytes[at + offset] ^= 1;
    std::fs::write(index, bytes).unwrap();
}

/// Runs `act` on a store, and puts the index back that was there before.
fn with_an_older_index(dir: &Path, act: impl FnOnce(&Store)) {
    drop(open(dir));
    let index = dir.join("db/tesseras.db");
    let older = std::fs::read(&index).unwrap();
    act(&open(dir));
    std::fs::write(&index, older).unwrap();
}

/// A capsule in whose row a bit flipped, and of which a small file is lost; and what the row says.
fn flipped_and_incomplete(dir: &Path) -> (Capsule, TesseraHash) {
    let one = capsule(1);
    let store = open(dir);
    add_capsule(&store, &one);
    drop(store);
    let mut hash = *one.record.hash.as_bytes();
    flip(dir, &hash, 31, |after| after.starts_with(b"Summer 1"));
    std::fs::remove_file(object(dir, &one.files[2])).unwrap();
    hash[31] ^= 1;
    (one, TesseraHash::new(hash))
}

/// It is listed again without its lost file, its photo is kept, and nothing is missing when the file
/// is back.
fn assert_listed_and_whole_again(dir: &Path, one: &Capsule) {
    let photo = object(dir, &one.files[3]);
    let store = open(dir);
    for _ in 0..2 {
        let garbage = store.collect_garbage(END_OF_TIME).unwrap();
        assert!(photo.exists(), "the only copy of a photo was removed: {garbage:?}");
        assert_eq!((garbage.unlisted, garbage.disagreements), (vec![], vec![]));
    }
    assert_eq!(store.library().list().unwrap(), std::slice::from_ref(&one.record));
    assert_eq!(store.check().unwrap().missing, [blake3(&one.files[2])]);
    assert_eq!(store.count_damaged_objects().unwrap(), 1);
    drop(store);
    std::fs::write(object(dir, &one.files[2]), &one.files[2]).unwrap();
    assert_eq!(rebuild(dir), Rebuilt { found: 1, ..Rebuilt::default() });
    assert!(open(dir).check().unwrap().is_intact());
}

#[test]
fn what_an_incomplete_capsule_has_is_kept_after_its_row_was_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = flipped_and_incomplete(dir.path());
    let rebuilt = rebuild(dir.path());
    assert_eq!(rebuilt.incomplete.len(), 1, "the row of none is forgotten: {rebuilt:?}");
    assert_eq!(rebuilt.restored, [one.record.hash]);
    assert_listed_and_whole_again(dir.path(), &one);
}

#[test]
fn what_an_incomplete_capsule_has_is_kept_after_the_flipped_row_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (one, flipped) = flipped_and_incomplete(dir.path());
    open(dir.path()).library().remove(&flipped).unwrap().unwrap();
    rebuild(dir.path());
    assert_listed_and_whole_again(dir.path(), &one);
}

#[test]
fn adding_a_capsule_in_vain_takes_nothing_that_was_here() {
    let dir = tempfile::tempdir().unwrap();
    let one = capsule(1);
    with_an_older_index(dir.path(), |store| add_capsule(store, &one));
    let store = open(dir.path());
    let all = std::iter::once(&one.manifest).chain(&one.files);
    let staged: Vec<_> = all.map(|bytes| stage(&store, bytes).unwrap()).collect();
    let mut content: Vec<_> = staged.iter().map(|staged| staged.hash).collect();
    // The last of it is not there, so the transaction fails.
    content.push(ContentHash::new([0xff; 32]));
    let failed = store.library().add(NewTessera { record: one.record.clone(), content, staged });
    assert!(matches!(failed, Err(StoreError::Missing(_))), "{failed:?}");
    drop(store);
    assert_eq!(rebuild(dir.path()).restored, [one.record.hash]);
}

#[test]
fn a_drop_leaves_what_a_capsule_needs_that_is_not_listed_yet() {
    let dir = tempfile::tempdir().unwrap();
    let (listed, unlisted) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &listed);
    drop(store);
    with_an_older_index(dir.path(), |store| add_capsule(store, &unlisted));
    let store = open(dir.path());
    store.library().remove(&listed.record.hash).unwrap().unwrap();
    assert!(!object(dir.path(), &listed.files[3]).exists(), "its own photo goes");
    store.collect_garbage(END_OF_TIME).unwrap();
    drop(store);
    // They have the keys of their creator in common.
    assert_eq!(rebuild(dir.path()).restored, [unlisted.record.hash]);
    let store = open(dir.path());
    assert!(store.check().unwrap().is_tidy());
    store.library().remove(&unlisted.record.hash).unwrap().unwrap();
    assert_eq!(store.check().unwrap().objects, 0);
    assert!(!object(dir.path(), &unlisted.files[0]).exists());
}

fn flip_length(dir: &Path, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).unwrap();
    flip(dir, blake3(bytes).as_bytes(), 32, |after| after[0] == length);
}

#[test]
fn a_wrong_length_in_the_index_does_not_keep_others_from_being_listed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (listed, unlisted) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &listed);
    drop(store);
    with_an_older_index(dir.path(), |store| add_capsule(store, &unlisted));
    // Both have it.
    flip_length(dir.path(), &listed.files[2]);
    assert_eq!(rebuild(dir.path()).restored, [unlisted.record.hash]);
    assert!(open(dir.path()).check().unwrap().is_intact());
}

#[test]
fn a_capsule_that_is_added_again_gets_its_length_right() {
    let dir = tempfile::tempdir().unwrap();
    let one = capsule(1);
    let store = open(dir.path());
    add_capsule(&store, &one);
    drop(store);
    flip_length(dir.path(), &one.files[2]);
    let store = open(dir.path());
    assert!(!store.check().unwrap().is_intact());
    assert!(!add(&store, &one.manifest, &one.files).unwrap(), "it is listed");
    let check = store.check().unwrap();
    assert!(check.is_intact(), "{check:#?}");
}

#[test]
fn a_dossier_that_came_again_after_a_bit_of_its_row_flipped_is_no_damage_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = capsule(9);
    let (tessera, bytes) = (theirs.record.hash, content(77, 3000));
    let (checksum, length) = (blake3(&bytes), bytes.len() as u64);
    let plan = Plan::new(tessera, length, checksum, Vec::new()).unwrap().render().into_bytes();
    let dossier = Dossier { plan, ..dossier(&theirs.manifest) };
    let store = open(dir.path());
    store.holdings().put_dossier(&tessera, &dossier).unwrap();
    let piece = HeldPiece { tessera, piece: Piece::Whole, checksum, bytes: length };
    put(&store, &piece, &bytes).unwrap();
    drop(store);
    // Its signature follows.
    flip(dir.path(), tessera.as_bytes(), 31, |after| after[..8] == [1; 8]);
    assert!(open(dir.path()).holdings().put_dossier(&tessera, &dossier).unwrap());
    rebuild(dir.path());
    let stray = object(dir.path(), b"stray");
    std::fs::write(&stray, b"stray").unwrap();
    let garbage = open(dir.path()).collect_garbage(END_OF_TIME).unwrap();
    assert_eq!((garbage.disagreements, garbage.orphans), (vec![], 1));
    assert!(!stray.exists());
}

/// Puts an index back in which the capsule was dropped, although it was added once more since then.
#[test]
fn what_came_back_after_a_drop_is_kept_and_listed_also_with_an_index_of_the_time_between() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &other);
    add_capsule(&store, &one);
    store.holdings().block(&one.record.hash, one.record.added).unwrap();
    store.library().remove(&one.record.hash).unwrap().unwrap();
    drop(store);
    let mut again = capsule(1);
    again.record.added = Timestamp(one.record.added.0 + 1);
    with_an_older_index(dir.path(), |store| {
        store.library().unblock(&one.record.hash).unwrap();
        add_capsule(store, &again);
    });
    let store = open(dir.path());
    let garbage = store.collect_garbage(END_OF_TIME).unwrap();
    assert!(object(dir.path(), &one.files[3]).exists(), "{garbage:?}");
    assert_eq!((garbage.orphans, garbage.unlisted), (0, vec![one.record.hash]));
    assert_eq!(store.check().unwrap().unlisted, [one.record.hash]);
    assert!(store.is_unlisted(&one.record.hash).unwrap());
    drop(store);
    assert_eq!(rebuild(dir.path()).restored, [one.record.hash]);
    let store = open(dir.path());
    assert_eq!(store.library().get(&one.record.hash).unwrap(), Some(again.record.clone()));
    assert!(!store.holdings().is_blocked(&one.record.hash).unwrap(), "it may be fetched");
    drop(store);
    // It is dropped once more, and stays away.
    with_an_older_index(dir.path(), |_| {});
    let file = dir.path().join(format!("library/{}.signatures", one.record.hash));
    let left = std::fs::read(&file).unwrap();
    let store = open(dir.path());
    store.holdings().block(&one.record.hash, again.record.added).unwrap();
    store.library().remove(&one.record.hash).unwrap().unwrap();
    std::fs::write(&file, left).unwrap();
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap().unlisted, []);
    assert!(!file.exists());
}

/// A capsule that was dropped and added again, beside an index that knows of the drop alone.
fn back_since_the_index() -> (tempfile::TempDir, Capsule) {
    let dir = tempfile::tempdir().unwrap();
    let one = capsule(1);
    let store = open(dir.path());
    store.holdings().block(&one.record.hash, Timestamp(1)).unwrap();
    drop(store);
    with_an_older_index(dir.path(), |store| {
        store.library().unblock(&one.record.hash).unwrap();
        add_capsule(store, &one);
    });
    (dir, one)
}

/// An index that still knows the first drop is told of the second.
#[test]
fn a_drop_counts_from_the_last_time() {
    let (dir, one) = back_since_the_index();
    let store = open(dir.path());
    assert!(store.is_unlisted(&one.record.hash).unwrap());
    store.holdings().block(&one.record.hash, one.record.added).unwrap();
    assert!(!store.is_unlisted(&one.record.hash).unwrap());
    store.collect_garbage(END_OF_TIME).unwrap();
    assert!(!object(dir.path(), &one.files[3]).exists());
}

/// What nothing can be written over or read as a file.
#[test]
fn a_directory_in_the_place_of_a_file_holds_up_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let capsules = [capsule(1), capsule(2), capsule(3)];
    let store = open(dir.path());
    capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
    drop(store);
    let file = dir.path().join(format!("library/{}.signatures", capsules[0].record.hash));
    let manifest = object(dir.path(), &capsules[1].manifest);
    for path in [&file, &manifest] {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    }
    let rebuilt = rebuild(dir.path());
    assert_eq!((rebuilt.found, rebuilt.restored), (3, vec![]));
    assert_eq!(rebuilt.skipped.len(), 1, "{:?}", rebuilt.skipped);
    assert!(rebuilt.skipped[0].contains(file.to_str().unwrap()), "{:?}", rebuilt.skipped);
    assert_eq!(rebuilt.incomplete.len(), 1);
    assert_eq!(rebuilt.incomplete[0].hash, capsules[1].record.hash);
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert_eq!(rebuild(dir.path()).restored, [capsules[2].record.hash]);
}

/// The index that is put back knows of the drop alone, and the date of the adding cannot be read.
#[test]
fn what_came_back_after_a_drop_is_kept_though_its_signature_file_is_damaged() {
    let (dir, one) = back_since_the_index();
    let file = dir.path().join(format!("library/{}.signatures", one.record.hash));
    std::fs::write(file, "damaged").unwrap();
    let store = open(dir.path());
    let garbage = store.collect_garbage(END_OF_TIME).unwrap();
    assert!(object(dir.path(), &one.files[3]).exists(), "{garbage:?}");
    // It can be given up all the same.
    store.holdings().block(&one.record.hash, Timestamp(1 << 40)).unwrap();
    store.collect_garbage(END_OF_TIME).unwrap();
    assert!(!object(dir.path(), &one.files[3]).exists());
}
