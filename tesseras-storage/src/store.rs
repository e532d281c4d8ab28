//! One data directory: opens its content and provides the ports.
//!
//! `tes` and `tesd` may each have a [`Store`] on one directory at the same time; two `tesd` may
//! not, which [`Store::lock_daemon`] prevents.
//!
//! A data directory of another user is only read: that user could change anything written to it.
//!
//! If the database is missing although there are stored files, it is not replaced by an empty one:
//! the library would be lost silently. A person must call [`Store::rebuild_library`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::StoreError;
use tesseras_core::time::Timestamp;

use crate::cache::CachedFragmentStore;
use crate::cas::Cas;
use crate::check::{self, StoreCheck};
use crate::database::{self, Database, LostIndex, StorageConfig, set_aside_unless_sound};
use crate::error::{io_error, may_be_damage};
use crate::fragment::FsFragmentStore;
use crate::gc::{self, Garbage};
use crate::holdings::SqliteHoldings;
use crate::ledger::SqliteLedger;
use crate::library::SqliteLibrary;
use crate::lock::DaemonLock;
use crate::metrics::ObjectCounts;
use crate::ownership;
use crate::peers::SqlitePeers;
use crate::rebuild::{self, Rebuilt};
use crate::reserve::{OnFullDisk, Reserve};
use crate::scrub::{self, DamagedObject, Scrub, ScrubRound};
use crate::signature_files;
use crate::staging::{self, Staging, Swept};
use crate::workbench::FsWorkbench;
use tesseras_disk::{Disk, OsDisk, create_directories, create_directories_durably};

/// Everything that a data directory stores. Clones share one set of connections.
#[derive(Debug, Clone)]
pub struct Store {
    data_dir: PathBuf,
    database: Arc<Database>,
    cas: Arc<Cas>,
}

impl Store {
    /// Opens a data directory, creating it (accessible only to its owner) or migrating it if
    /// needed. Write permission of other users is removed. [`StoreError::NotOwned`] if it belongs
    /// to another user, [`StoreError::Shared`] if users share it, [`StoreError::IndexMissing`] if
    /// there are stored files and no database; [`StoreError::Full`] on a full disk.
    pub fn open(data_dir: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        Self::open_stored(data_dir, config, Arc::new(OsDisk), OnFullDisk::Fail)
    }

    /// Like [`Store::open`], for what frees space: on a full disk it uses some of the space that is
    /// reserved for that.
    pub fn open_to_free_space(data_dir: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        Self::open_on_disk(data_dir, config, Arc::new(OsDisk))
    }

    /// Like [`Store::open_to_free_space`], on a given disk: for a node, which serves what it holds
    /// also on a full disk, and for tests in which disks fail.
    pub fn open_on_disk(
        data_dir: &Path,
        config: &StorageConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        Self::open_stored(data_dir, config, disk, OnFullDisk::UseReserve)
    }

    fn open_stored(
        data_dir: &Path,
        config: &StorageConfig,
        disk: Arc<dyn Disk>,
        on_full_disk: OnFullDisk,
    ) -> Result<Self, StoreError> {
        let may_begin = || match has_stored_files(data_dir)? {
            true => Err(StoreError::IndexMissing {
                path: database_path(data_dir).display().to_string(),
            }),
            false => Ok(()),
        };
        let store = Self::open_or_begin(data_dir, config, disk, on_full_disk, &may_begin)?;
        database::check_finished(&database_path(data_dir))?;
        Ok(store)
    }

    /// [`StoreError::NewerFormat`] if a newer version of the software wrote this data directory.
    /// Opens nothing else, and says nothing about one that is missing or damaged.
    pub fn check_format(data_dir: &Path) -> Result<(), StoreError> {
        database::check_format(&database_path(data_dir))
    }

    /// Opens a data directory for reading, and writes nothing to it. Its files are read as they
    /// are: a database of an older format is migrated in a temporary copy. Every write is refused
    /// with [`StoreError::ReadOnly`].
    pub fn open_read_only(data_dir: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let path = database_path(data_dir);
        let database = Arc::new(database::open_read_only(&path, config)?);
        database::check_finished(&path)?;
        let reserve = Reserve::read_only(data_dir.join("db/reserve"), Arc::clone(&disk));
        let cas = Cas::open_read_only(data_dir.join("cas"), reserve, Arc::clone(&database), disk);
        Ok(Self { data_dir: data_dir.to_owned(), database, cas: Arc::new(cas) })
    }

    /// Opens a data directory for commands that only read: as [`Store::open`] does where it is the
    /// user's own, can be written, and has room, else as [`Store::open_read_only`].
    pub fn open_to_read(data_dir: &Path, config: &StorageConfig) -> Result<Self, StoreError> {
        if !ownership::is_own(data_dir) || !can_be_written(data_dir) {
            return Self::open_read_only(data_dir, config);
        }
        match Self::open(data_dir, config) {
            Err(full @ StoreError::Full { .. }) => match Self::open_read_only(data_dir, config) {
                // There is nothing yet, and no room to begin.
                Err(StoreError::IndexMissing { .. }) => Err(full),
                outcome => outcome,
            },
            outcome => outcome,
        }
    }

