//! A script that ends a command gets its JSON object all the same.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::environment::{Environment, text};

/// Starts `tes --json`.
pub fn start(environment: &Environment, args: &[&str]) -> Child {
    let mut tes = Command::new(assert_cmd::cargo::cargo_bin("tes"));
    tes.arg("--json").args(args).arg("--data-dir").arg(environment.data_dir());
    tes.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    tes.spawn().expect("it runs")
}

pub fn kill(tes: &Child, signal: &str) {
    let killed = Command::new("kill").args([signal, &tes.id().to_string()]).status();
    assert!(killed.expect("it runs").success());
}

pub fn assert_interrupted(output: &Output, what: &str) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{what}: {stdout}");
    assert!(stdout.ends_with('\n') && stdout.lines().count() == 1, "{what}: {stdout:?}");
    let said: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(said["code"], "interrupted", "{what}");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("interrupted")), "{said}");
}

/// Reading it takes far longer than a signal.
fn folder_with_a_large_file(environment: &Environment) -> std::path::PathBuf {
    const BYTES: u64 = 4 << 30;
    let folder = environment.path("large");
    std::fs::create_dir(&folder).expect("made");
    let sparse = std::fs::File::create(folder.join("film.txt")).expect("made");
    sparse.set_len(BYTES).expect("as long as that");
    folder
}

#[test]
fn a_fetch_that_waits_for_its_node_says_that_it_was_interrupted() {
    let environment = Environment::with_creator();
    let hash = "ab".repeat(32);
    let listener = UnixListener::bind(environment.data_dir().join("daemon.sock")).expect("bound");
    for signal in ["-INT", "-TERM", "-HUP"] {
        let tes = start(&environment, &["fetch", &hash]);
        let (mut asked, _) = listener.accept().expect("a client");
        asked.read_exact(&mut [0; 4]).expect("a request");
        kill(&tes, signal);
        assert_interrupted(&tes.wait_with_output().expect("it ends"), signal);
    }
}

#[test]
fn work_on_the_disk_says_that_it_was_interrupted_and_lists_nothing() {
    let environment = Environment::with_creator();
    let folder = folder_with_a_large_file(&environment);
    let tes = start(&environment, &["create", text(&folder), "--dry-run"]);
    // It has begun once it has opened the file.
    let files = format!("/proc/{}/fd", tes.id());
    let reads = || {
        let mut open = std::fs::read_dir(&files).into_iter().flatten().flatten();
        open.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(&folder)))
    };
    for _ in 0..6000 {
        if reads() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill(&tes, "-INT");
    assert_interrupted(&tes.wait_with_output().expect("it ends"), "create");
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
}

#[test]
fn a_demo_says_that_it_was_interrupted() {
    let environment = Environment::new();
    let mut demo = start(&environment, &["demo", "--nodes", "3"]);
    let mut told = BufReader::new(demo.stderr.take().expect("piped"));
    told.read_line(&mut String::new()).expect("it has begun");
    kill(&demo, "-INT");
    assert_interrupted(&demo.wait_with_output().expect("it ends"), "demo");
}

#[test]
fn a_person_who_ends_a_fetch_reads_what_is_kept_and_how_to_go_on() {
    let environment = Environment::with_creator();
    let hash = "ab".repeat(32);
    let listener = UnixListener::bind(environment.data_dir().join("daemon.sock")).expect("bound");
    let mut tes = Command::new(assert_cmd::cargo::cargo_bin("tes"));
    tes.args(["fetch", &hash, "--data-dir"]).arg(environment.data_dir());
    let tes = tes.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let (mut asked, _) = listener.accept().expect("a client");
    asked.read_exact(&mut [0; 4]).expect("a request");
    kill(&tes, "-INT");
    let output = tes.wait_with_output().expect("it ends");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("are kept") && told.contains(&format!("tes drop {hash}")), "{told}");
}

