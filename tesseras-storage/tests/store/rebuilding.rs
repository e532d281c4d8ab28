//! The library is listed again from its files: beside other processes, after an interruption, and
//! without the loss of what only the old index knew.

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use tesseras_core::ports::{FragmentStore as _, StoreError, TesseraRepository as _};
use tesseras_disk::{Disk as _, OsDisk};
use tesseras_storage::{Rebuilt, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::hooked::Hooked;
use crate::things::{add_capsule, assert_tidy, capsule, content, fragment, open, put};

fn rebuild(dir: &Path) -> Result<Rebuilt, StoreError> {
    Store::rebuild_library(dir, &StorageConfig::default(), "2026-01-02")
}

/// Damages the last page of the index, which opening does not read.
fn spoil(dir: &Path) {
    let file = File::options().write(true).open(dir.join("db/tesseras.db")).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.write_all_at(&[0x55; 4096], bytes - 4096).unwrap();
}

#[test]
fn an_index_that_is_about_to_be_open_elsewhere_is_not_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_capsule(&store, &capsule(1));
    drop(store);
    spoil(dir.path());
    let (reached, is_reached) = sync_channel(1);
    let (go_on, may_go_on) = sync_channel::<()>(1);
    let (may_go_on, is_first) = (Mutex::new(may_go_on), AtomicBool::new(true));
    let db = dir.path().join("db");
    // The names in db/ are synced while the index is opened, under the lock of those who open it.
    let sync_directory = move |path: &Path| {
        if path == db && is_first.swap(false, Ordering::SeqCst) {
            reached.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
        }
        OsDisk.sync_directory(path)
    };
    let disk = Hooked { sync_directory: Box::new(sync_directory), ..Hooked::default() };
    std::thread::scope(|scope| {
        let opening = scope
            .spawn(|| Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)));
        is_reached.recv().unwrap();
        let rebuilding = scope.spawn(|| rebuild(dir.path()));
        // It waits for its turn after this.
        while !dir.path().join("daemon.lock").exists() {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
        let running = opening.join().unwrap().unwrap();
        let rebuilt = rebuilding.join().unwrap();
        assert!(matches!(rebuilt, Err(StoreError::Locked { .. })), "{rebuilt:?}");
        let bytes = content(77, 3000);
        let held = fragment(77, 0, &bytes);
        put(&running, &held, &bytes).unwrap();
        drop(running);
        let pieces = open(dir.path()).fragments().list_sound_fragments(&held.tessera);
        assert_eq!(pieces.unwrap(), [held], "it was told that it is stored");
    });
}

/// The disk of db/ was not mounted, and is again.
#[test]
fn what_an_index_that_was_away_refers_to_is_no_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_capsule(&store, &capsule(1));
    let bytes = content(77, 3000);
    let held = fragment(77, 0, &bytes);
    put(&store, &held, &bytes).unwrap();
    drop(store);
    let (db, away) = (dir.path().join("db"), dir.path().join("away"));
    fs::rename(&db, &away).unwrap();
    assert_eq!(rebuild(dir.path()).unwrap().restored, [capsule(1).record.hash]);
    for _ in 0..2 {
        let garbage = open(dir.path()).collect_garbage(END_OF_TIME).unwrap();
        assert_eq!((garbage.orphans, garbage.kept), (0, 1), "{garbage:?}");
    }
    fs::rename(&db, dir.path().join("begun anew")).unwrap();
    fs::rename(&away, &db).unwrap();
    assert!(open(dir.path()).fragments().read_fragment(&held).is_ok());
    // It does not come back.
    fs::remove_dir_all(&db).unwrap();
    fs::rename(dir.path().join("begun anew"), &db).unwrap();
    let store = open(dir.path());
    store.give_up_missing_index().unwrap();
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap().orphans, 1);
    assert_tidy(&store);
}

/// A store of three capsules whose index is damaged, or missing.
fn without_index(is_damaged: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (0..3).for_each(|number| add_capsule(&store, &capsule(number)));
    drop(store);
    match is_damaged {
        true => spoil(dir.path()),
        false => fs::remove_dir_all(dir.path().join("db")).unwrap(),
    }
    dir
}

/// A disk that fails from this sync of a directory on, and counts them. The many directories of
/// objects do not count.
fn failing_from(at: u64, syncs: &Arc<AtomicU64>) -> Hooked {
    let syncs = Arc::clone(syncs);
    let sync_directory = move |path: &Path| {
        let is_counted = !path.parent().is_some_and(|parent| parent.ends_with("cas"));
        match syncs.fetch_add(u64::from(is_counted), Ordering::SeqCst) < at {
            true => OsDisk.sync_directory(path),
            false => Err(rustix::io::Errno::IO.into()),
        }
    };
    Hooked { sync_directory: Box::new(sync_directory), ..Hooked::default() }
}

/// However far it came, nobody is shown a library that lacks what is stored.
#[test]
fn a_rebuild_that_was_interrupted_is_named_and_completed_by_the_next() {
    let mut unfinished = 0;
    for is_damaged in [true, false] {
        for at in 0.. {
            let (dir, syncs) = (without_index(is_damaged), Arc::default());
            let disk = Arc::new(failing_from(at, &syncs));
            let config = StorageConfig::default();
            let rebuilt = Store::rebuild_library_on_disk(dir.path(), &config, "failing", disk);
            let context = format!("damaged {is_damaged}, sync {at}: {rebuilt:?}");
            for opened in
                [Store::open(dir.path(), &config), Store::open_read_only(dir.path(), &config)]
            {
                match opened {
                    Ok(store) => {
                        assert_eq!(store.library().list().unwrap().len(), 3, "{context}");
                    }
                    Err(StoreError::IndexMissing { .. }) => {}
                    Err(StoreError::IndexDamaged { source, .. }) => {
                        let why = source.to_string();
                        unfinished += u64::from(why.contains("is being listed again"));
                    }
                    Err(other) => panic!("{context}: {other}"),
                }
            }
            if syncs.load(Ordering::SeqCst) <= at {
                break;
            }
            rebuild(dir.path()).unwrap();
            let store = open(dir.path());
            assert_eq!(store.library().list().unwrap().len(), 3, "{context}");
            assert!(store.check().unwrap().is_intact(), "{context}");
            let note = dir.path().join("db/tesseras.db-begun-anew");
            assert_ne!(note.exists(), is_damaged, "{context}: it is set aside, or missing");
        }
    }
    assert!(unfinished > 0);
}

/// A file that an earlier attempt created and never wrote.
#[test]
fn an_empty_index_that_was_not_finished_is_a_missing_one() {
    let dir = without_index(false);
    fs::create_dir(dir.path().join("db")).unwrap();
    for name in ["tesseras.db", "tesseras.db-unfinished"] {
        fs::write(dir.path().join("db").join(name), b"").unwrap();
    }
    let rebuilt = rebuild(dir.path()).unwrap();
    assert_eq!((rebuilt.set_aside, rebuilt.restored.len()), (None, 3));
    assert!(dir.path().join("db/tesseras.db-begun-anew").exists());
}
