//! Disks that fail: every touch of the disk in turn, once or from then on; a disk that is full;
//! and the order in which a sound disk is touched.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HoldingRepository as _, NewTessera, PeerRepository as _,
    StoreError, TesseraRepository as _,
};
use tesseras_core::publication::PublicationEvent;
use tesseras_crypto::hash::blake3;
use tesseras_disk::{Disk, OsDisk};
use tesseras_storage::{Garbage, StorageConfig, Store};

use crate::garbage::END_OF_TIME;
use crate::hooked::with_log;
use crate::leftovers::obstruct;
use crate::things::{
    add, assert_tidy, content, dossier, fragment, manifest, open, put, read, record, stage,
};

/// When a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Never,
    /// At this touch, once, with this error; a write writes half of it first.
    Once(u64, rustix::io::Errno),
    /// At the first touch of this kind, whenever it comes.
    First(&'static str, rustix::io::Errno),
    /// From this touch on: as if the process died there.
    From(u64),
}

#[derive(Debug)]
struct FaultyDisk {
    fault: Fault,
    /// Whether one sync of the whole file system tells all errors.
    tells_all: bool,
    touches: AtomicU64,
    spent: AtomicBool,
    trace: Mutex<Vec<String>>,
}

impl FaultyDisk {
    fn new(fault: Fault) -> Arc<Self> {
        Self::on(true, fault)
    }

