//! A folder goes in, comes back, and goes from one library to another.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tesseras_core::ports::{HoldingRepository as _, TesseraRepository as _};
use tesseras_core::time::Timestamp;
use tesseras_storage::Store;

use crate::environment::{Environment, PNG, text};

/// Files of a folder with their dates, sorted.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let date = fs::metadata(&path).and_then(|m| m.modified()).expect("a date");
                let name = path.strip_prefix(root).expect("below").to_owned();
                files.push((name, fs::read(&path).expect("read"), date));
            }
        }
    }
    files.sort();
    files
}

/// A folder of which everything is kept, and its files have old dates.
fn folder(environment: &Environment) -> PathBuf {
    let folder = environment.album();
    for left_out in ["program.bin", "empty.txt"] {
        fs::remove_file(folder.join(left_out)).expect("removed");
    }
    fs::write(folder.join("carta.docx"), b"PK\x03\x04word/document.xml").expect("written");
    for (n, (name, _, _)) in (0..).zip(contents(&folder)) {
        let at = UNIX_EPOCH + Duration::new(267_000_000 + n, 5_000_000);
        let file = File::options().write(true).open(folder.join(name)).expect("opened");
        file.set_modified(at).expect("dated");
    }
    folder
}

fn made(environment: &Environment, folder: &Path) -> String {
    environment.ok(&["create", text(folder)])["hash"].as_str().expect("a hash").to_owned()
}

fn object(environment: &Environment, wanted: impl Fn(&Path, &[u8]) -> bool) -> PathBuf {
    let cas = environment.data_dir().join("cas");
    let files = contents(&cas);
    let found = files.iter().find(|(name, bytes, _)| wanted(name, bytes)).expect("it is stored");
    cas.join(&found.0)
}

#[test]
fn a_folder_goes_from_library_to_stick_to_library_and_back() {
    let owner = Environment::with_creator();
    let folder = folder(&owner);
    let hash = made(&owner, &folder);
    let back = owner.path("back");
    let restored = owner.ok(&["restore", &hash[..8], text(&back)]);
    assert_eq!(restored["path"], text(&back));
    assert_eq!((&restored["files"], &restored["hash"]), (&5.into(), &hash.as_str().into()));
    for empty in ["renamed", "damaged", "undated", "unsigned"] {
        assert_eq!(restored[empty], serde_json::json!([]), "{empty}");
    }
    assert_eq!(contents(&back), contents(&folder));
    let refused = owner.fails(&["restore", &hash, text(&back)]);
    assert!(refused.contains("is not an empty directory"), "{refused}");

    let export = owner.ok(&["export", &hash, text(&owner.path("stick"))]);
    let export = export["path"].as_str().expect("a path");
    let stranger = Environment::new();
    let direct = stranger.path("direct");
    stranger.ok(&["restore", export, text(&direct)]);
    assert_eq!(contents(&direct), contents(&folder));
    assert!(!stranger.data_dir().exists(), "a directory needs no library");

    let imported = stranger.ok(&["import", "capsule", export]);
    assert_eq!((&imported["hash"], &imported["memories"]), (&hash.as_str().into(), &4.into()));
    assert_eq!(imported["already"], false);
    assert_eq!(stranger.ok(&["verify", &hash])["valid"], true);
    let again = stranger.path("again");
    stranger.ok(&["restore", &hash, text(&again)]);
    assert_eq!(contents(&again), contents(&folder));
    assert_eq!(stranger.ok(&["import", "capsule", export])["already"], true);

    let photo = object(&stranger, |_, bytes| bytes == PNG);
    fs::remove_file(&photo).expect("removed");
    fs::write(&photo, vec![0; PNG.len()]).expect("written");
    let mended = stranger.ok(&["import", "capsule", export]);
    assert_eq!((&mended["already"], &mended["mended"]), (&true.into(), &true.into()));
    assert_eq!(stranger.ok(&["verify", &hash])["valid"], true);

    // What was dropped is kept out, until its owner brings it back.
    let store = || Store::open(&stranger.data_dir(), &Default::default()).expect("it opens");
    let tessera = hash.parse().expect("a hash");
    let dropped = store();
    dropped.library().remove(&tessera).expect("removed");
    dropped.holdings().block(&tessera, Timestamp(1)).expect("blocked");
    drop(dropped);
    assert_eq!(stranger.ok(&["import", "capsule", export])["already"], false);
    assert!(!store().holdings().is_blocked(&tessera).expect("looked up"));
}

