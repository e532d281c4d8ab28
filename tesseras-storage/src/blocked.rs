//! Tesserae that the owner of this node dropped. Whatever stores something of a tessera looks it up
//! here in its own transaction: a look before it would miss a drop in between.

use rusqlite::Connection;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;

use crate::error::Fault;

/// Whether a tessera is blocked.
pub(crate) fn is_blocked(connection: &Connection, tessera: &TesseraHash) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM blocked WHERE tessera = ?1")?
        .exists([tessera.as_bytes()])
}

/// [`StoreError::Blocked`] if a tessera is blocked.
pub(crate) fn refuse_blocked(connection: &Connection, tessera: &TesseraHash) -> Result<(), Fault> {
    match is_blocked(connection, tessera)? {
        true => Err(StoreError::Blocked(*tessera).into()),
        false => Ok(()),
    }
}
