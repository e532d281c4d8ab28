//! Commands that are killed leave nothing behind for long, and `tes gc` removes what nothing needs.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_crypto::blake3;
use tesseras_storage::{Store, StoreCheck};

use crate::environment::{Environment, text};

fn check(environment: &Environment) -> (StoreCheck, usize) {
    let store = Store::open(&environment.data_dir(), &Default::default()).expect("it opens");
    (store.check().expect("checked"), store.library().list().expect("listed").len())
}

/// Runs a command and kills it after this long, unless it has ended; what it printed.
fn killed_after(environment: &Environment, args: &[&str], delay: Duration) -> Option<Value> {
    let mut tes = Command::new(assert_cmd::cargo::cargo_bin("tes"));
    tes.args(args).args(["--json", "--data-dir"]).arg(environment.data_dir());
    let mut tes = tes.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    std::thread::sleep(delay);
    let _ = tes.kill();
    let output = tes.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn a_create_or_a_drop_that_is_killed_leaves_nothing_after_a_collection() {
    let environment = Environment::with_creator();
    let folder = environment.path("letters");
    fs::create_dir(&folder).expect("made");
    for number in 0..400 {
        let letter = format!("Dear Ana, this is letter {number}.\n");
        fs::write(folder.join(format!("{number}.txt")), letter).expect("written");
    }
    let mut killed = 0;
    for step in 1..10 {
        let delay = Duration::from_millis(40 * step * step);
        let made = killed_after(&environment, &["create", text(&folder)], delay);
        environment.ok(&["gc"]);
        let (found, listed) = check(&environment);
        assert!(found.is_tidy(), "{delay:?}: {found:?}");
        assert_eq!(fs::read_dir(environment.data_dir().join("tmp")).expect("there").count(), 0);
        let signatures = fs::read_dir(environment.data_dir().join("library")).expect("there");
        assert_eq!(signatures.count(), listed, "{delay:?}");
        assert!(made.is_none() || listed > 0, "what was acknowledged is there");
        killed += usize::from(made.is_none());
        let tesserae = environment.ok(&["list"]);
        for tessera in tesserae["tesseras"].as_array().expect("a list") {
            let hash = tessera["hash"].as_str().expect("a hash");
            let delay = Duration::from_millis(5 * step);
            killed_after(&environment, &["drop", hash, "--yes"], delay);
            // Opening the data directory is enough.
            let (found, listed) = check(&environment);
            assert!(found.is_tidy(), "{delay:?}: {found:?}");
            if listed > 0 {
                environment.ok(&["drop", hash, "--yes"]);
            }
        }
    }
    assert!(killed > 0, "the first is killed before it can do anything");
}

#[test]
fn gc_says_what_it_removed_and_finds_nothing_the_second_time() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let made = environment.ok(&["create", text(&album)]);
    let data = environment.data_dir();
    let name = "ab".repeat(32);
    fs::write(data.join(format!("cas/ab/{name}.blob")), [7; 1000]).expect("written");
    fs::create_dir(data.join("tmp/1-0")).expect("made");
    fs::write(data.join("tmp/1-0/00000000"), [7; 10]).expect("written");
    let first = environment.ok(&["gc"]);
    let counts = |of: &Value| ["orphans", "leaked", "stale"].map(|key| of[key].as_u64());
    assert_eq!(counts(&first), [Some(1), Some(0), Some(1)]);
    assert_eq!((&first["orphan_bytes"], &first["stale_bytes"]), (&1000.into(), &10.into()));
    assert_eq!(counts(&environment.ok(&["gc"])), [Some(0); 3]);
    environment.ok(&["verify", made["hash"].as_str().expect("a hash")]);
}

#[test]
fn gc_names_what_it_cannot_remove_and_removes_the_rest() {
    let environment = Environment::with_creator();
    let data = environment.data_dir();
    let name = "ab".repeat(32);
    let obstacles = [data.join("tmp/1-0/obstacle"), data.join(format!("cas/ab/{name}.blob"))];
    for obstacle in &obstacles {
        fs::create_dir_all(obstacle).expect("made");
        fs::write(obstacle.join("file"), "left").expect("written");
    }
    fs::write(data.join("tmp/1-0/00000000"), [7; 10]).expect("written");
    let name = "ac".repeat(32);
    fs::write(data.join(format!("cas/ac/{name}.blob")), [7; 1000]).expect("written");
    let answer = environment.json(&["gc"]);
    let said = &answer.json;
    assert_eq!(answer.code, Some(1), "{said}");
    let counts = ["orphans", "stale", "failed"].map(|key| said[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(2)], "{said}");
    for obstacle in &obstacles {
        assert!(said["reasons"].to_string().contains(text(obstacle)), "{said}");
    }
    for obstacle in &obstacles {
        fs::remove_dir_all(obstacle).expect("removed");
    }
    assert_eq!(environment.ok(&["gc"])["failed"], 0);
}