/// A tessera of which copying and checking a file takes far longer than a signal.
fn large_tessera(environment: &Environment) -> String {
    const BYTES: u64 = 256 << 20;
    let folder = environment.path("large");
    std::fs::create_dir(&folder).expect("made");
    // Sparse.
    let file = std::fs::File::create(folder.join("film.bin")).expect("made");
    file.set_len(BYTES).expect("as long as that");
    let made = environment.ok(&["create", text(&folder)]);
    made["hash"].as_str().expect("a hash").to_owned()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn has_partial(directory: &Path) -> bool {
    entries(directory).iter().any(|path| text(path).contains(".partial-"))
}

/// Waits until a partial directory is in one of these.
fn wait_for_partial(directories: &[&Path]) {
    for _ in 0..60_000 {
        if directories.iter().any(|directory| has_partial(directory)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("it has not begun");
}

#[test]
fn the_directories_that_an_interrupted_restore_or_export_made_above_go_with_it() {
    let environment = Environment::with_creator();
    let hash = large_tessera(&environment);
    let place = environment.path("place");
    std::fs::create_dir(&place).expect("made");
    let (above, dest) = (place.join("a/b"), place.join("a/b/c"));
    for command in ["restore", "export"] {
        let tes = start(&environment, &[command, &hash, text(&dest)]);
        wait_for_partial(&[&above, &dest]);
        kill(&tes, "-INT");
        assert_interrupted(&tes.wait_with_output().expect("it ends"), command);
        assert_eq!(entries(&place), [] as [PathBuf; 0], "{command}");
    }
    // What somebody else has put there stays.
    let tes = start(&environment, &["restore", &hash, text(&dest)]);
    wait_for_partial(&[&above]);
    std::fs::write(place.join("a/note"), "mine").expect("written");
    kill(&tes, "-INT");
    assert_interrupted(&tes.wait_with_output().expect("it ends"), "restore");
    assert_eq!(entries(&place.join("a")), [place.join("a/note")]);
}

#[test]
fn an_interrupted_restore_or_export_leaves_nothing() {
    let environment = Environment::with_creator();
    let hash = large_tessera(&environment);
    let hash = hash.as_str();
    let place = environment.path("place");
    let dest = place.join("dest");
    for (command, into_existing) in [("restore", true), ("restore", false), ("export", true)] {
        for signal in ["-INT", "-TERM"] {
            let what = format!("{command} {signal}, into an existing directory: {into_existing}");
            let made = if into_existing { &dest } else { &place };
            std::fs::create_dir_all(made).expect("made");
            let tes = start(&environment, &[command, hash, text(&dest)]);
            wait_for_partial(&[&place, &dest]);
            kill(&tes, signal);
            let output = tes.wait_with_output().expect("it ends");
            assert_interrupted(&output, &what);
            let said = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(said.contains("nothing of it was left behind"), "{what}: {said}");
            assert_eq!(entries(made), [] as [std::path::PathBuf; 0], "{what}");
            std::fs::remove_dir_all(&place).expect("removed");
        }
    }
}

#[test]
fn an_interrupted_create_leaves_nothing_of_its_own_in_tmp() {
    let environment = Environment::with_creator();
    let folder = folder_with_a_large_file(&environment);
    let tmp = environment.data_dir().join("tmp");
    let staged = || {
        let all = std::fs::read_dir(&tmp).into_iter().flatten().flatten();
        let others = all.filter(|entry| entry.file_name() != "tasks");
        others.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    for json in [true, false] {
        let mut tes = Command::new(assert_cmd::cargo::cargo_bin("tes"));
        tes.args(["create", text(&folder), "--data-dir"]).arg(environment.data_dir());
        tes.args(json.then_some("--json"));
        tes.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let tes = tes.spawn().expect("it runs");
        let has_begun = |path: &std::path::PathBuf| {
            std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_some())
        };
        for _ in 0..6000 {
            if staged().iter().any(has_begun) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        kill(&tes, "-INT");
        let output = tes.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(staged(), Vec::<std::path::PathBuf>::new());
    }
}
