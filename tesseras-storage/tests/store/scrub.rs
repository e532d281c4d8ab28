//! Every stored object is re-read; what rotted is found, recorded, left in its place, and forgotten once
//! it is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{FragmentStore as _, HeldPiece};
use tesseras_core::time::Timestamp;
use tesseras_storage::{ScrubRound, Scrubbed, Store};

use crate::things::{add, add_capsule, assert_tidy, capsule, content, fragment, open, put};

fn path_of(dir: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    dir.join("cas").join(&name[..2]).join(format!("{name}.blob"))
}

fn flip(dir: &Path, hash: &ContentHash) {
    let mut bytes = fs::read(path_of(dir, hash)).unwrap();
    bytes[0] ^= 1;
    fs::write(path_of(dir, hash), bytes).unwrap();
}

fn all(store: &Store, step: u64) -> Scrubbed {
    let (mut walk, mut done) = (store.scrub(None), Scrubbed::default());
    while !walk.is_done() {
        done.add(walk.step(step).unwrap());
    }
    done
}

fn put_some(store: &Store, number: u64, length: usize) -> (HeldPiece, Vec<u8>) {
    let bytes = content(number, length);
    let held = fragment(number, 0, &bytes);
    put(store, &held, &bytes).unwrap();
    (held, bytes)
}

#[test]
fn a_walk_reads_every_object_once_whatever_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let lengths = [0, 1, 100, 256 * 1024, 256 * 1024 + 1, 900_000];
    for (number, length) in (1..).zip(lengths) {
        put_some(&store, number, length);
    }
    let counts = store.object_counts().unwrap();
    for step in [1, 100_000, 1 << 40] {
        let done = all(&store, step);
        assert_eq!((done.objects, done.bytes), (counts.objects, counts.bytes), "{step}");
        assert_eq!((done.corrupt, done.unread), (0, 0));
    }
}

#[test]
fn rot_is_recorded_and_left_in_its_place_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (held, bytes) = put_some(&store, 1, 700_000);
    put_some(&store, 2, 5000);
    flip(dir.path(), &held.checksum);
    assert_eq!(all(&store, 1000).corrupt, 1);
    assert!(store.fragments().list_sound_fragments(&held.tessera).unwrap().is_empty());
    let damaged = store.damaged_objects(None, 10).unwrap();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].path, path_of(dir.path(), &held.checksum));
    assert_eq!(damaged[0].uses.pieces, [held]);
    assert!(damaged[0].path.exists());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.count_damaged_objects().unwrap(), 1);
    put(&store, &held, &bytes).unwrap();
    assert_eq!(store.count_damaged_objects().unwrap(), 0);
    assert_eq!(store.fragments().list_sound_fragments(&held.tessera).unwrap(), [held]);
    assert_eq!(all(&store, 1000).corrupt, 0);
    assert_tidy(&store);
}

#[test]
fn what_is_lost_cut_short_or_no_file_is_damaged_and_sound_again_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held: Vec<_> = (1..4).map(|number| put_some(&store, number, 5000)).collect();
    let [lost, short, odd] = [0, 1, 2].map(|at: usize| path_of(dir.path(), &held[at].0.checksum));
    fs::remove_file(&lost).unwrap();
    fs::write(&short, &held[1].1[..4999]).unwrap();
    fs::remove_file(&odd).unwrap();
    fs::create_dir(&odd).unwrap();
    assert_eq!(all(&store, 1).corrupt, 3);
    assert_eq!(store.fragments().count_damaged().unwrap(), 3);
    fs::remove_dir(&odd).unwrap();
    for (path, (_, bytes)) in [lost, short, odd].iter().zip(&held) {
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(all(&store, 1).corrupt, 0);
    assert_eq!(store.count_damaged_objects().unwrap(), 0);
}

#[test]
fn a_damaged_file_of_the_library_is_told_with_its_capsule_and_adding_it_again_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let capsule = capsule(1);
    add_capsule(&store, &capsule);
    let manifest = capsule.record.hash.into();
    flip(dir.path(), &manifest);
    assert_eq!(all(&store, 1).corrupt, 1);
    let damaged = store.damaged_objects(None, 10).unwrap().remove(0);
    assert_eq!((damaged.hash, damaged.uses.capsules), (manifest, vec![capsule.record.hash]));
    assert_eq!((damaged.uses.dossier, damaged.uses.pieces), (None, Vec::new()));
    assert!(!add(&store, &capsule.manifest, &capsule.files).unwrap(), "it is there");
    assert_eq!(store.count_damaged_objects().unwrap(), 0);
    assert_tidy(&store);
}

/// The object is replaced while the walk has the old file open.
#[test]
fn what_is_mended_while_it_is_read_is_not_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (held, bytes) = put_some(&store, 1, 700_000);
    flip(dir.path(), &held.checksum);
    let (mut walk, mut done) = (store.scrub(None), Scrubbed::default());
    done.add(walk.step(1).unwrap());
    assert!(walk.is_within_object());
    put(&store, &held, &bytes).unwrap();
    while !walk.is_done() {
        done.add(walk.step(1).unwrap());
    }
    assert_eq!(done.corrupt, 0);
    assert_eq!(store.count_damaged_objects().unwrap(), 0);
}

#[test]
fn what_is_removed_while_it_is_read_is_not_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (held, _) = put_some(&store, 1, 700_000);
    flip(dir.path(), &held.checksum);
    let mut walk = store.scrub(None);
    walk.step(1).unwrap();
    store.fragments().delete_fragment(&held).unwrap();
    let rest = walk.step(1 << 40).unwrap();
    assert_eq!((rest.corrupt, rest.unread), (0, 0));
}

#[test]
fn a_walk_goes_on_where_another_one_was_and_the_place_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (1..30).for_each(|number| _ = put_some(&store, number, 3000));
    assert_eq!(store.scrub_round().unwrap(), None);
    let (mut walk, mut done) = (store.scrub(None), Scrubbed::default());
    while done.objects < 10 {
        done.add(walk.step(1).unwrap());
    }
    let begun = Timestamp(7);
    let round = ScrubRound { begun, after: walk.position(), bytes: done.bytes, complete: false };
    store.save_scrub_round(&round).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.scrub_round().unwrap(), Some(round));
    let rest = store.scrub(round.after).step(1 << 40).unwrap();
    assert_eq!(rest.objects, 29 - done.objects);
    let ended = ScrubRound { complete: true, after: None, ..round };
    store.save_scrub_round(&ended).unwrap();
    assert_eq!(store.scrub_round().unwrap(), Some(ended));
}

#[test]
fn an_object_that_cannot_be_opened_is_not_called_damaged_and_keeps_no_other_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held: Vec<_> = (1..4).map(|number| put_some(&store, number, 5000).0).collect();
    let directory = path_of(dir.path(), &held[0].checksum).parent().unwrap().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, b"in the way").unwrap();
    let done = all(&store, 1);
    assert!(done.unread >= 1 && done.corrupt == 0, "{done:?}");
    assert_eq!(done.objects + done.unread, 3);
    assert!(done.reasons[0].contains(&held[0].checksum.to_string()), "{done:?}");
}