#[test]
fn a_damaged_export_is_not_imported_and_what_is_intact_is_given_back() {
    let owner = Environment::with_creator();
    let folder = folder(&owner);
    let hash = made(&owner, &folder);
    let export = owner.ok(&["export", &hash, text(&owner.path("stick"))]);
    let export = export["path"].as_str().expect("a path");
    let letter = contents(Path::new(export))
        .into_iter()
        .find(|(name, _, _)| name.ends_with("media.docx"))
        .expect("the letter")
        .0;
    fs::write(Path::new(export).join(&letter), b"rot").expect("written");
    let stranger = Environment::new();
    let refused = stranger.fails(&["import", "capsule", export]);
    assert!(refused.contains(text(&letter)), "{refused}");
    assert_eq!(stranger.ok(&["list"])["tesseras"], serde_json::json!([]));
    let back = stranger.json(&["restore", export, text(&stranger.path("back"))]);
    assert_eq!((back.code, &back.json["files"]), (Some(1), &4.into()));
    assert_eq!(back.json["damaged"][0]["original"], "carta.docx");
    let no_capsule = stranger.fails(&["import", "capsule", text(&folder)]);
    assert!(no_capsule.contains("is not a capsule"), "{no_capsule}");
    for command in [&["import", "capsule", text(&folder)][..], &["verify", text(&folder)]] {
        assert_eq!(stranger.json(command).json["code"], "no_capsule", "{command:?}");
    }
}

#[test]
fn what_exists_already_has_a_code_of_its_own() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let dest = environment.path("dest");
    for command in ["restore", "export"] {
        environment.ok(&[command, &hash, text(&dest)]);
        let again = environment.json(&[command, &hash, text(&dest)]);
        assert_eq!((again.code, &again.json["code"]), (Some(1), &"exists".into()), "{command}");
        fs::remove_dir_all(&dest).expect("removed");
    }
    let here = environment.json(&["restore", text(&environment.path("album")), text(&dest)]);
    assert_eq!((here.code, &here.json["code"]), (Some(1), &"no_capsule".into()));
}

#[test]
fn an_import_offers_to_restore_only_what_restore_takes() {
    let owner = Environment::with_creator();
    let hash = owner.tessera();
    let export = owner.ok(&["export", &hash, text(&owner.path("stick"))]);
    let export = export["path"].as_str().expect("a path");
    let remove = |name: &str| fs::remove_file(Path::new(export).join(name)).expect("removed");
    let dest = owner.path("back");
    let hint = || {
        let refused = owner.json(&["import", "capsule", export]);
        assert_eq!(refused.json["code"], "damaged");
        refused.json["hint"].as_str().expect("a hint").to_owned()
    };
    remove("MANIFEST.ed25519.sig");
    assert!(hint().contains("tes restore"), "one signature is left");
    assert_eq!(owner.json(&["restore", export, text(&dest)]).json["files"], 4);
    fs::remove_dir_all(&dest).expect("removed");
    remove("MANIFEST.ml-dsa-65.sig");
    let hint = hint();
    assert!(!hint.contains("tes restore") && hint.contains("memories/"), "{hint}");
    assert!(owner.fails(&["restore", export, text(&dest)]).contains("nothing vouches"));
}

#[test]
fn the_same_folder_is_here_already() {
    let environment = Environment::with_creator();
    let folder = folder(&environment);
    let first = environment.ok(&["create", text(&folder)]);
    assert_eq!(first["already"], false);
    assert_eq!(first["undescribed"], serde_json::json!(["carta.docx"]));
    assert_eq!((&first["places"], &first["gps_files"]), (&0.into(), &serde_json::json!([])));
    let shown = environment.ok(&["show", first["hash"].as_str().expect("a hash")]);
    let letter = |m: &&Value| m["original"] == "carta.docx";
    let memories = shown["memories"].as_array().expect("a list");
    let letter = memories.iter().find(letter).expect("the letter");
    assert_eq!(letter["described"], false);
    // The date stands in whole seconds: without another one it would be the same in any case.
    let second = loop {
        let now = environment.ok(&["create", text(&folder), "--again"]);
        if now["already"] == false {
            break now;
        }
    };
    assert_ne!(second["hash"], first["hash"]);
    let count = || environment.ok(&["list"])["tesseras"].as_array().map(Vec::len);
    assert_eq!(count(), Some(2));
    let here = environment.ok(&["create", text(&folder)]);
    assert_eq!((&here["already"], count()), (&true.into(), Some(2)));
    let human = environment.human(&["create", text(&folder)]);
    let human = String::from_utf8(human.stdout).expect("UTF-8");
    assert!(human.contains("here already") && !human.contains("Next: tes publish"), "{human}");
    let titled = environment.ok(&["create", text(&folder), "--title", "Other"]);
    assert_eq!(titled["already"], false);
}

