//! What must not grow with the size of the store.

use tesseras_core::ports::{FragmentStore as _, TesseraRepository as _};
use tesseras_crypto::hash::blake3;

use crate::things::{add, assert_tidy, content, fragment, manifest, open, put, tessera};

#[test]
fn listing_pieces_reads_no_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held: Vec<_> = (0..24)
        .map(|index| {
            let bytes = content(u64::from(index), 2000);
            let fragment = fragment(1, index, &bytes);
            put(&store, &fragment, &bytes).unwrap();
            fragment
        })
        .collect();
    // With the files gone, only the index can answer.
    std::fs::remove_dir_all(dir.path().join("cas")).unwrap();
    assert_eq!(store.fragments().list_fragments(&tessera(1)).unwrap(), held);
    assert_eq!(store.fragments().totals().unwrap(), (24, 24 * 2000));
    assert_eq!(store.fragments().held_tesserae(None, 9).unwrap(), [tessera(1)]);
}

#[test]
fn a_capsule_of_many_files_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let files: Vec<Vec<u8>> = (0..3000).map(|i| content(i, 30)).collect();
    let manifest = manifest(1_000_000, &files);
    assert!(add(&store, &manifest, &files).unwrap());
    assert_eq!(store.check().unwrap().objects, 3001);
    assert_tidy(&store);
    assert!(store.library().remove(&blake3(&manifest).into()).unwrap().is_some());
    assert_eq!(store.check().unwrap().objects, 0);
    assert_tidy(&store);
}

/// Run by hand, on a disk that says something: `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn ten_thousand_photos() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let files: Vec<Vec<u8>> = (0..10_000).map(|i| content(i, 20_000)).collect();
    let manifest = manifest(1_000_000, &files);
    let mut start = std::time::Instant::now();
    let mut lap = |what: &str| {
        eprintln!("{what}: {:?}", start.elapsed());
        start = std::time::Instant::now();
    };
    assert!(add(&store, &manifest, &files).unwrap());
    lap("added 10,000 files");
    assert!(store.check().unwrap().is_tidy());
    lap("checked them");
    assert!(store.library().remove(&blake3(&manifest).into()).unwrap().is_some());
    lap("removed them");
    for number in 0..200 {
        let bytes = content(number, 20_000);
        put(&store, &fragment(number, 0, &bytes), &bytes).unwrap();
    }
    lap("stored 200 fragments one by one");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..25 {
                    let bytes = content(1000 + thread * 100 + number, 20_000);
                    put(store, &fragment(1000 + thread * 100 + number, 0, &bytes), &bytes).unwrap();
                }
            });
        }
    });
    lap("stored 200 fragments from 8 threads");
    for _ in 0..1000 {
        store.fragments().list_fragments(&tessera(7)).unwrap();
    }
    lap("listed pieces 1000 times");
    store.fragments().totals().unwrap();
    lap("totals");
    drop(store);
    start = std::time::Instant::now();
    drop(open(dir.path()));
    eprintln!("opened and closed: {:?}", start.elapsed());
}
