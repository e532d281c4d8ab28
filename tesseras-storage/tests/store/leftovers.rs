//! What cannot be removed or written holds up nothing else, and no store from opening.

use std::fs;
use std::path::{Path, PathBuf};

use tesseras_core::ports::TesseraRepository as _;
use tesseras_crypto::hash::blake3;

use crate::garbage::END_OF_TIME;
use crate::things::{add_capsule, assert_tidy, capsule, open, tree};

/// Puts a directory in the place of a file, which then cannot be removed or replaced as one.
pub fn obstruct(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
    fs::write(path.join("inside"), b"of a directory").unwrap();
}

fn blob(dir: &Path, hash: &str) -> PathBuf {
    dir.join("cas").join(&hash[..2]).join(format!("{hash}.blob"))
}

fn signature_file(dir: &Path, hash: &impl ToString) -> PathBuf {
    dir.join("library").join(format!("{}.signatures", hash.to_string()))
}

#[test]
fn a_signature_file_that_cannot_be_written_stays_due_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut capsules: Vec<_> = (0..5).map(capsule).collect();
    capsules.sort_by_key(|capsule| capsule.record.hash);
    let obstructed = signature_file(dir.path(), &capsules[0].record.hash);
    obstruct(&obstructed);
    capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.library().list().unwrap().len(), capsules.len());
    for capsule in &capsules[1..] {
        assert!(signature_file(dir.path(), &capsule.record.hash).is_file());
    }
    drop(store);
    fs::remove_dir_all(&obstructed).unwrap();
    open(dir.path());
    assert!(obstructed.is_file(), "it was still due");
}

#[test]
fn an_object_that_cannot_be_removed_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let dropped = capsule(1);
    add_capsule(&store, &dropped);
    let mut hashes: Vec<String> =
        dropped.files.iter().map(|bytes| blake3(bytes).to_string()).collect();
    hashes.sort();
    let obstructed = blob(dir.path(), &hashes[0]);
    obstruct(&obstructed);
    obstruct(&signature_file(dir.path(), &dropped.record.hash));
    store.library().remove(&dropped.record.hash).unwrap();
    let left = || -> Vec<PathBuf> { tree(&dir.path().join("cas")).into_keys().collect() };
    assert_eq!(left(), [obstructed.join("inside")]);
    drop(store);
    let store = open(dir.path());
    assert_eq!(left(), [obstructed.join("inside")]);
    fs::remove_dir_all(signature_file(dir.path(), &dropped.record.hash)).unwrap();
    fs::remove_dir_all(&obstructed).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_tidy(&store);
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Default::default());
}

#[test]
fn what_cannot_be_swept_is_counted_and_the_rest_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tmp = dir.path().join("tmp");
    for process in 1..5 {
        let left = tmp.join(format!("{process}-0"));
        fs::create_dir(&left).unwrap();
        obstruct(&left.join("00000001"));
        fs::write(left.join("00000000"), b"zero").unwrap();
        fs::write(left.join("00000002"), b"two").unwrap();
    }
    let swept = store.sweep_tmp().unwrap();
    assert_eq!((swept.files, swept.bytes), (8, 28));
    drop(store);
    open(dir.path());
}
