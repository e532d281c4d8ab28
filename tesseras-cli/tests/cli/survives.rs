//! What is left of a library when its database or its disk is not what it was.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tesseras_core::ids::TesseraHash;
use tesseras_core::publication::PublicationState;
use tesseras_rpc::calls::Response;
use tesseras_rpc::frame::{Event, MAX_EVENT_BYTES, encode};
use tesseras_rpc::messages::{
    CopyCount, FragmentCount, PublicationReply, TesseraState, TesseraStatus,
};

use crate::environment::{Environment, text};

/// Nobody's user id: without any right that others have not.
const NOBODY: u32 = 65534;

/// Calls that only read, of which each must work.
fn reading<'a>(hash: &'a str, dest: &'a str) -> [Vec<&'a str>; 5] {
    [
        vec!["list"],
        vec!["show", &hash[..8]],
        vec!["verify", hash],
        vec!["card", hash],
        vec!["export", hash, dest],
    ]
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Names of everything below a directory.
fn names(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            found.push(text(&path).to_owned());
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

/// Exit code of the shell where there are no such mounts.
const NO_MOUNT: i32 = 99;

/// `tes --json` on a data directory that is really mounted read-only, with a directory for temporary
/// files of so many KiB; `None` if nothing can be mounted here.
fn on_a_read_only_disk(data: &Path, temporary_kib: u32, args: &[&str]) -> Option<Output> {
    let script = format!(
        "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit {NO_MOUNT}\n\
         mount -t tmpfs -o size={temporary_kib}k tmpfs \"$1\" || exit {NO_MOUNT}\n\
         touch \"$0/x\" 2>/dev/null && exit 98\n\
         TMPDIR=\"$1\"; export TMPDIR; shift; exec \"$@\""
    );
    let temporary = data.with_file_name("temporary");
    fs::create_dir_all(&temporary).expect("made");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(data).arg(temporary);
    command.arg(assert_cmd::cargo::cargo_bin("tes"));
    command.args(["--json", "--data-dir"]).arg(data).args(args);
    let output = command.output().ok()?;
    let refused = String::from_utf8_lossy(&output.stderr).starts_with("unshare:");
    let mounted = output.status.code() != Some(NO_MOUNT) && !refused;
    if !mounted {
        eprintln!("skipped: nothing can be mounted read-only here");
    }
    mounted.then_some(output)
}

#[test]
fn a_library_on_a_read_only_disk_is_read() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    let before = names(&data);
    let dest = environment.path("out");
    for args in reading(&hash, text(&dest)) {
        let Some(output) = on_a_read_only_disk(&data, 4, &args) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        match args[0] {
            "list" => assert_eq!(json(&output)["tesseras"][0]["hash"], hash),
            "verify" => assert_eq!(json(&output)["valid"], true),
            _ => {}
        }
    }
    assert_eq!(names(&data), before);
    let Some(refused) = on_a_read_only_disk(&data, 4, &["drop", &hash, "--yes"]) else { return };
    assert_eq!(refused.status.code(), Some(1));
    let hint = json(&refused)["hint"].as_str().unwrap_or_default().to_owned();
    assert!(hint.contains("writable"), "{hint}");
}

#[test]
fn a_running_node_is_read_along_through_a_read_only_mount() {
    use tesseras_core::ports::{PeerRepository as _, TesseraRepository as _};
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    let running = tesseras_storage::Store::open(&data, &Default::default()).expect("it opens");
    let tessera = hash.parse().expect("hex");
    // What follows is in the log alone.
    running.library().remove(&tessera).expect("removed").expect("it was listed");
    let album = environment.path("letters");
    fs::create_dir(&album).expect("made");
    fs::write(album.join("a.txt"), "a letter\n").expect("written");
    let letter = environment.ok(&["create", text(&album)])["hash"].clone();
    let before = names(&data);
    let Some(output) = on_a_read_only_disk(&data, 4, &["list"]) else { return };
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = json(&output)["tesseras"].as_array().expect("a list").clone();
    assert_eq!(listed.iter().map(|one| one["hash"].clone()).collect::<Vec<_>>(), [letter]);
    assert_eq!(names(&data), before);
    assert_eq!(running.peers().known_peers(1).expect("read").len(), 0);
    assert!(running.check().expect("read").is_sound());
}

#[test]
fn a_log_without_its_shared_memory_is_copied_if_there_is_room() {
    let environment = Environment::with_creator();
    let running = tesseras_storage::Store::open(&environment.data_dir(), &Default::default())
        .expect("it opens");
    let hash = environment.tessera();
    // As a power cut leaves it: what was acknowledged is in the log alone.
    let data = environment.path("rescued");
    let copied = Command::new("cp").arg("-r").arg(environment.data_dir()).arg(&data).status();
    assert!(copied.expect("it runs").success());
    drop(running);
    fs::remove_file(data.join("db/tesseras.db-shm")).expect("removed");
    assert!(fs::metadata(data.join("db/tesseras.db-wal")).expect("there").len() > 0);
    let before = names(&data);
    let Some(listed) = on_a_read_only_disk(&data, 16 * 1024, &["list"]) else { return };
    assert_eq!(listed.status.code(), Some(0), "{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(json(&listed)["tesseras"][0]["hash"], hash);
    let Some(full) = on_a_read_only_disk(&data, 64, &["list"]) else { return };
    assert_eq!(full.status.code(), Some(1));
    let error = json(&full)["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("TMPDIR") && error.contains("is needed"), "{error}");
    assert_eq!(names(&data), before);
}

#[test]
fn a_library_whose_files_cannot_be_written_is_read() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    let run = |program: &Path, args: &[&str], as_nobody: bool| {
        let mut command = Command::new(program);
        if as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.args(args).current_dir("/").output()
    };
    let change = |args: &[&str]| run(Path::new("/bin/chmod"), args, false).expect("it runs");
    change(&["-R", "a-w", text(&data)]);
    // A superuser may write everything; so the call is made by one who may not.
    let superuser = fs::write(data.join("x"), "").is_ok();
    if superuser {
        fs::remove_file(data.join("x")).expect("removed");
        let home = data.parent().expect("the home");
        let owner = format!("{NOBODY}:{NOBODY}");
        run(Path::new("/bin/chown"), &["-R", &owner, text(home)], false).expect("it runs");
    }
    let before = names(&data);
    let tes = assert_cmd::cargo::cargo_bin("tes");
    let dest = environment.path("out");
    for args in reading(&hash, text(&dest)) {
        let args = [&["--json", "--data-dir", text(&data)], &args[..]].concat();
        match run(&tes, &args, superuser) {
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
            }
            Err(error) => {
                eprintln!("skipped: another user cannot run tes here: {error}");
                break;
            }
        }
    }
    assert_eq!(names(&data), before);
    change(&["-R", "u+w", text(&data)]);
}

#[test]
fn a_lost_database_is_named_by_every_command_and_rebuilt_by_one() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let listed = environment.ok(&["list"]);
    let album = environment.album();
    for damage in ["lost", "empty", "garbage"] {
        let database = environment.data_dir().join("db/tesseras.db");
        match damage {
            "lost" => fs::remove_dir_all(environment.data_dir().join("db")).expect("removed"),
            "empty" => fs::write(&database, "").expect("written"),
            _ => fs::write(&database, [7; 20_000]).expect("written"),
        }
        for command in [
            vec!["list"],
            vec!["show", &hash],
            vec!["verify", &hash],
            vec!["card", &hash],
            vec!["export", &hash, "out"],
            vec!["drop", &hash, "--yes"],
            vec!["create", text(&album)],
            vec!["init"],
        ] {
            let answer = environment.json(&command);
            assert_eq!(answer.code, Some(1), "{damage}: {command:?}");
            let error = answer.json["error"].as_str().expect("a reason");
            assert!(error.contains("the index"), "{damage}: {error}");
            let hint = answer.json["hint"].as_str().expect("a hint");
            assert!(hint.contains("tes repair --library"), "{damage}: {hint}");
        }
        let rebuilt = environment.ok(&["repair", "--library"]);
        assert_eq!(rebuilt["found"], 1, "{damage}");
        assert_eq!(rebuilt["restored"], serde_json::json!([hash]), "{damage}");
        assert_eq!(rebuilt["incomplete"], serde_json::json!([]), "{damage}");
        assert_eq!(rebuilt["set_aside"].is_null(), damage == "lost", "{rebuilt}");
        assert_eq!(environment.ok(&["list"]), listed, "{damage}");
        assert_eq!(environment.ok(&["verify", &hash])["valid"], true, "{damage}");
    }
    let again = environment.ok(&["repair", "--library"]);
    let nothing = serde_json::json!({
        "found": 1, "restored": [], "mended": [], "mended_pieces": 0, "incomplete": [],
        "skipped": [], "set_aside": null
    });
    assert_eq!(again, nothing);
}

