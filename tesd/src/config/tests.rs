//! Every key is read, shown and refused as documented.

use std::collections::HashSet;

use tesseras_node::NodeConfig;
use tesseras_node::config::DEFAULT_LISTEN;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    super::parse(text, Path::new("node.toml"))
}

fn refusal(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn what_is_printed_reads_back_and_names_every_key_once() {
    let config = Config::default();
    let text = print(&config);
    assert_eq!(parse(&text).expect("own text"), config);
    let names: HashSet<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(names.len(), KEYS.len());
    for key in KEYS {
        assert!(text.contains(&format!("\n{} = ", key.name)), "{}", key.name);
        assert!(!key.doc().is_empty());
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn every_key_changes_its_own_value_and_no_other() {
    let changed = [
        ("node", "data_dir", "\"/srv/tesseras\""),
        ("node", "listen", "\"127.0.0.1:0\""),
        ("node", "advertise", "[\"203.0.113.5:7310\", \"[2001:db8::1]:7310\"]"),
        ("node", "storage_limit", "\"1 TiB\""),
        ("node", "work_bits", "0"),
        ("bootstrap", "peers", "[\"node.example.org:7310\", \"[::1]:7311\"]"),
        ("dht", "k", "8"),
        ("dht", "alpha", "2"),
        ("dht", "requests_per_second", "500"),
        ("replication", "repair_interval_secs", "100000"),
        ("replication", "repair_jitter_secs", "0"),
        ("replication", "grace_secs", "3600"),
        ("replication", "steward_step_secs", "60"),
        ("replication", "repair_bandwidth", "\"1 MiB\""),
        ("replication", "scrub_period_days", "7"),
        ("replication", "max_transfers", "2"),
        ("replication", "hedge_percent", "0"),
        ("replication", "deficit_allowance", "\"1 MiB\""),
        ("replication", "per_peer_limit", "\"2 GB\""),
        ("replication", "min_free_space", "\"5 B\""),
        ("replication", "repair_share_percent", "0"),
        ("performance", "sqlite_cache_size_kb", "2000"),
        ("performance", "sqlite_synchronous_full", "true"),
        ("performance", "sqlite_busy_timeout_ms", "1"),
        ("performance", "sqlite_wal_autocheckpoint_pages", "10"),
        ("performance", "fragment_cache_size_mb", "0"),
        ("performance", "pool_max_connections", "8"),
        ("performance", "pool_idle_timeout_secs", "1"),
        ("performance", "pool_reaper_interval_secs", "1"),
        ("observability", "metrics_addr", "\"127.0.0.1:9100\""),
        ("observability", "log_format", "\"json\""),
    ];
    let named: Vec<_> = changed.iter().map(|(section, name, _)| (*section, *name)).collect();
    let keys: Vec<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(named, keys, "this test knows every key");
    let default = Config::default();
    for (section, name, value) in changed {
        let config = parse(&format!("[{section}]\n{name} = {value}\n")).expect(name);
        for key in KEYS {
            let same = key.show(&config) == key.show(&default);
            assert_eq!(same, key.name != name, "{} after setting {name}", key.name);
            if key.name == name {
                assert_eq!(key.show(&config), value, "{name}");
            }
        }
        assert_eq!(parse(&print(&config)).expect("own text"), config, "{name}");
    }
}

#[test]
fn a_wrong_value_is_refused_by_name_and_line() {
    for key in KEYS {
        let text = format!("# a comment\n\n[{}]\n{} = 1979-05-27\n", key.section, key.name);
        let message = refusal(&text);
        let expected = format!("node.toml:4: {}.{}: ", key.section, key.name);
        assert!(message.starts_with(&expected), "{message}");
    }
    for (text, expected) in [
        ("[dht]\nk = 0", "node.toml:2: dht.k: expected a whole number from 1 to 20, found 0"),
        ("[dht]\nk = -1", "node.toml:2: dht.k: expected a whole number from 1 to 20, found -1"),
        ("[replication]\nmax_transfers = 5", "expected a whole number from 1 to 4, found 5"),
        ("[node]\nstorage_limit = -5", "expected bytes or a string such as \"10 GiB\", found -5"),
        ("[node]\nstorage_limit = \"ten\"", "expected a length such as \"10 GiB\""),
        ("[node]\nlisten = \"localhost\"", "node.toml:2: node.listen: expected an address"),
        ("[bootstrap]\npeers = [\n  \"good:1\",\n  \"bad\",\n]", "node.toml:2: bootstrap.peers: "),
        ("[observability]\nlog_format = \"xml\"", "expected \"text\" or \"json\", found \"xml\""),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn every_number_states_its_range_and_is_held_to_it() {
    let mut numbers = 0;
    for key in KEYS {
        let (section, name, doc) = (key.section, key.name, key.doc());
        // Another key that must be set for each end of a range to be accepted.
        let beside = match name {
            "repair_interval_secs" => "repair_jitter_secs = 0\n",
            "repair_jitter_secs" => "repair_interval_secs = 2592000\n",
            _ => "",
        };
        let line = |value: &str| format!("\n[{section}]\n{name} = {value}\n{beside}");
        let message = refusal(&line("1979-05-27"));
        let Some((_, range)) = message.split_once("a whole number from ") else { continue };
        let (range, _) = range.split_once(',').expect("and what was found");
        assert!(doc.contains(range), "{name}: {range} does not stand in {doc:?}");
        let (least, most) = range.split_once(" to ").expect("two ends");
        let (least, most): (i64, i64) = (least.parse().expect("a"), most.parse().expect("b"));
        for value in [least, most] {
            parse(&line(&value.to_string())).expect(name);
        }
        for value in [least - 1, most + 1] {
            let message = refusal(&line(&value.to_string()));
            let expected = format!("node.toml:3: {section}.{name}: expected a whole number from ");
            assert!(message.starts_with(&expected), "{message}");
        }
        numbers += 1;
    }
    assert_eq!(numbers, 19, "keys that are numbers");
}

#[test]
fn what_is_not_known_is_refused_by_name_and_line() {
    for (text, expected) in [
        ("[nodes]\n", "node.toml:1: unknown table: \"nodes\"; did you mean \"node\"?"),
        ("\n[dht]\nK = 3", "node.toml:3: unknown key of [dht]: \"K\"; did you mean \"k\"?"),
        ("listen = 1", "node.toml:1: unknown table: \"listen\"; it belongs below [node]"),
        ("node = 1", "node.toml:1: \"node\" is a table: write [node]"),
        ("\n[dht]\nk = 3\nk = 4", "node.toml:4: duplicate key: \"k\""),
        ("[dht]\r\nk = 3\r\n[dht]\r\n", "node.toml:3: duplicate key: \"dht\""),
        ("\n\n[dht\n", "node.toml:3: "),
    ] {
        let message = refusal(text);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_mistyped_name_is_told_what_it_was_probably_meant_to_be() {
    for (text, expected) in [
        ("[node]\nstorage_limt = 1", Some("did you mean \"storage_limit\"?")),
        ("[node]\nstorage-limit = 1", Some("did you mean \"storage_limit\"?")),
        ("[observability]\nmetrics_address = \"\"", Some("did you mean \"metrics_addr\"?")),
        ("[replication]\nstorage_limit = 1", Some("it belongs below [node]")),
        ("[node]\ncolour = 1", None),
        ("[performence]\n", Some("did you mean \"performance\"?")),
    ] {
        let message = refusal(text);
        assert!(message.ends_with(expected.unwrap_or("storage_limit, work_bits")), "{message}");
    }
}

#[test]
fn the_format_of_logs_is_read_even_of_a_file_that_is_refused() {
    for (text, format) in [
        ("[observability]\nlog_format = \"json\"\ncolour = 1\n", LogFormat::Json),
        ("[nod]\n[observability]\nlog_format = \"json\"\n", LogFormat::Json),
        ("[observability]\nlog_format = \"json\"\n[node\n", LogFormat::Json),
        ("[observability]\nlog_format = \"xml\"\n", LogFormat::Text),
        ("observability = 3\n", LogFormat::Text),
        ("[node\n", LogFormat::Text),
    ] {
        parse(text).expect_err(text);
        assert_eq!(log_format_in(text), format, "{text}");
    }
}

#[test]
fn a_file_that_is_not_utf8_is_refused_by_line_and_read_no_further_than_its_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("node.toml");
    std::fs::write(&path, b"[node]\n# caf\xe9\n").expect("written");
    let message = load(&path).expect_err("Latin-1").error.to_string();
    assert!(message.ends_with("node.toml:2: this is not UTF-8"), "{message}");
    let largest = [&b"[dht]\nk = 3\n#"[..], &vec![b'-'; MAX_FILE_BYTES as usize - 13]].concat();
    std::fs::write(&path, &largest).expect("written");
    assert_eq!(load(&path).expect("it is not too large").node.dht.k, 3);
    std::fs::write(&path, [&largest[..], b"-"].concat()).expect("written");
    let endless = Path::new("/dev/zero");
    for path in [&path, endless] {
        let message = load(path).expect_err("too large").error.to_string();
        assert!(message.contains("at most 1048576 bytes"), "{message}");
    }
}

#[test]
fn values_must_fit_together_and_the_line_that_broke_it_is_named() {
    for (text, line) in [
        ("[replication]\nrepair_interval_secs = 5\n", 2),
        ("[replication]\nrepair_jitter_secs = 86401\n", 2),
        ("[replication]\nrepair_jitter_secs = 3\n\nrepair_interval_secs = 2\n", 4),
        ("[replication]\nrepair_interval_secs = 2\nrepair_jitter_secs = 3\n", 3),
    ] {
        let message = refusal(text);
        let expected = format!("node.toml:{line}: replication.repair_jitter_secs (");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains("is more than replication.repair_interval_secs ("), "{message}");
    }
    assert!(refusal("[replication]\nrepair_interval_secs = 5\n").contains("_secs (7200) is"));
    let message = refusal("\n[node]\nadvertise = \"0.0.0.0:7310\"\n");
    let expected = "node.toml:3: node.advertise: 0.0.0.0:7310 is not an address that another node";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn a_value_without_quotes_is_told_what_to_write() {
    for (text, expected) in [
        (
            "[node]\nstorage_limit = 10 GiB\n",
            "node.toml:2: node.storage_limit: write it in quotes: storage_limit = \"10 GiB\"",
        ),
        (
            "\n[node]\nwork_bits = 8\nstorage_limit = many # or few",
            "node.toml:4: node.storage_limit: expected a length such as \"10 GiB\", at most 1 EiB, \
             found \"many\"",
        ),
        (
            "[node]\nlisten = 127.0.0.1:7310\n",
            "node.toml:2: node.listen: write it in quotes: listen = \"127.0.0.1:7310\"",
        ),
        (
            "[dht]\nk = three\n",
            "node.toml:2: dht.k: expected a whole number from 1 to 20, found the string \"three\"",
        ),
        (
            "[performance]\nsqlite_synchronous_full = yes\n",
            "node.toml:2: performance.sqlite_synchronous_full: expected true or false, found the \
             string \"yes\"",
        ),
        (
            "[observability]\nlog_format = json\n",
            "node.toml:2: observability.log_format: write it in quotes: log_format = \"json\"",
        ),
    ] {
        assert_eq!(refusal(text), expected);
    }
}

#[test]
fn what_is_not_told_is_as_the_node_has_it() {
    let config = Config::default();
    let node = NodeConfig::new(config.node.data_dir.clone(), DEFAULT_LISTEN);
    assert_eq!(config.into_node(), node);
    let text = "[node]\nstorage_limit = 1000\n[replication]\nrepair_share_percent = 20\n";
    assert_eq!(parse(text).expect("good").into_node().replication.limits.repair_share, 200);
}

#[test]
fn what_the_page_for_operators_tells_to_write_is_accepted() {
    let page = include_str!("../../../docs/OPERATIONS.md");
    let blocks: Vec<_> = page.split("\n```toml\n").skip(1).collect();
    assert!(blocks.len() >= 3, "a small board, a desktop, an archive");
    for block in blocks {
        let (text, _) = block.split_once("\n```").expect("the block ends");
        let config = parse(text).unwrap_or_else(|error| panic!("{error} in:\n{text}"));
        assert_ne!(config, Config::default(), "{text}");
    }
}

#[test]
fn numbers_may_be_written_in_every_way_of_toml() {
    let config = parse("[performance]\nsqlite_cache_size_kb = 0x1_000\n").expect("hex");
    assert_eq!(config.node.storage.cache_size_kb, 4096);
    let config = parse("[node]\nstorage_limit = 1_000\n").expect("underscores");
    assert_eq!(config.node.replication.limits.storage, 1000);
}
