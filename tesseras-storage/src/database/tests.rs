//! The database on its own: formats, settings, commits that fail.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rusqlite_migration::Migrations;
use tesseras_power_cut::{Fault, record};

use super::format::STEPS;
use super::*;

fn open(path: &Path, config: &StorageConfig) -> Result<Database, StoreError> {
    open_database(path, config, Arc::new(OsDisk), &|| Ok(()))
}

fn on_disk(config: &StorageConfig) -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("t.db"), config).unwrap();
    (dir, database)
}

fn value<T: rusqlite::types::FromSql>(connection: &Connection, pragma: &str) -> T {
    connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
}

/// The value of a setting on every connection, the writer's first.
fn values<T: rusqlite::types::FromSql>(database: &Database, pragma: &str) -> Vec<T> {
    let mut values = Vec::new();
    database.connections.each(|connection| values.push(value(connection, pragma)));
    values
}

fn schema_of(database: &Database) -> Vec<String> {
    schema(lock(&database.connections.writer).as_ref().unwrap())
}

const INSERT: &str = "INSERT INTO peers (node, addresses, seen) VALUES (randomblob(20), ?1, 1)";

fn insert(database: &Database, addresses: &str) -> Ticket {
    let written = database.write("x", |tx| Ok(tx.execute(INSERT, [addresses])?));
    written.unwrap_or_else(|e| panic!("{}", e.error)).1
}

fn inserted(database: &Database) -> Vec<String> {
    let all = "SELECT addresses FROM peers ORDER BY addresses";
    database.read("y", |c| c.prepare(all)?.query_map([], |row| row.get(0))?.collect()).unwrap()
}

/// A database whose log the disk could not sync, once.
fn broken(config: &StorageConfig) -> (tempfile::TempDir, Database) {
    let (dir, database) = on_disk(config);
    fail_a_sync(&database);
    (dir, database)
}

fn fail_a_sync(database: &Database) {
    let wal = &database.log.as_ref().unwrap().wal;
    // In a test with threads, another one may have mended the log in between.
    let _ = wal.sync(wal.committed_elsewhere(), |_| Err(io::ErrorKind::Other.into()));
}

/// What a page that the disk lost looks like: the last frame of the log.
fn damage_the_end_of_the_log(dir: &Path) {
    let log = std::fs::File::options().write(true).open(dir.join("t.db-wal")).unwrap();
    let end = log.metadata().unwrap().len();
    log.write_all_at(&[0x55; 4000], end - 4000).unwrap();
}

#[test]
fn foreign_keys_are_enforced() {
    let (_dir, database) = on_disk(&StorageConfig::default());
    assert_eq!(values::<i64>(&database, "foreign_keys"), [1, 1, 1]);
    let orphan = database.write("x", |tx| {
        tx.execute(
            "INSERT INTO fragments (tessera, piece, checksum, bytes)
             VALUES (zeroblob(32), 0, zeroblob(32), 1)",
            [],
        )?;
        Ok(())
    });
    assert!(orphan.is_err_and(|e| e.rolled_back));
}

#[test]
fn no_schema_is_trusted() {
    let (dir, database) = on_disk(&StorageConfig::default());
    assert_eq!(values::<i64>(&database, "trusted_schema"), [0, 0, 0]);
    drop(database);
    let path = dir.path().join("t.db");
    let read_only = open_read_only(&path, &StorageConfig::default());
    let read_only = read_only.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(values::<i64>(&read_only, "trusted_schema"), [0]);
}

