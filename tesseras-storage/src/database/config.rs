//! The settings of SQLite, and how a connection gets them.

use std::time::Duration;

use rusqlite::Connection;

/// Default of [`StorageConfig::cache_size_kb`].
pub const DEFAULT_CACHE_SIZE_KB: u32 = 64_000;
/// Default of [`StorageConfig::busy_timeout`].
pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_millis(5000);
/// Default of [`StorageConfig::wal_autocheckpoint_pages`].
pub const DEFAULT_WAL_AUTOCHECKPOINT_PAGES: u32 = 1000;

/// Memory of the connections of one database besides pages, in KiB.
const BESIDE_PAGES_KB: i64 = 1024;
/// Prepared statements that each connection keeps; more than the store has.
const STATEMENTS: usize = 128;

/// Settings of SQLite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Page cache in KiB, for all connections of this process together, to any number of databases;
    /// if they are opened with different bounds, the last one counts. More makes a large store
    /// faster and costs that much memory. Default [`DEFAULT_CACHE_SIZE_KB`].
    pub cache_size_kb: u32,
    /// Whether SQLite syncs on every commit. If off, commits are synced in groups, and only before
    /// an acknowledgement; the safety of acknowledged data does not depend on this setting. Default
    /// off.
    pub synchronous_full: bool,
    /// How long to wait for another process that is writing. Default [`DEFAULT_BUSY_TIMEOUT`].
    pub busy_timeout: Duration,
    /// How many pages of 4 KiB the write-ahead log grows to before it is written back into the
    /// database; 0 for never, before it is closed. More means fewer, longer pauses. Default
    /// [`DEFAULT_WAL_AUTOCHECKPOINT_PAGES`].
    pub wal_autocheckpoint_pages: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            cache_size_kb: DEFAULT_CACHE_SIZE_KB,
            synchronous_full: false,
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
            wal_autocheckpoint_pages: DEFAULT_WAL_AUTOCHECKPOINT_PAGES,
        }
    }
}

/// Applies the settings to a connection that may keep `kb` KiB of pages.
pub(super) fn configure(
    connection: &Connection,
    config: &StorageConfig,
    kb: u32,
) -> rusqlite::Result<()> {
    connection.busy_timeout(config.busy_timeout)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    distrust_schema(connection)?;
    let synchronous = if config.synchronous_full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Negative: KiB, not pages. Zero would be SQLite's default, not nothing.
    connection.pragma_update(None, "cache_size", -i64::from(kb.max(1)))?;
    // For the whole process: a connection that needs a page beyond this limit reuses the least
    // recently used page of any database instead of new memory. The limit covers all of SQLite's
    // memory, so statements and schemas get a share of their own.
    let heap = (i64::from(config.cache_size_kb) + BESIDE_PAGES_KB) * 1024;
    connection.pragma_update(None, "soft_heap_limit", heap)?;
    // SQLite would keep it to itself when the log cannot be synced for that; see `Database`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// The schema of a foreign or damaged file may call only harmless functions.
pub(super) fn distrust_schema(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)
}
