//! Real processes on one directory: this test binary runs itself again as the other side.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tesseras_core::ports::FragmentStore as _;

use crate::garbage::END_OF_TIME;
use crate::things::{add, assert_tidy, content, fragment, manifest, open, put, read, stage};

const DIRECTORY: &str = "TESSERAS_TEST_STORE";
const NUMBER: &str = "TESSERAS_TEST_NUMBER";

fn child(test: &str, dir: &Path, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("processes::{test}"), "--ignored", "--nocapture", "-q"])
        .env(DIRECTORY, dir)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Where a child works, and as which; `None` if the test was not run as a child.
fn task() -> Option<(PathBuf, u64)> {
    Some((std::env::var_os(DIRECTORY)?.into(), std::env::var(NUMBER).ok()?.parse().ok()?))
}

const EACH: u64 = 20;

#[test]
#[ignore = "the other side of eight_processes_write_at_once_and_lose_nothing"]
fn writes_and_deletes() {
    let Some((dir, number)) = task() else { return };
    for i in 0..EACH {
        // Opening and closing race, too.
        let store = open(&dir);
        let bytes = content(number * EACH + i, 2000);
        put(&store, &fragment(number, i as u8, &bytes), &bytes).unwrap();
        let shared = content(1_000_000 + i % 3, 2000);
        let mine = fragment(1000 + number, i as u8, &shared);
        put(&store, &mine, &shared).unwrap();
        assert_eq!(read(&*store.fragments().read_fragment(&mine).unwrap()), shared);
        assert!(store.fragments().delete_fragment(&mine).unwrap());
    }
    let store = open(&dir);
    let files = [content(6_000_000, 99)];
    assert!(add(&store, &manifest(number, &files), &files).unwrap());
}

#[test]
fn eight_processes_write_at_once_and_lose_nothing() {
    const PROCESSES: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let children: Vec<Child> =
        (0..PROCESSES).map(|number| child("writes_and_deletes", &data, number)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let store = open(&data);
    for number in 0..PROCESSES {
        for i in 0..EACH {
            let bytes = content(number * EACH + i, 2000);
            let held = fragment(number, i as u8, &bytes);
            assert_eq!(read(&*store.fragments().read_fragment(&held).unwrap()), bytes);
        }
    }
    assert_eq!(store.fragments().totals().unwrap().0, PROCESSES * EACH);
    assert_eq!(store.check().unwrap().objects, PROCESSES * EACH + PROCESSES + 1);
    assert_tidy(&store);
}

#[test]
#[ignore = "the other side of nothing_acknowledged_is_lost_by_a_kill"]
fn acknowledges_until_it_is_killed() {
    use std::io::Write as _;
    let Some((dir, number)) = task() else { return };
    let store = open(&dir);
    let mut out = std::io::stdout();
    for i in 0_u64.. {
        let bytes = content(number * 1_000_000 + i, 20_000);
        put(&store, &fragment(number * 1_000_000 + i, 0, &bytes), &bytes).unwrap();
        writeln!(out, "kept {i}").unwrap();
        out.flush().unwrap();
        if i % 3 == 2 {
            // What is deleted is said first: whether it is there then does not matter.
            writeln!(out, "dropping {}", i - 1).unwrap();
            out.flush().unwrap();
            let bytes = content(number * 1_000_000 + i - 1, 20_000);
            let gone = fragment(number * 1_000_000 + i - 1, 0, &bytes);
            assert!(store.fragments().delete_fragment(&gone).unwrap());
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut kept = 0;
    for round in 0..15 {
        let mut child = child("acknowledges_until_it_is_killed", &data, round);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        // Once it is at work, it lives for another 0 to 45 ms.
        while !lines.contains("kept") {
            assert!(out.read_line(&mut lines).unwrap() > 0, "the child ended by itself");
        }
        std::thread::sleep(Duration::from_micros(round * 3217));
        child.kill().unwrap();
        child.wait().unwrap();
        out.read_to_string(&mut lines).unwrap();

        let store = open(&data);
        store.sweep_tmp().unwrap();
        // This process's own directory in tmp/ remains, and is empty.
        let tmp = std::fs::read_dir(data.join("tmp")).unwrap();
        assert_eq!(tmp.count(), 1, "what the killed one staged is swept");
        // A file gets its name before its row.
        store.collect_garbage(END_OF_TIME).unwrap();
        assert_tidy(&store);
        let dropped: Vec<&str> =
            lines.lines().filter_map(|line| line.strip_prefix("dropping ")).collect();
        for line in lines.lines().filter_map(|line| line.split("kept ").nth(1)) {
            if dropped.contains(&line) {
                continue;
            }
            let Ok(i) = line.parse::<u64>() else { panic!("{line:?}") };
            let bytes = content(round * 1_000_000 + i, 20_000);
            let held = fragment(round * 1_000_000 + i, 0, &bytes);
            assert_eq!(read(&*store.fragments().read_fragment(&held).unwrap()), bytes);
            kept += 1;
        }
    }
    assert!(kept > 15, "{kept} acknowledged in all");
}

#[test]
#[ignore = "the other side of a_sweep_spares_the_living"]
fn stages_and_waits() {
    let Some((dir, _)) = task() else { return };
    let store = open(&dir);
    stage(&store, b"on its way").unwrap();
    // Two line feeds: the test runner may have written a dot before.
    std::io::Write::write_all(&mut std::io::stdout(), b"\nstaged\n").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_sweep_spares_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("stages_and_waits", dir.path(), 0);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("staged\n") {
        assert!(out.read_line(&mut lines).unwrap() > 0, "the child ended by itself");
    }
    let store = open(dir.path());
    assert_eq!(store.sweep_tmp().unwrap().files, 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let swept = store.sweep_tmp().unwrap();
    assert_eq!((swept.files, swept.bytes), (1, 10));
    assert_eq!(store.sweep_tmp().unwrap().files, 0);
}