#[test]
fn a_log_of_which_a_killed_process_has_written_only_the_header_is_read() {
    const HEADER: usize = 32;
    let (dir, running) = on_disk(&StorageConfig::default());
    let path = dir.path().join("t.db");
    let other = Connection::open(&path).unwrap();
    let written_back =
        other.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get::<_, i64>(0));
    assert_eq!(written_back.unwrap(), 0, "nobody was in the way");
    let killed = tempfile::tempdir().unwrap();
    let left = killed.path().join("t.db");
    for suffix in ["", "-shm"] {
        std::fs::copy(beside(&path, suffix), beside(&left, suffix)).unwrap();
    }
    let log = std::fs::read(beside(&path, "-wal")).unwrap();
    std::fs::write(beside(&left, "-wal"), &log[..HEADER]).unwrap();
    drop(running);
    let read_only = open_read_only(&left, &StorageConfig::default());
    let read_only = read_only.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(values::<i64>(&read_only, "user_version"), [FORMAT as i64]);
}

#[test]
fn the_busy_timeout_is_waited_for() {
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(30), ..StorageConfig::default() };
    let (dir, one) = on_disk(&config);
    let two = open(&dir.path().join("t.db"), &config).unwrap();
    assert_eq!(values::<i64>(&one, "busy_timeout"), [30, 30, 30]);
    assert_eq!(values::<i64>(&on_disk(&StorageConfig::default()).1, "busy_timeout")[0], 5000);
    let (refused, _) = one
        .write("x", |_| Ok(two.write("y", |_| Ok(())).map_err(|e| e.error)))
        .unwrap_or_else(|e| panic!("{}", e.error));
    assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
}

#[test]
fn the_journal_is_a_wal_on_disk_and_memory_in_memory() {
    let (dir, database) = on_disk(&StorageConfig::default());
    assert_eq!(values::<String>(&database, "journal_mode"), ["wal", "wal", "wal"]);
    assert!(dir.path().join("t.db-wal").exists());
    let memory = open_in_memory(&StorageConfig::default()).unwrap();
    assert_eq!(values::<String>(&memory, "journal_mode"), ["memory"]);
}

fn schema(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
        .unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_fresh_schema_equals_all_migrations() {
    Migrations::from_slice(STEPS).validate().unwrap();
    let fresh = open_in_memory(&StorageConfig::default()).unwrap();
    assert_eq!(values::<i64>(&fresh, "user_version"), [FORMAT as i64]);
    let mut stepwise = Connection::open_in_memory().unwrap();
    for version in 1..=STEPS.len() {
        Migrations::from_slice(STEPS).to_version(&mut stepwise, version).unwrap();
    }
    assert_eq!(schema_of(&fresh), schema(&stepwise));
    assert!(schema(&stepwise).len() > 10);
}

#[test]
fn what_format_1_had_pinned_is_named_no_more() {
    let mut connection = Connection::open_in_memory().unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 1).unwrap();
    connection
        .execute_batch(
            "INSERT INTO objects VALUES (zeroblob(32), 7, 2), (randomblob(32), 8, 3);
             INSERT INTO pins SELECT CAST(x'01' || zeroblob(31) AS BLOB), hash, 5 FROM objects;
             INSERT INTO pins SELECT CAST(x'02' || zeroblob(31) AS BLOB), hash, 5 FROM objects;",
        )
        .unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 2).unwrap();
    let left: Vec<(i64, i64)> = connection
        .prepare("SELECT bytes, refs FROM objects")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(left, [(8, 1)]);
}

#[test]
fn what_format_2_held_is_confirmed_and_what_it_had_placed_is_published() {
    let mut connection = Connection::open_in_memory().unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 2).unwrap();
    connection
        .execute_batch(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers LIMIT 3)
             INSERT INTO objects SELECT unhex(printf('%064d', n)), 7, 2 FROM numbers;
             INSERT INTO fragments
                 SELECT hash, -1, hash, 7, NULL, NULL FROM objects LIMIT 2;
             INSERT INTO placements
                 SELECT hash, 0, zeroblob(20), 7, 1 FROM objects LIMIT 2 OFFSET 1;",
        )
        .unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 3).unwrap();
    let states: Vec<i64> = connection
        .prepare("SELECT state FROM publications ORDER BY tessera")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(states, [1, 3, 2]);
}

