//! `tes scrub`: what rotted on a disk is found, named, and mended from other nodes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::FragmentStore as _;
use tesseras_node::NodeConfig;
use tesseras_node::loopback::LoopbackNetwork;

use crate::environment::{Environment, text};

fn counts(of: &Value) -> [Option<u64>; 2] {
    ["corrupt", "repaired"].map(|key| of[key].as_u64())
}

fn blob(data_dir: &Path, hash: &str) -> PathBuf {
    data_dir.join("cas").join(&hash[..2]).join(format!("{hash}.blob"))
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    bytes[0] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn without_a_node_it_finds_what_is_damaged_and_says_what_would_mend_it() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let sound = environment.ok(&["scrub"]);
    assert_eq!(counts(&sound), [Some(0), Some(0)]);
    assert!(sound["checked"].as_u64() > Some(5) && sound["bytes"].as_u64() > Some(1000));
    let path = blob(&environment.data_dir(), &hash);
    let was = fs::read(&path).expect("the MANIFEST");
    flip(&path);
    let found = environment.json(&["scrub"]);
    assert_eq!((found.code, counts(&found.json)), (Some(1), [Some(1), Some(0)]));
    assert_eq!(found.json["damaged"][0]["path"], text(&path));
    assert_eq!(found.json["damaged"][0]["of"][0]["hash"], hash.as_str());
    let shown = environment.human(&["scrub"]);
    assert_eq!(shown.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in ["1 was damaged; 0 were mended", text(&path), &hash, "start tesd"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    fs::write(&path, was).expect("put back");
    assert_eq!(counts(&environment.ok(&["scrub"])), [Some(0), Some(0)]);
}

fn configure(config: &mut NodeConfig) {
    config.dht.work_bits = 0;
    config.replication.limits.min_free_space = 0;
    config.replication.answer_deadline = Duration::from_secs(3);
    config.join_patience = Duration::from_secs(2);
}

/// `tes` on the data directory of a node.
async fn tes(dir: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let mut tes = std::process::Command::new(assert_cmd::cargo::cargo_bin("tes"));
    tes.env_clear().arg("--json").arg("--data-dir").arg(dir).args(args);
    let run = move || tes.output().expect("it runs");
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    (output.status.code(), json)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_on_a_holders_disk_is_mended_from_the_others() {
    let environment = Environment::new();
    let mut network = LoopbackNetwork::new(environment.path("nodes"), configure);
    for _ in 0..4 {
        network.join().await.expect("it starts");
    }
    assert!(network.settle(Duration::from_secs(60)).await);
    let (owner, holder) = (&network[0], &network[1]);
    assert_eq!(tes(&owner.dir, &["init", "--name", "Ana"]).await.0, Some(0));
    let album = environment.album();
    let (code, made) = tes(&owner.dir, &["create", text(&album)]).await;
    assert_eq!(code, Some(0), "{made}");
    let hash = made["hash"].as_str().expect("a hash").to_owned();
    let (code, published) = tes(&owner.dir, &["publish", &hash, "--yes"]).await;
    assert_eq!(code, Some(0), "{published}");
    let tessera: TesseraHash = hash.parse().expect("a hash");
    let held = holder.store.fragments().list_fragments(&tessera).expect("listed").remove(0);
    let path = blob(&holder.dir, &held.checksum.to_string());
    let was = fs::read(&path).expect("stored");
    flip(&path);
    let (code, found) = tes(&holder.dir, &["scrub"]).await;
    assert_eq!((code, counts(&found)), (Some(0), [Some(1), Some(1)]), "{found}");
    assert!(fs::read(&path).expect("mended") == was, "bit for bit");
    let sound = holder.store.fragments().list_sound_fragments(&tessera).expect("listed");
    assert_eq!(sound, [held]);
    let (_, status) = tes(&owner.dir, &["status", &hash]).await;
    let id = holder.node.id().to_string();
    let placed = status["placement"].as_array().expect("a list");
    assert!(placed.iter().any(|piece| piece["node_id"] == id.as_str()), "{status}");
    network.stop().await;
}

#[test]
fn a_check_names_what_the_index_and_the_files_do_not_agree_on() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    assert_eq!(environment.ok(&["check"])["sound"], true);
    let data = environment.data_dir();
    let stray = blob(&data, &"ab".repeat(32));
    fs::write(&stray, b"stray").expect("written");
    let found = environment.json(&["check"]);
    assert_eq!((found.code, &found.json["sound"]), (Some(1), &false.into()));
    assert_eq!(found.json["intact"], true);
    assert_eq!(found.json["orphans"], serde_json::json!([text(&stray)]));
    let shown = String::from_utf8(environment.human(&["check"]).stdout).expect("UTF-8");
    assert!(shown.contains("1 file that nothing refers to"), "{shown}");
    assert!(shown.contains(text(&stray)) && shown.contains("tes gc"), "{shown}");
    environment.ok(&["gc"]);
    assert_eq!(environment.ok(&["check"])["sound"], true);
    let foreign = data.join("cas/ab/notes.txt");
    fs::write(&foreign, b"not ours").expect("written");
    let found = environment.ok(&["check"]);
    assert_eq!(
        (&found["sound"], &found["foreign"]),
        (&true.into(), &serde_json::json!([text(&foreign)]))
    );
    flip(&blob(&data, &hash));
    let found = environment.json(&["check"]);
    assert_eq!((found.code, &found.json["damaged"]), (Some(1), &serde_json::json!([hash])));
    assert_eq!(found.json["intact"], false);
    let shown = String::from_utf8(environment.human(&["check"]).stdout).expect("UTF-8");
    assert!(shown.contains(&hash) && shown.contains("tes scrub"), "{shown}");
}

/// What a check says to people.
fn advice(environment: &Environment) -> String {
    String::from_utf8(environment.human(&["check"]).stdout).expect("UTF-8")
}

#[test]
fn the_command_that_a_check_names_for_a_capsule_helps() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    let signatures = data.join(format!("library/{hash}.signatures"));
    fs::write(&signatures, b"rotten").expect("written");
    assert_eq!(environment.json(&["check"]).json["unsigned"], serde_json::json!([hash]));
    assert!(advice(&environment).contains("Next: tes repair --library"));
    environment.ok(&["repair", "--library"]);
    assert_eq!(environment.ok(&["check"])["sound"], true);
    // An older copy of the index is put back.
    let index = data.join("db/tesseras.db");
    let older = fs::read(&index).expect("read");
    let letters = environment.path("letters");
    fs::create_dir(&letters).expect("made");
    fs::write(letters.join("letter.txt"), "Dear Ana, it rains.\n").expect("written");
    let made = environment.ok(&["create", text(&letters)]);
    fs::write(&index, older).expect("put back");
    let found = environment.json(&["check"]).json;
    assert_eq!(found["unlisted"], serde_json::json!([made["hash"]]));
    assert_eq!((&found["sound"], &found["intact"]), (&false.into(), &true.into()));
    let shown = advice(&environment);
    let names = |words: &str| shown.contains(words);
    assert!(names("Not in the index") && names("Next: tes repair --library"), "{shown}");
    assert!(!names("waste"), "it is a letter to Ana: {shown}");
    environment.ok(&["repair", "--library"]);
    assert_eq!(environment.ok(&["check"])["sound"], true);
    assert_eq!(environment.ok(&["list"])["tesseras"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_check_names_a_command_for_each_kind_of_finding() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let data = environment.data_dir();
    fs::write(blob(&data, &"ab".repeat(32)), b"stray").expect("written");
    fs::remove_file(data.join(format!("library/{hash}.signatures"))).expect("removed");
    flip(&blob(&data, &hash));
    let shown = advice(&environment);
    for command in ["tes repair --library ", "tes scrub ", "tes gc "] {
        assert!(shown.contains(command), "{command}: {shown}");
    }
}
