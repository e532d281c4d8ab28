//! Pieces of unfinished tasks: rows that keep an object until its task ends.

use std::sync::Arc;

use rusqlite::params;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{StagedBlob, StoreError, Workbench};
use tesseras_core::time::Timestamp;

use crate::cas::Cas;
use crate::columns::{content_hash, tessera_hash, to_integer};

/// Pinned objects in SQLite and content-addressed files. Clones share one store.
#[derive(Debug, Clone)]
pub struct SqliteWorkbench {
    cas: Arc<Cas>,
}

impl SqliteWorkbench {
    pub(crate) fn new(cas: Arc<Cas>) -> Self {
        Self { cas }
    }
}

impl Workbench for SqliteWorkbench {
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let hash = staged.hash;
        self.cas.adopt("pinning an object", vec![staged], |tx, placing| {
            let known = tx
                .prepare_cached("SELECT 1 FROM pins WHERE tessera = ?1 AND object = ?2")?
                .exists(params![tessera.as_bytes(), hash.as_bytes()])?;
            if known {
                placing.heal(tx, &hash)?;
                return Ok(());
            }
            placing.acquire(tx, &hash)?;
            tx.prepare_cached("INSERT INTO pins (tessera, object, pinned) VALUES (?1, ?2, ?3)")?
                .execute(params![tessera.as_bytes(), hash.as_bytes(), to_integer(now.0)])?;
            Ok(())
        })
    }

    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError> {
        self.cas.database().read("listing pinned objects", |connection| {
            connection
                .prepare_cached("SELECT object FROM pins WHERE tessera = ?1 ORDER BY object")?
                .query_map([tessera.as_bytes()], |row| content_hash(row, 0))?
                .collect()
        })
    }

    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError> {
        self.cas.release("unpinning objects", |tx, released| {
            let objects: Vec<ContentHash> = tx
                .prepare_cached("DELETE FROM pins WHERE tessera = ?1 RETURNING object")?
                .query_map([tessera.as_bytes()], |row| content_hash(row, 0))?
                .collect::<Result<_, _>>()?;
            for object in &objects {
                released.release(tx, object)?;
            }
            Ok(())
        })
    }

    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError> {
        let stale: Vec<TesseraHash> =
            self.cas.database().read("listing stale pins", |connection| {
                connection
                    .prepare_cached(
                        "SELECT tessera FROM pins GROUP BY tessera HAVING MAX(pinned) < ?1",
                    )?
                    .query_map([to_integer(time.0)], |row| tessera_hash(row, 0))?
                    .collect()
            })?;
        stale.iter().try_for_each(|tessera| self.unpin(tessera))
    }
}
