//! What cannot be removed or written holds up nothing else, and no store from opening.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tesseras_core::ports::TesseraRepository as _;
use tesseras_crypto::hash::blake3;
use tesseras_disk::{Disk as _, OsDisk};
use tesseras_storage::{StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::hooked::Hooked;
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

/// A store on a disk that removes no file with this extension while `fails` is set.
fn open_where_some_stay(dir: &Path, extension: &'static str, fails: &Arc<AtomicBool>) -> Store {
    let fails = Arc::clone(fails);
    let remove = move |path: &Path| match path.extension() {
        Some(of) if of == extension && fails.load(Ordering::SeqCst) => {
            Err(rustix::io::Errno::IO.into())
        }
        _ => OsDisk.remove(path),
    };
    let disk = Hooked { remove: Box::new(remove), ..Hooked::default() };
    Store::open_on_disk(dir, &StorageConfig::default(), Arc::new(disk)).unwrap()
}

#[test]
fn a_dropped_capsule_that_cannot_be_removed_at_once_is_not_one_whose_row_was_lost() {
    for extension in ["signatures", "blob"] {
        let dir = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(true));
        let store = open_where_some_stay(dir.path(), extension, &fails);
        let (kept, dropped) = (capsule(1), capsule(2));
        add_capsule(&store, &kept);
        add_capsule(&store, &dropped);
        store.library().remove(&dropped.record.hash).unwrap();
        let check = store.check().unwrap();
        assert!(check.is_sound() && !check.waiting.is_empty(), "{extension}: {check:#?}");
        let all = tree(dir.path());
        assert!(check.waiting.iter().all(|file| all.contains_key(file)), "{check:#?}");
        let garbage = store.collect_garbage(END_OF_TIME).unwrap();
        assert_eq!(garbage.unlisted, [], "{extension}");
        assert_eq!((garbage.kept, garbage.orphans), (0, 0), "{extension}: {garbage:?}");
        assert_eq!(garbage.failed.files, check.waiting.len() as u64, "{garbage:?}");
        fails.store(false, Ordering::SeqCst);
        assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Default::default());
        assert_tidy(&store);
    }
}

#[test]
fn a_dropped_capsule_that_cannot_be_removed_at_once_is_not_listed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, dropped) = (capsule(1), capsule(2));
    let store = open(dir.path());
    add_capsule(&store, &kept);
    add_capsule(&store, &dropped);
    let obstructed = signature_file(dir.path(), &dropped.record.hash);
    obstruct(&obstructed);
    store.library().remove(&dropped.record.hash).unwrap();
    drop(store);
    let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "old").unwrap();
    assert_eq!((rebuilt.found, rebuilt.incomplete), (1, vec![]));
    fs::remove_dir_all(&obstructed).unwrap();
    let store = open(dir.path());
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Default::default());
    assert_tidy(&store);
}

/// While one process drops a capsule, another adds and drops it, too, and cannot remove it.
#[test]
fn what_one_drop_has_still_to_remove_is_not_forgotten_by_another() {
    for extension in ["signatures", "blob"] {
        let dir = tempfile::tempdir().unwrap();
        let drops = Arc::new(AtomicBool::new(false));
        let (root, is_due) = (dir.path().to_owned(), Arc::clone(&drops));
        // The names are synced when the files are gone, and before that they were due is forgotten.
        let between = move |path: &Path| {
            let is_of_these = path.ends_with("library") == (extension == "signatures");
            if is_of_these && is_due.swap(false, Ordering::SeqCst) {
                let other =
                    open_where_some_stay(&root, extension, &Arc::new(AtomicBool::new(true)));
                add_capsule(&other, &capsule(1));
                other.library().remove(&capsule(1).record.hash).unwrap();
            }
            OsDisk.sync_directory(path)
        };
        let disk = Hooked { sync_directory: Box::new(between), ..Hooked::default() };
        let config = StorageConfig::default();
        let store = Store::open_on_disk(dir.path(), &config, Arc::new(disk)).unwrap();
        add_capsule(&store, &capsule(1));
        drops.store(true, Ordering::SeqCst);
        store.library().remove(&capsule(1).record.hash).unwrap();
        let check = store.check().unwrap();
        assert!(check.is_sound() && !check.waiting.is_empty(), "{extension}: {check:#?}");
        drop(store);
        let store = open(dir.path());
        assert_tidy(&store);
        assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Default::default());
        assert_eq!(tree(&dir.path().join("library")).len(), 0, "{extension}");
    }
}
