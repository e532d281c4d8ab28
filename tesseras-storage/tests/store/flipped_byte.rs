//! One byte of the index flips, anywhere: in the header, the schema, a row. A check says so unless
//! all that is stored is as before, and a rebuild lists every capsule again.

use std::path::{Path, PathBuf};

use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HeldPiece, StoreError, TesseraRepository as _,
};
use tesseras_crypto::hash::blake3;
use tesseras_storage::{StorageConfig, Store};

use crate::flipped_index::held;
use crate::things::{Capsule, add_capsule, capsule, open, read};

/// How far apart the bytes are that flip. Bytes of zero are mostly unused, and not counted.
const STEP: usize = 397;
/// The header, of which every byte flips.
const HEADER_BYTES: usize = 100;

fn database(dir: &Path) -> PathBuf {
    dir.join("db/tesseras.db")
}

/// Puts this index into the place of whatever is there.
fn put_index(dir: &Path, bytes: &[u8]) {
    let db = dir.join("db");
    for entry in std::fs::read_dir(&db).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::write(database(dir), bytes).unwrap();
}

/// What is wrong, in words, if a check says that anything is.
fn said(dir: &Path) -> Option<String> {
    let checked = Store::open(dir, &StorageConfig::default()).and_then(|store| store.check());
    match checked {
        Ok(check) => (!check.is_intact()).then(|| format!("{check:?}")),
        Err(error) => Some(format!("{error:?}")),
    }
}

/// Two capsules, a piece that is held, and the index that lists them.
fn library(dir: &Path) -> ([Capsule; 2], HeldPiece, Vec<u8>) {
    let capsules = [capsule(1), capsule(2)];
    let store = open(dir);
    capsules.iter().for_each(|capsule| add_capsule(&store, capsule));
    let (piece, _) = held(&store);
    drop(store);
    (capsules, piece, std::fs::read(database(dir)).unwrap())
}

/// Whether a held piece is listed, and its bytes are here.
fn is_held(store: &Store, piece: &HeldPiece) -> Result<bool, StoreError> {
    let fragments = store.fragments();
    let reader = fragments.read_fragment(piece)?;
    Ok(fragments.list_sound_fragments(&piece.tessera)? == [*piece]
        && blake3(&read(&*reader)) == piece.checksum)
}

/// Whether every capsule is listed with the data that it had, and all its bytes are here.
fn is_all_there(store: &Store, capsules: &[Capsule]) -> Result<bool, StoreError> {
    let mut listed = store.library().list()?;
    listed.sort_by_key(|record| record.added);
    let records = capsules.iter().map(|capsule| &capsule.record);
    let files = capsules.iter().flat_map(|one| one.files.iter().chain([&one.manifest]));
    let mut is_stored = true;
    for bytes in files {
        is_stored &= read(&*store.blobs().open(&blake3(bytes))?) == *bytes;
    }
    Ok(is_stored && listed.iter().eq(records))
}

#[test]
fn a_flipped_byte_anywhere_in_the_index_is_named_and_a_rebuild_lists_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (capsules, piece, sound) = library(dir.path());
    let used = (HEADER_BYTES..sound.len()).filter(|at| sound[*at] != 0);
    let places: Vec<usize> = (0..HEADER_BYTES).chain(used.step_by(STEP)).collect();
    let (mut wrong, mut named) = (Vec::new(), 0);
    for (number, at) in places.iter().enumerate() {
        let mut flipped = sound.clone();
        flipped[*at] ^= 1 << (number % 8);
        put_index(dir.path(), &flipped);
        let said = said(dir.path());
        named += u64::from(said.is_some());
        let is_as_before = || {
            let store = open(dir.path());
            Ok::<_, StoreError>(is_all_there(&store, &capsules)? && is_held(&store, &piece)?)
        };
        if said.is_none() && !is_as_before().is_ok_and(|all| all) {
            wrong.push(format!("byte {at}: nothing is said"));
        }
        let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "flipped");
        let found = rebuilt.and_then(|_| {
            let store = Store::open(dir.path(), &StorageConfig::default())?;
            Ok((is_all_there(&store, &capsules)?, store.check()?))
        });
        match found {
            Ok((true, check)) if check.is_intact() => {}
            Ok((all, check)) => wrong.push(format!("byte {at}: all {all}: {check:?}; {said:?}")),
            Err(error) => wrong.push(format!("byte {at}: repair: {error:?}; {said:?}")),
        }
    }
    eprintln!("{} bytes flipped, {named} named", places.len());
    assert!(named > 0);
    let shown: Vec<_> = wrong.iter().take(10).collect();
    assert!(wrong.is_empty(), "{} of {}: {shown:#?}", wrong.len(), places.len());
}

/// Flips bits of the first byte of these words, wherever they are in the index, and puts it back.
fn flip(dir: &Path, sound: &[u8], words: &[u8], bits: u8) {
    let mut flipped = sound.to_vec();
    let windows = sound.windows(words.len()).enumerate();
    for (at, _) in windows.filter(|(_, window)| *window == words) {
        flipped[at] ^= bits;
    }
    assert_ne!(flipped, sound);
    put_index(dir, &flipped);
}

#[test]
fn a_schema_that_is_not_ours_is_named_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (capsules, _, sound) = library(dir.path());
    for words in [
        "peers (\n",
        "tesserae (hash) ON DELETE CASCADE,",
        "INTEGER NOT NULL CHECK (bytes >= 0)",
        "fragments_by_charge",
        "length(node) = 20",
        "title ",
    ] {
        flip(dir.path(), &sound, words.as_bytes(), 1);
        assert!(said(dir.path()).is_some(), "{words}");
        let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "flipped");
        assert!(rebuilt.is_ok_and(|rebuilt| rebuilt.set_aside.is_some()), "{words}");
        assert!(is_all_there(&open(dir.path()), &capsules).unwrap(), "{words}");
        assert_eq!(said(dir.path()), None, "{words}");
    }
}

/// The pieces that are held for others stay listed: only a row is made again.
#[test]
fn a_row_that_is_not_what_its_manifest_says_is_named_and_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (capsules, piece, sound) = library(dir.path());
    let one = &capsules[0].record;
    let added = &one.added.0.to_be_bytes()[5..];
    // The second is no UTF-8 any more.
    for (words, bits) in [
        (&b"Summer 1"[..], 1),
        (b"Summer 1", 0x80),
        (b"2026-01-01T00:00:00Z", 1),
        (one.creator.as_bytes(), 1),
        (added, 1),
    ] {
        flip(dir.path(), &sound, words, bits);
        assert!(said(dir.path()).is_some(), "{words:?}");
        let rebuilt = Store::rebuild_library(dir.path(), &StorageConfig::default(), "flipped");
        let rebuilt = rebuilt.unwrap();
        assert_eq!(rebuilt.set_aside, None, "{words:?}");
        assert!(rebuilt.mended.contains(&one.hash), "{words:?}");
        let store = open(dir.path());
        assert!(is_all_there(&store, &capsules).unwrap(), "{words:?}");
        assert!(is_held(&store, &piece).unwrap(), "{words:?}");
        drop(store);
        assert_eq!(said(dir.path()), None, "{words:?}");
    }
}