/// Flips the lowest bit of each place of a word in the index.
fn flip_word(index: &Path, word: &[u8]) {
    let mut bytes = fs::read(index).expect("read");
    let windows = bytes.windows(word.len()).enumerate();
    let places: Vec<usize> =
        windows.filter(|(_, window)| *window == word).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(index, bytes).expect("written");
}

#[test]
fn a_bit_that_flipped_in_the_schema_or_a_title_is_named_and_repaired() {
    let environment = Environment::with_creator();
    environment.tessera();
    let index = environment.data_dir().join("db/tesseras.db");
    let listed = environment.ok(&["list"]);
    for word in ["peers (\n", "tesserae (hash)", "length(node)", "Summer"] {
        flip_word(&index, word.as_bytes());
        let shown = environment.human(&["check"]);
        assert_eq!(shown.status.code(), Some(1), "{word}");
        let said = [shown.stdout, shown.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let is_named = said.contains("Index damaged") || said.contains("the index is damaged");
        assert!(is_named && said.contains("tes repair --library"), "{word}: {said}");
        environment.ok(&["repair", "--library"]);
        assert_eq!(environment.ok(&["check"])["sound"], true, "{word}");
        assert_eq!(environment.ok(&["list"]), listed, "{word}");
    }
}

/// The photo of the album in `cas/`.
fn photo(data: &Path) -> String {
    names(&data.join("cas"))
        .into_iter()
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes == crate::environment::PNG))
        .expect("the photo is stored")
}