#[test]
fn what_format_7_held_is_charged_with_its_dossier_once() {
    let mut connection = Connection::open_in_memory().unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 7).unwrap();
    connection
        .execute_batch(
            "INSERT INTO objects VALUES (zeroblob(32), 1000, 9), (CAST(x'01' || zeroblob(31) AS BLOB), 7, 9);
             INSERT INTO dossiers VALUES (zeroblob(32), zeroblob(1), zeroblob(2), zeroblob(3),
                 zeroblob(4), zeroblob(5), zeroblob(6), zeroblob(7));
             INSERT INTO fragments (tessera, piece, checksum, bytes, charge_peer, charge_subnet)
             VALUES (zeroblob(32), 3, zeroblob(32), 10, zeroblob(20), '10.0.0.0/24'),
                    (zeroblob(32), 5, zeroblob(32), 10, zeroblob(20), '10.0.0.0/24'),
                    (CAST(x'01' || zeroblob(31) AS BLOB), -1,
                     CAST(x'01' || zeroblob(31) AS BLOB), 7, NULL, NULL);",
        )
        .unwrap();
    Migrations::from_slice(STEPS).to_version(&mut connection, 8).unwrap();
    let charged: Vec<(i64, i64)> = connection
        .prepare("SELECT bytes, dossier_bytes FROM fragments ORDER BY tessera, piece")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(charged, [(10, 1028), (10, 0), (7, 0)]);
}

