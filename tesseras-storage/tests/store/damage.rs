//! A database that is damaged or lost: it is never replaced in silence, and the library comes back
//! from what lies beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HeldPiece, HoldingRepository as _, StoreError,
    TesseraRecord, TesseraRepository as _,
};
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::blake3;
use tesseras_storage::{Incomplete, Rebuilt, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::things::{
    Capsule, add_capsule, assert_tidy, capsule, charge, content, fragment, open, put, stage, tree,
};

const LABEL: &str = "2026-01-02";

fn rebuild(dir: &Path) -> Result<Rebuilt, StoreError> {
    Store::rebuild_library(dir, &StorageConfig::default(), LABEL)
}

fn try_open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, &StorageConfig::default())
}

fn database(dir: &Path) -> PathBuf {
    dir.join("db/tesseras.db")
}

fn object(dir: &Path, bytes: &[u8]) -> PathBuf {
    let hash = blake3(bytes).to_string();
    dir.join("cas").join(&hash[..2]).join(format!("{hash}.blob"))
}

fn signature_file(dir: &Path, hash: &TesseraHash) -> PathBuf {
    dir.join("library").join(format!("{hash}.signatures"))
}

/// A closed store with a few capsules.
fn library_of(numbers: std::ops::Range<u64>) -> (tempfile::TempDir, Vec<Capsule>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let capsules: Vec<_> = numbers.map(capsule).collect();
    capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
    drop(store);
    (dir, capsules)
}

fn hashes(capsules: &[Capsule]) -> Vec<TesseraHash> {
    let mut hashes: Vec<_> = capsules.iter().map(|capsule| capsule.record.hash).collect();
    hashes.sort_unstable();
    hashes
}

fn records(capsules: &[Capsule]) -> Vec<TesseraRecord> {
    let mut records: Vec<_> = capsules.iter().map(|capsule| capsule.record.clone()).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.added));
    records
}

