//! Usage, help, and what goes where.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use crate::environment::{Environment, text};

#[test]
fn wrong_usage_is_code_two_and_one_json_object_for_scripts() {
    let environment = Environment::new();
    let wrong: [&[&str]; 8] = [
        &[],
        &["demo", "--nodes", "many"],
        &["nonsense"],
        &["show"],
        &["create"],
        &["list", "--no-such-flag"],
        &["export", "abcd"],
        &["completions", "no-shell"],
    ];
    for args in wrong {
        let answer = environment.json(args);
        assert_eq!(answer.code, Some(2), "{args:?}");
        let error = answer.json["error"].as_str().expect("a reason");
        assert!(
            !error.is_empty() && !error.contains('\n') && !error.starts_with("error"),
            "{error}"
        );
        assert!(answer.json["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
        assert!(answer.stderr.contains("--help"), "{}", answer.stderr);
        let human = environment.human(args);
        assert_eq!((human.status.code(), human.stdout.len()), (Some(2), 0), "{args:?}");
    }
    let typo = environment.json(&["lst"]);
    assert_eq!(typo.json["error"], "unrecognized subcommand 'lst'");
    assert!(
        typo.json["hint"].as_str().is_some_and(|hint| hint.contains("'list'")),
        "{}",
        typo.json
    );
    let nothing = environment.json(&[]).json;
    assert_eq!(nothing["error"], "a command is missing", "{nothing}");
    let missing = environment.json(&["export", "abcd"]).json;
    assert_eq!(missing["hint"], "usage: tes export <HASH>... <DEST>");
    assert!(missing["error"].as_str().is_some_and(|error| error.contains("<HASH>")), "{missing}");
    // What follows `--` is no flag.
    let output = environment.tes().args(["list", "--", "--json"]).output().expect("it runs");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(!environment.data_dir().exists());
}

#[test]
fn help_names_every_command_and_each_has_its_own() {
    let environment = Environment::new();
    let help = environment.human(&["--help"]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for command in [
        "init",
        "identity",
        "create",
        "list",
        "show",
        "verify",
        "export",
        "restore",
        "import",
        "card",
        "publish",
        "fetch",
        "status",
        "repair",
        "drop",
        "peers",
        "completions",
        "man",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        assert!(environment.human(&[command, "--help"]).status.success());
    }
    for flag in ["--version", "--help"] {
        let (human, json) = (environment.human(&[flag]), environment.human(&["--json", flag]));
        assert!(human.status.success() && json.status.success());
        assert_eq!(human.stdout, json.stdout);
    }
}

#[test]
fn the_version_names_the_storage_format() {
    let said = Environment::new().human(&["--version"]);
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    let format = tesseras_storage::STORAGE_FORMAT;
    assert_eq!(said, format!("tes {} (storage format {format})\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_newer_data_directory_is_refused_however_much_of_a_hash_is_typed() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    // The number of the format is in the header of the database.
    let path = environment.data_dir().join("db/tesseras.db");
    let mut bytes = fs::read(&path).expect("a database");
    bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
    fs::write(&path, bytes).expect("written");
    let unknown = "ab".repeat(32);
    for hash in [&hash[..8], &hash, &unknown] {
        for command in ["status", "fetch", "repair"] {
            let answer = environment.json(&[command, hash]);
            let found = (answer.code, &answer.json["code"]);
            assert_eq!(found, (Some(1), &"other_version".into()), "{command} {hash}");
        }
    }
}

#[test]
fn completions_and_manual_pages_are_written() {
    let environment = Environment::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(environment.human(&["completions", shell]).stdout.len() > 1000);
        assert!(environment.ok(&["completions", shell])["script"].is_string());
    }
    let man = environment.path("man");
    let pages = environment.ok(&["man", text(&man)]);
    assert!(pages["pages"].as_u64().is_some_and(|n| n > 10));
    assert!(man.join("tes-create.1").exists());
}

#[test]
fn nobody_reading_is_no_panic() {
    let environment = Environment::new();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_tes"))
        .env_clear()
        .env("HOME", environment.path("home"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("UTF-8");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(stderr, "");
}

#[test]
fn for_people_results_go_to_stdout_and_errors_to_stderr() {
    let environment = Environment::with_creator();
    let list = environment.human(&["list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("The library is empty"));
    let hash = environment.tessera();
    let list = String::from_utf8(environment.human(&["list"]).stdout).expect("UTF-8");
    assert!(list.starts_with("HASH") && list.contains(&hash[..12]) && list.contains("Summer"));
    let failed = environment.human(&["show", "ffff0000"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&failed.stderr);
    assert!(stderr.starts_with("tes: ") && stderr.contains("\nhint: "), "{stderr}");
}

#[test]
fn a_data_directory_in_the_environment_breaks_no_flag() {
    let environment = Environment::new();
    let man = environment.path("man");
    for value in [text(&environment.path("elsewhere")), ""] {
        let commands: [&[&str]; 7] = [
            &["--help"],
            &["--version"],
            &["list", "--help"],
            &["completions", "bash"],
            &["man", text(&man)],
            &["init", "--name", "Ana"],
            &["list"],
        ];
        for args in commands {
            let mut command = assert_cmd::Command::cargo_bin("tes").expect("it is built");
            command.env_clear().env("HOME", environment.path("home"));
            let output = command.env("TESSERAS_DATA_DIR", value).args(args).output();
            let output = output.expect("it runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{value:?} {args:?}: {stderr}");
        }
    }
}
