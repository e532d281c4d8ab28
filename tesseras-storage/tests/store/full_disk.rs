//! A disk that is really full, to the last byte.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use tesseras_core::ports::{FragmentStore as _, HeldPiece, StoreError};
use tesseras_disk::OsDisk;
use tesseras_storage::{StorageConfig, Store};

use crate::things::{assert_tidy, content, fragment, open, put, read};

/// A file system of its own that is unmounted in the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700"), "tmpfs"])
            .arg(dir.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

fn fill(disk: &Path, name: &str) {
    let mut filler = fs::File::create(disk.join(name)).unwrap();
    for bytes in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![0x77; bytes]).is_ok() {}
    }
}

fn reserved(disk: &Path) -> u64 {
    fs::metadata(disk.join("db/reserve")).map_or(0, |file| file.len())
}

fn hold(store: &Store, number: u64) -> (HeldPiece, Vec<u8>) {
    let bytes = content(number, 50_000);
    let piece = fragment(number, 0, &bytes);
    put(store, &piece, &bytes).unwrap();
    (piece, bytes)
}

#[test]
fn the_reserve_is_left_to_what_frees_space() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let (disk, config) = (disk.0.path(), StorageConfig::default());
    let (piece, bytes) = hold(&open(disk), 1);
    fill(disk, "filler");
    for number in 0..3 {
        let refused = Store::open(disk, &config).unwrap_err();
        assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
        assert!(!refused.to_string().contains("migrat"), "{refused}");
        let reading = Store::open_to_read(disk, &config).unwrap();
        assert_eq!(read(&*reading.fragments().read_fragment(&piece).unwrap()), bytes);
        drop(reading);
        assert_eq!(reserved(disk), 1 << 20);
        // Whatever somebody gave free is taken at once.
        fill(disk, &format!("filler-{number}"));
    }
    let store = Store::open_to_free_space(disk, &config).unwrap();
    assert!(store.fragments().delete_fragment(&piece).unwrap());
    assert_tidy(&store);
}

#[test]
fn a_node_that_starts_on_a_full_disk_leaves_most_of_the_reserve_to_deletions() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let (disk, config) = (disk.0.path(), StorageConfig::default());
    let (piece, bytes) = hold(&open(disk), 1);
    fill(disk, "filler");
    let node = Store::open_on_disk(disk, &config, Arc::new(OsDisk)).unwrap();
    fill(disk, "filler-1");
    assert!(reserved(disk) >= 3 << 18, "{}", reserved(disk));
    // What it refuses to keep costs nothing of it.
    for number in 2..6 {
        let bytes = content(number, 50_000);
        put(&node, &fragment(number, 0, &bytes), &bytes).unwrap_err();
        fill(disk, &format!("filler-{number}"));
    }
    assert_eq!(read(&*node.fragments().read_fragment(&piece).unwrap()), bytes);
    let store = Store::open_to_free_space(disk, &config).unwrap();
    assert!(store.fragments().delete_fragment(&piece).unwrap());
    drop(store);
    fs::remove_file(disk.join("filler")).unwrap();
    hold(&node, 7);
    drop(node);
    assert_tidy(&open(disk));
    assert_eq!(reserved(disk), 1 << 20);
}

#[test]
fn a_full_disk_says_so_keeps_everything_and_recovers() {
    let Some(disk) = SmallDisk::mount(4 << 20) else {
        eprintln!("skipped: a small file system cannot be mounted here");
        return;
    };
    let store = open(disk.0.path());
    let mut held = Vec::new();
    let refused = loop {
        let number = held.len() as u64;
        let bytes = content(number, 50_000);
        let fragment = fragment(number, 0, &bytes);
        match put(&store, &fragment, &bytes) {
            Ok(()) => held.push((fragment, bytes)),
            Err(error) => break error,
        }
        assert!(number < 1000, "a disk of 4 MiB never got full");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(held.len() > 10, "{}", held.len());
    // Rows alone fill what is left to the last page; each is refused or kept, none is half done.
    let mut small = Vec::new();
    for number in 10_000..20_000 {
        let bytes = content(number, 8);
        let fragment = fragment(number, 0, &bytes);
        match put(&store, &fragment, &bytes) {
            Ok(()) => small.push((fragment, bytes)),
            Err(StoreError::Full { .. }) => break,
            Err(other) => panic!("{other}"),
        }
    }
    drop(store);
    let store = open(disk.0.path());
    for (fragment, bytes) in held.iter().chain(&small) {
        assert_eq!(&read(&*store.fragments().read_fragment(fragment).unwrap()), bytes);
    }
    assert_tidy(&store);
    for (fragment, _) in held.drain(..5) {
        assert!(store.fragments().delete_fragment(&fragment).unwrap());
    }
    let bytes = content(999_999, 50_000);
    put(&store, &fragment(999_999, 0, &bytes), &bytes).unwrap();
    assert_tidy(&store);
}
