//! The balance between this node and each peer: sums over the pieces held and the placements
//! acknowledged, computed on request. There is no second count that could differ from the rows.

use std::sync::Arc;

use rusqlite::params;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{Account, PeerAt, ReciprocityLedger, StoreError, Usage};

use crate::columns::count;
use crate::database::Database;

/// The ledger, read from the tables of pieces and placements.
#[derive(Debug, Clone)]
pub struct SqliteLedger {
    database: Arc<Database>,
}

impl SqliteLedger {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

impl ReciprocityLedger for SqliteLedger {
    fn account(&self, peer: &NodeId) -> Result<Account, StoreError> {
        self.database.read("summing up an account", |connection| {
            connection
                .prepare_cached(
                    "SELECT
                     (SELECT COALESCE(SUM(bytes + dossier_bytes), 0) FROM fragments
                      WHERE charge_peer = ?1),
                     (SELECT COALESCE(SUM(bytes), 0) FROM placements WHERE holder = ?1)",
                )?
                .query_row([peer.as_bytes()], |row| {
                    Ok(Account { stored_for: count(row, 0)?, stored_by: count(row, 1)? })
                })
        })
    }

    fn usage(&self, peer: &PeerAt) -> Result<Usage, StoreError> {
        self.database.read("summing up what is stored for others", |connection| {
            connection
                .prepare_cached(
                    "WITH charged AS (
                         SELECT charge_peer AS peer, SUM(bytes + dossier_bytes) AS bytes,
                                SUM(CASE WHEN charge_subnet = ?1
                                    THEN bytes + dossier_bytes ELSE 0 END) AS near
                         FROM fragments GROUP BY charge_peer),
                     indebted AS (
                         SELECT bytes, near FROM charged
                         WHERE peer IS NOT NULL AND bytes >= COALESCE(
                             (SELECT SUM(bytes) FROM placements WHERE holder = peer), 0))
                     SELECT COALESCE((SELECT SUM(bytes) FROM charged), 0),
                            COALESCE((SELECT bytes FROM charged WHERE peer IS NULL), 0),
                            COALESCE((SELECT SUM(bytes) FROM indebted), 0),
                            COALESCE((SELECT SUM(near) FROM indebted), 0),
                            COALESCE((SELECT SUM(bytes + dossier_bytes) FROM fragments
                                      WHERE repair_peer = ?2), 0),
                            COALESCE((SELECT SUM(bytes + dossier_bytes) FROM fragments
                                      WHERE repair_subnet = ?1), 0)",
                )?
                .query_row(params![peer.subnet.to_string(), peer.id.as_bytes()], |row| {
                    Ok(Usage {
                        total: count(row, 0)?,
                        repair: count(row, 1)?,
                        indebted: count(row, 2)?,
                        indebted_in_subnet: count(row, 3)?,
                        repair_by_peer: count(row, 4)?,
                        repair_in_subnet: count(row, 5)?,
                    })
                })
        })
    }

    fn has_placed(&self, peer: &NodeId, tessera: &TesseraHash) -> Result<bool, StoreError> {
        self.database.read("looking up who placed a piece", |connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM fragments
                     WHERE tessera = ?1 AND ?2 IN (charge_peer, repair_peer)",
                )?
                .exists([&tessera.as_bytes()[..], &peer.as_bytes()[..]])
        })
    }
}
