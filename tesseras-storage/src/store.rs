//! One data directory: opens what lies in it and hands out the ports.
//!
//! `tes` and `tesd` may each have a [`Store`] on one directory at the same time; two `tesd` may
//! not, which [`Store::lock_daemon`] sees to.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tesseras_core::ports::StoreError;

use crate::ballast::Ballast;
use crate::cache::CachedFragmentStore;
use crate::cas::Cas;
use crate::check::{self, StoreCheck};
use crate::database::{self, Database, StorageConfig};
use crate::disk::{Disk, OsDisk};
use crate::error::io_error;
use crate::fragment::FsFragmentStore;
use crate::holdings::SqliteHoldings;
use crate::ledger::SqliteLedger;
use crate::library::SqliteLibrary;
use crate::lock::DaemonLock;
use crate::peers::SqlitePeers;
use crate::staging::Swept;
use crate::workbench::FsWorkbench;

/// Everything that a data directory stores. Clones share one set of connections.
#[derive(Debug, Clone)]
pub struct Store {
    data_dir: PathBuf,
    database: Arc<Database>,
    cas: Arc<Cas>,
}

impl Store {
    /// Opens a data directory, creating it (for its owner alone) or migrating it if need be.
    pub fn open(data_dir: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        Self::open_on_disk(data_dir, config, Arc::new(OsDisk))
    }

    /// [`Store::open`] on a disk of one's own, for tests in which disks fail.
    pub fn open_on_disk(
        data_dir: &Path,
        config: &StorageConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        let (db, cas, tmp) = (data_dir.join("db"), data_dir.join("cas"), data_dir.join("tmp"));
        create_directory(data_dir, true)?;
        for directory in [&db, &cas, &tmp] {
            create_directory(directory, false)?;
        }
        disk.sync_directory(data_dir).map_err(|e| io_error("syncing", data_dir, e))?;
        // A full disk must be opened, too: how else would anyone delete from it?
        let ballast = Ballast::new(db.join("ballast"), Arc::clone(&disk));
        let path = db.join("tesseras.db");
        let database = ballast.lighten(|| database::open_on(&path, config, Arc::clone(&disk)))?;
        let database = Arc::new(database);
        let cas = Arc::new(Cas::open(cas, tmp, ballast, Arc::clone(&database), disk)?);
        Ok(Self { data_dir: data_dir.to_owned(), database, cas })
    }

    /// Content-addressed bytes.
    pub fn blobs(&self) -> Arc<Cas> {
        Arc::clone(&self.cas)
    }

    /// One's own capsules.
    pub fn library(&self) -> Arc<SqliteLibrary> {
        Arc::new(SqliteLibrary::new(Arc::clone(&self.cas)))
    }

    /// Pieces held for others, read from the disk every time.
    pub fn fragments(&self) -> Arc<FsFragmentStore> {
        Arc::new(FsFragmentStore::new(Arc::clone(&self.cas)))
    }

    /// Pieces held for others, through a cache of at most `max_bytes` bytes.
    pub fn cached_fragments(&self, max_bytes: u64) -> CachedFragmentStore {
        let inner = FsFragmentStore::new(Arc::clone(&self.cas));
        CachedFragmentStore::new(Box::new(inner), max_bytes)
    }

    /// Dossiers, holders, placements.
    pub fn holdings(&self) -> Arc<SqliteHoldings> {
        Arc::new(SqliteHoldings::new(Arc::clone(&self.cas)))
    }

    /// Pieces of unfinished tasks.
    pub fn workbench(&self) -> Arc<FsWorkbench> {
        Arc::new(FsWorkbench::new(&self.data_dir.join("tmp"), Arc::clone(&self.cas)))
    }

    /// Who stores how much for whom.
    pub fn ledger(&self) -> Arc<SqliteLedger> {
        Arc::new(SqliteLedger::new(Arc::clone(&self.database)))
    }

    /// Peers met.
    pub fn peers(&self) -> Arc<SqlitePeers> {
        Arc::new(SqlitePeers::new(Arc::clone(&self.database)))
    }

    /// Makes this process the directory's one `tesd`; [`StoreError::Busy`] if there is one.
    pub fn lock_daemon(&self) -> Result<DaemonLock, StoreError> {
        DaemonLock::acquire(&self.data_dir)
    }

    /// Removes what processes that are gone left in `tmp/`; what any living process is writing
    /// stays. Meant for the start of `tesd`.
    pub fn sweep_tmp(&self) -> Result<Swept, StoreError> {
        self.cas.sweep()
    }

    /// Reads every byte of every object and compares the index with what is there. Sees a store
    /// that others write to at various moments: certain only while nobody does.
    pub fn check(&self) -> Result<StoreCheck, StoreError> {
        check::check(&self.cas)
    }
}

/// Makes sure that a directory exists. What exists keeps its mode: its owner chose it.
fn create_directory(path: &Path, with_parents: bool) -> Result<(), StoreError> {
    match DirBuilder::new().recursive(with_parents).mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => {
            Err(io_error("creating", path, e))
        }
        _ => Ok(()),
    }
}
