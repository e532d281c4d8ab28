//! Peers met, so that a node finds the network again after a restart.

use std::sync::Arc;

use rusqlite::params;
use tesseras_core::contact::Contact;
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::ports::{PeerRepository, StoreError};
use tesseras_core::time::Timestamp;

use crate::columns::{contact, count, from_addresses, node_id, to_integer};
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
        self.database.write_unsynced("remembering peers", |tx| {
            let mut remember = tx.prepare_cached(
                "INSERT INTO peers (node, addresses, seen) VALUES (?1, ?2, ?3)
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
        })
    }

    fn remember_silent(&self, silent: &[SilentPeer]) -> Result<(), StoreError> {
        self.database.write_unsynced("remembering silent peers", |tx| {
            tx.execute("UPDATE peers SET failures = 0, silent_until = 0 WHERE failures > 0", [])?;
            let mut remember = tx.prepare_cached(
                "UPDATE peers SET failures = ?2, silent_until = ?3 WHERE node = ?1",
            )?;
            for peer in silent {
                remember.execute(params![
                    peer.id.as_bytes(),
                    peer.failures,
                    to_integer(peer.until.0),
                ])?;
            }
            Ok(())
        })
    }

    fn silent_peers(&self) -> Result<Vec<SilentPeer>, StoreError> {
        self.database.read("listing silent peers", |connection| {
            connection
                .prepare_cached(
                    "SELECT node, failures, silent_until FROM peers WHERE failures > 0",
                )?
                .query_map([], |row| {
                    let (id, until) = (node_id(row, 0)?, Timestamp(count(row, 2)?));
                    Ok(SilentPeer { id, failures: row.get(1)?, until })
                })?
                .collect()
        })
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
