//! Power cuts: a store lives on a recorded disk, and is opened on many of the contents that a disk
//! may have after a power cut at each of its steps. Everything that was acknowledged must be there,
//! byte for byte, and what was removed must be gone.
//!
//! The same with every kind of sync left out in turn: then something must be lost, or the sync is
//! not needed, or nothing here would notice its absence.
//!
//! `POWER_CUT_IMAGES=50` tries more contents at each step; the default keeps the suite short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{
    FragmentStore as _, HoldingRepository as _, NewTessera, TesseraRepository as _,
};
use tesseras_core::publication::PublicationEvent;
use tesseras_crypto::hash::blake3;
use tesseras_disk::Disk;
use tesseras_power_cut::{Fault, FileId, RecordingDisk, Step, Surviving, SyncedBy, Volume, record};
use tesseras_storage::{StorageConfig, Store};

use crate::disks::quick_directory;
use crate::garbage::END_OF_TIME;
use crate::things::{
    Capsule, capsule, content, dossier, fragment, open, put, read, stage, tessera,
};

/// Contents that are tried at each step where much may be lost, besides the extreme ones.
const RANDOM_IMAGES: u64 = 1;
/// SQLite's own sync before it writes the log back. What it protects are pages of the index that
/// only commits without an answer have changed; the store notices only some of such damage.
const NOT_SHOWN: &str = "the log, to write it back";
/// Files of the capsule whose files are synced all at once.
const MANY_FILES: u64 = 300;

/// What must be so after a power cut; `None` where an act is under way, and either is right.
#[derive(Debug, Clone, Default)]
struct Promised {
    pieces: BTreeMap<u64, Option<bool>>,
    capsules: BTreeMap<u64, Option<bool>>,
    dossiers: BTreeMap<u64, Option<bool>>,
    wanted: BTreeMap<u64, Option<bool>>,
    /// Objects whose bytes the test has damaged.
    damaged: BTreeSet<ContentHash>,
}

/// Which promises an act is about.
type About = fn(&mut Promised) -> &mut BTreeMap<u64, Option<bool>>;

/// A store that lives, and what it has promised at each mark.
struct Life {
    disk: Arc<RecordingDisk>,
    root: tempfile::TempDir,
    promised: Vec<Promised>,
    /// The capsules that it may have.
    names: BTreeMap<u64, TesseraHash>,
}

impl Life {
    fn new() -> Self {
        let root = quick_directory();
        let disk = record(root.path(), Fault::Never).unwrap();
        let names = [1, 2, MANY].map(|number| (number, capsule_of(number).record.hash)).into();
        let life = Self { disk, root, promised: vec![Promised::default()], names };
        life.disk.mark(0);
        life
    }

    fn open(&self) -> Store {
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        Store::open_on_disk(&data_dir(self.root.path()), &StorageConfig::default(), disk).unwrap()
    }

    fn promise(&mut self, change: impl FnOnce(&mut Promised)) {
        let mut promised = self.promised.last().unwrap().clone();
        change(&mut promised);
        self.promised.push(promised);
        self.disk.mark(self.promised.len() - 1);
    }

    /// Acts, after which `number` is there or not.
    fn act<T>(&mut self, about: About, number: u64, there: bool, act: impl FnOnce() -> T) -> T {
        self.promise(|promised| _ = about(promised).insert(number, None));
        let outcome = act();
        self.promise(|promised| _ = about(promised).insert(number, Some(there)));
        outcome
    }

    fn put(&mut self, store: &Store, number: u64) {
        let bytes = piece(number);
        self.act(pieces, number, true, || {
            put(store, &fragment(number, 0, &bytes), &bytes).unwrap();
        });
    }

    fn delete(&mut self, store: &Store, number: u64) {
        let held = fragment(number, 0, &piece(number));
        self.act(pieces, number, false, || {
            assert!(store.fragments().delete_fragment(&held).unwrap());
        });
    }

    fn add(&mut self, store: &Store, number: u64) {
        let new = staged(store, &capsule_of(number));
        self.act(capsules, number, true, || assert!(store.library().add(new).unwrap()));
    }

    fn drop(&mut self, store: &Store, number: u64) {
        let name = self.names[&number];
        self.act(capsules, number, false, || {
            assert!(store.library().remove(&name).unwrap().is_some());
        });
    }