/// Ways in which a database goes bad, with whether anything is left of it.
type Damage = (&'static str, fn(&Path), bool);

const DAMAGES: [Damage; 6] = [
    ("db/ is gone", |dir| std::fs::remove_dir_all(dir.join("db")).unwrap(), false),
    ("the file is gone", |dir| std::fs::remove_file(database(dir)).unwrap(), false),
    ("it is empty", |dir| std::fs::write(database(dir), "").unwrap(), true),
    ("it is garbage", |dir| std::fs::write(database(dir), vec![7; 50_000]).unwrap(), true),
    ("only its first page is left", |dir| cut(dir, |_| 4096), true),
    ("its end is gone", |dir| cut(dir, |bytes| bytes / 2 / 4096 * 4096), true),
];

fn cut(dir: &Path, to: fn(u64) -> u64) {
    let file = std::fs::File::options().write(true).open(database(dir)).unwrap();
    file.set_len(to(file.metadata().unwrap().len())).unwrap();
}

#[test]
fn a_damaged_or_lost_database_is_named_left_alone_and_rebuilt() {
    for (what, damage, left) in DAMAGES {
        let (dir, capsules) = library_of(0..5);
        damage(dir.path());
        let bytes = std::fs::read(database(dir.path())).ok();
        for _ in 0..2 {
            let refused = try_open(dir.path()).unwrap_err();
            let named = matches!(
                refused,
                StoreError::IndexMissing { .. } | StoreError::IndexDamaged { .. }
            );
            assert!(named, "{what}: {refused}");
            assert_eq!(std::fs::read(database(dir.path())).ok(), bytes, "{what}");
        }
        let rebuilt = rebuild(dir.path()).unwrap();
        assert_eq!((rebuilt.found, &rebuilt.restored), (5, &hashes(&capsules)), "{what}");
        assert_eq!(rebuilt.incomplete, [], "{what}");
        let aside = dir.path().join(format!("db/tesseras.db.damaged-{LABEL}"));
        assert_eq!(rebuilt.set_aside, left.then(|| aside.clone()), "{what}");
        assert_eq!(std::fs::read(aside).ok(), bytes, "{what}");
        let store = open(dir.path());
        assert_eq!(store.library().list().unwrap(), records(&capsules), "{what}");
        assert_tidy(&store);
        // What was listed again can be dropped like anything else.
        for hash in hashes(&capsules) {
            assert!(store.library().remove(&hash).unwrap().is_some());
        }
        assert_eq!(store.check().unwrap().objects, 0, "{what}");
        assert_eq!(tree(&dir.path().join("library")).len(), 0, "{what}");
    }
}

#[test]
fn a_second_damaged_database_does_not_take_the_place_of_the_first() {
    let (dir, _) = library_of(0..1);
    for (number, name) in [(1, LABEL.to_owned()), (2, format!("{LABEL}-2"))] {
        std::fs::write(database(dir.path()), vec![number; 10_000]).unwrap();
        let aside = rebuild(dir.path()).unwrap().set_aside.unwrap();
        assert_eq!(aside, dir.path().join(format!("db/tesseras.db.damaged-{name}")));
        assert_eq!(std::fs::read(aside).unwrap(), vec![number; 10_000]);
    }
}

#[test]
fn an_empty_file_does_not_cost_the_log_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_capsule(&store, &capsule(0));
    let dead = tempfile::tempdir().unwrap();
    for (path, bytes) in tree(dir.path()) {
        let to = dead.path().join(path.strip_prefix(dir.path()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
    std::fs::write(database(dead.path()), "").unwrap();
    let log = std::fs::read(dead.path().join("db/tesseras.db-wal")).unwrap();
    assert!(!log.is_empty());
    try_open(dead.path()).unwrap_err();
    assert_eq!(std::fs::read(dead.path().join("db/tesseras.db-wal")).unwrap(), log);
    let rebuilt = rebuild(dead.path()).unwrap();
    assert_eq!(rebuilt.restored, [capsule(0).record.hash]);
    let aside = dead.path().join(format!("db/tesseras.db.damaged-{LABEL}-wal"));
    assert_eq!(std::fs::read(aside).unwrap(), log);
}

#[test]
fn a_sound_database_is_only_added_to() {
    let (dir, capsules) = library_of(0..3);
    let store = open(dir.path());
    let bytes = content(77, 3000);
    put(&store, &fragment(1, 0, &bytes), &bytes).unwrap();
    drop(store);
    let before = tree(&dir.path().join("cas"));
    let expected = Rebuilt { found: 3, ..Rebuilt::default() };
    assert_eq!(rebuild(dir.path()).unwrap(), expected);
    // The signatures of a listed capsule are put back beside the database.
    let file = signature_file(dir.path(), &capsules[0].record.hash);
    let signed = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rebuild(dir.path()).unwrap(), expected);
    assert_eq!(std::fs::read(&file).unwrap(), signed);
    assert_eq!(rebuild(dir.path()).unwrap(), expected);
    assert!(tree(&dir.path().join("cas")) == before);
    let store = open(dir.path());
    assert_eq!(store.library().list().unwrap(), records(&capsules));
    assert!(store.fragments().read_fragment(&fragment(1, 0, &bytes)).is_ok());
    assert_tidy(&store);
}

/// Well formed, and those of nothing.
fn falsify_signatures(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let (before, after) = text.split_once("ml-dsa-65: ").unwrap();
    let flipped = if after.starts_with('0') { "1" } else { "0" };
    std::fs::write(file, format!("{before}ml-dsa-65: {flipped}{}", &after[1..])).unwrap();
}

#[test]
fn a_rebuild_writes_wrong_signature_files_again_which_a_check_names() {
    let (dir, capsules) = library_of(0..3);
    let hash = capsules[1].record.hash;
    let file = signature_file(dir.path(), &hash);
    let signed = std::fs::read(&file).unwrap();
    falsify_signatures(&file);
    assert_eq!(open(dir.path()).check().unwrap().unsigned, [hash]);
    rebuild(dir.path()).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), signed);
    assert_tidy(&open(dir.path()));
}

/// Flips a bit of both signatures of a capsule in the index.
fn flip_signatures_in_index(dir: &Path, capsule: &Capsule) {
    let index = dir.join("db/tesseras.db");
    let mut bytes = std::fs::read(&index).unwrap();
    let signature = &capsule.record.signatures.ed25519;
    let places: Vec<usize> =
        (0..bytes.len() - 64).filter(|at| bytes[*at..at + 64] == signature[..]).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0]] ^= 1;
    std::fs::write(index, bytes).unwrap();
}

