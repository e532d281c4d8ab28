//! Files get their names before the transaction that refers to them, while anyone may remove or
//! replace them: never a row without its file.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tesseras_core::ports::{
    FragmentStore as _, NewTessera, PeerRepository as _, StoreError, TesseraRepository as _,
};
use tesseras_crypto::hash::blake3;
use tesseras_disk::{Disk as _, OsDisk};
use tesseras_storage::{Garbage, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::hooked::{Hooked, with_link};
use crate::things::{
    add, assert_tidy, content, fragment, manifest, open, put, read, record, stage,
};

fn open_on(dir: &Path, disk: Hooked) -> Store {
    Store::open_on_disk(dir, &StorageConfig::default(), Arc::new(disk)).unwrap()
}

/// A store to which another process does this once, after files got their names and before their
/// rows.
fn interrupted(dir: &Path, act: impl Fn(&Store) + Send + Sync + 'static) -> Store {
    let (other, cas, acted) = (open(dir), dir.join("cas"), AtomicBool::new(false));
    let disk = Hooked {
        sync_directory: Box::new(move |path| {
            OsDisk.sync_directory(path)?;
            if path.parent() == Some(&*cas) && !acted.swap(true, Ordering::SeqCst) {
                act(&other);
            }
            Ok(())
        }),
        ..Hooked::default()
    };
    open_on(dir, disk)
}

fn object(dir: &Path, bytes: &[u8]) -> PathBuf {
    let hash = blake3(bytes).to_string();
    dir.join("cas").join(&hash[..2]).join(format!("{hash}.blob"))
}

#[test]
fn where_files_cannot_be_linked_they_are_renamed() {
    for errno in [rustix::io::Errno::PERM, rustix::io::Errno::OPNOTSUPP, rustix::io::Errno::IO] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_on(dir.path(), with_link(move |_, _| Err(errno.into())));
        let files: Vec<Vec<u8>> = (0..50).map(|number| content(number, 900)).collect();
        assert!(add(&store, &manifest(1000, &files), &files).unwrap());
        let held = fragment(1, 0, &files[0]);
        put(&store, &held, &files[0]).unwrap();
        assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == files[0]);
        assert_tidy(&store);
    }
}

#[test]
fn what_is_collected_between_its_name_and_its_row_is_put_into_place_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let collected = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&collected);
    let store = interrupted(dir.path(), move |other| {
        *counted.lock().unwrap() += other.collect_garbage(END_OF_TIME).unwrap().orphans;
    });
    let bytes = content(1, 3000);
    let held = fragment(1, 0, &bytes);
    put(&store, &held, &bytes).unwrap();
    assert_eq!(*collected.lock().unwrap(), 1);
    assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == bytes);
    assert_tidy(&store);
}

#[test]
fn what_another_process_refers_to_meanwhile_outlives_a_transaction_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 3000);
    let theirs = fragment(2, 0, &bytes);
    let also = bytes.clone();
    let store = interrupted(dir.path(), move |other| put(other, &theirs, &also).unwrap());
    let taken = content(7, 100);
    put(&open(dir.path()), &fragment(1, 0, &taken), &taken).unwrap();
    let refused = put(&store, &fragment(1, 0, &bytes), &bytes).unwrap_err();
    assert!(matches!(refused, StoreError::Mismatch { .. }), "{refused}");
    assert!(read(&*store.fragments().read_fragment(&theirs).unwrap()) == bytes);
    assert_tidy(&store);
}

#[test]
fn two_that_adopt_the_same_content_at_once_both_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = content(1, 3000);
    let (mine, theirs) = (fragment(1, 0, &bytes), fragment(2, 0, &bytes));
    let also = bytes.clone();
    let store = interrupted(dir.path(), move |other| put(other, &theirs, &also).unwrap());
    put(&store, &mine, &bytes).unwrap();
    for held in [mine, theirs] {
        assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == bytes);
        assert!(store.fragments().delete_fragment(&held).unwrap());
    }
    assert_tidy(&store);
    assert!(!object(dir.path(), &bytes).exists());
}

#[test]
fn what_got_a_name_and_no_row_is_removed_and_so_is_its_staged_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(1, 3000);
    let taken = content(7, 100);
    put(&store, &fragment(1, 0, &taken), &taken).unwrap();
    put(&store, &fragment(1, 0, &bytes), &bytes).unwrap_err();
    assert!(!object(dir.path(), &bytes).exists());
    // Not among the content of the capsule.
    let photo = content(2, 50);
    let manifest = manifest(2, std::slice::from_ref(&photo));
    let all = [&bytes, &photo, &manifest];
    let staged = all.map(|bytes| stage(&store, bytes).unwrap()).into();
    let content = vec![blake3(&photo)];
    let capsule = NewTessera { record: record(&manifest), content, staged };
    assert!(store.library().add(capsule).unwrap());
    assert_tidy(&store);
    assert_eq!(object(dir.path(), &taken).metadata().unwrap().nlink(), 1);
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Garbage::default());
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

/// Prints for how long others cannot write while a large capsule is added, with and without links.
/// `TESSERAS_SYNC_MS` lets each sync of a directory take that much longer.
#[test]
#[ignore = "a measurement: it asserts nothing about time"]
#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn how_long_others_wait_for_a_large_capsule() {
    let files = std::env::var("TESSERAS_FILES").map_or(80_000, |n| n.parse().unwrap());
    let pause = std::env::var("TESSERAS_SYNC_MS").map_or(0, |n| n.parse().unwrap());
    for links in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Hooked {
            link: Box::new(move |from, to| match links {
                true => OsDisk.link(from, to),
                false => Err(io::ErrorKind::Unsupported.into()),
            }),
            sync_directory: Box::new(move |path| {
                std::thread::sleep(Duration::from_millis(pause));
                OsDisk.sync_directory(path)
            }),
            ..Hooked::default()
        };
        let config =
            StorageConfig { busy_timeout: Duration::from_secs(600), ..StorageConfig::default() };
        let store = Store::open_on_disk(dir.path(), &config, Arc::new(disk)).unwrap();
        let other = Store::open(dir.path(), &config).unwrap();
        let manifest = content(u64::MAX, 50);
        let mut staged = vec![stage(&store, &manifest).unwrap()];
        staged.extend((0..files).map(|number| stage(&store, &content(number, 100)).unwrap()));
        let hashes = staged.iter().map(|staged| staged.hash).collect();
        let capsule = NewTessera { record: record(&manifest), content: hashes, staged };
        let (ended, longest) = (AtomicBool::new(false), Mutex::new(Duration::ZERO));
        let began = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let asked = Instant::now();
                    other.peers().remember_silent(&[]).unwrap();
                    let mut longest = longest.lock().unwrap();
                    *longest = (*longest).max(asked.elapsed());
                }
            });
            assert!(store.library().add(capsule).unwrap());
            ended.store(true, Ordering::SeqCst);
        });
        let (all, longest) = (began.elapsed(), longest.into_inner().unwrap());
        eprintln!(
            "{files} files, +{pause} ms a directory, links: {links}: {all:?} in all, others waited up to {longest:?}"
        );
    }
}