#[test]
fn opening_again_changes_nothing() {
    let (dir, database) = on_disk(&StorageConfig::default());
    let before = schema_of(&database);
    drop(database);
    let again = open(&dir.path().join("t.db"), &StorageConfig::default()).unwrap();
    assert_eq!(schema_of(&again), before);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (dir, database) = on_disk(&StorageConfig::default());
    drop(database);
    let path = dir.path().join("t.db");
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", FORMAT as i64 + 1).unwrap();
    drop(newer);
    let bytes = std::fs::read(&path).unwrap();
    match open(&path, &StorageConfig::default()) {
        Err(StoreError::NewerFormat { found, known }) => {
            assert_eq!((found, known), (FORMAT + 1, FORMAT));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn both_synchronous_modes_are_set() {
    let (_dir, normal) = on_disk(&StorageConfig::default());
    assert_eq!(values::<i64>(&normal, "synchronous"), [1, 1, 1]);
    assert!(!normal.log.as_ref().unwrap().is_synced_by_sqlite());
    let config = StorageConfig { synchronous_full: true, ..StorageConfig::default() };
    let (_dir, full) = on_disk(&config);
    assert_eq!(values::<i64>(&full, "synchronous"), [2, 2, 2]);
    assert!(full.log.as_ref().unwrap().is_synced_by_sqlite());
    full.write_durably("x", |_| Ok(())).unwrap();
}

#[test]
fn the_page_cache_is_shared_out_among_all_connections() {
    for kb in [DEFAULT_CACHE_SIZE_KB, 10_001, 2000] {
        let config = StorageConfig { cache_size_kb: kb, ..StorageConfig::default() };
        let (_dir, database) = on_disk(&config);
        let sizes = values::<i64>(&database, "cache_size");
        assert_eq!(-sizes.iter().sum::<i64>(), i64::from(kb), "{sizes:?}");
        let memory = open_in_memory(&config).unwrap();
        assert_eq!(values::<i64>(&memory, "cache_size"), [-i64::from(kb)]);
    }
}

#[test]
fn a_log_that_has_become_long_is_written_back() {
    for (pages, written_back) in [(20, true), (0, false), (1_000_000, false)] {
        let config = StorageConfig { wal_autocheckpoint_pages: pages, ..StorageConfig::default() };
        let (_dir, database) = on_disk(&config);
        assert_eq!(values::<i64>(&database, "wal_autocheckpoint"), [0, 0, 0]);
        // Of 13 pages each.
        let rows = vec!["x".repeat(50_000); 10];
        rows.iter().for_each(|row| _ = insert(&database, row));
        let writer = lock(&database.connections.writer);
        let frames = sole::frames(writer.as_ref().unwrap()).unwrap();
        assert_eq!(frames < 60, written_back, "{pages}: {frames}");
        drop(writer);
        assert_eq!(inserted(&database), rows);
    }
}

#[test]
fn readers_do_not_wait_for_a_writer_and_cannot_write() {
    let (_dir, database) = on_disk(&StorageConfig::default());
    let count =
        |c: &Connection| c.query_row("SELECT COUNT(*) FROM peers", [], |r| r.get::<_, i64>(0));
    let insert = "INSERT INTO peers (node, addresses, seen) VALUES (zeroblob(20), '', 1)";
    let (inside, ticket) = database
        .write("x", |tx| {
            tx.execute(insert, [])?;
            Ok(database.read("y", count)?)
        })
        .unwrap_or_else(|e| panic!("{}", e.error));
    assert_eq!(inside, 0);
    assert_eq!(database.read("z", count).unwrap(), 1);
    database.sync(ticket).unwrap();
    assert!(database.read("w", |c| c.execute("DELETE FROM peers", [])).is_err());
}

#[test]
fn a_log_that_could_not_be_synced_is_written_back_before_it_is_trusted_again() {
    let (dir, database) = on_disk(&StorageConfig::default());
    let ticket = insert(&database, "kept");
    let wal = dir.path().join("t.db-wal");
    assert!(wal.metadata().unwrap().len() > 0);
    fail_a_sync(&database);
    database.sync(ticket).unwrap();
    assert_eq!(wal.metadata().unwrap().len(), 0);
    assert_eq!(inserted(&database), ["kept"]);
}

#[test]
fn what_the_disk_lost_of_the_log_is_neither_acknowledged_nor_copied() {
    for full in [false, true] {
        let config = StorageConfig { synchronous_full: full, ..StorageConfig::default() };
        let (dir, database) = on_disk(&config);
        database.sync(insert(&database, "acknowledged")).unwrap();
        let lost = insert(&database, "lost");
        fail_a_sync(&database);
        damage_the_end_of_the_log(dir.path());
        let error = database.sync(lost).unwrap_err();
        assert!(error.to_string().contains("may be lost"), "{error}");
        assert_eq!(inserted(&database), ["acknowledged"]);
        database.sync(lost).unwrap_err();
        database.sync(insert(&database, "later")).unwrap();
        drop(database);
        let database = open(&dir.path().join("t.db"), &config).unwrap();
        assert_eq!(inserted(&database), ["acknowledged", "later"]);
        let verdict = database.read("z", |c| {
            c.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
        });
        assert_eq!(verdict.unwrap(), "ok");
    }
}

#[test]
fn a_log_that_is_not_trusted_is_not_written_back_when_it_is_closed() {
    let (dir, database) = on_disk(&StorageConfig::default());
    database.sync(insert(&database, "acknowledged")).unwrap();
    let _never_synced = insert(&database, "lost");
    fail_a_sync(&database);
    damage_the_end_of_the_log(dir.path());
    drop(database);
    let path = dir.path().join("t.db");
    assert!(beside(&path, "-wal").metadata().unwrap().len() > 0);
    let database = open(&path, &StorageConfig::default()).unwrap();
    assert_eq!(inserted(&database), ["acknowledged"]);
    assert_eq!(beside(&path, "-wal").metadata().unwrap().len(), 0, "it was verified");
}

#[test]
fn a_log_is_verified_alone_and_meanwhile_nobody_else_begins() {
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(30), ..StorageConfig::default() };
    let (dir, database) = on_disk(&config);
    let path = dir.path().join("t.db");
    let other = open(&path, &config).unwrap();
    let ticket = insert(&database, "kept");
    fail_a_sync(&database);
    let is_locked = |error| matches!(error, StoreError::Locked { .. });
    assert!(is_locked(database.sync(ticket).unwrap_err()));
    assert!(is_locked(database.read("x", |_| Ok(())).unwrap_err()));
    assert!(is_locked(open(&path, &config).unwrap_err()));
    assert_eq!(inserted(&other), ["kept"]);
    drop(other);
    database.sync(ticket).unwrap();
    assert_eq!(inserted(&database), ["kept"]);
    database.sync(insert(&database, "later")).unwrap();
    assert_eq!(inserted(&open(&path, &config).unwrap()), ["kept", "later"]);
}

/// A version that knows no mark writes the log back when it closes the database, so nobody can
/// compare what was in it.
#[test]
fn what_cannot_be_compared_any_more_is_not_acknowledged() {
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(30), ..StorageConfig::default() };
    let (dir, database) = on_disk(&config);
    let path = dir.path().join("t.db");
    let other = open(&path, &config).unwrap();
    let ticket = insert(&database, "kept");
    fail_a_sync(&database);
    database.sync(ticket).unwrap_err();
    mark::clear(&beside(&path, "-open")).unwrap();
    drop(other);
    assert!(database.sync(ticket).unwrap_err().to_string().contains("may be lost"));
    assert_eq!(inserted(&database), ["kept"]);
    assert_eq!(inserted(&open(&path, &config).unwrap()), ["kept"]);
}

#[test]
fn all_threads_go_on_after_a_failed_sync() {
    let (_dir, database) = broken(&StorageConfig::default());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let database = &database;
            scope.spawn(move || {
                for number in 0..10 {
                    if thread == 0 {
                        fail_a_sync(database);
                    }
                    let ticket = insert(database, &format!("{thread} {number}"));
                    while database.sync(ticket).is_err() {}
                    assert!(inserted(database).contains(&format!("{thread} {number}")));
                }
            });
        }
    });
    assert_eq!(inserted(&database).len(), 80);
}

