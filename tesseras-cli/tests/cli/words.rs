//! Usage, help, and what goes where.

use std::io::Read as _;
use std::process::Stdio;

use crate::environment::{Environment, text};

#[test]
fn wrong_usage_is_code_two_and_keeps_stdout_clean() {
    let environment = Environment::new();
    let wrong: [&[&str]; 6] = [
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
        assert!(answer.json.is_null() && !answer.stderr.is_empty());
    }
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
    assert!(environment.human(&["--version"]).status.success());
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
