//! The commands that need no node.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::environment::{Environment, PNG, text};
use crate::terminal::talk_meanwhile;

fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = text(path.strip_prefix(root).expect("below")).to_owned();
                files.insert(name, fs::read(path).expect("read"));
            }
        }
    }
    files
}

#[test]
fn a_folder_becomes_a_tessera_that_is_listed_shown_verified_and_exported() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let made = environment.ok(&[
        "create",
        text(&album),
        "--title",
        "Summer",
        "--tags",
        "family,sun",
        "--location",
        "Rio",
        "--language",
        "pt-BR",
    ]);
    let hash = made["hash"].as_str().expect("a hash");
    assert_eq!(made["memories"], 3);
    let skipped: Vec<_> = made["skipped"].as_array().expect("a list").iter().collect();
    let paths: Vec<_> = skipped.iter().map(|s| s["path"].as_str().expect("a path")).collect();
    assert_eq!(paths, ["empty.txt", "program.bin"]);
    assert!(skipped.iter().all(|s| s["reason"].as_str().is_some_and(|r| !r.is_empty())));

    let listed = environment.ok(&["list"]);
    let listed = &listed["tesseras"][0];
    assert_eq!(listed["hash"], hash);
    assert_eq!(listed["title"], "Summer");
    for field in ["memories", "bytes", "files"] {
        assert_eq!(listed[field], made[field], "{field}");
    }
    assert!(listed["created"].as_str().is_some_and(|date| date.ends_with('Z')));

    let shown = environment.ok(&["show", hash]);
    assert_eq!((&shown["hash"], &shown["title"]), (&hash.into(), &"Summer".into()));
    assert_eq!(shown["creator"], environment.ok(&["init"])["creator"]);
    assert_eq!(shown["tags"], serde_json::json!(["family", "sun"]));
    let memories = shown["memories"].as_array().expect("a list");
    assert_eq!(memories.len(), 3);
    let beach = memories.iter().find(|m| m["original"] == "summer/beach.png").expect("the beach");
    assert_eq!((&beach["context"], &beach["mime"]), (&true.into(), &"image/png".into()));

    let verified = environment.ok(&["verify", hash]);
    assert_eq!((&verified["valid"], &verified["hash"]), (&true.into(), &hash.into()));
    let signatures = serde_json::json!({ "ed25519": "valid", "ml-dsa-65": "valid" });
    assert_eq!(verified["signatures"], signatures);
    let files = verified["files"].as_array().expect("a list");
    assert_eq!(files.len() as u64, made["files"].as_u64().expect("a number"));
    assert!(files.iter().all(|file| file["status"] == "ok"));

    let exported = environment.ok(&["export", hash, text(&environment.path("a/b"))]);
    let path = Path::new(exported["path"].as_str().expect("a path")).to_owned();
    assert_eq!(path, environment.path("a/b").join(format!("tessera-{}", &hash[..16])));
    let again = environment.ok(&["export", &hash[..4], text(&environment.path("c"))]);
    let files = tree(&path);
    assert_eq!(files, tree(Path::new(again["path"].as_str().expect("a path"))));
    assert!(files.values().any(|bytes| bytes == PNG));
    // HASH.txt is for people, and no part of the capsule.
    let of_capsule = files.iter().filter(|(name, _)| *name != "HASH.txt");
    let bytes: usize = of_capsule.map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(made["bytes"], bytes as u64);
    let refused = environment.fails(&["export", hash, text(&environment.path("c"))]);
    assert!(refused.contains("exists already"), "{refused}");
}

