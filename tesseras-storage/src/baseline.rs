//! The same small write with our settings and with SQLite's defaults, for the bench.

use std::path::Path;
use std::time::Duration;

use rusqlite::params;
use tesseras_core::ports::StoreError;

use crate::columns::to_integer;
use crate::database::{Database, StorageConfig, open_database, open_with_sqlite_defaults};

/// A database for numbered rows, one transaction each.
#[derive(Debug)]
pub struct Rows(Database);

impl Rows {
    /// With our settings.
    pub fn ours(path: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        Ok(Self(open_database(path, config)?))
    }

    /// With SQLite's defaults, except for the busy timeout, whose default is zero.
    pub fn with_sqlite_defaults(path: &Path, busy_timeout: Duration) -> Result<Self, StoreError> {
        Ok(Self(open_with_sqlite_defaults(path, busy_timeout)?))
    }

    /// Writes one row in a transaction of its own. [`StoreError::Busy`] if another process was
    /// writing during the whole busy timeout; nothing is written then.
    pub fn insert(&self, number: u64) -> Result<(), StoreError> {
        let ((), _not_synced_here) = self.0.write("writing a row", |tx| insert(tx, number))?;
        Ok(())
    }

    /// Like [`Rows::insert`]; afterwards the row survives a power cut.
    pub fn insert_durably(&self, number: u64) -> Result<(), StoreError> {
        self.0.write_durably("writing a row", |tx| insert(tx, number))
    }

    /// The numbers of all rows, sorted.
    pub fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        self.0.read("reading rows", |connection| {
            connection
                .prepare_cached("SELECT seen FROM peers ORDER BY seen")?
                .query_map([], |row| crate::columns::count(row, 0))?
                .collect()
        })
    }
}

/// A row like that of a peer: a key like a hash, an address, a number.
fn insert(tx: &rusqlite::Transaction<'_>, number: u64) -> Result<(), crate::error::Fault> {
    let key = tesseras_crypto::hash::blake3(&number.to_le_bytes());
    tx.prepare_cached("INSERT INTO peers (node, addresses, seen) VALUES (?1, ?2, ?3)")?.execute(
        params![&key.as_bytes()[..20], "203.0.113.7:4000 [2001:db8::7]:4000", to_integer(number)],
    )?;
    Ok(())
}
