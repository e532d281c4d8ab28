//! `tes init`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::environment::{Environment, text};

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
    environment.ok(&["init"]);
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
        .args(["init", "--json"])
        .output()
        .expect("it runs");
    assert!(output.status.success());
    assert!(elsewhere.join("identity/creator.ed25519.pem").exists());
    let output = assert_cmd::Command::cargo_bin("tes")
        .expect("it is built")
        .env_clear()
        .env("HOME", environment.path("home"))
        .arg("init")
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
