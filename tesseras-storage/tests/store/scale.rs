//! What must not grow with the size of the store.

use tesseras_core::ports::{FragmentStore as _, TesseraRepository as _};
use tesseras_crypto::hash::blake3;

use crate::things::{add, assert_tidy, content, fragment, open, put, tessera};

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
    let manifest = content(1_000_000, 100);
    assert!(add(&store, &manifest, &files).unwrap());
    assert_eq!(store.check().unwrap().objects, 3001);
    assert_tidy(&store);
    assert!(store.library().remove(&blake3(&manifest).into()).unwrap().is_some());
    assert_eq!(store.check().unwrap().objects, 0);
    assert_tidy(&store);
}
