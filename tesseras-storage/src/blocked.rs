//! Tesserae that the owner of this node dropped. Whatever stores something of a tessera looks it up
//! here in its own transaction: a look before it would miss a drop in between.

use rusqlite::{Connection, OptionalExtension as _, Transaction};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_core::time::Timestamp;

use crate::columns::count;
use crate::error::Fault;

/// Whether a tessera is blocked.
pub(crate) fn is_blocked(connection: &Connection, tessera: &TesseraHash) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM blocked WHERE tessera = ?1")?
        .exists([tessera.as_bytes()])
}

/// Since when a tessera is blocked; `None` if it is not.
pub(crate) fn blocked_since(
    connection: &Connection,
    tessera: &TesseraHash,
) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .prepare_cached("SELECT since FROM blocked WHERE tessera = ?1")?
        .query_row([tessera.as_bytes()], |row| Ok(Timestamp(count(row, 0)?)))
        .optional()
}

/// Lets a tessera in again.
pub(crate) fn unblock(tx: &Transaction<'_>, tessera: &TesseraHash) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM blocked WHERE tessera = ?1")?.execute([tessera.as_bytes()])?;
    Ok(())
}

/// [`StoreError::Blocked`] if a tessera is blocked.
pub(crate) fn refuse_blocked(connection: &Connection, tessera: &TesseraHash) -> Result<(), Fault> {
    match is_blocked(connection, tessera)? {
        true => Err(StoreError::Blocked(*tessera).into()),
        false => Ok(()),
    }
}