#[test]
fn a_damaged_export_is_not_valid_and_says_what_is_wrong() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let exported = environment.ok(&["export", &hash, text(&environment.path("out"))]);
    let path = Path::new(exported["path"].as_str().expect("a path")).to_owned();
    let stranger = Environment::new();
    assert_eq!(stranger.ok(&["verify", text(&path)])["valid"], true);
    assert!(!stranger.data_dir().exists(), "a directory needs no library");
    assert_eq!(stranger.json(&["verify", text(&path), "--expect", &hash]).code, Some(0));
    let other = stranger.json(&["verify", text(&path), "--expect", &"0".repeat(64)]);
    assert_eq!((other.code, &other.json["valid"]), (Some(1), &false.into()));

    fs::write(path.join("README.decode"), "something else").expect("written");
    fs::write(path.join("new.txt"), "new").expect("written");
    fs::remove_file(path.join("MANIFEST.ml-dsa-65.sig")).expect("removed");
    let answer = environment.json(&["verify", text(&path)]);
    assert_eq!((answer.code, &answer.json["valid"]), (Some(1), &false.into()));
    assert_eq!(answer.json["signatures"]["ml-dsa-65"], "missing");
    assert_eq!(answer.json["signatures"]["ed25519"], "valid");
    let status = |name: &str| {
        let files = answer.json["files"].as_array().expect("a list");
        files.iter().find(|file| file["path"] == name).expect(name)["status"].clone()
    };
    assert_eq!(status("README.decode"), "corrupt");
    assert_eq!(status("new.txt"), "unexpected");
    assert_eq!(status("MANIFEST.ml-dsa-65.sig"), "missing");
    assert_eq!(status("MANIFEST"), "ok");
    let human = environment.human(&["verify", text(&path)]);
    assert_eq!(human.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&human.stdout).contains("Not valid"));
    let refused = stranger.json(&["import", "capsule", text(&path)]);
    assert_eq!((refused.code, &refused.json["code"]), (Some(1), &"damaged".into()));
}

#[test]
fn a_damaged_blob_is_found() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let blobs = tree(&environment.data_dir().join("cas"));
    let (photo, _) = blobs.iter().find(|(_, bytes)| *bytes == PNG).expect("the photo is stored");
    let blob = environment.data_dir().join("cas").join(photo);
    // Stored objects may be read-only.
    fs::remove_file(&blob).expect("removed");
    let mut damaged = PNG.to_vec();
    damaged[40] ^= 1;
    fs::write(&blob, damaged).expect("written");
    let answer = environment.json(&["verify", &hash]);
    assert_eq!((answer.code, &answer.json["valid"]), (Some(1), &false.into()));
    assert!(
        environment.fails(&["export", &hash, text(&environment.path("out"))]).contains("damaged")
    );
    assert!(!environment.path("out").exists(), "nothing of it is left");
}

#[test]
fn a_dry_run_stores_nothing_and_needs_no_keys() {
    let environment = Environment::new();
    let album = environment.album();
    let would = environment.ok(&["create", text(&album), "--dry-run"]);
    assert_eq!((&would["hash"], &would["memories"]), (&serde_json::Value::Null, &3.into()));
    assert_eq!(would["skipped"].as_array().map(Vec::len), Some(2));
    assert!(!environment.data_dir().exists());
}

#[test]
fn what_cannot_be_created_is_refused_and_leaves_nothing() {
    let environment = Environment::new();
    let album = environment.album();
    assert!(environment.fails(&["create", text(&album)]).contains("no creator"));
    environment.ok(&["init", "--name", "Ana"]);
    assert!(environment.fails(&["create", "/nonexistent"]).contains("cannot be opened"));
    let empty = environment.path("empty");
    fs::create_dir(&empty).expect("made");
    assert!(environment.fails(&["create", text(&empty)]).contains("nothing to keep"));
    let file = album.join("copy.png");
    environment.fails(&["create", text(&file)]);
    let title = environment.fails(&["create", text(&album), "--title", "a\u{1b}[31m"]);
    assert!(title.contains("title"), "{title}");
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
    assert!(tree(&environment.data_dir().join("tmp")).is_empty());
}

#[test]
fn a_card_holds_what_is_needed_to_fetch() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let shown = environment.ok(&["card", &hash[..8]]);
    assert_eq!(shown["hash"], hash);
    let code = shown["code"].as_str().expect("a code").to_owned();
    let card = shown["text"].as_str().expect("a text").to_owned();
    // Both are broken into groups and lines.
    let typed: String = card.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(typed.contains(&hash) && typed.contains(&code), "{card}");
    assert!(card.contains("Summer") && card.contains(&format!("tes fetch {code}")), "{card}");
    let human = environment.human(&["card", &hash]);
    assert_eq!(String::from_utf8(human.stdout).expect("UTF-8"), card);
}

#[test]
fn a_card_speaks_of_volunteers_only_once_others_hold_the_tessera() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let card = || environment.ok(&["card", &hash])["text"].as_str().expect("a text").to_owned();
    let before = card();
    assert!(!before.contains("volunteers") && !before.contains("voluntários"), "{before}");
    assert!(before.contains("NOT PUBLISHED") && before.contains("NÃO PUBLICADA"), "{before}");
    environment.publish_in_store(&hash);
    let after = card();
    assert!(after.contains("volunteers") && !after.contains("NOT PUBLISHED"), "{after}");
}