/// A database as an older version left it, in use by that version.
fn of_an_older_version(path: &Path) -> Connection {
    let mut old = Connection::open(path).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    Migrations::from_slice(STEPS).to_version(&mut old, STEPS.len() - 1).unwrap();
    old.execute(INSERT, ["kept"]).unwrap();
    old
}

#[test]
fn an_older_format_is_not_migrated_beneath_a_process_that_has_it_open() {
    let config =
        StorageConfig { busy_timeout: Duration::from_millis(30), ..StorageConfig::default() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let old = of_an_older_version(&path);
    let before = schema(&old);
    let error = open(&path, &config).unwrap_err();
    let StoreError::OlderVersionRuns { found, known, .. } = error else { panic!("{error}") };
    assert_eq!((found, known), (FORMAT - 1, FORMAT));
    assert_eq!(value::<i64>(&old, "user_version"), FORMAT as i64 - 1);
    assert_eq!(schema(&old), before);
    old.execute(INSERT, ["kept, too"]).unwrap();
    drop(old);
    let database = open(&path, &config).unwrap();
    assert_eq!(values::<i64>(&database, "user_version"), [FORMAT as i64; 3]);
    assert_eq!(inserted(&database), ["kept", "kept, too"]);
}

#[test]
fn an_older_format_is_migrated_as_soon_as_nobody_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let old = of_an_older_version(&path);
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| open(&path, &StorageConfig::default()));
        std::thread::sleep(Duration::from_millis(50));
        drop(old);
        let database = opened.join().unwrap().unwrap();
        assert_eq!(values::<i64>(&database, "user_version"), [FORMAT as i64; 3]);
    });
}