    fn on(tells_all: bool, fault: Fault) -> Arc<Self> {
        let (touches, spent) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { fault, tells_all, touches, spent, trace: Mutex::default() })
    }

    fn touch(&self, what: &str, path: Option<&Path>) -> io::Result<()> {
        let number = self.touches.fetch_add(1, Ordering::SeqCst);
        let directory = path.and_then(|path| {
            path.components().rev().nth(1).map(|c| c.as_os_str().to_string_lossy().into_owned())
        });
        self.trace.lock().unwrap().push(match directory {
            Some(directory) => format!("{what} {directory}"),
            None => what.to_owned(),
        });
        match self.fault {
            Fault::Once(at, errno) if number == at => Err(errno.into()),
            Fault::First(kind, errno)
                if what == kind && !self.spent.swap(true, Ordering::SeqCst) =>
            {
                Err(errno.into())
            }
            Fault::From(at) if number >= at => Err(rustix::io::Errno::IO.into()),
            _ => Ok(()),
        }
    }

    fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut *self.trace.lock().unwrap())
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("create directory", None)?;
        OsDisk.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("remove directory", None)?;
        OsDisk.remove_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.touch("create", None)?;
        OsDisk.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.touch("write", None);
        let written = if outcome.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        OsDisk.write(file, written)?;
        outcome
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        let mut written = file;
        let at = written.stream_position()?;
        assert_eq!(at, file.metadata()?.len(), "not the descriptor that wrote it");
        self.touch("sync file", None)?;
        OsDisk.sync_file(file)
    }

    fn tells_all_errors(&self, _: &File) -> bool {
        self.tells_all
    }

    fn sync_file_system(&self, directory: &File) -> io::Result<()> {
        self.touch("sync file system", None)?;
        OsDisk.sync_file_system(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("rename into", Some(to))?;
        OsDisk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("rename into", Some(to))?;
        OsDisk.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("link into", Some(to))?;
        OsDisk.link(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("sync directory", Some(&path.join("x")))?;
        OsDisk.sync_directory(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.touch("remove from", Some(path))?;
        OsDisk.remove(path)
    }

    fn sync_wal(&self, wal: &File) -> io::Result<()> {
        self.touch("sync log", None)?;
        OsDisk.sync_wal(wal)
    }

    fn before_commit(&self) -> io::Result<()> {
        self.touch("commit", None)
    }
}

fn open_on(dir: &Path, disk: &Arc<FaultyDisk>) -> Result<Store, StoreError> {
    Store::open_on_disk(dir, &StorageConfig::default(), Arc::clone(disk) as Arc<dyn Disk>)
}

/// A directory in memory if there is one: these disks fail by themselves, not by their nature.
pub fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What must be so after a restart; `None` where an act failed and either is right.
#[derive(Debug, Default)]
struct Known {
    piece: Option<bool>,
    twin: Option<bool>,
    capsule: Option<bool>,
    dossier: Option<bool>,
}

struct Things {
    photo: Vec<u8>,
    manifest: Vec<u8>,
    files: Vec<Vec<u8>>,
}

impl Things {
    fn new() -> Self {
        let photo = content(1, 100_000);
        let files = vec![photo.clone(), content(2, 70_000), content(3, 0)];
        Self { photo, manifest: manifest(4, &files), files }
    }

    /// Acts until one fails, and returns its error.
    fn live(&self, store: &Store, known: &mut Known) -> Result<(), StoreError> {
        let (piece, twin) = (fragment(1, 0, &self.photo), fragment(1, 1, &self.photo));
        let name = blake3(&self.manifest).into();
        known.piece = known.piece.filter(|held| *held);
        put(store, &piece, &self.photo)?;
        known.piece = Some(true);
        known.capsule = known.capsule.filter(|held| *held);
        add(store, &self.manifest, &self.files)?;
        known.capsule = Some(true);
        known.twin = known.twin.filter(|held| *held);
        put(store, &twin, &self.photo)?;
        known.twin = Some(true);
        store.holdings().put_dossier(&name, &dossier(&self.manifest))?;
        known.dossier = Some(true);
        known.piece = None;
        store.fragments().delete_fragment(&piece)?;
        known.piece = Some(false);
        known.capsule = None;
        store.library().remove(&name)?;
        known.capsule = Some(false);
        known.twin = None;
        store.fragments().delete_fragment(&twin)?;
        known.twin = Some(false);
        known.piece = known.piece.filter(|held| *held);
        put(store, &piece, &self.photo)?;
        known.piece = Some(true);
        Ok(())
    }

    fn verify_sound(&self, store: &Store, known: &Known, context: &str) {
        let check = store.check().unwrap();
        assert!(check.is_tidy(), "{context}: {check:#?}");
        self.verify(store, known, context);
    }

    fn verify(&self, store: &Store, known: &Known, context: &str) {
        let check = store.check().unwrap();
        assert!(check.is_intact(), "{context}: {check:#?}");
        for (index, expected) in [(0, known.piece), (1, known.twin)] {
            let held = store.fragments().read_fragment(&fragment(1, index, &self.photo));
            if let Some(expected) = expected {
                assert_eq!(held.is_ok(), expected, "{context}: piece {index}");
            }
            if let Ok(reader) = held {
                assert!(read(&*reader) == self.photo, "{context}: piece {index}");
            }
        }
        let name = blake3(&self.manifest).into();
        if let Some(expected) = known.capsule {
            assert_eq!(store.library().get(&name).unwrap().is_some(), expected, "{context}");
        }
        if let Some(expected) = known.dossier {
            assert_eq!(store.holdings().dossier(&name).unwrap().is_some(), expected, "{context}");
        }
    }
}

/// How often the disk is touched when all goes well.
fn touches_of_a_life(things: &Things) -> (u64, u64) {
    let dir = quick_directory();
    let disk = FaultyDisk::new(Fault::Never);
    let store = open_on(dir.path(), &disk).unwrap();
    let opened = disk.touches.load(Ordering::SeqCst);
    things.live(&store, &mut Known::default()).unwrap();
    assert_tidy(&store);
    (opened, disk.touches.load(Ordering::SeqCst))
}

#[test]
fn every_touch_of_the_disk_may_be_the_last() {
    let things = Things::new();
    let (_, touches) = touches_of_a_life(&things);
    for at in 0..touches {
        let dir = quick_directory();
        let disk = FaultyDisk::new(Fault::From(at));
        let mut known = Known::default();
        let outcome = open_on(dir.path(), &disk).and_then(|store| things.live(&store, &mut known));
        let context = format!("touch {at} of {touches}: {outcome:?}");
        let store = open(dir.path());
        store.collect_garbage(END_OF_TIME).unwrap();
        things.verify(&store, &known, &context);
        assert_tidy(&store);
        assert!(store.collect_garbage(END_OF_TIME).unwrap() == Garbage::default(), "{context}");
        // Life goes on, over whatever was left.
        drop(store);
        let store = open(dir.path());
        let _ = things.live(&store, &mut known);
        things.verify_sound(&store, &known, &context);
    }
    eprintln!("{touches} touches of the disk were the last");
}

#[test]
fn every_touch_of_the_disk_may_fail_once() {
    let things = Things::new();
    let (opened, touches) = touches_of_a_life(&things);
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::IO] {
        for at in opened..touches {
            let dir = quick_directory();
            let disk = FaultyDisk::new(Fault::Once(at, errno));
            let store = open_on(dir.path(), &disk).unwrap();
            let mut known = Known::default();
            let outcome = things.live(&store, &mut known);
            let context = format!("{errno:?} at touch {at} of {touches}: {outcome:?}");
            if let (Err(error), rustix::io::Errno::NOSPC) = (&outcome, errno) {
                assert!(matches!(error, StoreError::Full { .. }), "{context}");
            }
            things.verify(&store, &known, &context);
            // What failed may have left a file that nothing refers to.
            let garbage = store.collect_garbage(END_OF_TIME).unwrap();
            let check = store.check().unwrap();
            assert!(check.is_tidy(), "{context}: {garbage:?} {check:#?}");
            // The same process goes on once the disk is well again.
            things.live(&store, &mut known).unwrap_or_else(|e| panic!("{context}: {e}"));
            things.verify_sound(&store, &known, &context);
            drop(store);
            things.verify_sound(&open(dir.path()), &known, &context);
        }
    }
    eprintln!("{} touches of the disk failed", 2 * (touches - opened));
}

/// The files of the capsules in [`interrupted`], and the MANIFEST.
fn interrupted_capsule(number: u64) -> ([Vec<u8>; 1], Vec<u8>) {
    let files = [content(10 + number, 100)];
    let manifest = manifest(number, &files);
    (files, manifest)
}

/// A store in which removals and signature files were interrupted.
fn interrupted() -> tempfile::TempDir {
    let dir = quick_directory();
    let store = open(dir.path());
    let obstacles = dir.path().join("library");
    let hash = |number| record(&interrupted_capsule(number).1).hash;
    let signature_file = |number| obstacles.join(format!("{}.signatures", hash(number)));
    for number in 0..3 {
        let (files, manifest) = interrupted_capsule(number);
        obstruct(&signature_file(number));
        assert!(add(&store, &manifest, &files).unwrap());
    }
    let object = blake3(&content(10, 100)).to_string();
    let object = dir.path().join("cas").join(&object[..2]).join(format!("{object}.blob"));
    obstruct(&object);
    store.library().remove(&hash(0)).unwrap();
    drop(store);
    for obstacle in [signature_file(0), signature_file(1), signature_file(2), object] {
        std::fs::remove_dir_all(&obstacle).unwrap();
        std::fs::write(&obstacle, b"left").unwrap();
    }
    dir
}

#[test]
fn a_store_opens_although_nothing_that_was_interrupted_can_be_finished() {
    let touches = |dir: &Path| {
        let disk = FaultyDisk::new(Fault::Never);
        open_on(dir, &disk).unwrap();
        disk.touches.load(Ordering::SeqCst)
    };
    let dir = interrupted();
    let all = touches(dir.path());
    let opening = touches(dir.path());
    assert!(opening < all, "there was something to finish: {opening} of {all}");
    for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::IO] {
        for at in opening..all {
            let dir = interrupted();
            let disk = FaultyDisk::new(Fault::Once(at, errno));
            let context = format!("{errno:?} at touch {at} of {all}");
            let store = open_on(dir.path(), &disk).unwrap_or_else(|e| panic!("{context}: {e}"));
            assert_eq!(store.library().list().unwrap().len(), 2, "{context}");
            drop(store);
            let store = open(dir.path());
            assert_tidy(&store);
            assert!(store.collect_garbage(END_OF_TIME).unwrap() == Garbage::default(), "{context}");
            for number in 1..3 {
                let hash = record(&interrupted_capsule(number).1).hash;
                let file = dir.path().join(format!("library/{hash}.signatures"));
                assert_ne!(std::fs::read(file).unwrap(), b"left", "{context}");
            }
        }
    }
    eprintln!("{} touches of the disk failed while a store was opened", 2 * (all - opening));
}