#[test]
fn two_tesserae_are_not_taken_for_one() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let (first, second) = (&hash[..8], &hash[..12]);
    for command in ["show", "card", "status", "fetch", "verify", "repair"] {
        let refused = environment.json(&[command, first, second]);
        assert_eq!(refused.code, Some(2), "{command}");
        let error = refused.json["error"].as_str().expect("a reason");
        assert!(error.contains("2 arguments are not one"), "{error}");
    }
}

#[test]
fn a_hash_is_taken_as_a_card_spells_it() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let made = environment.ok(&["create", text(&album)]);
    let (hash, code) = (made["hash"].as_str(), made["code"].as_str());
    let (hash, code) = (hash.expect("a hash"), code.expect("a code"));
    let human = environment.human(&["show", hash]);
    assert!(String::from_utf8_lossy(&human.stdout).contains(code));
    let groups = |plain: &str| -> Vec<String> {
        let groups = plain.as_bytes().chunks(4);
        groups.map(|group| String::from_utf8(group.to_vec()).expect("ASCII")).collect()
    };
    for plain in [hash, code] {
        let spaced = groups(plain).join(" ");
        for spelled in [plain, &plain.to_uppercase(), &spaced, &groups(plain).join("-\n")] {
            for command in ["show", "card", "verify"] {
                let answer = environment.ok(&[command, spelled]);
                assert_eq!(answer["hash"], hash, "{command} {spelled}");
            }
        }
        // Unquoted, the shell makes an argument of each group.
        for command in ["show", "card", "verify"] {
            let mut args = vec![command.to_owned()];
            args.extend(groups(plain));
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            assert_eq!(environment.ok(&args)["hash"], hash, "{args:?}");
        }
        let dest = environment.path(&format!("exported {}", plain.len()));
        let exported = environment.ok(&["export", &spaced, text(&dest)]);
        let path = exported["path"].as_str().expect("a path");
        assert_eq!(environment.ok(&["verify", path, "--expect", &spaced])["valid"], true);
    }
}

#[test]
fn a_code_with_a_wrong_character_is_refused_everywhere() {
    let environment = Environment::with_creator();
    let album = environment.album();
    let made = environment.ok(&["create", text(&album)]);
    let code = made["code"].as_str().expect("a code");
    let last = if code.ends_with('q') { "p" } else { "q" };
    let wrong = format!("{}{last}", &code[..61]);
    for command in ["show", "card", "verify", "publish", "drop", "fetch", "status", "repair"] {
        let error = environment.fails(&[command, &wrong]);
        assert!(error.contains("a character is wrong; compare with the card"), "{error}");
        assert_eq!(environment.json(&[command, &wrong]).json["code"], "not_a_hash");
    }
    let dest = environment.path("exported");
    let exported = environment.ok(&["export", code, text(&dest)]);
    let path = exported["path"].as_str().expect("a path");
    assert_eq!(environment.json(&["verify", path, "--expect", &wrong]).code, Some(2));
    assert_eq!(environment.json(&["verify", path, "--expect", &code[..8]]).code, Some(2));
}

#[test]
fn what_is_dropped_is_gone_and_can_be_made_again() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let made = environment.ok(&["list"])["tesseras"][0]["bytes"].clone();
    let dropped = environment.ok(&["drop", &hash[..6], "--yes"]);
    assert_eq!((&dropped["hash"], &dropped["bytes"]), (&hash.as_str().into(), &made));
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
    assert!(tree(&environment.data_dir().join("cas")).is_empty());
    assert!(environment.fails(&["drop", &hash]).contains("not stored here"));
    assert!(environment.fails(&["show", &hash]).contains("not stored here"));
    assert_eq!(environment.ok(&["drop", &hash, "--block"])["bytes"], 0);
    environment.tessera();
    assert_eq!(environment.ok(&["list"])["tesseras"].as_array().map(Vec::len), Some(1));
}

