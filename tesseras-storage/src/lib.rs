//! SQLite and content-addressed files: the core's ports on a real disk.
//!
//! [`Store`] opens a data directory and provides the ports. Below it, [`database`] is the only
//! module that opens SQLite, and [`cas`] keeps bytes in files and counts references to them. [`cache`]
//! is a fragment store around another one. All changes go through a `Disk` (`tesseras-disk`). Every
//! call may block: async code calls it on blocking threads.

pub mod cache;
pub mod cas;
pub mod data_dir;
pub mod database;
pub mod fragment;
pub mod metrics;

mod agreement;
mod blocked;
mod check;
mod columns;
mod error;
mod expected_row;
mod free_space;
mod gc;
mod holders;
mod holdings;
mod ledger;
mod library;
mod lock;
mod manifests;
mod mend;
mod needed;
mod not_removed;
mod ownership;
mod parallel;
mod peers;
mod rebuild;
mod regular;
mod reserve;
mod scrub;
mod signature_files;
mod staging;
mod store;
mod unsynced;
mod wal;
mod workbench;

pub use agreement::{Disagreement, MAX_DISAGREEMENTS};
pub use cache::CachedFragmentStore;
pub use cas::Cas;
pub use check::StoreCheck;
pub use database::{
    FORMAT as STORAGE_FORMAT, LostIndex, StorageConfig, open_database, open_in_memory,
};
pub use fragment::FsFragmentStore;
pub use gc::Garbage;
pub use holdings::SqliteHoldings;
pub use ledger::SqliteLedger;
pub use library::SqliteLibrary;
pub use lock::DaemonLock;
pub use metrics::{ObjectCounts, StorageMetrics};
pub use not_removed::NotRemoved;
pub use ownership::{check_owner, keep_secret, keep_to_owner};
pub use peers::SqlitePeers;
pub use rebuild::{Incomplete, Rebuilt};
pub use scrub::{DamagedObject, ObjectUse, Scrub, ScrubRound, Scrubbed};
pub use staging::{Swept, discard_staged};
pub use store::Store;
pub use workbench::FsWorkbench;