#[test]
fn a_signature_that_flipped_in_the_index_is_taken_from_its_file_and_never_written_there() {
    let (dir, capsules) = library_of(0..3);
    let hash = capsules[1].record.hash;
    let file = signature_file(dir.path(), &hash);
    let signed = std::fs::read(&file).unwrap();
    flip_signatures_in_index(dir.path(), &capsules[1]);
    assert_eq!(open(dir.path()).check().unwrap().unsigned, [hash]);
    assert_eq!(rebuild(dir.path()).unwrap().mended, [hash]);
    assert_eq!(std::fs::read(&file).unwrap(), signed);
    let store = open(dir.path());
    assert_eq!(store.library().get(&hash).unwrap().as_ref(), Some(&capsules[1].record));
    assert_tidy(&store);
    drop(store);
    // Without the file, there is nothing to mend it by.
    flip_signatures_in_index(dir.path(), &capsules[1]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(rebuild(dir.path()).unwrap().mended, []);
    assert!(!file.exists(), "what is not valid is not written");
    assert_eq!(open(dir.path()).check().unwrap().unsigned, [hash]);
}

#[test]
fn what_was_dropped_does_not_come_back_and_what_is_incomplete_is_named() {
    let (dir, capsules) = library_of(0..6);
    let hash = |number: usize| capsules[number].record.hash;
    let store = open(dir.path());
    // Dropped, but a crash left its signatures; the others lose one thing each.
    let left = std::fs::read(signature_file(dir.path(), &hash(0))).unwrap();
    store.holdings().block(&hash(0), Timestamp(2_000_000)).unwrap();
    store.library().remove(&hash(0)).unwrap();
    std::fs::write(signature_file(dir.path(), &hash(0)), left).unwrap();
    drop(store);
    assert_eq!(rebuild(dir.path()).unwrap(), Rebuilt { found: 5, ..Rebuilt::default() });

    std::fs::remove_file(object(dir.path(), &capsules[1].files[3])).unwrap();
    std::fs::write(object(dir.path(), &capsules[2].manifest), "tesseras-manifest 1\n").unwrap();
    falsify_signatures(&signature_file(dir.path(), &hash(3)));
    std::fs::remove_file(signature_file(dir.path(), &hash(4))).unwrap();
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    let rebuilt = rebuild(dir.path()).unwrap();
    // One that lacks a file is listed again, too, and all else of it can be read.
    assert_eq!(BTreeSet::from_iter(rebuilt.restored), BTreeSet::from([hash(1), hash(5)]));
    let listed = rebuilt.incomplete.iter().filter(|one| one.listed);
    assert_eq!(listed.map(|one| (one.hash, one.files)).collect::<Vec<_>>(), [(hash(1), 4)]);
    let missing = |number: usize| {
        let found = rebuilt.incomplete.iter().find(|one| one.hash == hash(number));
        found.map(|one| one.missing.clone()).unwrap_or_default()
    };
    assert_eq!(missing(1), ["memories/0001/media.txt"]);
    assert_eq!(missing(2), ["MANIFEST"]);
    assert_eq!(missing(3), ["MANIFEST.ml-dsa-65.sig"]);
    assert_eq!(missing(4), ["MANIFEST.ed25519.sig", "MANIFEST.ml-dsa-65.sig"]);
    // Of the dropped one, only the signatures are left, and the database that knew it is gone.
    assert_eq!(missing(0), ["MANIFEST"]);
    assert_eq!(rebuilt.found, 6);
    // What may be left of the incomplete ones is kept until they are given up.
    let store = open(dir.path());
    let garbage = store.collect_garbage(END_OF_TIME).unwrap();
    let check = store.check().unwrap();
    assert_eq!(check.missing, [blake3(&capsules[1].files[3])], "{garbage:?} {check:#?}");
    assert!(check.disagreements.is_empty() && garbage.kept > 0, "{garbage:?} {check:#?}");
    assert_eq!(check.orphans.len() as u64, garbage.kept);
    for incomplete in &rebuilt.incomplete {
        store.holdings().block(&incomplete.hash, Timestamp(2_000_000)).unwrap();
        store.library().remove(&incomplete.hash).unwrap();
    }
    store.give_up_missing_index().unwrap();
    store.collect_garbage(END_OF_TIME).unwrap();
    assert_tidy(&store);
}

/// What strangers have stored here may be anything, a capsule of theirs too.
#[test]
fn what_is_held_for_others_does_not_become_part_of_the_library() {
    let (dir, _) = library_of(0..1);
    let store = open(dir.path());
    let theirs = capsule(9);
    let files = std::iter::once(&theirs.manifest).chain(&theirs.files);
    for (number, bytes) in files.enumerate() {
        let piece = HeldPiece {
            tessera: crate::things::tessera(number as u64),
            piece: Piece::Whole,
            checksum: blake3(bytes),
            bytes: bytes.len() as u64,
        };
        let staged = stage(&store, bytes).unwrap();
        store.fragments().store_fragment(&piece, staged, &charge()).unwrap();
    }
    drop(store);
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    let rebuilt = rebuild(dir.path()).unwrap();
    assert_eq!(rebuilt.restored, [capsule(0).record.hash]);
    let unsigned = vec!["MANIFEST.ed25519.sig".to_owned(), "MANIFEST.ml-dsa-65.sig".to_owned()];
    assert_eq!(
        rebuilt.incomplete,
        [Incomplete { hash: theirs.record.hash, listed: false, files: 0, missing: unsigned }]
    );
}

#[test]
fn a_running_node_is_not_rebuilt_beneath() {
    let (dir, _) = library_of(0..1);
    let store = open(dir.path());
    let running = store.lock_daemon().unwrap();
    let busy = rebuild(dir.path()).unwrap_err();
    assert!(matches!(busy, StoreError::Locked { .. }), "{busy}");
    drop(running);
    // Any other process that writes would go on writing to what was set aside.
    let busy = rebuild(dir.path()).unwrap_err();
    assert!(matches!(busy, StoreError::Locked { .. }), "{busy}");
    drop(store);
    assert_eq!(rebuild(dir.path()).unwrap().found, 1);
}

#[test]
fn a_new_directory_is_begun_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // As if it had been interrupted before the first table.
    std::fs::write(database(dir.path()), "").unwrap();
    assert_tidy(&open(dir.path()));
    assert_eq!(rebuild(dir.path()).unwrap(), Rebuilt::default());
}