    /// Damages a stored piece, has it found, and replaces it.
    fn rot_and_heal(&mut self, store: &Store, number: u64) {
        let bytes = piece(number);
        let hash = fragment(number, 0, &bytes).checksum;
        self.promise(|promised| {
            promised.pieces.insert(number, None);
            promised.damaged.insert(hash);
        });
        let name = hash.to_string();
        let path = data_dir(self.root.path()).join(format!("cas/{}/{name}.blob", &name[..2]));
        let mut file = std::fs::File::options().write(true).open(&path).unwrap();
        self.disk.write(&mut file, b"rotten").unwrap();
        self.disk.sync_file(&file).unwrap();
        while store.scrub(None).step(u64::MAX).unwrap().corrupt == 0 {}
        put(store, &fragment(number, 0, &bytes), &bytes).unwrap();
        self.promise(|promised| {
            promised.pieces.insert(number, Some(true));
            promised.damaged.clear();
        });
    }

    /// Everything that a store does, more than once, and over a database that is written back.
    fn live(&mut self) {
        let store = self.open();
        for number in 0..3 {
            self.put(&store, number);
        }
        self.add(&store, 1);
        self.delete(&store, 0);
        self.act(dossiers, 1, true, || {
            let manifest = manifest(1);
            store.holdings().put_dossier(&blake3(&manifest).into(), &dossier(&manifest)).unwrap();
        });
        self.act(wanted, 1, true, || {
            let event = PublicationEvent::Wanted;
            store.holdings().note_publication(&tessera(1), event).unwrap();
        });
        drop(store);
        let store = self.open();
        self.add(&store, 2);
        self.drop(&store, 1);
        self.put(&store, 0);
        self.rot_and_heal(&store, 2);
        self.act(wanted, 1, false, || {
            let event = PublicationEvent::Cancelled;
            store.holdings().note_publication(&tessera(1), event).unwrap();
        });
        store.collect_garbage(END_OF_TIME).unwrap();
        self.add(&store, 1);
        self.drop(&store, 2);
        drop(store);
        let store = self.open();
        self.put(&store, 3);
        self.delete(&store, 1);
        drop(store);
    }

    /// A capsule of so many files that all are synced at once.
    fn live_with_many(&mut self) {
        let store = self.open();
        self.add(&store, MANY);
        drop(store);
    }
}

/// Over a database that is written back, a long log cannot be synced; then it is verified, and written
/// back by whoever comes next: by the same process, or by the next one.
fn live_with_a_failed_sync(life: &mut Life, by_the_next_process: bool) {
    let store = life.open();
    for number in 0..20 {
        life.put(&store, number);
    }
    drop(store);
    let store = life.open();
    let new = staged(&store, &capsule_of(MANY));
    life.promise(|promised| _ = promised.capsules.insert(MANY, None));
    life.disk.set_fault(Fault::NextLogSync(Errno::IO));
    store.library().add(new).unwrap_err();
    let store = if by_the_next_process {
        drop(store);
        life.open()
    } else {
        store
    };
    life.put(&store, 30);
    drop(store);
}

fn pieces(promised: &mut Promised) -> &mut BTreeMap<u64, Option<bool>> {
    &mut promised.pieces
}

fn capsules(promised: &mut Promised) -> &mut BTreeMap<u64, Option<bool>> {
    &mut promised.capsules
}

fn dossiers(promised: &mut Promised) -> &mut BTreeMap<u64, Option<bool>> {
    &mut promised.dossiers
}

fn wanted(promised: &mut Promised) -> &mut BTreeMap<u64, Option<bool>> {
    &mut promised.wanted
}

/// The number of the capsule with many files.
const MANY: u64 = 9;

/// The data directory, below what is recorded: its own name is stored, too.
const DATA: &str = "families/silva";

fn data_dir(root: &Path) -> PathBuf {
    root.join(DATA)
}

fn piece(number: u64) -> Vec<u8> {
    content(1000 + number, 20_000)
}

/// The MANIFEST of a dossier.
fn manifest(number: u64) -> Vec<u8> {
    content(2000 + number, 900)
}

fn capsule_of(number: u64) -> Capsule {
    let mut capsule = capsule(number);
    if number == MANY {
        capsule.files.extend((0..MANY_FILES).map(|file| content(10_000 + file, 20)));
    }
    capsule
}

fn staged(store: &Store, capsule: &Capsule) -> NewTessera {
    let all = std::iter::once(&capsule.manifest).chain(&capsule.files);
    let staged: Vec<_> = all.map(|bytes| stage(store, bytes).unwrap()).collect();
    let content = staged.iter().map(|blob| blob.hash).collect();
    NewTessera { record: capsule.record.clone(), content, staged }
}

