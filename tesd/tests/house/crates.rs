//! Holds the workspace against the table of ARCHITECTURE.md: it lists every crate, dependencies
//! point only down, and no crate depends on what its layer must not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::sources::root;

/// Crates that must not be direct dependencies of a crate's code. Its tests may use a real disk or
/// network from the layers below.
const NOT_FOR: &[(&str, &[&str])] = &[
    ("tesseras-core", &["tokio", "quinn", "rusqlite", "rand", "getrandom", "rustix"]),
    ("tesseras-disk", &["tokio", "quinn", "rusqlite", "tesseras-core"]),
    ("tesseras-power-cut", &["tokio", "quinn", "tesseras-core"]),
    ("tesseras-crypto", &["tokio", "quinn", "rusqlite"]),
    ("tesseras-storage", &["tokio", "quinn", "tesseras-net"]),
    ("tesseras-capsule", &["tokio", "quinn", "rusqlite"]),
    ("tesseras-wire", &["quinn", "rustls", "rusqlite"]),
    ("tesseras-net", &["rusqlite"]),
    ("tesseras-dht", &["rusqlite", "tesseras-storage", "tesseras-capsule"]),
    ("tesseras-replication", &["rusqlite", "tesseras-storage", "tesseras-capsule"]),
    ("tesseras-rpc", &["quinn", "rusqlite", "tesseras-storage", "tesseras-net"]),
    ("tesseras-node", &["quinn", "rusqlite", "clap"]),
    ("tesd", &["quinn", "rusqlite"]),
    ("tesseras-cli", &["quinn", "rusqlite"]),
    ("tesseras-bench", &[]),
    ("tesseras-soak", &["quinn", "rusqlite", "tesseras-node"]),
];

/// Crates whose code never touches a creator's secret keys.
const WITHOUT_SECRETS: &[&str] = &["tesseras-replication", "tesseras-node", "tesd"];

/// Each crate of the workspace with its direct dependencies, with or without those of its tests.
fn workspace(with_tests: bool) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let counts = |dependency: &&Value| with_tests || dependency["kind"] != "dev";
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter().filter(counts).map(name).collect()
    };
    let packages = metadata["packages"].as_array().expect("a list");
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

/// The layers in the table of ARCHITECTURE.md.
fn layers() -> BTreeMap<String, u32> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let layer = cells.next()?.parse().ok()?;
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), layer))
    };
    let rows: Vec<(String, u32)> = page.lines().filter_map(row).collect();
    let layers: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(layers.len(), rows.len(), "a crate is in the table twice");
    layers
}

#[test]
fn the_table_lists_exactly_the_crates_of_the_workspace() {
    let listed: Vec<_> = layers().into_keys().collect();
    let there: Vec<_> = workspace(true).into_keys().collect();
    assert_eq!(listed, there);
}

#[test]
fn arrows_point_only_down() {
    let layers = layers();
    for (name, dependencies) in workspace(true) {
        let own = layers[&name];
        for (below, layer) in dependencies.iter().filter_map(|d| layers.get_key_value(d)) {
            assert!(*layer < own, "{name} (layer {own}) depends on {below} (layer {layer})");
        }
    }
}

#[test]
fn nobody_knows_what_its_layer_must_not_know() {
    let workspace = workspace(false);
    for (name, forbidden) in NOT_FOR {
        let dependencies = &workspace[*name];
        let known: Vec<_> = forbidden.iter().filter(|f| dependencies.contains(**f)).collect();
        assert!(known.is_empty(), "{name} depends on {known:?}");
    }
    let named: BTreeSet<&str> = NOT_FOR.iter().map(|(name, _)| *name).collect();
    assert!(workspace.keys().all(|name| named.contains(name.as_str())), "a crate is not listed");
}

#[test]
fn decisions_about_other_nodes_are_built_without_quic() {
    for name in ["tesseras-wire", "tesseras-dht", "tesseras-replication"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", name, "--edges", "normal,build"])
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let tree = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && tree.contains(name), "{name}: {output:?}");
        let quic = |line: &&str| line.starts_with("quinn") || line.starts_with("rustls");
        let known: Vec<&str> = tree.lines().filter(quic).collect();
        assert!(known.is_empty(), "{name} is built with {known:?}");
    }
}

#[test]
fn no_node_touches_a_creators_secret_keys() {
    let mut waiting: Vec<PathBuf> =
        WITHOUT_SECRETS.iter().map(|name| root().join(name).join("src")).collect();
    let mut files = 0;
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("it can be listed");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let text = std::fs::read_to_string(&path).expect("source is text");
            assert!(!text.contains("CreatorKeys"), "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 20, "the sources were found");
}
