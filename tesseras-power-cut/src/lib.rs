//! For tests: what a disk may hold after a power cut.
//!
//! A [`RecordingDisk`] is a real directory of which every change is recorded as a [`Step`]: those
//! that go through the port [`Disk`](tesseras_disk::Disk), and those that SQLite makes by itself
//! below that directory (`vfs.rs`). It can also make any one of them fail.
//!
//! A [`Volume`] replays the steps, and knows after each what is certain to survive a power cut and
//! what is not. Its model is what POSIX promises, not what one file system does: bytes survive once
//! their file was synced, names once their directory was synced, each on its own; of what was not
//! synced any part may survive, in any order, a write in sectors of [`SECTOR_BYTES`]. Only a rename
//! is never half done. An [`Image`] is one of these possibilities, to be written into a directory
//! and opened.

use std::io;
use std::path::Path;
use std::sync::Arc;

mod fault;
mod image;
mod recorder;
mod step;
mod vfs;
mod volume;

pub use fault::Fault;
pub use image::Image;
pub use recorder::RecordingDisk;
pub use step::{FileId, Step, SyncedBy};
pub use volume::{SECTOR_BYTES, Surviving, Volume};

/// Records everything below `root`, an empty directory whose name is certain to survive, until the
/// disk is dropped. From the first call on, SQLite in this process uses a VFS that asks whether a
/// file is recorded.
pub fn record(root: &Path, fault: Fault) -> io::Result<Arc<RecordingDisk>> {
    let disk = RecordingDisk::new(root, fault)?;
    vfs::watch(&disk);
    Ok(disk)
}