/// What is not a regular file says nothing, and nobody waits for what may write to it one day.
#[test]
fn pipes_and_links_among_the_files_are_not_waited_for() {
    let (dir, capsules) = library_of(0..6);
    let hash = |number: usize| capsules[number].record.hash;
    let pipe = |path: &Path| {
        let _ = std::fs::remove_file(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe(&signature_file(dir.path(), &hash(0)));
    pipe(&object(dir.path(), &capsules[1].manifest));
    pipe(&object(dir.path(), &capsules[2].files[3]));
    let stranger = object(dir.path(), b"named by nothing");
    std::fs::create_dir_all(stranger.parent().unwrap()).unwrap();
    pipe(&stranger);
    let linked = signature_file(dir.path(), &hash(3));
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&linked, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &linked).unwrap();
    let socket = object(dir.path(), &capsules[4].manifest);
    std::fs::remove_file(&socket).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();

    let (done, finished) = std::sync::mpsc::sync_channel(1);
    let path = dir.path().to_owned();
    std::thread::spawn(move || done.send(Box::new(rebuild(&path))).is_ok());
    let rebuilt = finished.recv_timeout(std::time::Duration::from_secs(60)).expect("it hangs");
    let rebuilt = rebuilt.unwrap();
    assert_eq!(BTreeSet::from_iter(rebuilt.restored), BTreeSet::from([hash(2), hash(5)]));
    let missing = |number: usize| {
        let found = rebuilt.incomplete.iter().find(|one| one.hash == hash(number));
        found.map(|one| one.missing.clone()).unwrap_or_default()
    };
    for number in [0, 3] {
        assert_eq!(missing(number), ["MANIFEST.ed25519.sig", "MANIFEST.ml-dsa-65.sig"]);
    }
    for number in [1, 4] {
        assert_eq!(missing(number), ["MANIFEST"]);
    }
    assert_eq!(missing(2), ["memories/0001/media.txt"]);
}

#[test]
fn an_object_that_became_a_pipe_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let capsule = capsule(0);
    add_capsule(&store, &capsule);
    let path = object(dir.path(), &capsule.manifest);
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let blobs = store.blobs();
    let (done, finished) = std::sync::mpsc::sync_channel(1);
    let hash = capsule.record.hash.into();
    std::thread::spawn(move || done.send(blobs.open(&hash).err()));
    let error = finished.recv_timeout(std::time::Duration::from_secs(60)).expect("it hangs");
    assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
    assert!(!store.blobs().contains(&hash).unwrap());
}

#[test]
fn that_a_piece_is_damaged_is_known_after_a_restart_until_it_is_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 5000);
    let piece = fragment(1, 0, &bytes);
    put(&store, &piece, &bytes).unwrap();
    assert!(store.fragments().mark_damaged(&piece).unwrap());
    drop(store);
    let store = open(dir.path());
    let sound = |store: &Store| store.fragments().list_sound_fragments(&piece.tessera).unwrap();
    assert_eq!((sound(&store), store.fragments().count_damaged().unwrap()), (Vec::new(), 1));
    put(&store, &piece, &bytes).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!((sound(&store), store.fragments().count_damaged().unwrap()), (vec![piece], 0));
}