#[test]
fn prefixes_are_taken_if_they_are_long_enough_and_mean_one() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    for good in [&hash[..4], &hash[..63], &hash.to_uppercase()[..10], &hash.to_uppercase()] {
        assert_eq!(environment.ok(&["show", good])["hash"], hash, "{good}");
    }
    for (bad, why) in [
        (&hash[..3], "3 digits"),
        ("", "not a tessera's hash"),
        ("zzzz", "not a tessera's hash"),
        ("../../etc/passwd", "not a tessera's hash"),
        ("café", "not a tessera's hash"),
        (&format!("{hash}0"), "65 digits"),
        (&"0".repeat(64), "not stored here"),
    ] {
        for command in ["show", "card", "drop"] {
            let error = environment.fails(&[command, bad]);
            assert!(error.contains(why), "{command} {bad}: {error}");
        }
    }
    let unknown = if hash.starts_with("0000") { "1111" } else { "0000" };
    assert!(environment.fails(&["show", unknown]).contains("no tessera stored here begins"));
}

#[test]
fn an_ambiguous_prefix_names_the_candidates() {
    let environment = Environment::with_creator();
    let album = environment.path("notes");
    fs::create_dir(&album).expect("made");
    fs::write(album.join("a.txt"), "a note\n").expect("written");
    // A real twin would take 2^124 attempts; a piece held for others needs no real tessera.
    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
    use tesseras_core::ports::{Charge, FragmentStore as _, HeldPiece, PeerAt};
    let made = environment.ok(&["create", text(&album)]);
    let hash: TesseraHash = made["hash"].as_str().expect("a hash").parse().expect("hex");
    let mut near = *hash.as_bytes();
    near[31] ^= 1;
    let near = TesseraHash::new(near);
    let store = tesseras_storage::Store::open(&environment.data_dir(), &Default::default())
        .expect("it opens");
    let mut writer = tesseras_core::ports::BlobStore::stage(&*store.blobs()).expect("staged");
    writer.write(b"a piece").expect("written");
    let staged = writer.finish().expect("finished");
    let checksum: ContentHash = staged.hash;
    let piece = tesseras_core::code::Piece::Whole;
    let fragment = HeldPiece { tessera: near, piece, checksum, bytes: 7 };
    let subnet = Subnet::V4([10, 0, 0]);
    let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet });
    store.fragments().store_fragment(&fragment, staged, &charge).expect("stored");
    drop(store);

    let hash = hash.to_string();
    let error = environment.fails(&["show", &hash[..62]]);
    assert!(
        error.contains("is ambiguous: ")
            && error.contains(&hash)
            && error.contains(&near.to_string()),
        "{error}"
    );
    let held = environment.fails(&["show", &near.to_string()]);
    assert!(held.contains("only 1 piece of") && held.contains("held for others"), "{held}");
    assert_eq!(environment.json(&["drop", &near.to_string()]).code, Some(2), "perhaps the last");
    let dropped = environment.ok(&["drop", &near.to_string(), "--yes"]);
    assert_eq!((&dropped["bytes"], &dropped["pieces"]), (&7.into(), &1.into()));
    assert_eq!(environment.ok(&["show", &hash[..4]])["hash"], hash);
}

#[test]
fn a_drop_removes_what_an_interrupted_fetch_has_left_and_says_so() {
    use tesseras_core::ports::Workbench as _;
    let environment = Environment::with_creator();
    let tessera = tesseras_core::ids::TesseraHash::new([7; 32]);
    let store = tesseras_storage::Store::open(&environment.data_dir(), &Default::default())
        .expect("it opens");
    for bytes in [b"one", b"two"] {
        let mut writer = tesseras_core::ports::BlobStore::stage(&*store.blobs()).expect("staged");
        writer.write(bytes).expect("written");
        let staged = writer.finish().expect("finished");
        store.workbench().pin(&tessera, staged, tesseras_core::time::Timestamp(1)).expect("pinned");
    }
    drop(store);
    let dropped = environment.human(&["drop", &tessera.to_string()]);
    let said = String::from_utf8_lossy(&dropped.stdout).into_owned();
    assert!(said.contains("Removed 2 pieces of an unfinished task: 6 bytes"), "{said}");
    assert!(environment.fails(&["drop", &tessera.to_string()]).contains("not stored here"));
}

