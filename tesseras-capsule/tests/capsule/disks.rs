//! Disks that fail at every step of an export and of a restore: the folder is complete, or nothing
//! of it is left.

use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::io::Errno;
use tempfile::TempDir;
use tesseras_capsule::{export_on_disk, restore_on_disk, verify_directory};
use tesseras_core::pack::directory_name;
use tesseras_core::progress::Meter;
use tesseras_disk::{Disk, OsDisk};

use crate::samples::{World, jpeg, tree};

const SYNC_ALL: &str = "sync file system";

/// A disk that may fail once, at one of its touches.
struct FaultyDisk {
    /// Whether one sync of the whole file system tells all errors.
    tells_all: bool,
    fault: Option<(usize, Errno)>,
    trace: Mutex<Vec<(&'static str, PathBuf)>>,
    /// The inodes of the files that were synced.
    synced: Mutex<Vec<u64>>,
    /// The directory that was asked whether it tells of all errors.
    opened: Mutex<Option<RawFd>>,
}

impl FaultyDisk {
    fn new(tells_all: bool, fault: Option<(usize, Errno)>) -> Self {
        let (trace, synced, opened) = Default::default();
        Self { tells_all, fault, trace, synced, opened }
    }

    fn touch(&self, what: &'static str, path: &Path) -> io::Result<()> {
        let mut trace = self.trace.lock().unwrap();
        trace.push((what, path.to_owned()));
        match self.fault {
            Some((at, errno)) if at + 1 == trace.len() => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn trace(&self) -> Vec<(&'static str, PathBuf)> {
        self.trace.lock().unwrap().clone()
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("create directory", path)?;
        OsDisk.create_directory(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("remove directory", path)?;
        OsDisk.remove_directory(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.touch("create", path)?;
        OsDisk.create(path)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.touch("write", Path::new(""));
        let written = if outcome.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        OsDisk.write(file, written)?;
        outcome
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        let mut written = file;
        let at = written.stream_position()?;
        assert_eq!(at, file.metadata()?.len(), "not the descriptor that wrote it");
        self.touch("sync file", Path::new(""))?;
        self.synced.lock().unwrap().push(file.metadata()?.ino());
        OsDisk.sync_file(file)
    }

    fn tells_all_errors(&self, directory: &File) -> bool {
        let nothing_is_written = self.trace().iter().all(|(what, _)| *what != "write");
        assert!(nothing_is_written, "errors are told from when the directory is opened");
        *self.opened.lock().unwrap() = Some(directory.as_raw_fd());
        self.tells_all
    }

    fn sync_file_system(&self, directory: &File) -> io::Result<()> {
        assert_eq!(*self.opened.lock().unwrap(), Some(directory.as_raw_fd()));
        self.touch(SYNC_ALL, Path::new(""))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("rename", to)?;
        OsDisk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("rename", to)?;
        OsDisk.rename_new(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.touch("link", to)?;
        OsDisk.link(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.touch("sync directory", path)?;
        OsDisk.sync_directory(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.touch("remove", path)?;
        OsDisk.remove(path)
    }

    fn sync_wal(&self, wal: &File) -> io::Result<()> {
        OsDisk.sync_wal(wal)
    }

    fn before_commit(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory in memory if there is one: these disks fail by themselves, not by their nature.
fn quick_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// With a file that takes more than one write.
fn world() -> World {
    let world = World::small();
    world.put("film.jpg", &jpeg(&vec![7; 3 << 20]));
    world
}

/// Lets every touch of the disk fail once while `write` writes into a directory; returns how many
/// did.
fn every_touch_fails(
    write: &dyn Fn(&dyn Disk, &Path) -> Result<(), String>,
    assert_complete: &dyn Fn(&Path),
    prepare: &dyn Fn(&Path),
) -> usize {
    let mut failed = 0;
    for tells_all in [true, false] {
        let dir = quick_directory();
        prepare(dir.path());
        let well = FaultyDisk::new(tells_all, None);
        write(&well, dir.path()).unwrap();
        assert_complete(dir.path());
        let touches = well.trace().len();
        for errno in [Errno::NOSPC, Errno::IO] {
            for at in 0..touches {
                let dir = quick_directory();
                prepare(dir.path());
                let before = tree(dir.path());
                let disk = FaultyDisk::new(tells_all, Some((at, errno)));
                let outcome = write(&disk, dir.path());
                let (what, path) = disk.trace()[at].clone();
                let context = format!("{errno:?} at {what} {}: {outcome:?}", path.display());
                let error = outcome.expect_err(&context);
                assert!(error.contains(&io::Error::from(errno).to_string()), "{context}");
                assert_eq!(tree(dir.path()), before, "{context}");
                failed += 1;
            }
        }
    }
    failed
}

#[test]
fn an_export_is_complete_or_nothing_of_it_is_left_whatever_fails() {
    let world = world();
    let capsule = world.capsule();
    let name = directory_name(&capsule.hash());
    let write = |disk: &dyn Disk, dir: &Path| {
        let dest = dir.join("new/dest");
        export_on_disk(disk, &capsule, &*world.library, &dest, &Meter::silent())
            .map(|path| assert_eq!(path, dest.join(&name)))
            .map_err(|error| error.to_string())
    };
    let assert_complete = |dir: &Path| {
        let dest = dir.join("new/dest");
        assert_eq!(fs::read_dir(&dest).unwrap().count(), 1);
        assert!(verify_directory(&dest.join(&name), None, &Meter::silent()).unwrap().valid);
    };
    let failed = every_touch_fails(&write, &assert_complete, &|_| {});
    eprintln!("{failed} touches of the disk failed during an export");
}

#[test]
fn a_restored_folder_is_complete_or_nothing_of_it_is_left_whatever_fails() {
    let world = world();
    let capsule = world.capsule();
    let write = |disk: &dyn Disk, dir: &Path| {
        restore_on_disk(disk, &capsule, &*world.library, &dir.join("new/dest"), &Meter::silent())
            .map(|restored| assert_eq!(restored.damaged, []))
            .map_err(|error| error.to_string())
    };
    let assert_complete = |dir: &Path| {
        assert_eq!(fs::read_dir(dir.join("new")).unwrap().count(), 1);
        assert_eq!(tree(&dir.join("new/dest")), tree(&world.folder));
    };
    let into_new = every_touch_fails(&write, &assert_complete, &|_| {});
    let make = |dir: &Path| fs::create_dir_all(dir.join("new/dest")).unwrap();
    let into_existing = every_touch_fails(&write, &assert_complete, &make);
    let failed = into_new + into_existing;
    eprintln!("{failed} touches of the disk failed during a restore");
}

#[test]
fn where_one_sync_does_not_tell_all_errors_each_file_and_directory_is_synced() {
    let world = world();
    let capsule = world.capsule();
    let dir = quick_directory();
    let disk = FaultyDisk::new(false, None);
    let dest = dir.path().join("dest");
    let path = export_on_disk(&disk, &capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    let trace = disk.trace();
    let renamed = trace.iter().position(|(what, _)| *what == "rename").unwrap();
    assert_eq!(trace[renamed..], [("rename", path.clone()), ("sync directory", dest.clone())]);
    let written = trace.iter().rposition(|(what, _)| *what == "write").unwrap();
    // Of the directories above, only their names are synced.
    let synced: Vec<&Path> = trace[written..renamed]
        .iter()
        .filter(|(what, path)| {
            *what == "sync directory" && path.to_string_lossy().contains(".partial-")
        })
        .map(|(_, path)| path.as_path())
        .collect();
    let partial = *synced.last().unwrap();
    let mut synced: Vec<PathBuf> =
        synced.iter().map(|synced| path.join(synced.strip_prefix(partial).unwrap())).collect();
    let within = tree(&path).into_iter().map(|(name, _)| path.join(name));
    let (mut directories, files): (Vec<PathBuf>, Vec<PathBuf>) = within.partition(|p| p.is_dir());
    directories.push(path.clone());
    directories.sort();
    synced.sort();
    assert_eq!(synced, directories);
    let mut inodes: Vec<u64> = files.iter().map(|file| file.metadata().unwrap().ino()).collect();
    let mut synced = disk.synced.lock().unwrap().clone();
    inodes.sort_unstable();
    synced.sort_unstable();
    assert_eq!(synced, inodes);
    // It may still tell of what was lost.
    assert_eq!(trace[renamed - 1].0, SYNC_ALL);
}

#[test]
fn where_one_sync_tells_all_errors_no_file_is_synced_by_itself() {
    let world = world();
    let capsule = world.capsule();
    let dir = quick_directory();
    let disk = FaultyDisk::new(true, None);
    let dest = dir.path().join("dest");
    restore_on_disk(&disk, &capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    let count = |what| disk.trace().iter().filter(|(touched, _)| *touched == what).count();
    assert_eq!((count("sync file"), count(SYNC_ALL)), (0, 1));
}
