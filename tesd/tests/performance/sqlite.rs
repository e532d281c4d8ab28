//! The keys that begin with `sqlite_`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tesseras_replication::messages::Request;
use tesseras_rpc::client::Client;
use tesseras_rpc::messages::{Request as Question, Response};

use crate::peer::{Asker, Owner};
use crate::process::{FOR_EVER, Running, until};

const PAGE: u64 = 4096;

/// Another process that holds the lock for writing a database.
struct Foreigner(Child);

impl Foreigner {
    /// Returns once it holds the lock.
    fn locking(data_dir: &Path) -> Self {
        let program = "import sqlite3, sys\n\
             database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n\
             database.execute('BEGIN IMMEDIATE')\n\
             print('locked', flush=True)\n\
             sys.stdin.readline()\n\
             database.execute('ROLLBACK')\n";
        let mut child = Command::new("python3")
            .args(["-c", program])
            .arg(data_dir.join("db/tesseras.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("UTF-8");
        assert_eq!(line, "locked\n");
        Self(child)
    }

    fn let_go(mut self) {
        self.0.stdin.take().expect("piped").write_all(b"\n").expect("it listens");
        assert!(self.0.wait().expect("it ends").success());
    }
}

/// How a background job of a node went last.
async fn job(node: &Running, name: &str) -> String {
    let client = Client::connect(&tesseras_rpc::socket_path(&node.data_dir())).await.expect("runs");
    match client.request(&Question::Status, |_| {}).await.expect("an answer") {
        Response::Status(status) => {
            let mut lines = status.jobs.iter().filter_map(|line| line.strip_prefix(name));
            lines.next().map(str::to_owned).unwrap_or_default()
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_small_page_cache_reads_the_disk_again_and_again() {
    const TIMES: u64 = 100;
    let small = Running::start("sqlite_cache_size_kb = 64");
    let large = Running::start("sqlite_cache_size_kb = 64000");
    let owner = Owner::knowing(&[&small, &large]).await;
    let hash = owner.capsule(10);
    assert_eq!(owner.publish(hash).await, Ok(2));
    let asker = Asker::new();
    let mut read = Vec::new();
    for node in [&small, &large] {
        let before = node.bytes_read();
        for _ in 0..TIMES {
            asker.get(&node.contact, &Request::GetDossier { tessera: hash }).await;
        }
        read.push((node.bytes_read() - before) / TIMES);
    }
    assert!(read[0] > 2 * PAGE && read[1] < PAGE, "bytes read for each dossier: {read:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn full_synchronous_syncs_also_what_nobody_waits_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let library = dir.path().join("syncs.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/performance/syncs.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("a C compiler").success());
    let mut counted = Vec::new();
    for full in [false, true] {
        let log = dir.path().join(full.to_string());
        let environment = [("LD_PRELOAD", library.as_path()), ("SYNCS", log.as_path())];
        let keys = format!("sqlite_synchronous_full = {full}");
        let node = Running::start_with(&keys, &[], &environment);
        until("it remembers peers", FOR_EVER, async || {
            job(&node, "remember: ").await.ends_with("remembered")
        })
        .await;
        counted.push(log.metadata().map_or(0, |file| file.len()));
    }
    assert!(counted[1] > counted[0], "syncs of the log: {counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_busy_timeout_says_how_long_another_writer_is_waited_for() {
    let hasty = Running::start("sqlite_busy_timeout_ms = 1");
    let patient = Running::start("sqlite_busy_timeout_ms = 600000");

    let owner = Owner::knowing(&[&hasty]).await;
    let hash = owner.capsule(10);
    let foreigner = Foreigner::locking(&hasty.data_dir());
    let refused = owner.publish(hash).await;
    assert!(refused.is_err(), "{refused:?}");
    foreigner.let_go();
    assert_eq!(owner.publish(hash).await, Ok(1));

    let owner = Owner::knowing(&[&patient]).await;
    let hash = owner.capsule(20);
    let foreigner = Foreigner::locking(&patient.data_dir());
    // Longer than the default timeout.
    let later = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        foreigner.let_go();
    };
    let (published, ()) = tokio::join!(owner.publish(hash), later);
    assert_eq!(published, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_written_back_after_as_many_pages_as_are_set() {
    let soon = Running::start("sqlite_wal_autocheckpoint_pages = 1");
    let late = Running::start("sqlite_wal_autocheckpoint_pages = 1000000");
    let owner = Owner::knowing(&[&soon, &late]).await;
    assert_eq!(owner.publish(owner.capsule(10)).await, Ok(2));
    let written_back = async || soon.database_bytes("tesseras.db") > 10 * PAGE;
    until("the log is written back", FOR_EVER, written_back).await;
    assert!(late.database_bytes("tesseras.db") <= PAGE);
    assert!(late.database_bytes("tesseras.db-wal") > 10 * PAGE);
}
