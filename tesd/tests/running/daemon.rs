//! The built `tesd`: its output, the input it refuses, and how it stops.

use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, tesd};

/// A node on loopback whose key needs no proof of work.
fn start(home: &TempDir, extra: &[&str]) -> Process {
    let config = home.path().join("node.toml");
    std::fs::write(&config, "[node]\nwork_bits = 0\n").expect("written");
    let mut command = tesd(home.path());
    command.args(["--listen", "127.0.0.1:0", "--data-dir", "data", "--config"]).arg(&config);
    Process::start(command.args(extra))
}

#[test]
fn it_says_once_that_it_is_ready_and_stops_when_told() {
    for name in ["TERM", "INT"] {
        let home = tempfile::tempdir().expect("a directory");
        let mut node = start(&home, &["--metrics", "127.0.0.1:0"]);
        let fields: Vec<_> = node.ready.trim_end().split(' ').collect();
        let [word, id, listen, metrics] = fields[..] else { panic!("{:?}", node.ready) };
        assert_eq!(word, "ready");
        let id = id.strip_prefix("node=").expect("a node");
        assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(listen.strip_prefix("listen=127.0.0.1:").is_some_and(|port| port != "0"));
        assert!(metrics.strip_prefix("metrics=127.0.0.1:").is_some_and(|port| port != "0"));
        let socket = home.path().join("data/daemon.sock");
        assert!(socket.exists());
        node.signal(name);
        let (code, took) = node.wait();
        assert_eq!(code, Some(0), "{}", node.stderr());
        assert!(took < Duration::from_secs(6), "{took:?}");
        assert!(!socket.exists());
        assert_eq!(node.stdout(), "");
    }
}

#[test]
fn two_on_one_directory_are_one_too_many() {
    let home = tempfile::tempdir().expect("a directory");
    let first = start(&home, &[]);
    assert!(first.ready.ends_with(" metrics=-\n"), "{:?}", first.ready);
    let mut second = start(&home, &[]);
    assert_eq!(second.ready, "");
    assert_eq!(second.wait().0, Some(1));
    let stderr = second.stderr();
    assert!(stderr.contains("tesd: ") && !stderr.contains("panicked"), "{stderr}");
    assert!(stderr.contains("\nhint: ") && stderr.contains("--data-dir"), "{stderr}");
    assert!(home.path().join("data/daemon.sock").exists());
}

#[test]
fn its_key_stays_and_a_stale_socket_is_replaced() {
    let home = tempfile::tempdir().expect("a directory");
    let mut first = start(&home, &[]);
    let before = first.field("node").map(str::to_owned);
    first.signal("KILL");
    first.wait();
    assert!(home.path().join("data/daemon.sock").exists());
    let second = start(&home, &[]);
    assert!(before.is_some());
    assert_eq!(second.field("node"), before.as_deref());
}

