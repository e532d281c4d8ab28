//! `tes init` and `tes identity`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::environment::{Environment, PNG, text};
use crate::terminal::{talk, whisper};

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let environment = Environment::new();
    let first = environment.ok(&["init", "--name", "Ana"]);
    assert_eq!(first["creator"].as_str().map(str::len), Some(64));
    assert_eq!(first["data_dir"], text(&environment.data_dir()));
    assert_eq!((&first["created"], &first["name"]), (&true.into(), &"Ana".into()));
    let keys = environment.data_dir().join("identity");
    let read = || {
        ["creator.ed25519.pem", "creator.ml-dsa-65.pem"].map(|f| fs::read(keys.join(f)).expect(f))
    };
    let before = read();
    let second = environment.ok(&["init", "--name", "Rui"]);
    assert_eq!(second["creator"], first["creator"]);
    assert_eq!((&second["created"], &second["name"]), (&false.into(), &"Ana".into()));
    assert_eq!(read(), before);
    let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(keys.clone()), 0o700);
    assert_eq!(mode(environment.data_dir()), 0o700);
    for entry in fs::read_dir(&keys).expect("listed") {
        assert_eq!(mode(entry.expect("an entry").path()), 0o600);
    }
    let human = environment.human(&["init"]);
    assert!(human.status.success());
    assert!(String::from_utf8_lossy(&human.stdout).contains("already"));
}

#[test]
fn a_node_key_in_the_same_directory_is_left_alone() {
    let environment = Environment::new();
    let identity = environment.data_dir().join("identity");
    fs::create_dir_all(&identity).expect("made");
    fs::write(identity.join("node.key"), "the node's").expect("written");
    environment.ok(&["init", "--name", "Ana"]);
    assert_eq!(fs::read(identity.join("node.key")).expect("kept"), b"the node's");
}

#[test]
fn the_data_directory_may_come_from_the_environment() {
    let environment = Environment::new();
    let elsewhere = environment.path("elsewhere");
    let output = assert_cmd::Command::cargo_bin("tes")
        .expect("it is built")
        .env_clear()
        .env("HOME", environment.path("home"))
        .env("TESSERAS_DATA_DIR", &elsewhere)
        .args(["init", "--json", "--name", "Ana"])
        .output()
        .expect("it runs");
    assert!(output.status.success());
    assert!(elsewhere.join("identity/creator.ed25519.pem").exists());
    let output = assert_cmd::Command::cargo_bin("tes")
        .expect("it is built")
        .env_clear()
        .env("HOME", environment.path("home"))
        .args(["init", "--name", "Ana"])
        .output()
        .expect("it runs");
    assert!(output.status.success());
    assert!(environment.path("home").read_dir().expect("the default lies at home").count() > 0);
}

#[test]
fn a_name_with_a_line_feed_is_refused() {
    let environment = Environment::new();
    assert!(environment.fails(&["init", "--name", "a\nb"]).contains("cannot be a name"));
    assert!(!environment.data_dir().join("identity").exists());
}

const PASSPHRASE: &str = "four words of mine";
/// A file of the age format whose passphrase would take longer than a life to try.
const COSTLY: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBjM056YzNOemMzTnpjM056
YzNOemN3IDQwCmEydHJhMnRyYTJ0cmEydHJhMnRyYTJ0cmEydHJhMnRyYTJ0cmEy
dHJhMnMKLS0tIGJXMXRiVzF0YlcxdGJXMXRiVzF0YlcxdGJXMXRiVzF0YlcxdGJX
MXRiVzAKbm5ubm5ubm5ubm5ubm5ubmNjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2Nj
Y2NjY2NjY2NjY2NjY2M=
-----END AGE ENCRYPTED FILE-----
";

/// A file with a passphrase, as `--passphrase-file` takes it.
fn passphrase_file(environment: &Environment, passphrase: &str) -> String {
    let path = environment.path(&format!("passphrase of {} bytes", passphrase.len()));
    fs::write(&path, format!("{passphrase}\nanother line\n")).expect("written");
    text(&path).to_owned()
}

#[test]
fn without_a_name_and_without_a_terminal_nothing_is_made() {
    let environment = Environment::new();
    for args in [&["init"][..], &["init", "--name", ""], &["init", "--name", "  "]] {
        let answer = environment.json(args);
        assert_eq!(answer.code, Some(2), "{args:?}: {}", answer.stderr);
        assert!(answer.json["error"].as_str().is_some_and(|error| error.contains("name")));
        assert!(!environment.data_dir().join("identity").exists());
    }
    assert!(environment.json(&["init"]).stderr.contains("give a name with --name"));
    let made = environment.ok(&["init", "--name", " Ana "]);
    assert_eq!(made["name"], "Ana");
    for args in [&["init"][..], &["init", "--name", ""], &["init", "--name", "a\nb"]] {
        let again = environment.ok(args);
        assert_eq!((&again["created"], &again["creator"]), (&false.into(), &made["creator"]));
        assert_eq!(again["name"], "Ana");
    }
}