/// What is wrong with the store below a directory.
fn verify(life: &Life, root: &Path, promised: &Promised) -> Result<(), String> {
    let store = Store::open(&data_dir(root), &StorageConfig::default());
    let store = store.map_err(|error| format!("it does not open: {error:?}"))?;
    let check = store.check().map_err(|error| format!("it cannot be checked: {error:?}"))?;
    let damaged = check.damaged.iter().filter(|hash| !promised.damaged.contains(hash)).count();
    let lost = check.lost_pieces.iter().filter(|p| !promised.damaged.contains(&p.checksum)).count();
    let unsound =
        [check.missing.len(), damaged, check.miscounted.len(), lost, check.unsigned.len()];
    ensure(unsound == [0; 5], || format!("unsound: {check:?}"))?;
    store.collect_garbage(END_OF_TIME).map_err(|error| format!("garbage: {error:?}"))?;
    let again = store.check().map_err(|error| format!("it cannot be checked: {error:?}"))?;
    ensure(again.orphans.is_empty() && again.waiting.is_empty(), || format!("orphans: {again:?}"))?;
    verify_pieces(&store, promised)?;
    for (number, there) in &promised.capsules {
        let name = life.names[number];
        is_so(store.library().get(&name).unwrap().is_some(), *there, "capsule", *number)?;
    }
    for (number, there) in &promised.dossiers {
        let manifest = manifest(*number);
        let kept = store.holdings().dossier(&blake3(&manifest).into()).unwrap();
        is_so(kept.is_some(), *there, "dossier", *number)?;
        let whole = kept.is_none_or(|kept| kept == dossier(&manifest));
        ensure(whole, || format!("another dossier {number}"))?;
    }
    for (number, there) in &promised.wanted {
        let is_wanted = store.holdings().publication(&tessera(*number)).unwrap().wanted;
        is_so(is_wanted, *there, "publication", *number)?;
    }
    Ok(())
}

/// What is wrong if the database is lost, too, and the library is listed again from the files.
fn verify_without_database(life: &Life, root: &Path, promised: &Promised) -> Result<(), String> {
    let (dir, config) = (data_dir(root), StorageConfig::default());
    std::fs::remove_dir_all(dir.join("db")).unwrap_or_default();
    Store::rebuild_library(&dir, &config, "lost").map_err(|error| format!("rebuild: {error:?}"))?;
    let store = open(&dir);
    for (number, there) in &promised.capsules {
        let listed = store.library().get(&life.names[number]).unwrap().is_some();
        is_so(listed, *there, "capsule listed again", *number)?;
    }
    Ok(())
}

fn verify_pieces(store: &Store, promised: &Promised) -> Result<(), String> {
    for (number, there) in &promised.pieces {
        let bytes = piece(*number);
        let held = fragment(*number, 0, &bytes);
        let reader = store.fragments().read_fragment(&held);
        is_so(reader.is_ok(), *there, "piece", *number)?;
        if let Ok(reader) = reader {
            let whole = promised.damaged.contains(&held.checksum) || read(&*reader) == bytes;
            ensure(whole, || format!("other bytes in piece {number}"))?;
        }
    }
    Ok(())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn is_so(found: bool, expected: Option<bool>, what: &str, number: u64) -> Result<(), String> {
    let holds = expected.is_none_or(|expected| expected == found);
    ensure(holds, || format!("{what} {number}: {found}, expected {expected:?}"))
}

/// A walk through the steps of a life, at each of which the disk may lose its power.
struct Cuts<'a> {
    life: &'a Life,
    /// Random contents at each step where much may be lost, besides the extreme ones.
    random: u64,
    points: u64,
    images: u64,
    violations: Vec<String>,
}

impl<'a> Cuts<'a> {
    fn new(life: &'a Life, random: u64) -> Self {
        Self { life, random, points: 0, images: 0, violations: Vec::new() }
    }

    /// Tries all steps.
    fn walk(self, steps: &[Step]) -> Self {
        self.walk_without(steps, None, usize::MAX)
    }

    /// Tries those from this one on.
    fn walk_from(mut self, first: usize, steps: &[Step]) -> Self {
        let (mut volume, mut promised) = (Volume::default(), &self.life.promised[0]);
        for (at, step) in steps.iter().enumerate() {
            if at > first && step.is_sync() {
                self.try_many(&volume, promised, at);
            }
            volume.apply(step);
            if let Step::Mark(number) = step {
                promised = &self.life.promised[*number];
            }
            if at >= first {
                self.try_after(step, &volume, promised, at);
            }
        }
        self
    }