#[test]
fn where_there_is_no_data_directory_nothing_is_made_by_reading() {
    let environment = Environment::new();
    let data = environment.data_dir();
    let dest = environment.path("dest");
    let whole = "ab".repeat(32);
    let reading = [
        &["list"][..],
        &["show", "abcd"],
        &["verify", "abcd"],
        &["card", "abcd"],
        &["export", "abcd", text(&dest)],
        &["restore", "abcd", text(&dest)],
        &["check"],
        &["gc"],
        &["scrub"],
        &["drop", "abcd", "--yes"],
        &["drop", &whole, "--block", "--yes"],
        &["publish", "abcd", "--yes"],
        &["publish", "--cancel", &whole],
        &["status"],
        &["status", "abcd"],
        &["status", &whole],
        &["fetch", &whole],
        &["repair"],
        &["repair", "abcd"],
        &["repair", "--library"],
        &["peers"],
    ];
    let refused = |args: &[&str], reason: &str| {
        let answer = environment.json(args);
        assert_eq!(answer.code, Some(1), "{args:?}: {}", answer.stderr);
        assert_eq!(answer.json["error"], reason, "{args:?}");
        assert_eq!(answer.json["code"], "no_data_dir", "{args:?}");
        let hint = answer.json["hint"].as_str().expect("a hint");
        assert!(hint.contains("--data-dir") && hint.contains("tes init"), "{hint}");
        assert!(hint.contains("tesd"), "{hint}");
        assert!(!dest.exists(), "{args:?}");
    };
    for args in reading {
        refused(args, &format!("there is no data directory {}", data.display()));
        assert!(!data.exists(), "{args:?}");
    }
    fs::create_dir(&data).expect("made");
    fs::write(data.join("beach.jpg"), b"a photo").expect("written");
    for args in reading {
        refused(args, &format!("{} is not a data directory", data.display()));
        assert_eq!(fs::read_dir(&data).expect("there").count(), 1, "{args:?}");
    }
    fs::remove_file(data.join("beach.jpg")).expect("removed");
    let human = String::from_utf8(environment.human(&["list"]).stdout).expect("UTF-8");
    assert!(human.contains("The library is empty"), "{human}");
}

#[test]
fn every_command_takes_the_groups_of_a_code_without_quotes() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let code = environment.ok(&["card", &hash])["code"].as_str().expect("a code").to_owned();
    let groups: Vec<&str> =
        (0..code.len()).step_by(4).map(|at| code.get(at..at + 4).unwrap_or(&code[at..])).collect();
    let with = |first: &[&'static str], last: &[&'static str]| {
        let all = [first, &groups, last].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |args: Vec<String>| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        environment.json(&args)
    };
    for args in [
        with(&["show"], &[]),
        with(&["card"], &[]),
        with(&["verify"], &[]),
        with(&["export"], &["exported"]),
        with(&["restore"], &["restored"]),
    ] {
        let answer = run(args.clone());
        assert_eq!(answer.code, Some(0), "{args:?}: {}", answer.stderr);
    }
    assert!(environment.path("exported").is_dir() && environment.path("restored").is_dir());
    // No node runs, which is found out once the hash is understood.
    for args in [
        with(&["fetch"], &[]),
        with(&["status"], &[]),
        with(&["repair"], &[]),
        with(&["publish", "--yes"], &[]),
        with(&["publish"], &["--yes"]),
    ] {
        let answer = run(args.clone());
        assert_eq!(answer.code, Some(1), "{args:?}: {}", answer.stderr);
        assert!(answer.stderr.contains("no tesd"), "{args:?}: {}", answer.stderr);
    }
    let dropped = run(with(&["drop", "--yes"], &[]));
    assert_eq!(
        (dropped.code, &dropped.json["hash"]),
        (Some(0), &hash.into()),
        "{}",
        dropped.stderr
    );
}

#[test]
fn a_drop_that_waits_for_its_answer_is_in_nobodys_way() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let ask_about = |hash: &str, answer, meanwhile: &[&str]| {
        let dialogue = [("Delete it? [y/N] ", answer)];
        talk_meanwhile(&environment, &["drop", hash], &dialogue, meanwhile)
    };
    let ask = |answer, meanwhile: &[&str]| ask_about(&hash, answer, meanwhile);
    // Which needs the index for itself.
    let Some(kept) = ask("n", &["repair", "--library"]) else { return };
    assert!(kept.code == 1 && kept.shown.contains("nothing was removed"), "{}", kept.shown);
    assert_eq!(environment.ok(&["show", &hash])["hash"], hash.as_str());
    let gone = ask("y", &["drop", &hash, "--yes"]).expect("as before");
    assert!(gone.code == 1 && gone.shown.contains("is not stored here"), "{}", gone.shown);
    let again = environment.tessera();
    let dropped = ask_about(&again, "y", &["repair", "--library"]).expect("as before");
    assert!(
        dropped.code == 0 && dropped.shown.contains("Removed the tessera"),
        "{}",
        dropped.shown
    );
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
}