/// Of a newer version, nothing is set aside: it knows what is in there. But of this version, a bit of
/// the number may have flipped.
#[test]
fn only_a_number_that_does_not_fit_the_schema_is_damage() {
    let (dir, database) = on_disk(&StorageConfig::default());
    drop(database);
    let path = dir.path().join("t.db");
    let set_aside = || {
        let config = StorageConfig::default();
        set_aside_unless_sound(&path, &config, &OsDisk, "flipped", true, false, &|| Ok(()))
    };
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", FORMAT as i64 + 1).unwrap();
    newer.execute_batch("CREATE TABLE newer (a)").unwrap();
    drop(newer);
    let bytes = std::fs::read(&path).unwrap();
    let refused = set_aside().unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    for wrong in [FORMAT as i64 + 1, FORMAT as i64 - 1, -1] {
        let flipped = Connection::open(&path).unwrap();
        flipped.execute_batch("DROP TABLE IF EXISTS newer").unwrap();
        flipped.pragma_update(None, "user_version", wrong).unwrap();
        drop(flipped);
        let aside = set_aside().unwrap().unwrap();
        std::fs::rename(aside, &path).unwrap();
    }
    let right = Connection::open(&path).unwrap();
    right.pragma_update(None, "user_version", FORMAT as i64).unwrap();
    drop(right);
    assert_eq!(set_aside().unwrap(), None);
}

#[test]
fn settling_writes_a_page_over_what_a_failed_commit_left() {
    let (dir, database) = on_disk(&StorageConfig::default());
    let wal = dir.path().join("t.db-wal");
    let before = wal.metadata().unwrap().len();
    database.settle().unwrap();
    assert!(wal.metadata().unwrap().len() > before, "a commit of nothing overwrites nothing");
    assert_eq!(values::<i64>(&database, "user_version"), [FORMAT as i64; 3]);
}

#[test]
fn settling_leaves_the_format_of_a_newer_version() {
    let (dir, database) = on_disk(&StorageConfig::default());
    let newer = Connection::open(dir.path().join("t.db")).unwrap();
    newer.pragma_update(None, "user_version", FORMAT as i64 + 1).unwrap();
    database.settle().unwrap();
    assert_eq!(values::<i64>(&database, "user_version"), [FORMAT as i64 + 1; 3]);
}

const OWN_PROCESS: &str = "TESSERAS_TEST_PAGE_CACHE";

/// Memory of this process in KiB.
#[cfg(target_os = "linux")]
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "a process of its own, which the_page_cache_is_bounded_for_the_whole_process starts"]
fn reads_and_writes_eight_databases() {
    if std::env::var_os(OWN_PROCESS).is_none() {
        return;
    }
    const CACHE_KB: u32 = 6000;
    let config = StorageConfig { cache_size_kb: CACHE_KB, ..StorageConfig::default() };
    let all: Vec<_> = (0..8).map(|_| on_disk(&config)).collect();
    let before = resident_kb();
    for (_, database) in &all {
        // 8 MB of rows, which every connection would try to cache.
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 8000)
                    INSERT INTO peers (node, addresses, seen) SELECT randomblob(20), hex(zeroblob(500)), i FROM n";
        database.write_durably("x", |tx| Ok(tx.execute(rows, [])?)).unwrap();
        let both = [(); 2].map(|()| database.connections.borrow_reader().unwrap());
        for connection in both.iter().map(BorrowedReader::connection) {
            let sum = "SELECT SUM(LENGTH(addresses)) FROM peers";
            let bytes: i64 = connection.query_row(sum, [], |row| row.get(0)).unwrap();
            assert_eq!(bytes, 8_000_000);
        }
    }
    let grown = resident_kb().saturating_sub(before);
    // All 24 connections together; each of them alone would take 1500 or 3000.
    assert!(grown < 2 * u64::from(CACHE_KB), "{grown} KiB more");
}