/// `tes` as a user who may not read everything: root gives all of its home to another one.
fn bound_by_permissions(environment: &Environment) -> Command {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tes"));
    command.env_clear().arg("--data-dir").arg(environment.data_dir()).arg("--json");
    let home = environment.path("");
    if fs::metadata(&home).expect("there").uid() == 0 {
        let mut waiting = vec![home];
        while let Some(path) = waiting.pop() {
            chown(&path, Some(NOBODY), Some(NOBODY)).expect("given away");
            if path.is_dir() {
                let entries = fs::read_dir(path).expect("listed");
                waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
    let environment = Environment::with_creator();
    let folder = folder(&environment);
    let locked = folder.join("copy.png");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("locked");
    let mut tes = bound_by_permissions(&environment);
    let output = match tes.arg("create").arg(&folder).current_dir("/").output() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("skipped: another user may not run what was built here");
            return;
        }
        other => other.expect("it runs"),
    };
    let made: Value = serde_json::from_slice(&output.stdout).expect("a result all the same");
    assert_eq!((output.status.code(), &made["memories"]), (Some(1), &3.into()), "{made}");
    let skipped = made["skipped"].as_array().expect("a list");
    assert_eq!((skipped.len(), &skipped[0]["path"]), (1, &"copy.png".into()));
    assert!(skipped[0]["reason"].as_str().is_some_and(|why| why.contains("cannot be read")));
    let hash = made["hash"].as_str().expect("a hash");
    assert_eq!(environment.ok(&["verify", hash])["valid"], true);
}

#[test]
fn a_name_that_cannot_be_stored_is_a_failure_and_can_be_found_again() {
    let environment = Environment::with_creator();
    let folder = folder(&environment);
    for name in [&b"f\xe9rias.jpg"[..], b"line\nbreak.png"] {
        fs::write(folder.join(OsStr::from_bytes(name)), PNG).expect("written");
    }
    for dry_run in [true, false] {
        let mut args = vec!["create", text(&folder)];
        args.extend(dry_run.then_some("--dry-run"));
        let made = environment.json(&args);
        assert_eq!((made.code, &made.json["memories"]), (Some(1), &4.into()), "{}", made.json);
        let skipped = made.json["skipped"].as_array().expect("a list");
        let paths: Vec<_> = skipped.iter().map(|left| left["path"].as_str()).collect();
        assert_eq!(paths, [Some(r"f\xe9rias.jpg"), Some(r"line\x0abreak.png")]);
        for left in skipped {
            let reason = left["reason"].as_str().expect("a reason");
            assert!(
                reason.contains("cannot be stored") && reason.contains("rename it"),
                "{reason}"
            );
        }
        assert_eq!(made.json["missing"], 2, "{}", made.json);
        let human = environment.human(&args);
        let human = String::from_utf8(human.stdout).expect("UTF-8");
        let last = human.lines().last().expect("a last line");
        assert!(last.starts_with("NOT COMPLETE: 2 entries"), "{human}");
    }
}

#[test]
fn what_is_complete_does_not_say_that_it_is_not() {
    let environment = Environment::with_creator();
    let folder = folder(&environment);
    fs::write(folder.join("empty.jpg"), b"").expect("written");
    let human = environment.human(&["create", text(&folder)]);
    let human = String::from_utf8(human.stdout).expect("UTF-8");
    assert!(human.contains("it is empty") && !human.contains("NOT COMPLETE"), "{human}");
}

#[test]
fn a_folder_that_is_no_capsule_is_refused_in_one_line() {
    let environment = Environment::new();
    let folder = environment.album();
    let error = environment.fails(&["verify", text(&folder)]);
    assert!(error.contains("is not a capsule") && error.lines().count() == 1, "{error}");
    let human = environment.human(&["verify", text(&folder)]);
    assert_eq!((human.status.code(), human.stdout.len()), (Some(1), 0));
}

#[test]
fn a_damaged_library_is_reported_whatever_is_damaged() {
    let environment = Environment::with_creator();
    let folder = folder(&environment);
    let hash = made(&environment, &folder);
    let good = environment.ok(&["verify", &hash]);
    let files = good["files"].as_array().expect("a list").len();
    let manifest = |name: &Path, _: &[u8]| text(name).contains(&hash);
    let key =
        |_: &Path, bytes: &[u8]| bytes.starts_with(b"-----BEGIN PUBLIC KEY") && bytes.len() < 200;
    type Wanted<'a> = &'a dyn Fn(&Path, &[u8]) -> bool;
    let cases: [(&str, Wanted); 3] = [
        ("MANIFEST", &manifest),
        ("identity/creator.ed25519.pem", &key),
        ("media.png", &|_, bytes| bytes == PNG),
    ];
    for (name, wanted) in cases {
        let object = object(&environment, wanted);
        let bytes = fs::read(&object).expect("read");
        let flipped: Vec<u8> = bytes.iter().map(|b| b ^ 1).collect();
        let longer = [&bytes[..], b"x"].concat();
        let damages: [(&str, Option<&[u8]>); 5] = [
            ("corrupt", Some(&bytes[..bytes.len() / 2])),
            ("corrupt", Some(b"")),
            ("corrupt", Some(&flipped)),
            ("corrupt", Some(&longer)),
            ("missing", None),
        ];
        for (status, damage) in damages {
            fs::remove_file(&object).expect("removed");
            if let Some(damage) = damage {
                fs::write(&object, damage).expect("written");
            }
            let answer = environment.json(&["verify", &hash]);
            assert_eq!((answer.code, &answer.json["valid"]), (Some(1), &false.into()), "{name}");
            let reported = answer.json["files"].as_array().expect("a report");
            let found = reported
                .iter()
                .find(|file| file["path"].as_str().is_some_and(|path| path.ends_with(name)));
            assert_eq!(found.expect(name)["status"], status, "{name}");
            if name == "MANIFEST" {
                let signatures = reported.iter().filter(|f| f["status"] == "ok").count();
                assert_eq!(signatures, 2, "what else can be told is told");
            } else {
                assert_eq!(reported.len(), files);
            }
            let _ = fs::remove_file(&object);
            fs::write(&object, &bytes).expect("written");
        }
    }
    assert_eq!(environment.ok(&["verify", &hash])["valid"], true);
}

/// Whoever has the keys can sign as the creator; published, everybody would have them.
#[test]
fn a_data_directory_and_its_keys_are_no_memories() {
    let environment = Environment::with_creator();
    let refused = environment.fails(&["create", text(&environment.data_dir())]);
    assert!(refused.contains("data directory of Tesseras"), "{refused}");

    let parent = environment.album().parent().expect("a parent").to_owned();
    let secret = environment.data_dir().join("identity/creator.ed25519.pem");
    fs::copy(&secret, parent.join("album/copy.txt")).expect("copied");
    let made = environment.json(&["create", text(&parent)]);
    let skipped = made.json["skipped"].as_array().expect("a list");
    let why = |path: &str| {
        let entry = skipped.iter().find(|entry| entry["path"] == path);
        entry.unwrap_or_else(|| panic!("{path}: {skipped:?}"))["reason"].to_string()
    };
    assert!(why("data").contains("data directory of Tesseras"), "{skipped:?}");
    assert!(why("album/copy.txt").contains("private key"), "{skipped:?}");
    let secret = fs::read(secret).expect("read");
    let folder = environment.path("restored");
    let hash = made.json["hash"].as_str().expect("a hash");
    environment.ok(&["restore", hash, text(&folder)]);
    let mut directories = vec![folder];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false => assert!(fs::read(&path).expect("read") != secret, "{}", path.display()),
            }
        }
    }
}
