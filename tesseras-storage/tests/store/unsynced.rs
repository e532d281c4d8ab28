//! A log that the disk could not write, and lost a part of: nothing of it is built upon.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tesseras_core::ports::{FragmentStore as _, HeldPiece, StoreError};
use tesseras_disk::{Disk as _, OsDisk};

use tesseras_storage::{StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::hooked::with_log;
use crate::things::{assert_tidy, content, fragment, open, put, read};

/// A store on a disk that fails to sync the log once whenever `fails` is set.
fn open_on_a_bad_disk(dir: &Path, fails: &Arc<AtomicBool>) -> Store {
    let failing = Arc::clone(fails);
    let disk = with_log(move |wal: &File| match failing.swap(false, Ordering::SeqCst) {
        true => Err(rustix::io::Errno::IO.into()),
        false => OsDisk.sync_wal(wal),
    });
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(50), ..StorageConfig::default() };
    Store::open_on_disk(dir, &config, Arc::new(disk)).unwrap()
}

/// A piece of a tessera of its own, and its bytes.
fn piece(number: u64) -> (HeldPiece, Vec<u8>) {
    let bytes = content(number, 5000);
    (fragment(number, 0, &bytes), bytes)
}

fn lists(store: &Store, piece: &HeldPiece) -> bool {
    store.fragments().list_sound_fragments(&piece.tessera).unwrap() == [*piece]
}

/// The log of a store of which one piece was acknowledged and one was not, because the disk lost a
/// page of its row.
fn damage_the_log(dir: &Path, fails: &AtomicBool, store: &Store) {
    let (kept, kept_bytes) = piece(1);
    put(store, &kept, &kept_bytes).unwrap();
    let (lost, lost_bytes) = piece(2);
    fails.store(true, Ordering::SeqCst);
    put(store, &lost, &lost_bytes).unwrap_err();
    let log = File::options().write(true).open(dir.join("db/tesseras.db-wal")).unwrap();
    let end = log.metadata().unwrap().len();
    log.write_all_at(&[0x55; 4000], end - 4000).unwrap();
}

fn assert_only_the_acknowledged_is_there(store: &Store) {
    let ((kept, kept_bytes), (lost, lost_bytes)) = (piece(1), piece(2));
    assert!(lists(store, &kept) && !lists(store, &lost));
    assert!(read(&*store.fragments().read_fragment(&kept).unwrap()) == kept_bytes);
    // The file of the lost one is left.
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap().orphans, 1);
    assert_tidy(store);
    put(store, &lost, &lost_bytes).unwrap();
    assert!(lists(store, &lost));
    assert_tidy(store);
}

#[test]
fn what_the_disk_lost_of_the_log_is_not_copied_into_the_database() {
    let (dir, fails) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = open_on_a_bad_disk(dir.path(), &fails);
    damage_the_log(dir.path(), &fails, &store);
    assert_only_the_acknowledged_is_there(&store);
    drop(store);
    let store = open(dir.path());
    assert!(lists(&store, &piece(1).0) && lists(&store, &piece(2).0));
    assert_tidy(&store);
}

#[test]
fn neither_is_it_when_the_process_ends_first() {
    let (dir, fails) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = open_on_a_bad_disk(dir.path(), &fails);
    damage_the_log(dir.path(), &fails, &store);
    drop(store);
    assert_only_the_acknowledged_is_there(&open(dir.path()));
}

/// The other process would find out with its own next sync; one that opens the store now would not.
#[test]
fn neither_is_it_built_upon_if_the_process_ends_while_another_has_the_store_open() {
    let (dir, fails) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = open_on_a_bad_disk(dir.path(), &fails);
    let other = open(dir.path());
    damage_the_log(dir.path(), &fails, &store);
    drop(store);
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(50), ..StorageConfig::default() };
    let refused = Store::open(dir.path(), &config).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    drop(other);
    assert_only_the_acknowledged_is_there(&open(dir.path()));
}

/// As long as it has the store open, nobody else can verify the log.
#[test]
fn what_a_process_that_ended_left_is_verified_by_one_that_goes_on() {
    let (dir, fails) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = open_on_a_bad_disk(dir.path(), &fails);
    let other = open(dir.path());
    damage_the_log(dir.path(), &fails, &store);
    drop(store);
    assert!(lists(&other, &piece(1).0));
    assert_only_the_acknowledged_is_there(&open(dir.path()));
    assert!(lists(&other, &piece(2).0));
    assert_tidy(&other);
}

#[test]
fn while_another_process_has_the_store_open_nothing_is_acknowledged() {
    let (dir, fails) = (tempfile::tempdir().unwrap(), Arc::default());
    let store = open_on_a_bad_disk(dir.path(), &fails);
    let other = open(dir.path());
    let (held, bytes) = piece(1);
    fails.store(true, Ordering::SeqCst);
    put(&store, &held, &bytes).unwrap_err();
    let (next, next_bytes) = piece(2);
    for _ in 0..2 {
        let refused = put(&store, &next, &next_bytes).unwrap_err();
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    }
    drop(other);
    put(&store, &next, &next_bytes).unwrap();
    assert!(lists(&store, &held) && lists(&store, &next));
    assert_tidy(&store);
}
