//! The free space of a file system, and how much of it new files would take.

use thiserror::Error;

use crate::words::{count, size};

/// What a file takes besides its content: its name, its inode, and its rows in the database and in
/// the database's log. In bytes.
pub const PER_FILE_BYTES: u64 = 1024;

/// The free space of a file system. The default has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FreeSpace {
    /// Bytes that this process may still use.
    pub bytes: u64,
    /// The unit in which space is given to files, in bytes (`f_frsize` of `statvfs`). A file takes
    /// whole units.
    pub block_bytes: u64,
    /// How many more files can be created; `u64::MAX` if only the bytes limit it.
    pub files: u64,
}

/// Why files would not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoSpace {
    /// Too few bytes are free.
    #[error("{} of disk space is needed, and {} is available", size(*needed), size(*free))]
    Bytes {
        /// Bytes that the files would take.
        needed: u64,
        /// Bytes free beyond the reserve.
        free: u64,
    },
    /// The file system cannot hold so many more files, however small.
    #[error("{} have to be created, and the disk has room for {free} more", count(*needed, "file", "files"))]
    Files {
        /// How many files.
        needed: u64,
        /// How many more can be created.
        free: u64,
    },
}

impl FreeSpace {
    /// That of a store that is not limited by a disk.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, block_bytes: 1, files: u64::MAX };

    /// How many bytes of it a file of this length takes.
    fn taken_by(&self, length: u64) -> u64 {
        let block = self.block_bytes.max(1);
        length.div_ceil(block).saturating_mul(block).saturating_add(PER_FILE_BYTES)
    }

    /// How long one more file can be, so that `reserve` bytes stay free; 0 if none can be created.
    pub fn room(&self, reserve: u64) -> u64 {
        if self.files == 0 {
            return 0;
        }
        let free = self.bytes.saturating_sub(reserve).saturating_sub(PER_FILE_BYTES);
        free - free % self.block_bytes.max(1)
    }

    /// What is left once files of these lengths are written.
    pub fn after(mut self, lengths: impl IntoIterator<Item = u64>) -> Self {
        for length in lengths {
            self.bytes = self.bytes.saturating_sub(self.taken_by(length));
            self.files = self.files.saturating_sub(1);
        }
        self
    }

    /// Whether new files of these lengths fit, so that `reserve` bytes stay free.
    pub fn check(
        &self,
        lengths: impl IntoIterator<Item = u64>,
        reserve: u64,
    ) -> Result<(), NoSpace> {
        let (mut bytes, mut files) = (0_u64, 0_u64);
        for length in lengths {
            bytes = bytes.saturating_add(self.taken_by(length));
            files += 1;
        }
        let free = self.bytes.saturating_sub(reserve);
        if files > self.files {
            return Err(NoSpace::Files { needed: files, free: self.files });
        }
        if files > 0 && bytes > free {
            return Err(NoSpace::Bytes { needed: bytes, free });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: FreeSpace = FreeSpace { bytes: 100_000, block_bytes: 4096, files: 30 };

    #[test]
    fn a_file_takes_whole_blocks_and_something_for_itself() {
        assert_eq!(DISK.check([1; 19], 0), Ok(()));
        let needed = 20 * (4096 + PER_FILE_BYTES);
        assert_eq!(DISK.check([1; 20], 0), Err(NoSpace::Bytes { needed, free: 100_000 }));
        assert_eq!(DISK.check([4097; 9], 0), Ok(()));
        assert!(DISK.check([4097; 11], 0).is_err());
        assert_eq!(DISK.check([], 1 << 40), Ok(()), "nothing always fits");
    }

    #[test]
    fn the_room_that_is_left_is_what_fits() {
        for reserve in [0, 1, 50_000, 99_000, 200_000] {
            let room = DISK.room(reserve);
            assert_eq!(DISK.check([room], reserve).is_ok(), room > 0, "{reserve}");
            assert!(DISK.check([room + 1], reserve).is_err(), "{reserve}");
        }
        let left = DISK.after([1, 5000]);
        assert_eq!(left.bytes, 100_000 - 3 * 4096 - 2 * PER_FILE_BYTES);
        assert_eq!(left.files, 28);
        assert_eq!(FreeSpace { files: 0, ..FreeSpace::UNLIMITED }.room(0), 0);
        assert_eq!(DISK.after([u64::MAX]).room(0), 0);
    }

    #[test]
    fn the_reserve_stays_free() {
        assert_eq!(DISK.check([1], 100_000 - 4096 - PER_FILE_BYTES), Ok(()));
        assert!(DISK.check([1], 100_001 - 4096 - PER_FILE_BYTES).is_err());
    }

    #[test]
    fn a_file_system_may_run_out_of_files_first() {
        let small = FreeSpace { bytes: u64::MAX, ..DISK };
        assert_eq!(small.check([0; 30], 0), Ok(()));
        assert_eq!(small.check([0; 31], 0), Err(NoSpace::Files { needed: 31, free: 30 }));
        assert_eq!(FreeSpace::UNLIMITED.check([u64::MAX; 2], 0), Ok(()));
    }
}
