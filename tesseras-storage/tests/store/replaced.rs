//! A database that is removed or replaced while a process has it open: nothing more is acknowledged,
//! nothing is removed by it, and no new one is begun.

use std::fs;
use std::path::Path;

use tesseras_core::ports::{FragmentStore as _, HeldPiece, StoreError};
use tesseras_storage::Store;

use crate::things::{assert_tidy, content, fragment, open, put, read};

/// A piece of a tessera of its own, and its bytes.
fn piece(number: u64) -> (HeldPiece, Vec<u8>) {
    let bytes = content(number, 5000);
    (fragment(number, 0, &bytes), bytes)
}

fn store_piece(store: &Store, number: u64) -> Result<(), StoreError> {
    let (piece, bytes) = piece(number);
    put(store, &piece, &bytes)
}

/// Fails unless a store refuses to acknowledge anything, and says which database is gone.
fn assert_refuses(store: &Store, dir: &Path) {
    let held = piece(1).0;
    let refusals = [
        store_piece(store, 2).unwrap_err(),
        store.fragments().list_sound_fragments(&held.tessera).unwrap_err(),
        store.fragments().mark_damaged(&held).unwrap_err(),
        store.fragments().delete_fragment(&held).unwrap_err(),
    ];
    let path = dir.join("db/tesseras.db").display().to_string();
    for refusal in refusals {
        assert!(refusal.to_string().contains(&path), "{refusal}");
    }
}

#[test]
fn a_database_that_was_moved_away_is_not_written_to_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store_piece(&store, 1).unwrap();
    let (db, away) = (dir.path().join("db"), dir.path().join("away"));
    fs::rename(&db, &away).unwrap();
    assert_refuses(&store, dir.path());
    assert!(!db.exists(), "no new one is begun");
    fs::rename(&away, &db).unwrap();
    store_piece(&store, 3).unwrap();
    drop(store);
    let store = open(dir.path());
    for number in [1, 3] {
        let (held, bytes) = piece(number);
        assert_eq!(store.fragments().list_sound_fragments(&held.tessera).unwrap(), [held]);
        assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == bytes);
    }
    assert_eq!(store.fragments().list_fragments(&piece(2).0.tessera).unwrap(), []);
}

#[test]
fn a_database_that_was_removed_is_missed_at_once() {
    for removed in ["db", "db/tesseras.db", "db/tesseras.db-wal"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store_piece(&store, 1).unwrap();
        let gone = dir.path().join(removed);
        match gone.is_dir() {
            true => fs::remove_dir_all(&gone).unwrap(),
            false => fs::remove_file(&gone).unwrap(),
        }
        assert_refuses(&store, dir.path());
        assert!(!gone.exists(), "no new one is begun");
        let (held, bytes) = piece(1);
        assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == bytes, "{removed}");
    }
}

#[test]
fn a_database_that_was_replaced_by_an_older_one_decides_what_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    store_piece(&open(dir.path()), 1).unwrap();
    let older = dir.path().join("older.db");
    fs::copy(dir.path().join("db/tesseras.db"), &older).unwrap();
    let store = open(dir.path());
    let (held, bytes) = piece(1);
    // The removal of the file is all that is left to do when the older one takes its place.
    fs::rename(&older, dir.path().join("db/tesseras.db")).unwrap();
    assert_refuses(&store, dir.path());
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.fragments().list_sound_fragments(&held.tessera).unwrap(), [held]);
    assert!(read(&*store.fragments().read_fragment(&held).unwrap()) == bytes);
    // The file of the piece that was refused.
    assert_eq!(store.collect_garbage(crate::garbage::END_OF_TIME).unwrap().orphans, 1);
    assert_tidy(&store);
}