#[test]
fn a_configuration_is_refused_by_name_and_line() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("bad.toml");
    for (text, expected) in [
        ("[dht]\n\nk = \"many\"\n", "bad.toml:3: dht.k: "),
        ("[node]\ncolour = 1\n", "bad.toml:2: unknown key of [node]: \"colour\""),
        ("[replication]\nrepair_interval_secs = 5\n", "repair_jitter_secs"),
    ] {
        std::fs::write(&config, text).expect("written");
        let output = tesd(home.path()).arg("--config").arg(&config).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    let output = tesd(home.path()).args(["--listen", "x"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_it_prints_is_a_configuration_that_it_accepts() {
    let home = tempfile::tempdir().expect("a directory");
    let printed = tesd(home.path()).arg("--print-config").output().expect("it runs");
    assert!(printed.status.success());
    let config = home.path().join("all.toml");
    std::fs::write(&config, &printed.stdout).expect("written");
    let again = tesd(home.path()).arg("--config").arg(&config).arg("--print-config").output();
    assert_eq!(again.expect("it runs").stdout, printed.stdout);
    for flags in [vec!["--completions", "bash"], vec!["--man"], vec!["--print-config"]] {
        for data_dir in [None, Some("elsewhere"), Some("")] {
            let mut command = tesd(home.path());
            command.args(&flags).envs(data_dir.map(|dir| ("TESSERAS_DATA_DIR", dir)));
            let output = command.output().expect("it runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.stdout.len() > 500, "{flags:?} {data_dir:?}: {stderr}");
        }
    }
}

#[test]
fn the_data_directory_may_come_from_the_environment() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("node.toml");
    std::fs::write(&config, "[node]\nwork_bits = 0\ndata_dir = \"file\"\n").expect("written");
    let mut command = tesd(home.path());
    command.args(["--listen", "127.0.0.1:0", "--config"]).arg(&config);
    let running = Process::start(command.env("TESSERAS_DATA_DIR", "environment"));
    assert!(running.ready.starts_with("ready "));
    assert!(home.path().join("environment/daemon.sock").exists());
    assert!(!home.path().join("file").exists());
}

/// The stderr of a `tesd` that cannot start, and its exit code.
fn refused(home: &TempDir, config: &str, extra: &[&str]) -> (Option<i32>, String) {
    let path = home.path().join("refused.toml");
    std::fs::write(&path, config).expect("written");
    let output = tesd(home.path())
        .arg("--config")
        .arg(&path)
        .args(extra)
        .envs([("RUST_LOG", "off"), ("TESSERAS_DATA_DIR", "refused")])
        .output()
        .expect("it runs");
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn why_it_does_not_start_is_told_in_the_format_of_the_logs() {
    let home = tempfile::tempdir().expect("a directory");
    let running = start(&home, &["--metrics", "127.0.0.1:0"]);
    let field = |name: &str| running.field(name).expect("in the ready line").to_owned();
    let (listen, metrics) = (field("listen"), field("metrics"));
    let json = "[node]\nwork_bits = 0\n[observability]\nlog_format = \"json\"\n";
    let text = "[node]\nwork_bits = 0\n";
    let taken = ["--listen", &listen];
    let metrics_taken = ["--listen", "127.0.0.1:0", "--metrics", &metrics];
    let in_use = ["--listen", "127.0.0.1:0", "--data-dir", "data"];
    std::fs::write(home.path().join("plain"), "a file").expect("written");
    let no_directory = ["--listen", "127.0.0.1:0", "--data-dir", "plain"];
    let mistyped = "[observability]\nlog_format = \"json\"\n[node]\nlisten_ = 1\n";
    let identity = home.path().join("spoilt/identity");
    std::fs::create_dir_all(&identity).expect("made");
    std::fs::write(identity.join("node.key"), "?").expect("written");
    let no_key = ["--listen", "127.0.0.1:0", "--data-dir", "spoilt"];
    let cases: [(&str, &[&str], i32, &str, &str); 7] = [
        (json, &no_key, 1, "is not a node key", "backup"),
        (json, &taken, 1, "cannot listen on", "--listen"),
        (json, &metrics_taken, 1, "cannot serve metrics", "--metrics"),
        (json, &in_use, 1, "data directory", "--data-dir"),
        (json, &no_directory, 1, "plain", "--data-dir"),
        (mistyped, &[], 2, "did you mean \\\"listen\\\"", "--print-config"),
        (json, &["--advertise", "0.0.0.0:1"], 2, "node.advertise", "--print-config"),
    ];
    for (config, extra, code, message, hint) in cases {
        let (exit, stderr) = refused(&home, config, extra);
        assert_eq!(exit, Some(code), "{extra:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let value: serde_json::Value = serde_json::from_str(&stderr).expect(&stderr);
        assert_eq!(value["level"], "ERROR");
        assert!(value["timestamp"].is_string());
        assert!(value["fields"]["message"].to_string().contains(message), "{stderr}");
        assert!(value["fields"]["hint"].to_string().contains(hint), "{stderr}");
    }
    let (exit, stderr) = refused(&home, text, &taken);
    assert_eq!(exit, Some(1));
    assert!(stderr.starts_with("tesd: cannot listen on 127.0.0.1:"), "{stderr}");
    assert!(stderr.contains("\nhint: ") && stderr.contains("--listen"), "{stderr}");
}

#[test]
fn a_data_directory_of_another_user_is_refused() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let home = tempfile::tempdir().expect("a directory");
    if std::fs::metadata(home.path()).expect("there").uid() != 0 {
        return eprintln!("skipped: only root can give a directory away");
    }
    let data = home.path().join("theirs");
    let identity = data.join("identity");
    std::fs::create_dir_all(&identity).expect("made");
    for theirs in [&data, &identity] {
        chown(theirs, Some(65534), None).expect("given away");
        let extra = ["--listen", "127.0.0.1:0", "--data-dir", "theirs"];
        let (exit, stderr) = refused(&home, "[node]\nwork_bits = 0\n", &extra);
        assert_eq!(exit, Some(1), "{stderr}");
        assert!(stderr.contains("theirs") && stderr.contains("65534"), "{stderr}");
        assert!(stderr.contains("\nhint: run tesd as that user"), "{stderr}");
        assert_eq!(std::fs::read_dir(&identity).expect("listed").count(), 0);
        chown(theirs, Some(0), None).expect("taken back");
    }
}

#[test]
fn logs_can_be_read_by_machines() {
    let home = tempfile::tempdir().expect("a directory");
    let config = home.path().join("json.toml");
    let text = "[node]\nwork_bits = 0\n[observability]\nlog_format = \"json\"\n";
    std::fs::write(&config, text).expect("written");
    let config = config.to_str().expect("UTF-8").to_owned();
    let mut command = tesd(home.path());
    command.args(["--listen", "127.0.0.1:0", "--data-dir", "data", "--config", &config]);
    let mut node = Process::start(&mut command);
    node.signal("TERM");
    node.wait();
    let stderr = node.stderr();
    assert!(stderr.lines().count() > 1);
    for line in stderr.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(value["level"].is_string(), "{line}");
    }
}

#[test]
fn it_starts_although_what_is_left_cannot_be_removed() {
    let home = tempfile::tempdir().expect("a directory");
    let mut node = start(&home, &[]);
    node.signal("TERM");
    assert_eq!(node.wait().0, Some(0), "{}", node.stderr());
    let data = home.path().join("data");
    let name = "ab".repeat(32);
    for inside in [
        "tmp/1-0/obstacle".to_owned(),
        format!("tmp/tasks/{name}/{name}"),
        format!("cas/ab/{name}.blob"),
        format!("library/{name}.signatures"),
    ] {
        std::fs::create_dir_all(data.join(&inside)).expect("made");
        std::fs::write(data.join(&inside).join("file"), "left").expect("written");
    }
    let mut node = start(&home, &[]);
    assert!(node.ready.starts_with("ready "), "{}", node.stderr());
    node.signal("TERM");
    assert_eq!(node.wait().0, Some(0));
    let log = node.stderr();
    assert!(log.contains("WARN") && log.contains("1-0/obstacle"), "{log}");
}

#[test]
fn a_lost_or_damaged_index_is_told_with_what_brings_it_back() {
    let home = tempfile::tempdir().expect("temporary directory");
    let mut node = start(&home, &[]);
    node.signal("TERM");
    assert_eq!(node.wait().0, Some(0), "{}", node.stderr());
    let data = home.path().join("data");
    let shard = data.join("cas/aa");
    std::fs::create_dir_all(&shard).expect("made");
    std::fs::write(shard.join(format!("{}.blob", "a".repeat(64))), "kept").expect("written");
    let index = data.join("db/tesseras.db");
    let damage: [&dyn Fn(); 2] = [&|| std::fs::write(&index, [7; 8192]).expect("written"), &|| {
        std::fs::remove_file(&index).expect("removed")
    }];
    for damage in damage {
        damage();
        let (code, stderr) = refused(
            &home,
            "[node]\nwork_bits = 0\n",
            &["--listen", "127.0.0.1:0", "--data-dir", "data"],
        );
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("\nhint: ") && stderr.contains("tes repair --library"), "{stderr}");
    }
}
