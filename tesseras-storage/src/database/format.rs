//! The formats of the store, and the steps from each to the next.

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations, SchemaVersion};
use tesseras_core::ports::StoreError;

use crate::error::sql_error;

/// Every step of the format, oldest first; a new database runs them all. Their number is the format
/// of the whole store, files included.
pub(super) const STEPS: &[M<'static>] = &[
    M::up(include_str!("../migrations/0001_initial.sql")),
    M::up(include_str!("../migrations/0002_no_pins.sql")),
    M::up(include_str!("../migrations/0003_publications.sql")),
    M::up(include_str!("../migrations/0004_signature_files.sql")),
    M::up(include_str!("../migrations/0005_silent_peers.sql")),
    M::up(include_str!("../migrations/0006_damaged_pieces.sql")),
    M::up(include_str!("../migrations/0007_repairers.sql")),
    M::up(include_str!("../migrations/0008_dossier_bytes.sql")),
    M::up(include_str!("../migrations/0009_removals.sql")),
    M::up(include_str!("../migrations/0010_hints.sql")),
    M::up(include_str!("../migrations/0011_last_repairs.sql")),
    M::up(include_str!("../migrations/0012_scrub.sql")),
];

/// The format this version writes.
pub const FORMAT: u64 = STEPS.len() as u64;

/// The format of a database; 0 if nothing was ever written to it. A newer one than is known here is
/// refused.
pub(super) fn format_of(connection: &Connection) -> Result<u64, StoreError> {
    let version = Migrations::from_slice(STEPS).current_version(connection);
    // Its first read opens the log, which may fail for any reason, also on a full disk.
    match version.map_err(|error| migration_error("reading the format of the database", error))? {
        SchemaVersion::NoneSet => Ok(0),
        SchemaVersion::Inside(found) => Ok(found.get() as u64),
        SchemaVersion::Outside(found) => {
            Err(StoreError::NewerFormat { found: found.get() as u64, known: FORMAT })
        }
    }
}

/// Brings a database to the format of this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let migrated = Migrations::from_slice(STEPS).to_latest(connection);
    migrated.map_err(|error| migration_error("migrating the database", error))
}

fn migration_error(what: &str, error: rusqlite_migration::Error) -> StoreError {
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => sql_error(what, err),
        other => StoreError::Backend { what: what.to_owned(), source: Box::new(other) },
    }
}