#[test]
fn what_is_incomplete_is_named_and_the_rest_of_it_comes_back() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let listed = environment.ok(&["list"]);
    fs::remove_file(photo(&environment.data_dir())).expect("removed");
    for (round, restored) in [("listed", vec![]), ("without an index", vec![hash.clone()])] {
        if !restored.is_empty() {
            fs::remove_dir_all(environment.data_dir().join("db")).expect("removed");
        }
        let rebuilt = environment.json(&["repair", "--library"]);
        assert_eq!(rebuilt.code, Some(1), "{round}: {}", rebuilt.json);
        assert_eq!(
            (&rebuilt.json["found"], &rebuilt.json["skipped"]),
            (&1.into(), &[0; 0][..].into())
        );
        assert_eq!(rebuilt.json["restored"], serde_json::json!(restored), "{round}");
        let incomplete = &rebuilt.json["incomplete"][0];
        assert_eq!(
            (&incomplete["hash"], &incomplete["listed"]),
            (&hash.clone().into(), &true.into())
        );
        let missing = incomplete["missing"].as_array().expect("a list");
        assert!(!missing.is_empty());
        assert!(missing.iter().all(|path| path.as_str().is_some_and(|p| p.ends_with("media.png"))));
        let human = environment.human(&["repair", "--library"]);
        assert_eq!(human.status.code(), Some(1), "{round}");
        let said = String::from_utf8_lossy(&human.stdout).into_owned();
        let number = format!("{hash} is not complete: {} of its", missing.len());
        assert!(said.contains(&number), "{round}: {said}");
        assert!(said.contains(&format!("tes restore {hash} FOLDER")), "{round}: {said}");
        // As before it was lost: all of it is listed, and the sound files come back.
        assert_eq!(environment.ok(&["list"]), listed, "{round}");
        environment.ok(&["show", &hash]);
        let dest = environment.path(&format!("given back, {round}"));
        let restored = environment.json(&["restore", &hash, text(&dest)]);
        assert_eq!(restored.code, Some(1), "{round}");
        let letter = fs::read_to_string(dest.join("carta da avó.txt")).expect("given back");
        assert_eq!(letter, "Um domingo de sol.\n", "{round}");
        let checked = environment.json(&["check"]);
        assert_eq!((checked.code, &checked.json["disagreements"]), (Some(1), &[0; 0][..].into()));
        assert_eq!(checked.json["missing"].as_array().map(Vec::len), Some(1), "{round}");
        environment.ok(&["gc"]);
    }
    // The folder is still there.
    let album = environment.path("album");
    let args = ["create", text(&album), "--title", "Summer", "--tags", "family,sun"];
    assert_eq!(environment.ok(&args)["hash"], hash);
    assert_eq!(environment.ok(&["check"])["sound"], true);
    let again = environment.ok(&["repair", "--library"]);
    assert_eq!(again["incomplete"], serde_json::json!([]));

    let nowhere = Environment::new();
    assert!(nowhere.fails(&["repair", "--library"]).contains("there is no data directory"));
    assert!(!nowhere.data_dir().exists());
}

