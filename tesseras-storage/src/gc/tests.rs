//! Rows that leaked, and a collection on a disk that fails. What only the files show is tested in
//! `tests/store/garbage.rs`.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use tesseras_core::code::Piece;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{
    BlobStore as _, Charge, FragmentStore as _, HeldPiece, HoldingRepository as _, PeerAt,
};
use tesseras_disk::Disk;
use tesseras_power_cut::{Fault, RecordingDisk, Surviving, Volume, record};

use crate::{StorageConfig, Store};

use super::*;

const END_OF_TIME: Timestamp = Timestamp(u64::MAX);

fn open(dir: &Path) -> Store {
    Store::open(dir, &StorageConfig::default()).unwrap()
}

/// A piece of 500 bytes of this number.
fn put(store: &Store, number: u8) -> HeldPiece {
    let charge = Charge::Peer(PeerAt {
        id: NodeId::new([1; 20]),
        subnet: tesseras_core::contact::Subnet::V4([10, 0, 0]),
    });
    let mut writer = store.blobs().stage().unwrap();
    writer.write(&[number; 500]).unwrap();
    let staged = writer.finish().unwrap();
    let (tessera, checksum) = (TesseraHash::new([7; 32]), staged.hash);
    let piece = HeldPiece { tessera, piece: Piece::Index(number), checksum, bytes: 500 };
    store.fragments().store_fragment(&piece, staged, &charge).unwrap();
    piece
}

/// Makes a row false that is about this object.
fn spoil(store: &Store, sql: &str, hash: &ContentHash) {
    let spoilt = |tx: &rusqlite::Transaction<'_>| Ok(tx.execute(sql, [hash.as_bytes()])?);
    assert_eq!(store.blobs().database().write_durably("spoiling", spoilt).unwrap(), 1);
}

/// Leaks of both kinds: an object that is counted too often, and one that nothing refers to.
fn leak(store: &Store, counted: &HeldPiece, unnamed: &HeldPiece) {
    spoil(store, "UPDATE objects SET refs = 4 WHERE hash = ?1", &counted.checksum);
    spoil(store, "DELETE FROM fragments WHERE checksum = ?1", &unnamed.checksum);
    assert_eq!(store.check().unwrap().miscounted.len(), 2);
}

#[test]
fn references_that_were_counted_wrongly_are_corrected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let held: Vec<HeldPiece> = (0..3).map(|number| put(&store, number)).collect();
    leak(&store, &held[0], &held[1]);
    let leaked =
        Garbage { leaked: 2, unreferenced: 1, unreferenced_bytes: 500, ..Garbage::default() };
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), leaked);
    let check = store.check().unwrap();
    assert!(check.is_tidy(), "{check:?}");
    assert_eq!(check.objects, 2);
    assert_eq!(store.collect_garbage(END_OF_TIME).unwrap(), Garbage::default());
    assert!(store.fragments().delete_fragment(&held[0]).unwrap());
    assert_eq!(store.check().unwrap().objects, 1);
}

/// A store on a recorded disk with garbage of every kind.
struct Untidy {
    root: tempfile::TempDir,
    disk: Arc<RecordingDisk>,
    store: Store,
    /// What is no garbage.
    kept: Vec<HeldPiece>,
}

impl Untidy {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = record(root.path(), Fault::Never).unwrap();
        let dir = root.path().join("data");
        let config = StorageConfig::default();
        let store = Store::open_on_disk(&dir, &config, disk.clone()).unwrap();
        let held: Vec<HeldPiece> = (0..3).map(|number| put(&store, number)).collect();
        leak(&store, &held[0], &held[1]);
        let left = |path: &Path| {
            let mut file = disk.create(path).unwrap();
            disk.write(&mut file, b"left").unwrap();
        };
        for number in 10..12_u8 {
            left(&store.blobs().files().path(&tesseras_crypto::blake3(&[number])));
        }
        let (stale, dropped) = (dir.join("tmp/1-0"), TesseraHash::new([9; 32]));
        disk.create_directory(&stale).unwrap();
        left(&stale.join("00000000"));
        left(&dir.join(format!("library/{dropped}.signatures")));
        // After the file was written.
        store.holdings().block(&dropped, Timestamp(1 << 40)).unwrap();
        Self { root, disk, store, kept: vec![held[0], held[2]] }
    }

    /// Reads every byte of what is kept, on this disk and on what a kill or a power cut leaves.
    fn verify(&self, context: &str) {
        let mut volume = Volume::default();
        self.disk.steps().iter().for_each(|step| volume.apply(step));
        for surviving in [Surviving::Everything, Surviving::Nothing] {
            let root = tempfile::tempdir_in(self.root.path()).unwrap();
            volume.image(surviving).write_to(root.path()).unwrap();
            let context = format!("{context}, {surviving:?} survives");
            collect_twice(&open(&root.path().join("data")), &self.kept, &context);
        }
        assert_held(&self.store, &self.kept, context);
    }
}

fn assert_held(store: &Store, kept: &[HeldPiece], context: &str) {
    for piece in kept {
        let reader = store.fragments().read_fragment(piece).unwrap();
        let mut bytes = [0; 500];
        reader.read_at(0, &mut bytes).unwrap();
        assert_eq!(tesseras_crypto::blake3(&bytes), piece.checksum, "{context}");
    }
}

/// On a sound disk all goes, however much went before, and nothing else.
fn collect_twice(store: &Store, kept: &[HeldPiece], context: &str) {
    store.collect_garbage(END_OF_TIME).unwrap();
    let again = store.collect_garbage(END_OF_TIME).unwrap();
    assert_eq!(again, Garbage::default(), "{context}");
    let check = store.check().unwrap();
    assert!(check.is_tidy(), "{context}: {check:?}");
    assert_eq!(check.objects, kept.len() as u64, "{context}");
    assert_held(store, kept, context);
}

#[test]
fn a_collection_on_a_disk_that_fails_removes_nothing_but_garbage_and_the_next_removes_it_all() {
    let untidy = Untidy::new();
    let before = untidy.disk.touches();
    let all = untidy.store.collect_garbage(END_OF_TIME).unwrap();
    let found = (all.orphans, all.leaked, all.stale, all.failed.files);
    assert_eq!(found, (3, 2, 1, 0), "{all:?}");
    let touches = untidy.disk.touches() - before;
    let (mut refused, mut incomplete) = (0, 0);
    for errno in [Errno::NOSPC, Errno::IO] {
        for at in 0..touches {
            let untidy = Untidy::new();
            untidy.disk.set_fault(Fault::Once(untidy.disk.touches() + at, errno));
            let outcome = untidy.store.collect_garbage(END_OF_TIME);
            untidy.disk.set_fault(Fault::Never);
            let context = format!("{errno:?} at touch {at} of {touches}: {outcome:?}");
            match outcome {
                Err(_) => refused += 1,
                Ok(garbage) => incomplete += u64::from(garbage != all),
            }
            untidy.verify(&context);
            collect_twice(&untidy.store, &untidy.kept, &context);
        }
    }
    let points = 2 * touches;
    eprintln!("gc: {touches} touches, {points} faults, {refused} refused, {incomplete} incomplete");
    assert!(refused > 0 && incomplete > 0);
}
