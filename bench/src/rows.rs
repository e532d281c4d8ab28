//! A database that takes numbered rows, one transaction each: through `open_database`, or as SQLite
//! does it by itself.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use tesseras_core::lock::lock;
use tesseras_core::ports::StoreError;
use tesseras_disk::OsDisk;
use tesseras_storage::database::{Database, StorageConfig, open_database};

use crate::failure::Result;

/// A row has what a peer's row has: a key that is like a hash, an address, a number.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS rows (
    node      BLOB NOT NULL PRIMARY KEY,
    addresses TEXT NOT NULL,
    number    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_number ON rows (number);";

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Settings {
    /// Through `open_database`, committed.
    Committed,
    /// Through `open_database`, committed and synced.
    Synced,
    /// As SQLite does it by itself.
    Defaults,
}

/// A database that takes numbered rows.
pub enum Rows {
    /// With our settings; whether each row is synced.
    Ours(Database, bool),
    /// With SQLite's.
    Defaults(Mutex<Connection>),
}

impl Rows {
    /// Opens the database, creating it if need be.
    pub fn open(path: &Path, settings: Settings, busy_timeout: Duration) -> Result<Self> {
        let synced = match settings {
            Settings::Committed => false,
            Settings::Synced => true,
            Settings::Defaults => {
                return Ok(Self::Defaults(Mutex::new(with_defaults(path, busy_timeout)?)));
            }
        };
        let config = StorageConfig { busy_timeout, ..StorageConfig::default() };
        let database = open_database(path, &config, Arc::new(OsDisk), &|| Ok(()))?;
        database.write_durably("making a table", |tx| Ok(tx.execute_batch(TABLE)?))?;
        Ok(Self::Ours(database, synced))
    }

    /// Writes one row in a transaction of its own. `false` if another process was writing for all
    /// of the busy timeout; nothing is written then.
    pub fn insert(&self, number: u64) -> Result<bool> {
        let what = "writing a row";
        let written = match self {
            Self::Ours(database, true) => {
                database.write_durably(what, |tx| Ok(insert(tx, number)?))
            }
            Self::Ours(database, false) => {
                let written = database.write(what, |tx| Ok(insert(tx, number)?));
                written.map(|((), _not_synced_here)| ()).map_err(StoreError::from)
            }
            Self::Defaults(connection) => {
                let mut connection = lock(connection);
                return Ok(insert_alone(&mut connection, number)?);
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(StoreError::Locked { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The numbers of all rows, sorted.
    pub fn numbers(&self) -> Result<Vec<u64>> {
        match self {
            Self::Ours(database, _) => Ok(database.read("reading rows", numbers)?),
            Self::Defaults(connection) => {
                let connection = lock(connection);
                Ok(numbers(&connection)?)
            }
        }
    }
}

/// A rollback journal, a sync of every commit, a page cache of 2 MB, and one connection. Only the
/// busy timeout is ours, since SQLite's own is not to wait at all.
fn with_defaults(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(busy_timeout)?;
    connection.execute_batch(TABLE)?;
    Ok(connection)
}

fn insert_alone(connection: &mut Connection, number: u64) -> rusqlite::Result<bool> {
    let written = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|tx| insert(&tx, number).and_then(|()| tx.commit()));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(false),
        Err(error) => Err(error),
    }
}

fn insert(tx: &Transaction<'_>, number: u64) -> rusqlite::Result<()> {
    let key = tesseras_crypto::blake3(&number.to_le_bytes());
    tx.prepare_cached("INSERT INTO rows (node, addresses, number) VALUES (?1, ?2, ?3)")?.execute(
        params![&key.as_bytes()[..20], "203.0.113.7:4000 [2001:db8::7]:4000", number as i64],
    )?;
    Ok(())
}

fn numbers(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    connection
        .prepare_cached("SELECT number FROM rows ORDER BY number")?
        .query_map([], |row| row.get::<_, i64>(0).map(|number| number as u64))?
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<T: rusqlite::types::FromSql>(connection: &Connection, knob: &str) -> T {
        connection.query_row(&format!("PRAGMA {knob}"), [], |row| row.get(0)).expect("a knob")
    }

    #[test]
    fn the_baseline_is_what_sqlite_does_by_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let rows =
            with_defaults(&dir.path().join("t.db"), Duration::from_millis(70)).expect("opened");
        let plain = Connection::open(dir.path().join("plain.db")).expect("opened");
        for knob in ["synchronous", "cache_size", "wal_autocheckpoint", "foreign_keys"] {
            assert_eq!(value::<i64>(&rows, knob), value::<i64>(&plain, knob), "{knob}");
        }
        assert_eq!(value::<i64>(&rows, "synchronous"), 2);
        assert_eq!(value::<String>(&rows, "journal_mode"), "delete");
        assert_eq!(value::<i64>(&rows, "busy_timeout"), 70);
    }

    #[test]
    fn every_way_takes_the_same_rows_and_tells_when_it_is_busy() {
        for settings in [Settings::Committed, Settings::Synced, Settings::Defaults] {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("t.db");
            let rows = Rows::open(&path, settings, Duration::from_millis(1)).expect("opened");
            assert!((0..3).all(|number| rows.insert(number).expect("written")), "{settings:?}");
            let mut other = Connection::open(&path).expect("opened");
            let writing = other
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .expect("nobody else writes");
            assert!(!rows.insert(3).expect("refused"), "{settings:?}");
            drop(writing);
            assert_eq!(rows.numbers().expect("read"), [0, 1, 2], "{settings:?}");
        }
    }
}