/// A file that nobody may read is as one on a part of the disk that is broken.
#[test]
fn what_cannot_be_read_is_named_and_all_else_is_listed_again() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let letters = environment.path("letters");
    fs::create_dir(&letters).expect("made");
    fs::write(letters.join("letter.txt"), "Dear Ana, it rains.\n").expect("written");
    let letter = environment.ok(&["create", text(&letters)])["hash"].clone();
    let data = environment.data_dir();
    let run = |program: &Path, args: &[&str], as_nobody: bool| {
        let mut command = Command::new(program);
        if as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.args(args).current_dir("/").output()
    };
    // A superuser may read everything; so the call is made by one who may not.
    let superuser = {
        let probe = environment.path("probe");
        fs::write(&probe, "").expect("written");
        run(Path::new("/bin/chmod"), &["0", text(&probe)], false).expect("it runs");
        fs::read(&probe).is_ok()
    };
    let home = data.parent().expect("the home");
    let owner = format!("{NOBODY}:{NOBODY}");
    let tes = assert_cmd::cargo::cargo_bin("tes");
    for path in [format!("library/{hash}.signatures"), format!("cas/{}/{hash}.blob", &hash[..2])] {
        fs::remove_dir_all(data.join("db")).expect("removed");
        if superuser {
            run(Path::new("/bin/chown"), &["-R", &owner, text(home)], false).expect("it runs");
        }
        let unreadable = data.join(&path);
        let change = |mode| run(Path::new("/bin/chmod"), &[mode, text(&unreadable)], false);
        change("0").expect("it runs");
        let args = ["--json", "--data-dir", text(&data), "repair", "--library"];
        let output = match run(&tes, &args, superuser) {
            Ok(output) => output,
            Err(error) => {
                eprintln!("skipped: another user cannot run tes here: {error}");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path}: {said}");
        assert_eq!(json(&output)["restored"], serde_json::json!([letter]), "{path}: {said}");
        let skipped = json(&output)["skipped"].to_string();
        assert!(skipped.contains(&path), "{path}: {skipped}");
        change("600").expect("it runs");
        let output = run(&tes, &args, superuser).expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{path}: {}", json(&output));
        assert_eq!(json(&output)["restored"], serde_json::json!([hash]), "{path}");
    }
    // What an earlier repair noted is not forgotten by one that cannot read it, nor given up.
    fs::remove_dir_all(data.join("db")).expect("removed");
    fs::remove_file(data.join(format!("library/{hash}.signatures"))).expect("removed");
    let manifest = data.join(format!("cas/{}/{hash}.blob", &hash[..2]));
    let change = |mode| run(Path::new("/bin/chmod"), &[mode, text(&manifest)], false);
    let ask = |args: &[&str]| {
        let args = [&["--json", "--data-dir", text(&data)], args].concat();
        run(&tes, &args, superuser).expect("it runs")
    };
    let said = ask(&["repair", "--library"]);
    assert_eq!(json(&said)["incomplete"][0]["hash"], hash.as_str(), "{}", json(&said));
    change("0").expect("it runs");
    assert_ne!(json(&ask(&["repair", "--library"]))["skipped"], serde_json::json!([]));
    change("600").expect("it runs");
    ask(&["gc", "--all"]);
    assert!(manifest.exists(), "the only copy is still here");
    assert_eq!(json(&ask(&["gc"]))["orphans"], 0);
}

#[test]
fn a_library_is_not_rebuilt_beneath_a_running_node() {
    let environment = Environment::with_creator();
    let store = tesseras_storage::Store::open(&environment.data_dir(), &Default::default())
        .expect("it opens");
    let running = store.lock_daemon().expect("free");
    let answer = environment.json(&["repair", "--library"]);
    assert_eq!(answer.code, Some(1));
    assert_eq!(answer.json["code"], "locked");
    assert!(answer.json["hint"].as_str().expect("a hint").contains("stop tesd"));
    drop(running);
    drop(store);
    environment.ok(&["repair", "--library"]);
}

#[test]
fn the_only_copy_is_dropped_only_after_a_yes() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    for json in [false, true] {
        let mut tes = environment.tes();
        if json {
            tes.arg("--json");
        }
        let refused = tes.args(["drop", &hash]).output().expect("it runs");
        assert_eq!(refused.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(stderr.contains("--yes") && stderr.contains("only copy"), "{stderr}");
    }
    assert_eq!(environment.ok(&["verify", &hash])["valid"], true);
    let human = environment.human(&["drop", &hash, "--yes"]);
    let stdout = String::from_utf8_lossy(&human.stdout);
    assert!(stdout.contains("only an export") && !stdout.contains("tes fetch"), "{stdout}");
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
}