#[test]
fn on_a_terminal_init_asks_for_a_name_until_there_is_one() {
    let environment = Environment::new();
    let dialogue = [("Your name: ", ""), ("Your name: ", "  Ana Luísa ")];
    let Some(talked) = talk(&environment, &["init"], &dialogue) else { return };
    assert_eq!(talked.code, 0, "{}", talked.shown);
    assert!(talked.shown.contains("a name cannot be empty"), "{}", talked.shown);
    assert!(talked.shown.contains("tes identity backup"), "{}", talked.shown);
    assert_eq!(environment.ok(&["identity"])["name"], "Ana Luísa");
    let again = talk(&environment, &["init"], &[]).expect("as before");
    assert!(again.code == 0 && again.shown.contains("already"), "{}", again.shown);
}

#[test]
fn an_identity_is_shown_and_renamed_for_what_is_made_from_then_on() {
    let environment = Environment::new();
    assert!(environment.fails(&["identity"]).contains("no creator"));
    assert!(environment.fails(&["identity", "rename", "Rosa"]).contains("no creator"));
    assert!(!environment.data_dir().exists());
    let made = environment.ok(&["init", "--name", "Ana"]);
    let shown = environment.ok(&["identity"]);
    assert_eq!((&shown["creator"], &shown["name"]), (&made["creator"], &"Ana".into()));
    assert_eq!(shown["path"], text(&environment.data_dir().join("identity")));
    let human = String::from_utf8(environment.human(&["identity"]).stdout).expect("UTF-8");
    assert!(human.contains("Ana") && human.contains(text(&environment.data_dir())), "{human}");

    let before = environment.tessera();
    let renamed = environment.ok(&["identity", "rename", "Ana Rosa"]);
    assert_eq!((&renamed["creator"], &renamed["name"]), (&made["creator"], &"Ana Rosa".into()));
    assert_eq!(environment.ok(&["identity"])["name"], "Ana Rosa");
    assert_eq!(environment.ok(&["show", &before])["creator_name"], "Ana");
    let notes = environment.path("notes");
    fs::create_dir(&notes).expect("made");
    fs::write(notes.join("a.txt"), "a note\n").expect("written");
    let after = environment.ok(&["create", text(&notes)]);
    let after = environment.ok(&["show", after["hash"].as_str().expect("a hash")]);
    assert_eq!((&after["creator_name"], &after["creator"]), (&"Ana Rosa".into(), &made["creator"]));

    assert_eq!(environment.json(&["identity", "rename", ""]).code, Some(2));
    assert!(environment.fails(&["identity", "rename", "a\nb"]).contains("cannot be a name"));
    assert_eq!(environment.ok(&["identity"])["name"], "Ana Rosa");
    for entry in fs::read_dir(environment.data_dir().join("identity")).expect("listed") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[test]
fn the_secret_keys_are_closed_to_others_at_the_next_start() {
    let environment = Environment::with_creator();
    let identity = environment.data_dir().join("identity");
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("opened");
    };
    let files = || fs::read_dir(&identity).expect("there").map(|file| file.expect("read").path());
    files().for_each(|file| open(&file, 0o666));
    open(&identity, 0o777);
    environment.ok(&["identity"]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&identity), 0o700);
    files().for_each(|file| assert_eq!(mode(&file), 0o600, "{}", file.display()));
}

#[test]
fn an_identity_goes_into_one_encrypted_file_and_comes_back_elsewhere() {
    let environment = Environment::with_creator();
    let creator = environment.ok(&["identity"])["creator"].clone();
    let passphrase = passphrase_file(&environment, PASSPHRASE);
    let with = ["--passphrase-file", passphrase.as_str()];
    let file = environment.path("ana.age");
    let backup = |file| environment.json(&["identity", "backup", file, with[0], with[1]]);
    let made = backup(text(&file)).json;
    assert_eq!((&made["creator"], &made["name"]), (&creator, &"Ana".into()));
    assert_eq!(made["path"], text(&file));
    let written = fs::read_to_string(&file).expect("text, so that it can be printed");
    assert!(written.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{written}");
    assert!(written.lines().all(|line| line.len() <= 72) && !written.contains("Ana"));
    let mode = fs::metadata(&file).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let again = backup(text(&file));
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).expect("kept"), written);

    let restore =
        |to: &Environment, file| to.json(&["identity", "restore", file, with[0], with[1]]);
    let elsewhere = Environment::new();
    let restored = restore(&elsewhere, text(&file));
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert_eq!((&restored.json["creator"], &restored.json["name"]), (&creator, &"Ana".into()));
    assert_eq!(restored.json["restored"], true);
    assert_eq!(elsewhere.ok(&["identity"])["creator"], creator);
    // The keys are the same ones, and sign.
    for key in ["creator.ed25519.pem", "creator.ml-dsa-65.pem", "creator.txt"] {
        let read = |of: &Environment| fs::read(of.data_dir().join("identity").join(key));
        assert_eq!(read(&elsewhere).expect(key), read(&environment).expect(key));
    }
    let hash = elsewhere.tessera();
    assert_eq!(elsewhere.ok(&["verify", &hash])["valid"], true);
    let twice = restore(&elsewhere, text(&file));
    assert_eq!((twice.code, &twice.json["restored"]), (Some(0), &false.into()));

    let other = Environment::new();
    let rui = other.ok(&["init", "--name", "Rui"])["creator"].clone();
    let refused = restore(&other, text(&file));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("another identity"), "{}", refused.stderr);
    assert_eq!(other.ok(&["identity"])["creator"], rui);
}