    /// Lists the stored capsules again that no database lists, from the files beside it. A damaged
    /// database is renamed to a name that ends with `label`, and a new one replaces it; an intact
    /// one is kept, and only added to. What a missing one may have referred to is no garbage until
    /// [`Store::give_up_missing_index`]. [`StoreError::Locked`] while another process has the directory
    /// open: it would continue to write to the renamed database. If it is interrupted, the directory
    /// does not open until it is done again.
    pub fn rebuild_library(
        data_dir: &Path,
        config: &StorageConfig,
        label: &str,
    ) -> Result<Rebuilt, StoreError> {
        Self::rebuild_library_on_disk(data_dir, config, label, Arc::new(OsDisk))
    }

    /// [`Store::rebuild_library`] on a given disk: for tests in which disks fail.
    pub fn rebuild_library_on_disk(
        data_dir: &Path,
        config: &StorageConfig,
        label: &str,
        disk: Arc<dyn Disk>,
    ) -> Result<Rebuilt, StoreError> {
        ownership::keep_to_owner(data_dir)?;
        let _no_daemon_begins = DaemonLock::acquire(data_dir)?;
        let unused = || match staging::is_in_use(&data_dir.join("tmp"))? {
            true => Err(StoreError::Locked {
                what: format!("the data directory {}", data_dir.display()),
            }),
            false => Ok(()),
        };
        create_all(&*disk, &data_dir.join("db"))?;
        let path = database_path(data_dir);
        let stored = has_stored_files(data_dir)?;
        let set_aside = |known_damaged| {
            let (disk, unused) = (&*disk, &unused);
            let path = &path;
            set_aside_unless_sound(path, config, disk, label, stored, known_damaged, unused)
        };
        let list = || {
            let (on, fail) = (Arc::clone(&disk), OnFullDisk::Fail);
            let store = Self::open_or_begin(data_dir, config, on, fail, &|| Ok(()))?;
            rebuild::rebuild(&store.cas, &store.library())
        };
        let mut aside = set_aside(false)?;
        let mut rebuilt = match list() {
            // Damage that shows only when a row is used.
            Err(error) if aside.is_none() && may_be_damage(&error) => {
                tracing::warn!(%error, "the index is damaged, and is set aside");
                aside = set_aside(true)?;
                list()?
            }
            listed => listed?,
        };
        rebuilt.set_aside = aside;
        database::forget_unfinished(&path, &*disk)?;
        Ok(rebuilt)
    }

    fn open_or_begin(
        data_dir: &Path,
        config: &StorageConfig,
        disk: Arc<dyn Disk>,
        on_full_disk: OnFullDisk,
        may_begin: &dyn Fn() -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let (db, cas, tmp) = (data_dir.join("db"), data_dir.join("cas"), data_dir.join("tmp"));
        ownership::keep_to_owner(data_dir)?;
        create_directories_durably(&*disk, data_dir)
            .map_err(|e| io_error("creating", data_dir, e))?;
        for directory in [&db, &cas, &tmp, &data_dir.join(signature_files::DIRECTORY)] {
            create_all(&*disk, directory)?;
        }
        disk.sync_directory(data_dir).map_err(|e| io_error("syncing", data_dir, e))?;
        let reserve = Reserve::new(db.join("reserve"), Arc::clone(&disk));
        let path = database_path(data_dir);
        let database = Arc::new(reserve.opening(on_full_disk, || {
            database::open_database(&path, config, Arc::clone(&disk), may_begin)
        })?);
        let staging = Arc::new(
            reserve.opening(on_full_disk, || Staging::open(tmp.clone(), Arc::clone(&disk)))?,
        );
        let cas = Arc::new(Cas::open(cas, staging, reserve, Arc::clone(&database), disk)?);
        let store = Self { data_dir: data_dir.to_owned(), database, cas };
        store.finish_interrupted()?;
        Ok(store)
    }