#[test]
fn on_a_terminal_the_only_copy_is_asked_about() {
    use std::io::Write as _;
    use std::process::Stdio;
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let tes = assert_cmd::cargo::cargo_bin("tes");
    let data = environment.data_dir();
    let command = format!("{} --data-dir {} drop {hash}", text(&tes), text(&data));
    // util-linux's `script` runs it on a terminal of its own.
    let answered = |answer: &str| {
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(answer.as_bytes()).expect("written");
        let output = child.wait_with_output().expect("it runs");
        Some((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let Some((code, said)) = answered("n\n") else {
        eprintln!("skipped: there is no `script`");
        return;
    };
    assert!(said.contains("only copy") && said.contains("nothing was removed"), "{said}");
    assert_eq!(code, Some(1));
    assert_eq!(environment.ok(&["verify", &hash])["valid"], true);
    let (code, said) = answered("y\n").expect("it ran before");
    assert!(code == Some(0) && said.contains("Removed the tessera"), "{said}");
    assert_eq!(environment.ok(&["list"])["tesseras"], serde_json::json!([]));
}

/// What a node says of a tessera that this many nodes hold.
fn status_event(hash: TesseraHash, holders: u64, survives: u64) -> Vec<u8> {
    let status = TesseraStatus {
        hash,
        state: TesseraState::Degraded,
        fragments: FragmentCount { total: 7, live: holders, needed: 1 },
        copies: CopyCount { total: 7, live: holders },
        holders,
        survives,
        only_silent: 0,
        placement: Vec::new(),
        in_library: true,
        last_repair: None,
        repair_due: None,
        notes: Vec::new(),
    };
    encode(&Event::Done(Response::TesseraStatus(status)), MAX_EVENT_BYTES).expect("short")
}

#[test]
fn the_pieces_of_an_unfinished_publication_are_no_reason_not_to_ask() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let node = environment.fake_node(vec![status_event(hash.parse().expect("a hash"), 7, 6)]);
    let refused = environment.json(&["drop", &hash]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("it is not published"), "{}", refused.stderr);
    assert_eq!(environment.ok(&["verify", &hash])["valid"], true);
    drop(node);
}

#[test]
fn only_what_others_attest_now_is_dropped_without_a_question() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    // What was placed once, and what one node says, is not enough.
    environment.publish_in_store(&hash);
    assert_eq!(environment.json(&["drop", &hash]).code, Some(2));
    let tessera: TesseraHash = hash.parse().expect("a hash");
    let status = |holders, survives| status_event(tessera, holders, survives);
    let report = PublicationReply { hash: tessera, state: PublicationState::Local, placed: 7 };
    let stopped =
        encode(&Event::Done(Response::Publication(report)), MAX_EVENT_BYTES).expect("short");
    let node = environment.fake_node(vec![status(1, 0), status(0, 0), status(2, 1), stopped]);
    for words in ["only 1 other node attests it just now", "no other node attests it just now"] {
        let refused = environment.json(&["drop", &hash]);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let human = environment.human(&["drop", &hash]);
    assert_eq!(human.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&human.stdout);
    assert!(stdout.contains("2 other nodes attested") && stdout.contains("tes fetch"), "{stdout}");
    assert_eq!(node.join().expect("no panic").len(), 4);
}

#[test]
fn how_many_others_attest_what_is_dropped_is_told_even_if_it_is_one() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    environment.publish_in_store(&hash);
    let tessera: TesseraHash = hash.parse().expect("a hash");
    let report = PublicationReply { hash: tessera, state: PublicationState::Local, placed: 1 };
    let stopped =
        encode(&Event::Done(Response::Publication(report)), MAX_EVENT_BYTES).expect("short");
    let node = environment.fake_node(vec![status_event(tessera, 1, 0), stopped]);
    assert_eq!(environment.ok(&["drop", &hash, "--yes"])["attested"], 1);
    assert_eq!(node.join().expect("no panic").len(), 2);
}

#[test]
fn no_hint_about_damage_says_to_delete() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let manifest = environment.data_dir().join("cas").join(&hash[..2]).join(format!("{hash}.blob"));
    let whole = fs::read(&manifest).expect("stored");
    let mut flipped = whole.clone();
    flipped[30] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &flipped] {
        fs::remove_file(&manifest).expect("removed");
        fs::write(&manifest, damaged).expect("written");
        for command in [vec!["show", &hash], vec!["export", &hash, "out"]] {
            let answer = environment.json(&command);
            assert_eq!(answer.code, Some(1), "{command:?}");
            let hint = answer.json["hint"].as_str().expect("a hint");
            assert!(hint.contains("tes fetch") && !hint.contains("drop"), "{hint}");
        }
    }
}