    /// Tries the steps as if syncs of this kind did nothing, from the first of them on and up to so
    /// many violations.
    fn walk_without(mut self, steps: &[Step], left_out: Option<&str>, most: usize) -> Self {
        let (mut volume, mut promised) = (Volume::default(), &self.life.promised[0]);
        let (mut is_trying, kinds) = (left_out.is_none(), kinds(steps));
        for (at, step) in steps.iter().enumerate() {
            // Most can be lost right before a sync, and right after a promise.
            if is_trying && step.is_sync() {
                self.try_many(&volume, promised, at);
            }
            if left_out.is_some() && kinds[at] == left_out {
                is_trying = true;
            } else {
                volume.apply(step);
            }
            if let Step::Mark(number) = step {
                promised = &self.life.promised[*number];
            }
            if is_trying {
                self.try_after(step, &volume, promised, at);
            }
            if self.violations.len() >= most {
                break;
            }
        }
        self
    }

    fn try_after(&mut self, step: &Step, volume: &Volume, promised: &Promised, at: usize) {
        match step {
            Step::Mark(_) => {
                self.try_many(volume, promised, at);
                self.try_without_database(volume, promised, at);
            }
            Step::CreateDirectory(_) => {}
            // Of very many steps of one kind, one in five.
            Step::Create { .. } | Step::Link { .. } | Step::Write { .. } | Step::Rename { .. }
                if !at.is_multiple_of(5) => {}
            _ => self.try_one(volume, promised, at, Surviving::Everything),
        }
    }

    fn try_many(&mut self, volume: &Volume, promised: &Promised, at: usize) {
        self.points += 1;
        let extremes = [Surviving::Nothing, Surviving::Bytes, Surviving::Names];
        let some = (0..self.random).map(|n| Surviving::Some(at as u64 * 1000 + n));
        for surviving in extremes.into_iter().chain(some) {
            self.try_one(volume, promised, at, surviving);
        }
    }

    fn try_one(&mut self, volume: &Volume, promised: &Promised, at: usize, surviving: Surviving) {
        self.images += 1;
        let root = volume_on_disk(volume, surviving);
        let outcome = verify(self.life, root.path(), promised);
        self.note(outcome, at, surviving);
    }

    fn try_without_database(&mut self, volume: &Volume, promised: &Promised, at: usize) {
        if !promised.capsules.is_empty() {
            self.images += 1;
            let root = volume_on_disk(volume, Surviving::Nothing);
            let outcome = verify_without_database(self.life, root.path(), promised);
            self.note(outcome, at, Surviving::Nothing);
        }
    }

    fn note(&mut self, outcome: Result<(), String>, at: usize, surviving: Surviving) {
        if let Err(wrong) = outcome {
            self.violations.push(format!("step {at}, {surviving:?} survives: {wrong:.500}"));
        }
    }
}

fn volume_on_disk(volume: &Volume, surviving: Surviving) -> tempfile::TempDir {
    let root = quick_directory();
    volume.image(surviving).write_to(root.path()).unwrap();
    root
}

fn below_data(path: &Path) -> Option<PathBuf> {
    path.strip_prefix(DATA).ok().map(Path::to_owned)
}

/// The kind of each step that is a sync, by what it is for.
fn kinds(steps: &[Step]) -> Vec<Option<&'static str>> {
    let is_library = |path: &Path| below_data(path).is_some_and(|p| p.starts_with("library"));
    let signatures: BTreeSet<FileId> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Rename { to, file, .. } if is_library(to) => Some(*file),
            _ => None,
        })
        .collect();
    steps.iter().map(|step| kind(step, &signatures)).collect()
}

fn kind(step: &Step, signatures: &BTreeSet<FileId>) -> Option<&'static str> {
    let data = below_data;
    match step {
        Step::SyncFileSystem => Some("many staged files"),
        Step::SyncFile { by: SyncedBy::Log, .. } => Some("the log, for an answer"),
        Step::SyncFile { by: SyncedBy::Sqlite, path, .. } => {
            let is_log = path.extension().is_some_and(|extension| extension == "db-wal");
            Some(if is_log { NOT_SHOWN } else { "the database" })
        }
        Step::SyncFile { by: SyncedBy::Disk, path, file } => {
            // What the test itself damages is among the objects.
            let is_staged = data(path)?.starts_with("tmp");
            let kind = if signatures.contains(file) { "signatures" } else { "a staged file" };
            is_staged.then_some(kind)
        }
        Step::SyncDirectory(path) => Some(match data(path) {
            None => "the name of the data directory",
            Some(inside) if inside == Path::new("") => "names in the data directory",
            Some(inside) if inside == Path::new("db") => "the name of the database",
            Some(inside) if inside == Path::new("cas") => "the directories of objects",
            Some(inside) if inside.starts_with("cas") => "the name of an object",
            Some(inside) if inside == Path::new("library") => "the name of signatures",
            Some(_) => "another directory",
        }),
        _ => None,
    }
}