/// Flips a bit of this hash wherever the index has it; `tes` must not run.
fn flip_in_index(environment: &Environment, hash: &[u8]) {
    let index = environment.data_dir().join("db/tesseras.db");
    let mut bytes = fs::read(&index).expect("read");
    let windows = bytes.windows(hash.len()).enumerate();
    let places: Vec<usize> =
        windows.filter(|(_, window)| *window == hash).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + hash.len() - 1] ^= 1);
    fs::write(&index, bytes).expect("written");
}

#[test]
fn a_photo_that_a_damaged_index_does_not_name_is_kept_named_and_named_again() {
    let environment = Environment::with_creator();
    let folder = environment.path("letters");
    fs::create_dir(&folder).expect("made");
    let letter = b"Dear Ana, there is no other copy of this.\n";
    fs::write(folder.join("letter.txt"), letter).expect("written");
    let made = environment.ok(&["create", text(&folder)]);
    let hash = made["hash"].as_str().expect("a hash");
    let object = blake3(letter);
    flip_in_index(&environment, object.as_bytes());

    let refused = environment.json(&["gc"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let said = refused.json["disagreements"][0].as_str().expect("it says where");
    for part in ["memories/0001-", hash, &object.to_string()] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let shown = |args| String::from_utf8(environment.human(args).stdout).expect("UTF-8");
    let refused = shown(&["gc"]);
    assert!(refused.contains("No stored file was removed"), "{refused}");
    assert!(refused.contains("Next: stop tesd, then tes repair --library"), "{refused}");
    let checked = shown(&["check"]);
    assert!(checked.contains("Index damaged"), "{checked}");
    assert!(checked.contains("tes repair --library") && !checked.contains("tes gc"), "{checked}");

    let mended = environment.ok(&["repair", "--library"]);
    assert_eq!(mended["mended"][0], *hash);
    environment.ok(&["verify", hash]);
    environment.ok(&["gc"]);
    assert_eq!(environment.ok(&["check"])["sound"], true);
    environment.ok(&["verify", hash]);
}

#[test]
fn files_of_a_capsule_that_is_not_in_the_index_are_given_up_only_when_asked() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    let object = |name: &str| {
        let bytes = fs::read(environment.album().join(name)).expect("read");
        let hash = blake3(&bytes).to_string();
        data.join(format!("cas/{}/{hash}.blob", &hash[..2]))
    };
    // Without its signatures it cannot be listed.
    fs::remove_file(data.join(format!("library/{hash}.signatures"))).expect("removed");
    fs::remove_dir_all(data.join("db")).expect("removed");
    let rebuilt = environment.json(&["repair", "--library"]);
    assert_eq!((rebuilt.code, &rebuilt.json["restored"]), (Some(1), &[0; 0][..].into()));
    assert_eq!(rebuilt.json["incomplete"][0]["hash"], *hash);

    assert!(object("copy.png").exists());
    let refused = environment.json(&["drop", &hash, "--block"]);
    assert_ne!(refused.code, Some(0), "{}", refused.json);
    let collected = environment.ok(&["gc", "--all"]);
    assert_eq!(
        (&collected["orphans"], &collected["unlisted"][0]),
        (&0.into(), &hash.as_str().into())
    );
    let dropped = environment.ok(&["drop", &hash, "--block", "--yes"]);
    assert_eq!(dropped["unlisted"], true);
    assert!(environment.ok(&["gc"])["orphans"].as_u64().expect("a number") > 0);
    assert!(!object("copy.png").exists());
}

/// A second `tes gc` is needed for it once the damaged index is gone.
#[test]
fn giving_all_up_waits_until_a_damaged_index_is_given_up() {
    let environment = Environment::with_creator();
    environment.tessera();
    let db = environment.data_dir().join("db");
    fs::remove_dir_all(&db).expect("removed");
    environment.ok(&["repair", "--library"]);
    let (note, aside) = (db.join("tesseras.db-begun-anew"), db.join("tesseras.db.damaged-old"));
    fs::write(&aside, b"damaged").expect("written");
    environment.ok(&["gc", "--all"]);
    assert!(note.exists(), "nothing was given up");
    fs::remove_file(aside).expect("removed");
    environment.ok(&["gc", "--all"]);
    assert!(!note.exists());
}
