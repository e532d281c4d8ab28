//! Only `tesseras-storage/src/database.rs` and the files below it open SQLite and set its knobs. Every source and every
//! manifest of the workspace is read, those of tests, benches and examples too.

use std::path::Path;

/// Where it is done, and in the files of the directory of that name.
const DATABASE: &str = "tesseras-storage/src/database.rs";
const BELOW_IT: &str = "tesseras-storage/src/database/";
/// Whose manifest names the crate for it.
const MANIFEST: &str = "tesseras-storage/Cargo.toml";
/// For tests: stands between the library and the disk, and opens nothing.
const POWER_CUT: &str = "tesseras-power-cut/Cargo.toml";
/// What the bench compares ours with: a database of SQLite's own settings, which is not a store.
/// The rest of the bench is held to the rule.
const BASELINE: [&str; 2] = ["bench/src/rows.rs", "bench/Cargo.toml"];

/// What a file does that only [`DATABASE`] may. The words are put together here, so that this file
/// does not offend itself.
fn offence(path: &str, text: &str) -> Option<&'static str> {
    if BASELINE.contains(&path) {
        return None;
    }
    let sqlite = concat!("rusq", "lite");
    // SQL may be written in any case, and functions that set knobs have the word in their names.
    if text.to_lowercase().contains(concat!("prag", "ma")) {
        return Some("sets SQLite's knobs");
    }
    if path.ends_with("/Cargo.toml") {
        let depends = text.contains(sqlite) || text.contains(concat!("libsq", "lite3"));
        let may = [MANIFEST, POWER_CUT].contains(&path);
        return (depends && !may).then_some("depends on SQLite");
    }
    // All ways in, whatever the type is called after an import.
    let ways = [concat!("Connection::", "open"), concat!("Open", "Flags"), "Connection as"];
    let opens = text.contains(sqlite) && ways.iter().any(|way| text.contains(way));
    opens.then_some("opens SQLite")
}

/// Every source, SQL file and manifest below a directory, with its path in the workspace.
fn sources(workspace: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![workspace.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden && entry.file_name() != "target" {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "sql" || e == "toml") {
                // A file of another's that vanished meanwhile offends nobody.
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let name = path.strip_prefix(workspace).unwrap().to_str().unwrap().to_owned();
                found.push((name, text));
            }
        }
    }
    found
}

#[test]
fn no_other_file_opens_sqlite_or_sets_its_knobs() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = sources(workspace);
    for seen in [
        "Cargo.toml",
        "bench/src/main.rs",
        BASELINE[0],
        BASELINE[1],
        "tesd/src/main.rs",
        "tesd/tests/running/daemon.rs",
        "tesseras-storage/src/migrations/0001_initial.sql",
        "tesseras-storage/tests/store/only_database.rs",
    ] {
        assert!(sources.iter().any(|(path, _)| path == seen), "{seen} was not looked at");
    }
    let (database, others): (Vec<_>, Vec<_>) =
        sources.iter().partition(|(path, _)| path == DATABASE || path.starts_with(BELOW_IT));
    for here in [DATABASE, "tesseras-storage/src/database/connections.rs"] {
        let does = |(path, text): &&(String, String)| path == here && offence(path, text).is_some();
        assert!(database.iter().any(does), "{here} was not noticed");
    }
    let offences: Vec<_> = others
        .iter()
        .filter_map(|(path, text)| offence(path, text).map(|what| format!("{path} {what}")))
        .collect();
    assert!(offences.is_empty(), "this belongs into {DATABASE}: {offences:?}");
}

#[test]
fn whoever_tries_is_noticed() {
    let import = concat!("use rusq", "lite::Connection;\n");
    let renamed = concat!("use rusq", "lite::{Connection as C};\nC::", "open(\"x\")");
    for (path, text) in [
        ("bench/src/database.rs", renamed.to_owned()),
        (
            "tesseras-storage/src/peers.rs",
            format!("{import}{}", concat!("Connection::", "open(p)")),
        ),
        ("tesseras-storage/src/peers.rs", renamed.to_owned()),
        ("tesseras-storage/tests/store/new.rs", concat!("\"prag", "ma foreign_keys = 0\"").into()),
        ("tesseras-storage/src/migrations/0002.sql", concat!("PRAG", "MA x = 1;").into()),
        ("tesd/Cargo.toml", concat!("rusq", "lite.workspace = true").into()),
        ("fuzz/Cargo.toml", concat!("[dependencies.libsq", "lite3-sys]").into()),
    ] {
        assert!(offence(path, &text).is_some(), "{path}: {text}");
    }
    for (path, text) in [
        ("tesseras-storage/src/peers.rs", import.to_owned()),
        ("Cargo.toml", concat!("rusq", "lite = \"1\"").into()),
        ("tesseras-net/src/quinn_transport.rs", "let c = Connection::open();".into()),
        (MANIFEST, concat!("rusq", "lite.workspace = true").into()),
    ] {
        assert_eq!(offence(path, &text), None, "{path}: {text}");
    }
}
