//! Peers met, so that a node finds the network again after a restart.

use std::sync::Arc;

use rusqlite::params;
use tesseras_core::contact::Contact;
use tesseras_core::ports::{PeerRepository, StoreError};
use tesseras_core::time::Timestamp;

use crate::columns::{contact, from_addresses, to_integer};
use crate::database::Database;

/// How many peers are remembered.
const MAX_PEERS: u64 = 1024;

/// Peers in SQLite.
#[derive(Debug, Clone)]
pub struct SqlitePeers {
    database: Arc<Database>,
}

impl SqlitePeers {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

impl PeerRepository for SqlitePeers {
    fn remember_peers(&self, peers: &[Contact], now: Timestamp) -> Result<(), StoreError> {
        let written = self.database.write("remembering peers", |tx| {
            let mut remember = tx.prepare_cached(
                "INSERT INTO peers VALUES (?1, ?2, ?3)
                 ON CONFLICT (node) DO UPDATE
                 SET addresses = excluded.addresses, seen = excluded.seen
                 WHERE excluded.seen >= seen",
            )?;
            for peer in peers {
                remember.execute(params![
                    peer.id.as_bytes(),
                    from_addresses(&peer.addresses),
                    to_integer(now.0),
                ])?;
            }
            tx.prepare_cached(
                "DELETE FROM peers WHERE node IN (
                     SELECT node FROM peers ORDER BY seen DESC, node LIMIT -1 OFFSET ?1)",
            )?
            .execute([to_integer(MAX_PEERS)])?;
            Ok(())
        });
        let ((), _hints_need_no_sync) = written?;
        Ok(())
    }

    fn known_peers(&self, limit: usize) -> Result<Vec<Contact>, StoreError> {
        self.database.read("listing peers", |connection| {
            connection
                .prepare_cached(
                    "SELECT node, addresses FROM peers ORDER BY seen DESC, node LIMIT ?1",
                )?
                .query_map([to_integer(limit as u64)], |row| contact(row, 0))?
                .collect()
        })
    }
}