#[test]
fn a_backup_that_cannot_be_opened_says_why_and_changes_nothing() {
    let environment = Environment::with_creator();
    let right = passphrase_file(&environment, PASSPHRASE);
    let file = environment.path("ana.age");
    environment.ok(&["identity", "backup", text(&file), "--passphrase-file", &right]);
    let sealed = fs::read(&file).expect("kept");

    let elsewhere = Environment::new();
    let fails = |file: &str, passphrase: &str, why: &str| {
        let args = ["identity", "restore", file, "--passphrase-file", passphrase];
        let error = elsewhere.fails(&args);
        assert!(error.contains(why), "{error} / {why}");
        assert!(!elsewhere.data_dir().exists());
    };
    let wrong = passphrase_file(&environment, "four words of nobody");
    fails(text(&file), &wrong, "the passphrase is wrong");
    let args = ["identity", "restore", text(&file), "--passphrase-file", &wrong];
    assert_eq!(environment.json(&args).json["code"], "wrong_passphrase");
    let bad = environment.path("bad.age");
    for (bytes, why) in [
        (&sealed[..sealed.len() / 2], "cut off"),
        (&sealed[..40], "cut off"),
        (PNG, "not a file of the age format"),
        (b"", "not a file of the age format"),
        (COSTLY.as_bytes(), "work factor is 40"),
    ] {
        fs::write(&bad, bytes).expect("written");
        fails(text(&bad), &right, why);
    }
    let huge = fs::File::create(environment.path("huge.age")).expect("made");
    huge.set_len(1 << 40).expect("sparse");
    fails(text(&environment.path("huge.age")), &right, "too large");
    fails(text(&environment.path("none.age")), &right, "none.age");
    fails(text(&environment.data_dir()), &right, "not a regular file");
    fails(text(&file), text(&environment.path("none")), "none");
}

#[test]
fn a_passphrase_is_long_enough_and_never_guessed() {
    let environment = Environment::with_creator();
    let file = environment.path("ana.age");
    let short = passphrase_file(&environment, "123456789");
    let args = ["identity", "backup", text(&file), "--passphrase-file", &short];
    assert!(environment.fails(&args).contains("at least 10 characters"));
    let nobody = environment.json(&["identity", "backup", text(&file)]);
    assert_eq!(nobody.code, Some(2));
    assert!(nobody.stderr.contains("--passphrase-file"), "{}", nobody.stderr);
    assert!(!file.exists());
}

#[test]
fn on_a_terminal_a_passphrase_is_typed_twice_and_never_shown() {
    let environment = Environment::with_creator();
    let file = environment.path("ana.age");
    let dialogue = [
        ("Passphrase: ", "short"),
        ("Passphrase: ", PASSPHRASE),
        ("The same again: ", "four words of yours"),
        ("Passphrase: ", PASSPHRASE),
        ("The same again: ", PASSPHRASE),
    ];
    let Some(talked) = whisper(&environment, &["identity", "backup", text(&file)], &dialogue)
    else {
        return;
    };
    assert_eq!(talked.code, 0, "{}", talked.shown);
    assert!(talked.shown.contains("at least 10") && talked.shown.contains("two different"));
    assert!(!talked.shown.contains("four words"), "{}", talked.shown);
    let elsewhere = Environment::new();
    let args = ["identity", "restore", text(&file)];
    let talked = whisper(&elsewhere, &args, &[("Passphrase: ", PASSPHRASE)]).expect("as before");
    assert_eq!(talked.code, 0, "{}", talked.shown);
    assert_eq!(elsewhere.ok(&["identity"])["creator"], environment.ok(&["identity"])["creator"]);
}

#[test]
fn ctrl_c_at_a_passphrase_ends_the_command_and_leaves_no_file() {
    let environment = Environment::with_creator();
    let file = environment.path("ana.age");
    let dialogue = [("Passphrase: ", "\u{3}")];
    let Some(talked) = whisper(&environment, &["identity", "backup", text(&file)], &dialogue)
    else {
        return;
    };
    assert_eq!(talked.code, 1, "{}", talked.shown);
    assert!(talked.shown.contains("interrupted"), "{}", talked.shown);
    assert!(!file.exists());
}