#[test]
fn the_order_of_touches_is_the_one_that_survives_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Fault::Never);
    let store = open_on(dir.path(), &disk).unwrap();
    let bytes = content(1, 10);
    let held = fragment(1, 1, &bytes);
    let shard = &held.checksum.to_string()[..2];
    disk.take_trace();

    put(&store, &held, &bytes).unwrap();
    let into = format!("link into {shard}");
    let names = format!("sync directory {shard}");
    let mut trace = disk.take_trace();
    // The last one removes the staged name.
    assert!(trace.pop().is_some_and(|last| last.starts_with("remove from ")));
    assert_eq!(trace, ["create", "write", "sync file", &into, &names, "commit", "sync log"]);
    assert!(store.fragments().delete_fragment(&held).unwrap());
    let from = format!("remove from {shard}");
    // The last one forgets that the file was to be removed.
    assert_eq!(disk.take_trace(), ["commit", "sync log", "sync log", &from, &names, "commit"]);
}

#[test]
fn a_removal_that_was_interrupted_is_finished_when_the_store_is_next_opened() {
    let dir = quick_directory();
    let files: Vec<Vec<u8>> = (0..100).map(|i| content(i, 20)).collect();
    let manifest = manifest(1_000_000, &files);
    let store = open(dir.path());
    assert!(add(&store, &manifest, &files).unwrap());
    drop(store);
    // The opening, the commit, its sync, the sync before the first file is removed.
    let disk = FaultyDisk::new(Fault::From(touches_of_opening_again() + 4));
    let store = open_on(dir.path(), &disk).unwrap();
    let name = blake3(&manifest).into();
    assert!(store.library().remove(&name).unwrap().is_some());
    // And the file of signatures.
    assert_eq!(store.check().unwrap().waiting.len(), 101);
    drop(store);
    let store = open(dir.path());
    assert_tidy(&store);
    assert_eq!(std::fs::read_dir(dir.path().join("library")).unwrap().count(), 0);
}

