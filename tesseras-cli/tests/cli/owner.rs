//! A data directory belongs to one user: what another one could have put there is not trusted.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::environment::{Environment, text};

/// Nobody's user id.
const ANOTHER: u32 = 65534;

/// Gives a file to another user; `false` where only root could.
fn given_away(path: &Path) -> bool {
    if fs::metadata(path).expect("there").uid() != 0 {
        eprintln!("skipped: only root can give a file away");
        return false;
    }
    chown(path, Some(ANOTHER), None).expect("given away");
    true
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// Calls that write to the data directory or read keys from it.
fn trusting(album: &str) -> [Vec<&str>; 5] {
    [
        vec!["init", "--name", "Ana"],
        vec!["create", album],
        vec!["identity"],
        vec!["identity", "rename", "Rosa"],
        vec!["drop", "abcd", "--yes"],
    ]
}

/// It is refused with the path, the owner, and what to do.
fn assert_refused(environment: &Environment, args: &[&str], path: &Path) {
    let answer = environment.json(args);
    assert_eq!(answer.code, Some(1), "{args:?}: {}", answer.stderr);
    let error = answer.json["error"].as_str().expect("a reason");
    assert!(error.contains(text(path)) && error.contains("65534"), "{args:?}: {error}");
    let hint = answer.json["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("as that user"), "{args:?}: {hint}");
}

#[test]
fn nothing_is_written_to_a_data_directory_of_another_user() {
    let environment = Environment::new();
    let data = environment.data_dir();
    fs::create_dir(&data).expect("made");
    set_mode(&data, 0o777);
    if !given_away(&data) {
        return;
    }
    let album = environment.album();
    for args in trusting(text(&album)) {
        assert_refused(&environment, &args, &data);
    }
    assert_eq!(fs::read_dir(&data).expect("listed").count(), 0, "nothing was written");
}

#[test]
fn keys_that_another_user_owns_are_not_used() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let identity = environment.data_dir().join("identity");
    for path in
        [identity.clone(), identity.join("creator.ed25519.pem"), identity.join("creator.txt")]
    {
        if !given_away(&path) {
            return;
        }
        for args in [&["init", "--name", "Ana"][..], &["create", text(&album)], &["identity"]] {
            assert_refused(&environment, args, &path);
        }
        chown(&path, Some(0), None).expect("taken back");
    }
    environment.ok(&["create", text(&album)]);
}

#[test]
fn a_library_of_another_user_is_read_and_not_written_to() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    if !given_away(&data) {
        return;
    }
    let names = || -> Vec<_> {
        ["", "db", "tmp"]
            .map(|below| fs::read_dir(data.join(below)).expect("listed"))
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .collect()
    };
    let before = names();
    assert_eq!(environment.ok(&["list"])["tesseras"][0]["hash"], hash);
    assert_eq!(environment.ok(&["verify", &hash])["valid"], true);
    environment.ok(&["restore", &hash, text(&environment.path("back"))]);
    assert_eq!(names(), before);
}

#[test]
fn what_others_could_write_to_is_kept_to_its_owner() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let data = environment.data_dir();
    let identity = data.join("identity");
    for args in [&["create", text(&album)][..], &["init"], &["identity", "rename", "Rosa"]] {
        set_mode(&data, 0o777);
        set_mode(&identity, 0o775);
        environment.ok(args);
        assert_eq!((mode(&data), mode(&identity) & 0o022), (0o755, 0), "{args:?}");
    }
    // A directory that users share is nobody's.
    set_mode(&data, 0o1777);
    let refused = environment.fails(&["create", text(&album)]);
    assert!(refused.contains(text(&data)) && refused.contains("shared"), "{refused}");
    assert_eq!(mode(&data), 0o777);
}

#[test]
fn renaming_on_a_read_only_disk_says_what_to_do() {
    const NO_MOUNT: i32 = 99;
    let environment = Environment::with_creator();
    let data = environment.data_dir();
    let script = format!(
        "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit {NO_MOUNT}\n\
         exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(&data).arg(env!("CARGO_BIN_EXE_tes"));
    command.args(["--json", "--data-dir"]).arg(&data).args(["identity", "rename", "Rosa"]);
    let Ok(output) = command.output() else { return eprintln!("skipped: there is no unshare") };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_MOUNT) || stderr.starts_with("unshare:") {
        return eprintln!("skipped: nothing can be mounted read-only here");
    }
    let refused: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1));
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.contains("identity") && error.contains("only be read, not written"), "{error}");
    let hint = refused["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("make the data directory writable"), "{hint}");
}

#[test]
fn a_data_directory_that_another_user_may_not_read_is_not_allowed() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    if fs::metadata(&data).expect("there").uid() != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    set_mode(data.parent().expect("above it"), 0o755);
    for args in [&["list"][..], &["show", &hash]] {
        let mut tes = Command::new(env!("CARGO_BIN_EXE_tes"));
        tes.uid(ANOTHER).arg("--data-dir").arg(&data).arg("--json").args(args);
        let output = tes.output().expect("it runs");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(said["code"], "not_allowed", "{said}");
    }
}