    /// Continues what was interrupted. What cannot be done now stays due and is no reason to refuse
    /// the store: it can be used, and space can be freed. An index that is damaged is one.
    fn finish_interrupted(&self) -> Result<(), StoreError> {
        let library = self.library();
        for outcome in [
            self.cas.finish_removals().map(|left| left.warn()),
            library.finish_removals().map(|left| left.warn()),
            library.write_due_signature_files(),
        ] {
            match outcome {
                Err(damaged @ StoreError::IndexDamaged { .. }) => return Err(damaged),
                Err(error) => tracing::warn!(%error, "what was interrupted is not finished yet"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Content-addressed bytes.
    pub fn blobs(&self) -> Arc<Cas> {
        Arc::clone(&self.cas)
    }

    /// One's own capsules.
    pub fn library(&self) -> Arc<SqliteLibrary> {
        let files = self.data_dir.join(signature_files::DIRECTORY);
        Arc::new(SqliteLibrary::new(Arc::clone(&self.cas), files))
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

    /// Makes this process the directory's one `tesd`; [`StoreError::Locked`] if there is one.
    pub fn lock_daemon(&self) -> Result<DaemonLock, StoreError> {
        DaemonLock::acquire(&self.data_dir)
    }

    /// Verifies the log of the database if it could not be synced, here or in a process that has
    /// ended. Whoever has the directory open for long calls this now and then: nobody else can open it
    /// until the log is verified, not even to free space, and nobody else can verify it. So on a full
    /// disk it uses some of the reserved space.
    pub fn look_after_log(&self) -> Result<(), StoreError> {
        if self.cas.with_reserve(|| self.database.look_after_log())? {
            self.cas.restore_reserve();
        }
        Ok(())
    }

    /// [`StoreError::IndexGone`] if the database was removed or replaced while it is open here. Then
    /// nothing is stored or removed any more, and nothing acknowledged.
    pub fn check_index_in_place(&self) -> Result<(), StoreError> {
        self.database.check_in_place()
    }

    /// Removes what processes that are gone left in `tmp/`; what any living process is writing
    /// stays.
    pub fn sweep_tmp(&self) -> Result<Swept, StoreError> {
        self.cas.sweep()
    }

    /// What is stored now, and what happened to it since this was opened.
    pub fn object_counts(&self) -> Result<ObjectCounts, StoreError> {
        self.cas.counts()
    }

    /// Removes what nothing refers to: files among the objects that were last changed before
    /// `before`, rows without a reference, what processes that are gone left in `tmp/`. What others
    /// are writing stays.
    pub fn collect_garbage(&self, before: Timestamp) -> Result<Garbage, StoreError> {
        let lost = database::lost_index(&database_path(&self.data_dir))?;
        gc::collect(&self.cas, &self.library(), before, lost)
    }

    /// Gives up an index that was missing when the library was listed again: what only that one
    /// referred to is garbage from now on. Not while a damaged one is set aside, which keeps it all.
    pub fn give_up_missing_index(&self) -> Result<(), StoreError> {
        if database::lost_index(&database_path(&self.data_dir))? == Some(LostIndex::SetAside) {
            return Ok(());
        }
        database::give_up_missing(&database_path(&self.data_dir), self.cas.files().disk())
    }

    /// Whether something of a tessera is stored that is not listed, was not dropped, and may be listed
    /// again.
    pub fn is_unlisted(&self, tessera: &TesseraHash) -> Result<bool, StoreError> {
        let library = self.library();
        Ok(library.unlisted()?.contains(tessera) && !library.is_kept_out(tessera)?)
    }

    /// A walk that re-reads every stored object after this one, in the order of the hashes, and records
    /// which are damaged.
    pub fn scrub(&self, after: Option<ContentHash>) -> Scrub {
        Scrub::new(Arc::clone(&self.cas), after)
    }

    /// How far the scrub of the background was when it was saved last.
    pub fn scrub_round(&self) -> Result<Option<ScrubRound>, StoreError> {
        scrub::round(&self.cas)
    }

    /// Saves how far the scrub of the background is. Not synced before the call returns.
    pub fn save_scrub_round(&self, round: &ScrubRound) -> Result<(), StoreError> {
        scrub::save_round(&self.cas, round)
    }

    /// How many stored objects are known to be damaged.
    pub fn count_damaged_objects(&self) -> Result<u64, StoreError> {
        scrub::count_damaged(&self.cas)
    }

    /// Up to `limit` of them, after `after`, in the order of their hashes.
    pub fn damaged_objects(
        &self,
        after: Option<&ContentHash>,
        limit: u64,
    ) -> Result<Vec<DamagedObject>, StoreError> {
        scrub::damaged_after(&self.cas, after, limit)
    }

    /// Reads every byte of every object and compares the index with what is there. Sees a store
    /// that others write to at various moments: certain only while nobody does.
    pub fn check(&self) -> Result<StoreCheck, StoreError> {
        check::check(&self.cas, &self.library())
    }
}

fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("db/tesseras.db")
}

/// Whether anything is stored that a database would name.
fn has_stored_files(data_dir: &Path) -> Result<bool, StoreError> {
    if !signature_files::all(&data_dir.join(signature_files::DIRECTORY))?.is_empty() {
        return Ok(true);
    }
    let cas = data_dir.join("cas");
    let entries = |path: &Path| match std::fs::read_dir(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        entries => entries.and_then(Iterator::collect).map_err(|e| io_error("reading", path, e)),
    };
    for shard in entries(&cas)? {
        let stored = |file: &std::fs::DirEntry| {
            file.path().extension().is_some_and(|extension| extension == "blob")
        };
        if entries(&shard.path())?.iter().any(stored) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether everything that opening writes to can be written, as far as it is there. A directory
/// that is not there yet is made, or its error is shown.
fn can_be_written(data_dir: &Path) -> bool {
    let below = ["", "db", "db/tesseras.db", "cas", "tmp", signature_files::DIRECTORY];
    below.iter().map(|name| data_dir.join(name)).all(|path| {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        match accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => true,
            Err(errno) => errno == rustix::io::Errno::NOENT,
        }
    })
}

fn create_all(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    create_directories(disk, path).map_err(|e| io_error("creating", path, e))
}