#[test]
#[cfg(target_os = "linux")]
fn the_page_cache_is_bounded_for_the_whole_process() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "database::tests::reads_and_writes_eight_databases", "--ignored"])
        .env(OWN_PROCESS, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

/// A commit that SQLite syncs syncs what others have committed before, too.
#[test]
fn a_commit_that_could_not_be_synced_is_not_built_upon() {
    let root = tempfile::tempdir().unwrap();
    let disk = record(root.path(), Fault::Never).unwrap();
    let path = root.path().join("t.db");
    let patience = StorageConfig { busy_timeout: Duration::from_millis(50), ..Default::default() };
    let config = StorageConfig { synchronous_full: true, ..patience };
    let full = open_database(&path, &config, disk.clone(), &|| Ok(())).unwrap();
    let normal = open(&path, &StorageConfig::default()).unwrap();
    let _ = insert(&full, "a");
    let before = disk.touches();
    full.sync(insert(&full, "b")).unwrap();
    let touches = disk.touches() - before;
    let _ = insert(&normal, "lost");
    let log = std::fs::File::options().write(true).open(root.path().join("t.db-wal")).unwrap();
    let end = log.metadata().unwrap().len();
    // The sync comes last.
    disk.set_fault(Fault::Once(disk.touches() + touches - 1, rustix::io::Errno::IO));
    let failed = full.write("x", |tx| Ok(tx.execute(INSERT, ["failed"])?));
    assert!(failed.is_err_and(|failed| !failed.rolled_back));
    log.write_all_at(&[0x55; 4000], end - 4000).unwrap();
    let refused = full.write("x", |tx| Ok(tx.execute(INSERT, ["too early"])?));
    assert!(matches!(refused, Err(WriteError { error: StoreError::Locked { .. }, .. })));
    drop(normal);
    full.sync(insert(&full, "later")).unwrap();
    assert_eq!(inserted(&full), ["a", "b", "later"]);
    // After a power cut there is no shared memory.
    let copy = tempfile::tempdir().unwrap();
    for name in ["t.db", "t.db-wal"] {
        std::fs::copy(root.path().join(name), copy.path().join(name)).unwrap();
    }
    let copied = open(&copy.path().join("t.db"), &StorageConfig::default()).unwrap();
    assert_eq!(inserted(&copied), ["a", "b", "later"]);
}

#[test]
fn a_log_that_could_not_be_written_back_at_opening_is_not_built_upon() {
    let root = tempfile::tempdir().unwrap();
    let disk = record(root.path(), Fault::Never).unwrap();
    let path = root.path().join("t.db");
    let config = StorageConfig::default();
    let opened = || open_database(&path, &config, disk.clone(), &|| Ok(())).unwrap();
    let database = opened();
    let _ = insert(&database, "a");
    fail_a_sync(&database);
    drop(database);
    // The log is synced first; then the database is written, for which there is no room.
    disk.set_fault(Fault::Once(disk.touches() + 1, rustix::io::Errno::NOSPC));
    let database = opened();
    let is_broken = || database.log.as_ref().unwrap().wal.is_broken();
    assert!(is_broken());
    assert_eq!(inserted(&database), ["a"]);
    database.sync(insert(&database, "b")).unwrap();
    assert!(!is_broken());
    assert_eq!(inserted(&database), ["a", "b"]);
}

#[test]
fn tables_of_other_software_are_no_fault_and_changes_of_ours_are() {
    let (dir, database) = on_disk(&StorageConfig::default());
    assert_eq!(database.faults().unwrap(), Vec::<String>::new());
    let change = |sql: &str| {
        Connection::open(dir.path().join("t.db")).unwrap().execute_batch(sql).unwrap();
    };
    change("CREATE TABLE _of_another (id INTEGER); CREATE INDEX of_it ON _of_another (id)");
    assert_eq!(database.faults().unwrap(), Vec::<String>::new());
    change("CREATE INDEX of_ours ON peers (addresses)");
    assert_eq!(database.faults().unwrap().len(), 1);
    change("DROP INDEX of_ours; DROP TABLE peers");
    assert_eq!(database.faults().unwrap().len(), 1);
}
