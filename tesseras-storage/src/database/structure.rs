//! Whether the structure of a database is intact: its pages, its indices, and its schema, which must
//! be the one that this software makes. Of the values in rows it knows only what the schema demands.

use rusqlite::Connection;
use tesseras_core::ports::StoreError;

use super::format::has_schema_of;
use crate::error::sql_error;

/// The most faults that are named.
const MOST: usize = 20;

/// What is wrong with the structure of a database of this format, as sentences; none if it is intact.
/// Every page is read.
pub(super) fn faults(connection: &Connection, format: u64) -> Result<Vec<String>, StoreError> {
    let found = has_schema_of(connection, format).and_then(|has_its_schema| {
        let mut found = Vec::new();
        if !has_its_schema {
            found.push("the schema of the database is not the one of its format".to_owned());
        }
        found.extend(of_pages(connection).map_err(|e| sql_error("checking the database", e))?);
        Ok(found)
    });
    match found {
        // It cannot be read to its end.
        Err(StoreError::IndexDamaged { what, source }) => Ok(vec![format!("{what}: {source}")]),
        found => found,
    }
}

fn of_pages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST})"))?;
    let verdicts = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for verdict in verdicts {
        let verdict = verdict?;
        if verdict != "ok" {
            found.push(verdict);
        }
    }
    Ok(found)
}
