//! The boundary to the disk: the steps on which it depends that nothing stored is lost go through a
//! [`Disk`], so that a test can make each touch fail in turn, or be the last before a power cut.
//!
//! These are all changes of `cas/`, `library/` and `tmp/`, of the database as a file, the
//! directories above all of these, and the bytes, syncs and final names of an exported or restored
//! folder. Not through it go:
//!
//! - what SQLite writes, but for its commit and the sync of its log;
//! - keys: `tesseras-node/src/identity.rs`, `tesseras-cli/src/identity.rs` and its backup create, sync
//!   and rename them by themselves;
//! - the names in a folder that is exported or restored, before it has its own: they are created by
//!   descriptor, so that no link is followed (`tesseras-capsule/src/dirfd.rs`); and what removes such
//!   a folder, or what is staged, when it is given up;
//! - permissions, dates, lock files, sockets, temporary copies for reading, and what a demo or
//!   `tes man` writes: nothing depends on their survival.
//!
//! The system writes most bytes later. If it cannot, it notes that with the file, and tells each
//! descriptor that was open at the time, once. Once none is open it may forget it: a file that is
//! opened again then seems to be sound. So a file is synced through the descriptor that wrote it;
//! or its whole file system, through a descriptor that was opened before.

mod directories;
mod os_disk;
mod port;

pub use directories::{create_directories, create_directories_durably, parent_of};
pub use os_disk::OsDisk;
pub use port::Disk;
