//! What every command needs: the data directory, its store, the output, and the clock.

use std::io;
use std::path::{Path, PathBuf};

use tesseras_core::time::{Clock, Timestamp};
use tesseras_disk::{Disk, OsDisk, create_directories_durably};
use tesseras_node::clock;
use tesseras_storage::{StorageConfig, Store, data_dir};

use crate::code::Code;
use crate::command_error::CommandError;
use crate::output::Output;

/// The environment of one command.
#[derive(Debug)]
pub struct Context {
    /// The data directory, with keys, library and node; an absolute path.
    pub data_dir: PathBuf,
    /// Where results and messages go.
    pub output: Output,
    clock: Clock,
}

impl Context {
    /// The environment given by the global flags and the environment variables. Does not access the
    /// disk.
    pub fn new(data_dir: Option<PathBuf>, output: Output) -> Result<Self, CommandError> {
        let named = data_dir.or_else(data_dir::of_environment);
        let data_dir = named.or_else(data_dir::of_platform).ok_or_else(|| {
            CommandError::new("this user has no home directory")
                .with_hint("say where to keep things with --data-dir DIR")
        })?;
        let data_dir = std::path::absolute(&data_dir)
            .map_err(|error| CommandError::io("find", &data_dir, &error))?;
        Ok(Self { data_dir, output, clock: clock::system() })
    }

    /// Opens the store of the data directory; creates both if they do not exist.
    pub fn store_or_new(&self) -> Result<Store, CommandError> {
        make_private(&OsDisk, &self.data_dir)?;
        Ok(Store::open(&self.data_dir, &StorageConfig::default())?)
    }

    /// Opens the store of the data directory, for a command that has nothing to do in a new one.
    pub fn store(&self) -> Result<Store, CommandError> {
        self.check_data_dir()?;
        Ok(Store::open(&self.data_dir, &StorageConfig::default())?)
    }

    /// As [`Self::store`], for a command that frees space: it may use the space that is reserved for
    /// that.
    pub fn store_to_free_space(&self) -> Result<Store, CommandError> {
        self.check_data_dir()?;
        Ok(Store::open_to_free_space(&self.data_dir, &StorageConfig::default())?)
    }

    /// As [`Self::store`], for a command that only reads, also on a disk that is full or
    /// read-only.
    pub fn store_to_read(&self) -> Result<Store, CommandError> {
        self.check_data_dir()?;
        Ok(Store::open_to_read(&self.data_dir, &StorageConfig::default())?)
    }

    /// Fails if there is no data directory, or a directory of something else: its name may be
    /// mistyped, and nothing is created there.
    pub fn check_data_dir(&self) -> Result<(), CommandError> {
        let path = self.data_dir.display();
        let wrong = match data_dir::is_data_dir(&self.data_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("there is no data directory {path}")
            }
            Ok(false) => format!("{path} is not a data directory"),
            // Opening it gives the reason.
            Ok(true) | Err(_) => return Ok(()),
        };
        Err(CommandError::new(wrong).with_code(Code::NO_DATA_DIR).with_hint(
            "name another one with --data-dir DIR, or begin a new one there with `tes init` or \
             `tesd`",
        ))
    }

    /// Fails if a newer version of the software wrote the data directory.
    pub fn check_format(&self) -> Result<(), CommandError> {
        Ok(Store::check_format(&self.data_dir)?)
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Creates a directory and its parents with mode 0700, unless it exists. When it returns, their names
/// survive a power cut, and so does what is then stored in it.
pub fn make_private(disk: &dyn Disk, path: &Path) -> Result<(), CommandError> {
    create_directories_durably(disk, path)
        .map_err(|error| CommandError::io("make the directory", path, &error))
}

#[cfg(test)]
mod tests {
    use tesseras_power_cut::{Fault, Surviving, Volume, record};

    use super::*;

    #[test]
    fn the_directories_above_a_new_data_directory_survive_a_power_cut() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = record(root.path(), Fault::Never).expect("recorded");
        let data_dir = ".local/share/tesseras";
        make_private(&*disk, &root.path().join(data_dir)).expect("made");
        make_private(&*disk, &root.path().join(data_dir).join("identity")).expect("made");
        let mut volume = Volume::default();
        disk.steps().iter().for_each(|step| volume.apply(step));
        let after = tempfile::tempdir().expect("a directory");
        volume.image(Surviving::Nothing).write_to(after.path()).expect("written");
        assert!(after.path().join(data_dir).join("identity").is_dir());
    }
}
