//! What nothing refers to is removed, and nothing else.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tesseras_core::ports::{FragmentStore as _, HoldingRepository as _, TesseraRepository as _};
use tesseras_core::time::Timestamp;
use tesseras_storage::{Garbage, LostIndex, StorageConfig, Store};

use crate::things::{
    add, add_capsule, assert_tidy, capsule, content, fragment, manifest, open, put, read, stage,
};

/// Later than any file was changed.
pub const END_OF_TIME: Timestamp = Timestamp(u64::MAX);

fn collect(store: &Store) -> Garbage {
    store.collect_garbage(END_OF_TIME).unwrap()
}

/// Puts a file among the objects that no row refers to.
fn orphan(dir: &Path, number: u64) {
    let bytes = content(number, 500);
    let name = fragment(number, 0, &bytes).checksum.to_string();
    fs::write(dir.join("cas").join(&name[..2]).join(format!("{name}.blob")), bytes).unwrap();
}

#[test]
fn files_without_a_row_go_once_and_young_ones_only_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 5000);
    let held = fragment(1, 0, &bytes);
    put(&store, &held, &bytes).unwrap();
    (10..110).for_each(|number| orphan(dir.path(), number));
    fs::write(dir.path().join("cas/00/notes.txt"), b"not ours").unwrap();
    let young = store.collect_garbage(Timestamp(1_000_000)).unwrap();
    assert_eq!(young, Garbage { young: 100, ..Garbage::default() });
    // A damaged database that was set aside may refer to them.
    let aside = dir.path().join("db/tesseras.db.damaged-2026-01-01-wal");
    fs::write(&aside, b"damaged").unwrap();
    let lost_index = Some(LostIndex::SetAside);
    assert_eq!(collect(&store), Garbage { kept: 100, lost_index, ..Garbage::default() });
    fs::remove_file(aside).unwrap();
    let all = collect(&store);
    assert_eq!(all, Garbage { orphans: 100, orphan_bytes: 50_000, ..Garbage::default() });
    assert_eq!(collect(&store), Garbage::default());
    assert_eq!(read(&*store.fragments().read_fragment(&held).unwrap()), bytes);
    assert!(dir.path().join("cas/00/notes.txt").exists());
}

#[test]
fn what_a_dead_process_staged_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let left = dir.path().join("tmp/1-0");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("00000000"), b"left").unwrap();
    let staged = stage(&store, b"on its way").unwrap();
    assert_eq!(collect(&store), Garbage { stale: 1, stale_bytes: 4, ..Garbage::default() });
    store
        .fragments()
        .store_fragment(&fragment(1, 0, b"on its way"), staged, &crate::things::charge())
        .unwrap();
    assert_tidy(&store);
}

/// The user has put back an older copy of the database: the capsules since then have only their
/// files.
#[test]
fn what_an_older_database_does_not_list_is_kept_until_it_is_listed_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new, dropped) = (capsule(1), capsule(2), capsule(3));
    add_capsule(&open(dir.path()), &old);
    let database = dir.path().join("db/tesseras.db");
    let copy = fs::read(&database).unwrap();
    let store = open(dir.path());
    add_capsule(&store, &new);
    add_capsule(&store, &dropped);
    drop(store);
    fs::write(&database, copy).unwrap();
    let store = open(dir.path());
    store.holdings().block(&dropped.record.hash, Timestamp(2_000_000)).unwrap();
    let garbage = collect(&store);
    assert_eq!(garbage.unlisted, [new.record.hash]);
    // The keys and the README are in all of them: MANIFEST and photo are left.
    assert_eq!((garbage.kept, garbage.orphans), (2, 3), "{garbage:?}");
    let check = store.check().unwrap();
    assert!(check.is_intact() && !check.is_sound(), "{check:#?}");
    assert_eq!(check.unlisted, [new.record.hash]);
    drop(store);
    let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "old").unwrap();
    assert_eq!(rebuilt.restored, [new.record.hash]);
    let store = open(dir.path());
    assert_eq!(collect(&store), Garbage::default());
    assert!(store.library().get(&new.record.hash).unwrap().is_some());
    assert_tidy(&store);
}

#[test]
fn what_is_left_of_a_capsule_that_cannot_be_listed_is_kept_until_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, part) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &whole);
    add_capsule(&store, &part);
    drop(store);
    fs::remove_file(dir.path().join("db/tesseras.db")).unwrap();
    let signatures = format!("library/{}.signatures", part.record.hash);
    fs::remove_file(dir.path().join(signatures)).unwrap();
    let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "old").unwrap();
    assert_eq!(rebuilt.incomplete.len(), 1);
    let store = open(dir.path());
    let garbage = collect(&store);
    assert_eq!((garbage.orphans, garbage.kept), (0, 2), "{garbage:?}");
    assert_eq!(garbage.unlisted, [part.record.hash]);
    store.give_up_missing_index().unwrap();
    assert_eq!(collect(&store).kept, 2);
    store.holdings().block(&part.record.hash, Timestamp(2_000_000)).unwrap();
    assert_eq!(collect(&store).orphans, 2);
    assert_tidy(&store);
}

#[test]
fn it_never_races_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let garbage = collect(&store);
                assert_eq!(garbage.unlisted, []);
            }
        });
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let store = open(dir.path());
                scope.spawn(move || {
                    for number in 0..40_u64 {
                        let bytes = content(number % 5, 3000);
                        let held = fragment(100 + writer, number as u8, &bytes);
                        put(&store, &held, &bytes).unwrap();
                        let all = store.fragments().read_fragment(&held).unwrap();
                        assert!(read(&*all) == bytes);
                        let files = [content(number % 3, 900)];
                        let manifest = manifest(1000 * (writer + 1) + number, &files);
                        assert!(add(&store, &manifest, &files).unwrap());
                        if number % 2 == 0 {
                            store.fragments().delete_fragment(&held).unwrap();
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ended.store(true, Ordering::SeqCst);
    });
    assert_tidy(&store);
    assert_eq!(store.fragments().totals().unwrap().0, 60);
    assert_eq!(store.library().list().unwrap().len(), 120);
}