#[test]
fn many_photos_are_synced_at_once_and_so_is_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Fault::Never);
    let store = open_on(dir.path(), &disk).unwrap();
    let files: Vec<Vec<u8>> = (0..2000).map(|i| content(i, 20)).collect();
    disk.take_trace();
    assert!(add(&store, &manifest(1_000_000, &files), &files).unwrap());
    let trace = disk.take_trace();
    let count = |what: &str| trace.iter().filter(|t| t.starts_with(what)).count();
    // The second one is that of the signatures, which are written once the capsule is listed.
    assert_eq!((count("sync file system"), count("sync file")), (1, 2));
    // Each photo and the MANIFEST; and the signatures.
    assert_eq!((count("link into"), count("rename into")), (2001, 1));
    assert!(count("sync directory") <= 257, "{}", count("sync directory"));
    // The second commit forgets that the signatures are due.
    assert_eq!((count("commit"), count("sync log")), (2, 1));
    let first = |what: &str| trace.iter().position(|t| t.starts_with(what));
    let writes = trace.iter().enumerate().filter(|(_, t)| *t == "write");
    let before = writes.filter(|(at, _)| Some(*at) < first("sync file system")).count();
    assert_eq!(before, 2001);
    assert!(first("sync file system") < first("link into"));
    // While others write: before the transaction whose commit is the first.
    let names = trace.iter().take_while(|t| *t != "commit");
    assert!(names.filter(|t| t.starts_with("sync directory")).count() > 200);
}

