//! Several handles on one directory, each with connections and a staging area of its own, as
//! several processes have.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use tesseras_core::ports::{BlobStore as _, FragmentStore as _, StoreError};

use crate::garbage::END_OF_TIME;
use crate::things::{add, assert_tidy, content, fragment, manifest, open, put, read};

#[test]
fn two_handles_write_at_once_and_lose_nothing() {
    const THREADS: u64 = 8;
    const EACH: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, start) = (&stores[thread as usize % 2], &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..EACH {
                    let bytes = content(thread * EACH + i, 3000);
                    put(store, &fragment(thread, i as u8, &bytes), &bytes).unwrap();
                    // Content that all share.
                    let shared = content(1_000_000 + i, 2000);
                    put(store, &fragment(100 + thread, i as u8, &shared), &shared).unwrap();
                }
                let files = vec![content(1_000_000, 2000), content(2_000_000 + thread, 10)];
                assert!(add(store, &manifest(thread, &files), &files).unwrap());
            });
        }
    });
    for store in &stores {
        let (pieces, _) = store.fragments().totals().unwrap();
        assert_eq!(pieces, 2 * THREADS * EACH);
        for thread in 0..THREADS {
            for held in store.fragments().list_fragments(&crate::things::tessera(thread)).unwrap() {
                let bytes = read(&*store.fragments().read_fragment(&held).unwrap());
                assert_eq!(tesseras_crypto::hash::blake3(&bytes), held.checksum);
            }
        }
    }
    let check = stores[0].check().unwrap();
    assert_eq!(check.objects, THREADS * EACH + EACH + 2 * THREADS);
    assert_tidy(&stores[0]);
}

#[test]
fn a_put_that_races_a_delete_of_equal_content_never_loses_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    let bytes = content(7, 5000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u8)
            .map(|index| {
                let (store, bytes) = (&stores[usize::from(index) % 2], &bytes);
                scope.spawn(move || {
                    let mine = fragment(1, index, bytes);
                    for _ in 0..60 {
                        put(store, &mine, bytes).unwrap();
                        // Acknowledged by this one, whatever the others let go of.
                        let reader = store.fragments().read_fragment(&mine).unwrap();
                        assert_eq!(&read(&*reader), bytes);
                        assert!(store.fragments().delete_fragment(&mine).unwrap());
                    }
                })
            })
            .collect();
        let (store, done) = (&stores[0], &done);
        let watcher = scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                match store.blobs().open(&tesseras_crypto::hash::blake3(&content(7, 5000))) {
                    Ok(reader) => assert_eq!(read(&*reader), content(7, 5000)),
                    Err(error) => assert!(matches!(error, StoreError::Missing(_)), "{error}"),
                }
            }
        });
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap();
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    let check = stores[1].check().unwrap();
    assert_eq!(check.objects, 0);
    assert_tidy(&stores[1]);
}

#[test]
fn one_daemon_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(dir.path()), open(dir.path()));
    let lock = one.lock_daemon().unwrap();
    assert!(matches!(two.lock_daemon(), Err(StoreError::Locked { .. })));
    put(&two, &fragment(1, 1, b"tes may write"), b"tes may write").unwrap();
    drop(lock);
    two.lock_daemon().unwrap();
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("deep/data");
    let store = open(&data);
    let bytes = content(1, 10);
    put(&store, &fragment(1, 1, &bytes), &bytes).unwrap();
    let mut paths = vec![data];
    while let Some(path) = paths.pop() {
        let metadata = path.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            paths.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "blob") {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[test]
fn damage_on_the_disk_is_an_error_and_not_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 5000);
    let held = fragment(1, 1, &bytes);
    put(&store, &held, &bytes).unwrap();
    let name = held.checksum.to_string();
    let path = dir.path().join("cas").join(&name[..2]).join(format!("{name}.blob"));

    // A flipped bit: read as it is by the store itself, noticed by whoever verifies.
    let mut flipped = bytes.clone();
    flipped[4000] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let corrupt = |outcome: Result<_, StoreError>| matches!(outcome, Err(StoreError::Corrupt(_)));
    assert!(corrupt(store.cached_fragments(1 << 20).read_fragment(&held).map(drop)));
    assert_eq!(store.check().unwrap().lost_pieces, [held]);

    // Cut short, while open and before.
    std::fs::write(&path, &bytes).unwrap();
    let reader = store.fragments().read_fragment(&held).unwrap();
    std::fs::write(&path, &bytes[..100]).unwrap();
    assert!(corrupt(reader.read_at(4000, &mut [0; 10])));
    assert!(corrupt(store.fragments().read_fragment(&held).map(drop)));
    assert!(!store.blobs().contains(&held.checksum).unwrap());

    // Gone; and healed by storing it again.
    std::fs::remove_file(&path).unwrap();
    let missing = store.fragments().read_fragment(&held);
    assert!(matches!(missing.map(drop), Err(StoreError::Missing(_))));
    assert_eq!(store.check().unwrap().missing, [held.checksum]);
    put(&store, &held, &bytes).unwrap();
    assert_tidy(&store);

    // A file that nothing names is no object.
    let stray = dir.path().join("cas/00").join(format!("{}.blob", "0".repeat(64)));
    std::fs::write(&stray, b"stray").unwrap();
    let check = store.check().unwrap();
    assert!(check.is_intact() && !check.is_sound());
    assert_eq!(check.orphans, [stray]);
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap().orphans, 1);
    // One that is not named as an object is not ours, and is left.
    let foreign = dir.path().join("cas/00/notes.txt");
    std::fs::write(&foreign, b"foreign").unwrap();
    let check = store.check().unwrap();
    assert!(check.is_tidy());
    assert_eq!(check.foreign, [foreign]);
}
