//! The formats of the store, and the steps from each to the next.

use std::collections::BTreeSet;

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

/// Whether a database has the schema that belongs to a format. Each step changes the schema, so it
/// belongs to no other. Tables of other software, by names that are none of ours, do not matter.
pub(super) fn has_schema_of(connection: &Connection, format: u64) -> Result<bool, StoreError> {
    let Compared { mut found, expected, ours } = compared(connection, format)?;
    found.retain(|(_, name, table, _)| ours.contains(name) || ours.contains(table));
    Ok(found == expected)
}

/// [`has_schema_of`], and nothing else, which a newer version may have made.
pub(super) fn has_only_schema_of(connection: &Connection, format: u64) -> Result<bool, StoreError> {
    compared(connection, format).map(|schemas| schemas.found == schemas.expected)
}

/// The schema of a database, that of its format, and the names in all formats.
struct Compared {
    found: Vec<SchemaPart>,
    expected: Vec<SchemaPart>,
    ours: BTreeSet<String>,
}

fn compared(connection: &Connection, format: u64) -> Result<Compared, StoreError> {
    let what = "reading the schema of the database";
    let mut fresh = Connection::open_in_memory().map_err(|e| sql_error(what, e))?;
    let (mut expected, mut ours) = (Vec::new(), BTreeSet::new());
    for version in 1..=STEPS.len() {
        let made = Migrations::from_slice(STEPS).to_version(&mut fresh, version);
        made.map_err(|error| migration_error(what, error))?;
        let parts = schema(&fresh).map_err(|e| sql_error(what, e))?;
        ours.extend(parts.iter().map(|(_, name, ..)| name.clone()));
        if version as u64 == format {
            expected = parts;
        }
    }
    let found = schema(connection).map_err(|e| sql_error(what, e))?;
    Ok(Compared { found, expected, ours })
}

/// Kind, name, table and SQL of a part of a schema.
type SchemaPart = (String, String, String, Option<String>);

/// The schema of a database, without what a person may have made by `ANALYZE`.
fn schema(connection: &Connection) -> rusqlite::Result<Vec<SchemaPart>> {
    connection
        .prepare(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema
             WHERE tbl_name NOT LIKE 'sqlite_stat_' ORDER BY type, name",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect()
}

/// Brings a database to the format of this version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let migrated = Migrations::from_slice(STEPS).to_latest(connection);
    migrated.map_err(|error| migration_error("migrating the database", error))
}

fn migration_error(what: &str, error: rusqlite_migration::Error) -> StoreError {
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => sql_error(what, err),
        // No version writes a number that is not one.
        rusqlite_migration::Error::InvalidUserVersion => {
            StoreError::IndexDamaged { what: what.to_owned(), source: Box::new(error) }
        }
        other => StoreError::Backend { what: what.to_owned(), source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that a number with a flipped bit is told from the number of another version.
    #[test]
    fn each_step_changes_the_schema() {
        for format in 0..FORMAT {
            let mut connection = Connection::open_in_memory().unwrap();
            let version = usize::try_from(format).unwrap();
            Migrations::from_slice(STEPS).to_version(&mut connection, version).unwrap();
            assert!(has_schema_of(&connection, format).unwrap(), "{format}");
            assert!(!has_schema_of(&connection, format + 1).unwrap(), "{format}");
        }
    }
}