/// The error may be about one of ours, and no sync of a file that was closed would tell it again.
#[test]
fn what_a_sync_of_the_file_system_could_not_write_is_not_acknowledged() {
    let dir = quick_directory();
    let disk = FaultyDisk::new(Fault::First("sync file system", rustix::io::Errno::IO));
    let store = open_on(dir.path(), &disk).unwrap();
    let files = |round: u64| -> Vec<Vec<u8>> {
        (0..300).map(|number| content(round * 1000 + number, 20)).collect()
    };
    let manifest = |round| manifest(1_000_000 + round, &files(round));
    // Staged before the error was told to another.
    let early: Vec<_> = files(1).iter().map(|bytes| stage(&store, bytes).unwrap()).collect();
    let name = |round| blake3(&manifest(round)).into();
    let error = add(&store, &manifest(0), &files(0)).unwrap_err();
    assert!(error.to_string().contains("syncing"), "{error}");
    assert_eq!(store.library().get(&name(0)).unwrap(), None);
    let content = early.iter().map(|blob| blob.hash).collect();
    let new = NewTessera { record: record(&manifest(1)), content, staged: early };
    let error = store.library().add(new).unwrap_err();
    assert!(error.to_string().contains("syncing"), "{error}");
    assert_eq!(store.library().get(&name(1)).unwrap(), None);
    // What is staged from then on is safe with a sync that tells of no error.
    for round in 0..2 {
        assert!(add(&store, &manifest(round), &files(round)).unwrap());
    }
    assert_tidy(&store);
}

#[test]
fn where_one_sync_does_not_tell_all_errors_each_file_is_synced() {
    let dir = quick_directory();
    let disk = FaultyDisk::on(false, Fault::Never);
    let store = open_on(dir.path(), &disk).unwrap();
    let files: Vec<Vec<u8>> = (0..300).map(|number| content(number, 20)).collect();
    disk.take_trace();
    assert!(add(&store, &manifest(1_000_000, &files), &files).unwrap());
    let trace = disk.take_trace();
    let count = |what: &str| trace.iter().filter(|t| *t == what).count();
    // The files, the MANIFEST, the signatures.
    assert_eq!((count("sync file"), count("sync file system")), (302, 0));
    assert_tidy(&store);
}

/// Of 300 files, most are synced before they are adopted, because too many are open.
#[test]
fn what_was_synced_to_make_room_and_could_not_be_written_is_not_acknowledged() {
    let dir = quick_directory();
    let disk = FaultyDisk::on(false, Fault::First("sync file", rustix::io::Errno::IO));
    let store = open_on(dir.path(), &disk).unwrap();
    let files: Vec<Vec<u8>> = (0..300).map(|number| content(number, 20)).collect();
    let manifest = manifest(1_000_000, &files);
    let error = add(&store, &manifest, &files).unwrap_err();
    assert!(error.to_string().contains("syncing"), "{error}");
    assert_eq!(store.library().get(&blake3(&manifest).into()).unwrap(), None);
    assert!(add(&store, &manifest, &files).unwrap());
    assert_tidy(&store);
}

#[test]
fn only_a_file_system_that_tells_of_its_errors_is_synced_as_a_whole() {
    if let Ok(proc) = File::open("/proc/self") {
        assert!(!OsDisk.tells_all_errors(&proc));
    }
}

#[test]
fn what_was_synced_early_is_not_synced_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Fault::Never);
    let store = open_on(dir.path(), &disk).unwrap();
    disk.take_trace();
    let files: Vec<Vec<u8>> = (0..50).map(|number| content(number, LARGE)).collect();
    let manifest = manifest(1_000_000, &files);
    assert!(add_with_early_syncs(&store, &manifest, &files).unwrap());
    let trace = disk.take_trace();
    assert_eq!(trace.iter().filter(|t| *t == "sync file").count(), 52);
    assert_tidy(&store);
}

#[test]
fn what_could_not_be_synced_early_is_not_acknowledged() {
    let dir = quick_directory();
    let disk = FaultyDisk::new(Fault::First("sync file", rustix::io::Errno::IO));
    let store = open_on(dir.path(), &disk).unwrap();
    let files = [content(1, LARGE)];
    let manifest = manifest(1, &files);
    let error = add_with_early_syncs(&store, &manifest, &files).unwrap_err();
    assert!(error.to_string().contains("syncing"), "{error}");
    assert_eq!(disk.take_trace().iter().filter(|t| *t == "sync file").count(), 1);
    assert_eq!(store.library().get(&blake3(&manifest).into()).unwrap(), None);
    assert!(add_with_early_syncs(&store, &manifest, &files).unwrap());
    assert_tidy(&store);
}

