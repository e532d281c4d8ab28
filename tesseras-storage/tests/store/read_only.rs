//! Stores that are only read: nothing is written beside them, and nothing that was acknowledged
//! goes unseen.

use std::path::Path;

use tesseras_core::ports::{
    BlobStore as _, HoldingRepository as _, StoreError, TesseraRepository as _,
};
use tesseras_storage::{StorageConfig, Store};

use crate::things::{add_capsule, assert_tidy, capsule, open, tree};

fn open_read_only(dir: &Path) -> Result<Store, StoreError> {
    Store::open_read_only(dir, &StorageConfig::default())
}

/// A copy of a data directory, without what `skip` ends with.
fn copy(from: &Path, to: &Path, skip: &str) {
    for (path, bytes) in tree(from) {
        if skip.is_empty() || !path.to_str().unwrap().ends_with(skip) {
            let to = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, bytes).unwrap();
        }
    }
}

/// What was read, and that nothing was written meanwhile.
fn assert_read(dir: &Path, numbers: std::ops::Range<u64>) {
    let before = tree(dir);
    let store = open_read_only(dir).unwrap();
    for number in numbers.clone() {
        let expected = capsule(number).record;
        assert_eq!(store.library().get(&expected.hash).unwrap(), Some(expected.clone()));
        assert!(store.blobs().open(&expected.hash.into()).is_ok());
    }
    assert_eq!(store.library().list().unwrap().len() as u64, numbers.end);
    assert_tidy(&store);
    drop(store);
    assert!(tree(dir) == before, "something was written");
}

#[test]
fn a_store_that_was_closed_is_read_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_capsule(&store, &capsule(0));
    drop(store);
    assert!(!dir.path().join("db/tesseras.db-wal").exists());
    assert_read(dir.path(), 0..1);
}

#[test]
fn what_only_the_log_of_a_dead_process_has_is_read_with_and_without_its_shared_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..3 {
        add_capsule(&store, &capsule(number));
    }
    for skip in ["", "-shm"] {
        let dead = tempfile::tempdir().unwrap();
        copy(dir.path(), dead.path(), skip);
        assert!(dead.path().join("db/tesseras.db-wal").metadata().unwrap().len() > 0);
        assert_read(dead.path(), 0..3);
    }
}

#[test]
fn a_living_process_is_read_along_and_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let living = open(dir.path());
    add_capsule(&living, &capsule(0));
    let reader = open_read_only(dir.path()).unwrap();
    assert_eq!(reader.library().list().unwrap().len(), 1);
    for number in 1..30 {
        add_capsule(&living, &capsule(number));
        assert_eq!(reader.library().list().unwrap().len() as u64, number + 1);
    }
    drop(reader);
    assert_tidy(&living);
    drop(living);
    assert_tidy(&open(dir.path()));
}

#[test]
fn nothing_can_be_written_through_it_not_even_to_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = capsule(0).record.hash;
    add_capsule(&store, &capsule(0));
    let dead = tempfile::tempdir().unwrap();
    copy(dir.path(), dead.path(), "-shm");
    let before = tree(dead.path());
    let reader = open_read_only(dead.path()).unwrap();
    let refused = |outcome: Result<(), StoreError>| {
        assert!(matches!(outcome, Err(StoreError::ReadOnly { .. })), "{outcome:?}");
    };
    refused(reader.blobs().stage().map(|_| ()));
    refused(reader.library().remove(&hash).map(|_| ()));
    refused(reader.holdings().block(&hash, tesseras_core::time::Timestamp(1)));
    refused(reader.library().unblock(&hash));
    refused(reader.sweep_tmp().map(|_| ()));
    assert_eq!(reader.library().list().unwrap().len(), 1);
    drop(reader);
    assert!(tree(dead.path()) == before);
}

#[test]
fn where_there_is_no_index_none_is_invented() {
    let dir = tempfile::tempdir().unwrap();
    let missing = open_read_only(dir.path()).unwrap_err();
    assert!(matches!(missing, StoreError::IndexMissing { .. }), "{missing}");
    std::fs::create_dir(dir.path().join("db")).unwrap();
    let database = dir.path().join("db/tesseras.db");
    std::fs::write(&database, "").unwrap();
    let empty = open_read_only(dir.path()).unwrap_err();
    assert!(matches!(empty, StoreError::IndexMissing { .. }), "{empty}");
    std::fs::write(&database, "no database ".repeat(1000)).unwrap();
    let damaged = open_read_only(dir.path()).unwrap_err();
    assert!(matches!(damaged, StoreError::IndexDamaged { .. }), "{damaged}");
    assert_eq!(tree(dir.path()).len(), 1);
}
