//! `sqlite_cache_size_kb`, `sqlite_synchronous_full` and `sqlite_wal_autocheckpoint_pages`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tesseras_replication::messages::Request;
use tesseras_rpc::Client;
use tesseras_rpc::calls::AskStatus;
use tesseras_rpc::job::JobOutcome;

use super::node::{FOR_EVER, Running, until};
use super::peer::{Asker, Owner};

const PAGE: u64 = 4096;

/// The last outcome of a background job of a node.
async fn job(node: &Running, name: &str) -> Option<JobOutcome> {
    let client = Client::connect(&tesseras_rpc::socket_path(&node.data_dir())).await.expect("runs");
    let status = client.ask(AskStatus {}, |_| {}).await.expect("an answer");
    status.jobs.into_iter().find(|job| job.name == name)?.outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_page_cache_reads_the_disk_again_and_again() {
    const TIMES: u64 = 100;
    let small = Running::start("sqlite_cache_size_kb = 64");
    let large = Running::start("sqlite_cache_size_kb = 64000");
    let owner = Owner::knowing(&[&small, &large]).await;
    // More dossiers than the small cache can hold.
    let mut hashes = Vec::new();
    for bytes in 10..18 {
        let hash = owner.capsule(bytes);
        // On a busy machine one of the two may answer an offer late; publishing again goes on.
        until("both hold it", Duration::from_secs(30), async || owner.publish(hash).await == Ok(2))
            .await;
        hashes.push(hash);
    }
    let asker = Asker::new();
    let mut read = Vec::new();
    for node in [&small, &large] {
        let before = node.bytes_read();
        for tessera in hashes.iter().cycle().take(TIMES as usize) {
            asker.get(&node.contact, &Request::GetDossier { tessera: *tessera }).await;
        }
        read.push((node.bytes_read() - before) / TIMES);
    }
    // Either way the MANIFEST is read from its file; the rest of a dossier is in the database.
    assert!(read[0] >= read[1] + PAGE, "bytes read for each dossier: {read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_synchronous_syncs_also_what_nobody_waits_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let library = dir.path().join("syncs.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/running/performance/syncs.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("a C compiler").success());
    let logs = [false, true].map(|full| dir.path().join(full.to_string()));
    let nodes = [false, true].map(|full| {
        let log = logs[usize::from(full)].as_path();
        let environment = [("LD_PRELOAD", library.as_path()), ("SYNCS", log)];
        Running::start_with(&format!("sqlite_synchronous_full = {full}"), &[], &environment)
    });
    // The peers it met are hints; nothing waits until they are on disk.
    for node in &nodes {
        let remembers =
            async || matches!(job(node, "remember").await, Some(JobOutcome::Remembered { .. }));
        until("it remembers peers", FOR_EVER, remembers).await;
    }
    let counted = logs.map(|log| log.metadata().expect("it was written").len());
    assert!(counted[1] > counted[0], "syncs of the log: {counted:?}");
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