#[test]
fn a_blob_that_was_to_be_synced_early_can_be_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..300 {
        let staged = stage(&store, &content(number, LARGE)).unwrap();
        store.blobs().sync_early(&staged);
        store.blobs().discard(staged);
    }
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

/// Blobs of so many bytes are worth a sync of their own.
const LARGE: usize = 64 * 1024;

/// How often the disk is touched when a store is opened that is there.
fn touches_of_opening_again() -> u64 {
    let dir = quick_directory();
    open(dir.path());
    let disk = FaultyDisk::new(Fault::Never);
    let _open = open_on(dir.path(), &disk).unwrap();
    disk.touches.load(Ordering::SeqCst)
}

/// Adds a capsule, each file of which is synced as soon as it is staged.
fn add_with_early_syncs(
    store: &Store,
    manifest: &[u8],
    files: &[Vec<u8>],
) -> Result<bool, StoreError> {
    let mut staged = Vec::new();
    for bytes in std::iter::once(manifest).chain(files.iter().map(Vec::as_slice)) {
        let blob = stage(store, bytes)?;
        store.blobs().sync_early(&blob);
        staged.push(blob);
    }
    let content = staged.iter().map(|s| s.hash).collect();
    store.library().add(NewTessera { record: record(manifest), content, staged })
}

#[test]
fn a_piece_is_listed_as_held_only_once_its_row_survives_a_power_cut() {
    /// Waits at a sync of the log, while it is to, and notes what is done.
    #[derive(Default)]
    struct Slow {
        is_slow: AtomicBool,
        began: std::sync::Condvar,
        events: Mutex<Vec<&'static str>>,
    }
    impl Slow {
        fn note(&self, event: &'static str) {
            self.events.lock().unwrap().push(event);
            self.began.notify_all();
        }
    }
    let slow = Arc::new(Slow::default());
    let seen = Arc::clone(&slow);
    let disk = with_log(move |wal: &File| {
        if seen.is_slow.load(Ordering::SeqCst) {
            seen.note("began");
            std::thread::sleep(std::time::Duration::from_millis(300));
            seen.note("synced");
        }
        OsDisk.sync_wal(wal)
    });
    let dir = quick_directory();
    let store = Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)).unwrap();
    let bytes = content(1, 5000);
    let piece = fragment(1, 0, &bytes);
    slow.is_slow.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| put(&store, &piece, &bytes).unwrap());
        let events = slow.events.lock().unwrap();
        drop(slow.began.wait_while(events, |events| events.is_empty()).unwrap());
        let listed = store.fragments().list_sound_fragments(&piece.tessera).unwrap();
        slow.note("listed");
        assert_eq!(listed, [piece]);
    });
    assert_eq!(slow.events.lock().unwrap()[..], ["began", "synced", "listed"]);
}

#[test]
fn a_piece_whose_row_could_not_be_synced_is_listed_as_held_only_after_another_sync() {
    let (fails, syncs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (failing, counted) = (Arc::clone(&fails), Arc::clone(&syncs));
    let disk = with_log(move |wal: &File| {
        if failing.swap(false, Ordering::SeqCst) {
            return Err(rustix::io::Errno::IO.into());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        OsDisk.sync_wal(wal)
    });
    let dir = quick_directory();
    let store = Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)).unwrap();
    let bytes = content(1, 5000);
    let piece = fragment(1, 0, &bytes);
    fails.store(true, Ordering::SeqCst);
    put(&store, &piece, &bytes).unwrap_err();
    let log = dir.path().join("db/tesseras.db-wal");
    assert!(log.metadata().unwrap().len() > 0);
    assert_eq!(store.fragments().list_sound_fragments(&piece.tessera).unwrap(), [piece]);
    assert_eq!(log.metadata().unwrap().len(), 0, "it was written back, and that was synced");
}

