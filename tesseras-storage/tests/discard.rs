//! What a process has staged is removed before it exits, also while its other threads stage more.
//! A binary of its own: afterwards nothing can be staged in this process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tesseras_core::ports::BlobStore as _;
use tesseras_storage::{StorageConfig, Store, discard_staged};

#[test]
fn what_is_staged_is_discarded_though_other_threads_go_on_staging() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
    let (staged, ended, blobs) = (AtomicUsize::new(0), AtomicBool::new(false), store.blobs());
    let keep_staging = || {
        while !ended.load(Ordering::SeqCst) {
            let Ok(mut writer) = blobs.stage() else { return };
            if writer.write(b"small").and_then(|()| writer.finish()).is_err() {
                return;
            }
            staged.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(keep_staging);
        }
        while staged.load(Ordering::SeqCst) < 5000 {
            std::thread::yield_now();
        }
        discard_staged();
        let left: Vec<_> = std::fs::read_dir(dir.path().join("tmp"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "tasks")
            .collect();
        ended.store(true, Ordering::SeqCst);
        assert!(left.is_empty(), "{left:?}");
    });
    assert!(blobs.stage().is_err());
    assert!(Store::open(dir.path(), &StorageConfig::default()).is_err());
}
