//! The creator's secret keys: `identity/` in the data directory, 0700, its files 0600.
//!
//! Two PKCS#8 files and, written last, `creator.txt` with the name: only when it is there is the
//! identity complete, and from then on nothing here changes it. A crash before that leaves at most
//! one key that never signed anything; the next `init` goes on from it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tesseras_core::path::check_line;
use tesseras_crypto::{CreatorKeys, KeyError};

use crate::command_error::CommandError;
use crate::context::make_private;

const DIRECTORY: &str = "identity";
const ED25519: &str = "creator.ed25519.pem";
const ML_DSA_65: &str = "creator.ml-dsa-65.pem";
const COMPLETE: &str = "creator.txt";
const LOCK: &str = "creator.lock";
const NAME_FIELD: &str = "name: ";

/// A person's keys and name.
#[derive(Debug)]
pub struct Identity {
    /// The secret keys.
    pub keys: CreatorKeys,
    /// What the person is called in new tesserae; may be empty.
    pub name: String,
}

/// Reads the identity of a data directory; an error that names `tes init` if there is none.
pub fn load(data_dir: &Path) -> Result<Identity, CommandError> {
    find(data_dir)?.ok_or_else(|| {
        CommandError::new(format!("there is no creator in {}", data_dir.display()))
            .with_hint("make one with `tes init --name NAME`")
    })
}

/// What the creator of a data directory is called, if there is one, and it has a name.
pub fn name(data_dir: &Path) -> Result<Option<String>, CommandError> {
    let identity = find(data_dir)?;
    Ok(identity.map(|identity| identity.name).filter(|name| !name.is_empty()))
}

/// Makes an identity unless there is one; `true` if it was made now.
pub fn init(data_dir: &Path, name: Option<&str>) -> Result<(Identity, bool), CommandError> {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        check_line(name)
            .map_err(|why| CommandError::new(format!("{name:?} cannot be a name: {why}")))?;
    }
    make_private(data_dir)?;
    let directory = data_dir.join(DIRECTORY);
    make_private(&directory)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o700))
        .map_err(|error| CommandError::io("protect", &directory, &error))?;
    // Held until the end, so that of two at once one makes the keys and the other finds them.
    let lock = directory.join(LOCK);
    let held = private(&lock, OpenOptions::new().create(true))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| CommandError::io("lock", &lock, &error))?;
    if let Some(identity) = find(data_dir)? {
        return Ok((identity, false));
    }
    let fresh = CreatorKeys::generate().map_err(|error| unusable(&directory, &error))?;
    keep(&directory, ED25519, fresh.ed25519_pem().as_bytes())?;
    keep(&directory, ML_DSA_65, fresh.ml_dsa_65_pem().as_bytes())?;
    let name = name.unwrap_or_default();
    keep(&directory, COMPLETE, format!("{NAME_FIELD}{name}\n").as_bytes())?;
    sync_directory(data_dir)?;
    drop(held);
    Ok((load(data_dir)?, true))
}

/// Reads the identity of a data directory, if there is one.
pub fn find(data_dir: &Path) -> Result<Option<Identity>, CommandError> {
    let directory = data_dir.join(DIRECTORY);
    let complete = directory.join(COMPLETE);
    let Some(text) = read(&complete)? else { return Ok(None) };
    let name = text.strip_prefix(NAME_FIELD).and_then(|rest| rest.strip_suffix('\n'));
    let name = name.unwrap_or_default().to_owned();
    let key = |file: &str| {
        let path = directory.join(file);
        read(&path)?.ok_or_else(|| {
            CommandError::new(format!("the creator's key {} is gone", path.display()))
                .with_hint("restore it from a backup; nothing else can replace it")
        })
    };
    let keys = CreatorKeys::from_pem(&key(ED25519)?, &key(ML_DSA_65)?)
        .map_err(|error| unusable(&directory, &error))?;
    Ok(Some(Identity { keys, name }))
}

fn unusable(directory: &Path, error: &KeyError) -> CommandError {
    CommandError::new(format!("the creator's keys in {}: {error}", directory.display()))
        .with_hint("restore them from a backup; nothing else can replace them")
}

fn read(path: &Path) -> Result<Option<String>, CommandError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::io("read", path, &error)),
    }
}

/// Writes a file that is complete or not there at all, and never one that is there already. The
/// caller holds the lock.
fn keep(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
    let path = directory.join(name);
    if path.exists() {
        return Ok(());
    }
    let new = directory.join(format!("{name}.new"));
    let written = private(&new, OpenOptions::new().create(true).truncate(true))
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(CommandError::io("write", &path, &error));
    }
    sync_directory(directory)
}

fn private(path: &PathBuf, options: &mut OpenOptions) -> io::Result<File> {
    options.write(true).mode(0o600).open(path)
}

fn sync_directory(path: &Path) -> Result<(), CommandError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| CommandError::io("sync", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_by_however_many() {
        let dir = tempfile::tempdir().expect("a directory");
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| init(dir.path(), Some("Ana")).expect("made")))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(made.iter().filter(|(_, new)| *new).count(), 1);
        let id = made[0].0.keys.public().id();
        assert!(made.iter().all(|(identity, _)| identity.keys.public().id() == id));
        assert_eq!(load(dir.path()).expect("kept").name, "Ana");
        for entry in fs::read_dir(dir.path().join(DIRECTORY)).expect("listed") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        }
    }

    #[test]
    fn an_init_that_was_cut_off_is_completed_and_a_lost_key_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        init(dir.path(), None).expect("made");
        let identity = dir.path().join(DIRECTORY);
        let first = fs::read(identity.join(ED25519)).expect("kept");
        fs::remove_file(identity.join(ML_DSA_65)).expect("removed");
        let error = init(dir.path(), None).expect_err("a key is gone");
        assert!(error.message().contains("is gone"), "{}", error.message());
        fs::remove_file(identity.join(COMPLETE)).expect("removed");
        let (_, made) = init(dir.path(), None).expect("completed");
        assert!(made);
        assert_eq!(fs::read(identity.join(ED25519)).expect("kept"), first);
    }

    #[test]
    fn a_name_is_one_line() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(init(dir.path(), Some("Ana\nname: Rui")).is_err());
        assert!(!dir.path().join(DIRECTORY).exists());
    }
}
