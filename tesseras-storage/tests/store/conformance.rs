//! The core's conformance suite over every implementation here.

use std::sync::Arc;

use tempfile::TempDir;
use tesseras_core::ports::{Workbench as _, conformance};
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::blake3;
use tesseras_storage::{StorageConfig, Store, StoreCheck, Swept};

use crate::things;

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data"), &StorageConfig::default()).unwrap();
    (dir, store)
}

/// Nothing is left but the index: no object, no file, nothing in `tmp/`.
fn assert_clean(dir: &TempDir, store: &Store) {
    let check = store.check().unwrap();
    assert!(check.is_tidy(), "{check:?}");
    assert_eq!((check.objects, check.orphans.len()), (0, 0), "{check:?}");
    for entry in std::fs::read_dir(dir.path().join("data/tmp")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "{}", path.display());
    }
}

#[test]
fn blobs() {
    let (dir, store) = store();
    conformance::blob_store(&*store.blobs(), blake3);
    assert_clean(&dir, &store);
}

#[test]
fn fragments() {
    let (dir, store) = store();
    conformance::fragment_store(&*store.fragments(), &*store.blobs(), blake3);
    assert_clean(&dir, &store);
}

#[test]
fn fragments_through_caches_of_all_sizes() {
    for max_bytes in [0, 1000, 8 * 5003, 10 * 5003, 1 << 20] {
        let (dir, store) = store();
        let cached = store.cached_fragments(max_bytes);
        conformance::fragment_store(&cached, &*store.blobs(), blake3);
        assert_eq!(cached.used_bytes(), 0);
        assert_clean(&dir, &store);
    }
}

#[test]
fn library() {
    let (dir, store) = store();
    conformance::tessera_repository(&*store.library(), &*store.blobs(), blake3);
    assert_clean(&dir, &store);
}

#[test]
fn holdings() {
    let (dir, store) = store();
    conformance::holding_repository(&*store.holdings(), &*store.library(), &*store.blobs(), blake3);
    assert_clean(&dir, &store);
}

#[test]
fn ledger() {
    let (_dir, store) = store();
    conformance::reciprocity_ledger(
        &*store.ledger(),
        &*store.fragments(),
        &*store.holdings(),
        &*store.blobs(),
        blake3,
    );
}

#[test]
fn peers() {
    let (_dir, store) = store();
    conformance::peer_repository(&*store.peers());
}

/// A task makes its directory and then moves its first piece there: between the two, what is old is
/// released.
#[test]
fn the_directory_of_a_task_that_is_about_to_pin_is_not_old() {
    let dir = tempfile::tempdir().unwrap();
    let store = things::open(dir.path());
    let task = dir.path().join("tmp/tasks").join(things::tessera(1).to_string());
    std::fs::create_dir_all(&task).unwrap();
    store.workbench().unpin_before(Timestamp(1_000_000_000)).unwrap();
    assert!(task.exists());
    store.workbench().unpin_before(Timestamp(u64::MAX)).unwrap();
    assert!(!task.exists());
}

#[test]
fn workbench() {
    let (dir, store) = store();
    conformance::workbench(&*store.workbench(), &*store.holdings(), &*store.blobs(), blake3);
    assert_clean(&dir, &store);
}

#[test]
fn pieces_of_unfinished_tasks_outlive_the_process_and_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let (tessera, bytes) = (things::tessera(1), things::content(1, 5000));
    let store = things::open(dir.path());
    let staged = things::stage(&store, &bytes).unwrap();
    let hash = staged.hash;
    store.workbench().pin(&tessera, staged, Timestamp(7)).unwrap();
    drop(store);
    let store = things::open(dir.path());
    assert_eq!(store.sweep_tmp().unwrap(), Swept::default());
    assert_eq!(things::read(&*store.workbench().open(&tessera, &hash).unwrap()), bytes);
    assert_eq!(store.check().unwrap(), StoreCheck::default(), "no object");
}

#[test]
fn all_of_it_with_every_commit_synced_by_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let config = StorageConfig { synchronous_full: true, ..StorageConfig::default() };
    let store = Store::open(&dir.path().join("data"), &config).unwrap();
    let fragments: Arc<dyn tesseras_core::ports::FragmentStore> = store.fragments();
    conformance::tessera_repository(&*store.library(), &*store.blobs(), blake3);
    conformance::holding_repository(&*store.holdings(), &*store.library(), &*store.blobs(), blake3);
    // Last: of what was stored as a repair, it stays known that it is published.
    conformance::fragment_store(&*fragments, &*store.blobs(), blake3);
    assert_clean(&dir, &store);
}