fn recorded(live: impl FnOnce(&mut Life)) -> (Life, Vec<Step>) {
    let mut life = Life::new();
    live(&mut life);
    let steps = life.disk.steps();
    (life, steps)
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_acknowledged() {
    let random = std::env::var("POWER_CUT_IMAGES").map_or(RANDOM_IMAGES, |n| n.parse().unwrap());
    for (life, steps) in [recorded(Life::live), recorded(Life::live_with_many)] {
        let Cuts { points, images, violations, .. } = Cuts::new(&life, random).walk(&steps);
        assert!(violations.is_empty(), "{} of {images}: {violations:#?}", violations.len());
        eprintln!("{} steps, {points} points of many contents, {images} contents", steps.len());
    }
}

/// What the failed sync left out is in memory alone, and the database must not be overwritten with
/// it before it is on the disk: what was acknowledged long before would be lost, too.
#[test]
fn a_power_cut_while_a_log_that_could_not_be_synced_is_mended_loses_nothing_acknowledged() {
    for by_the_next_process in [false, true] {
        let (life, steps) = recorded(|life| live_with_a_failed_sync(life, by_the_next_process));
        // The steps before are tried elsewhere.
        let lost = steps.iter().position(|step| matches!(step, Step::Lost(_))).unwrap();
        let cuts = Cuts::new(&life, 10).walk_from(lost, &steps);
        let Cuts { points, images, violations, .. } = cuts;
        assert!(violations.is_empty(), "{} of {images}: {violations:#?}", violations.len());
        eprintln!("{} steps, {points} points of many contents, {images} contents", steps.len());
    }
}

#[test]
fn without_any_one_kind_of_sync_something_is_lost() {
    // Nothing shows that one is needed.
    let mut tried = BTreeSet::from([NOT_SHOWN]);
    for (life, steps) in [recorded(Life::live), recorded(Life::live_with_many)] {
        let kinds: BTreeSet<_> = kinds(&steps).into_iter().flatten().collect();
        for left_out in kinds {
            if !tried.insert(left_out) {
                continue;
            }
            let cuts = Cuts::new(&life, 10).walk_without(&steps, Some(left_out), 1);
            eprintln!("without a sync of {left_out}: {:?}", cuts.violations);
            assert!(!cuts.violations.is_empty(), "nothing is lost without a sync of {left_out}");
        }
    }
}

/// A process was killed right before it synced what it had created.
#[test]
fn directories_that_another_process_created_are_synced_as_well() {
    let life = Life::new();
    let data = data_dir(life.root.path());
    let cas = data.join("cas");
    let shards = (0..=u8::MAX).map(|first| cas.join(format!("{first:02x}")));
    let above = [data.parent().unwrap().to_owned(), data.clone(), cas.clone()];
    for directory in above.into_iter().chain(shards) {
        life.disk.create_directory(&directory).unwrap();
    }
    let bytes = piece(1);
    put(&life.open(), &fragment(1, 0, &bytes), &bytes).unwrap();
    let mut volume = Volume::default();
    // Of the directory above, only its creator can know.
    for step in life.disk.steps() {
        volume.apply(&step);
        if step == Step::CreateDirectory("families".into()) {
            volume.apply(&Step::SyncDirectory("".into()));
        }
    }
    let mut promised = Promised::default();
    promised.pieces.insert(1, Some(true));
    let root = volume_on_disk(&volume, Surviving::Nothing);
    verify(&life, root.path(), &promised).unwrap();
}

#[test]
fn what_was_recorded_is_what_is_there() {
    let (life, steps) = recorded(Life::live);
    let mut volume = Volume::default();
    steps.iter().for_each(|step| volume.apply(step));
    verify(&life, life.root.path(), life.promised.last().unwrap()).unwrap();
    let root = tempfile::tempdir().unwrap();
    volume.image(Surviving::Everything).write_to(root.path()).unwrap();
    let copy = open(&data_dir(root.path()));
    assert_eq!(copy.check().unwrap(), open(&data_dir(life.root.path())).check().unwrap());
}