#[test]
fn what_is_held_is_listed_without_waiting_for_hints() {
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&syncs);
    let disk = with_log(move |wal: &File| {
        counted.fetch_add(1, Ordering::SeqCst);
        OsDisk.sync_wal(wal)
    });
    let dir = quick_directory();
    let store = Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)).unwrap();
    let bytes = content(1, 5000);
    let piece = fragment(1, 0, &bytes);
    put(&store, &piece, &bytes).unwrap();
    let stored = syncs.load(Ordering::SeqCst);
    store.peers().remember_silent(&[]).unwrap();
    assert_eq!(store.fragments().list_sound_fragments(&piece.tessera).unwrap(), [piece]);
    assert_eq!(syncs.load(Ordering::SeqCst), stored);
}

/// A store whose log cannot be synced, once the disk is full, until the reserve is gone.
fn on_a_disk_with_room_in_the_reserve_alone() -> (tempfile::TempDir, Arc<AtomicBool>, Store) {
    let (is_full, dir) = (Arc::new(AtomicBool::new(false)), quick_directory());
    let (full, reserve) = (Arc::clone(&is_full), dir.path().join("db/reserve"));
    let disk = with_log(move |wal: &File| match full.load(Ordering::SeqCst) && reserve.exists() {
        true => Err(rustix::io::Errno::NOSPC.into()),
        false => OsDisk.sync_wal(wal),
    });
    let store = Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)).unwrap();
    (dir, is_full, store)
}

#[test]
fn a_publication_is_stopped_on_a_full_disk() {
    let (_dir, is_full, store) = on_a_disk_with_room_in_the_reserve_alone();
    let tessera = fragment(1, 0, b"a piece").tessera;
    store.holdings().note_publication(&tessera, PublicationEvent::Wanted).unwrap();
    is_full.store(true, Ordering::SeqCst);
    store.holdings().note_publication(&tessera, PublicationEvent::Cancelled).unwrap();
    assert!(!store.holdings().publication(&tessera).unwrap().wanted);
}

/// Until it is written back, nobody else can open the directory, not even to free space.
#[test]
fn the_log_of_a_full_disk_is_looked_after_at_the_expense_of_the_reserve() {
    let (dir, is_full, store) = on_a_disk_with_room_in_the_reserve_alone();
    is_full.store(true, Ordering::SeqCst);
    let bytes = content(1, 5000);
    put(&store, &fragment(1, 0, &bytes), &bytes).unwrap_err();
    let patience = std::time::Duration::from_millis(10);
    let config = StorageConfig { busy_timeout: patience, ..StorageConfig::default() };
    let other = || Store::open_to_free_space(dir.path(), &config);
    assert!(matches!(other(), Err(StoreError::Locked { .. })));
    store.look_after_log().unwrap();
    other().unwrap();
}

/// The commit of a deletion is done once, however often its sync is tried.
#[test]
fn a_deletion_whose_sync_finds_the_disk_full_answers_what_it_deleted() {
    let (is_full, dir) = (Arc::new(AtomicBool::new(false)), quick_directory());
    let full = Arc::clone(&is_full);
    let disk = with_log(move |wal: &File| match full.swap(false, Ordering::SeqCst) {
        true => Err(rustix::io::Errno::NOSPC.into()),
        false => OsDisk.sync_wal(wal),
    });
    let store = Store::open_on_disk(dir.path(), &StorageConfig::default(), Arc::new(disk)).unwrap();
    let bytes = content(1, 5000);
    let piece = fragment(1, 0, &bytes);
    put(&store, &piece, &bytes).unwrap();
    let files = [content(3, 700)];
    let manifest = manifest(2, &files);
    assert!(add(&store, &manifest, &files).unwrap());
    is_full.store(true, Ordering::SeqCst);
    assert!(store.fragments().delete_fragment(&piece).unwrap());
    is_full.store(true, Ordering::SeqCst);
    let removed = store.library().remove(&blake3(&manifest).into()).unwrap();
    assert_eq!(removed, Some(record(&manifest)));
    assert_tidy(&store);
    assert_eq!(store.check().unwrap().objects, 0);
}
