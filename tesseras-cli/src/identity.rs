//! The creator's secret keys: `identity/` in the data directory, 0700, its files 0600.
//!
//! Two PKCS#8 files and, written last, `creator.txt` with the name: only when it is there is the
//! identity complete, and from then on nothing here changes the keys. A crash before that leaves at
//! most one key that never signed anything; the next `init` goes on from it. The name may be
//! changed, for what is made from then on.
//!
//! Keys are only read and written where no other user could have put them.

pub mod backup;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tesseras_core::path::check_line;
use tesseras_core::ports::StoreError;
use tesseras_crypto::{CreatorKeys, KeyError};
use tesseras_disk::OsDisk;
use tesseras_storage::{check_owner, keep_secret, keep_to_owner};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::make_private;

/// The folder of the data directory.
pub const DIRECTORY: &str = "identity";
const ED25519: &str = "creator.ed25519.pem";
const ML_DSA_65: &str = "creator.ml-dsa-65.pem";
const COMPLETE: &str = "creator.txt";
const LOCK: &str = "creator.lock";
const NAME_FIELD: &str = "name: ";
const RESTORE: &str =
    "bring the keys back with `tes identity restore FILE`; nothing else can replace them";

/// A person's keys and name.
#[derive(Debug)]
pub struct Identity {
    /// The secret keys.
    pub keys: CreatorKeys,
    /// What the person is called in new tesserae. Empty only where it was made by a version that
    /// asked for none.
    pub name: String,
}

/// Reads the identity of a data directory; an error that names `tes init` if there is none.
pub fn load(data_dir: &Path) -> Result<Identity, CommandError> {
    find(data_dir)?.ok_or_else(|| {
        CommandError::new(format!("there is no creator in {}", data_dir.display()))
            .with_code(Code::NO_IDENTITY)
            .with_hint("make one with `tes init --name NAME`")
    })
}

/// What the creator of a data directory is called, if there is one, and it has a name.
pub fn name(data_dir: &Path) -> Result<Option<String>, CommandError> {
    let identity = find(data_dir)?;
    Ok(identity.map(|identity| identity.name).filter(|name| !name.is_empty()))
}

/// Makes an identity unless there is one; `true` if it was made now. Of an identity that is here
/// already, the name is not looked at.
pub fn init(data_dir: &Path, name: &str) -> Result<(Identity, bool), CommandError> {
    if let Some(identity) = find(data_dir)? {
        return Ok((identity, false));
    }
    check_name(name)?;
    let (directory, held) = locked(data_dir)?;
    if let Some(identity) = find(data_dir)? {
        return Ok((identity, false));
    }
    let keys = CreatorKeys::generate().map_err(|error| unusable(&directory, &error))?;
    complete(data_dir, &directory, &Identity { keys, name: name.to_owned() })?;
    drop(held);
    Ok((load(data_dir)?, true))
}

/// Changes what the creator is called in tesserae that are made from now on.
pub fn rename(data_dir: &Path, name: &str) -> Result<Identity, CommandError> {
    check_name(name)?;
    load(data_dir)?;
    let (directory, held) = locked(data_dir)?;
    replace(&directory, COMPLETE, name_line(name).as_bytes())?;
    drop(held);
    load(data_dir)
}

/// Puts the identity of a backup in place; `false` if it is here already, whose name then stays.
/// Missing keys of the same identity are put back. Nothing that is here is written over: it is an
/// error if another identity is.
pub fn restore(data_dir: &Path, backup: &Identity) -> Result<bool, CommandError> {
    let (directory, held) = locked(data_dir)?;
    let another = || {
        CommandError::new(format!("there is another identity in {}", directory.display()))
            .with_hint(
                "nothing was changed; move its files creator.* away, or restore to another place \
                 with --data-dir",
            )
    };
    // Keys that are gone or damaged are no reason to refuse: a backup is for that.
    if let Ok(Some(here)) = find(data_dir) {
        let same = here.keys.public().id() == backup.keys.public().id();
        return if same { Ok(false) } else { Err(another()) };
    }
    for (file, pem) in
        [(ED25519, backup.keys.ed25519_pem()), (ML_DSA_65, backup.keys.ml_dsa_65_pem())]
    {
        let here = read(&directory.join(file))?;
        if here.is_some_and(|here| here.trim() != pem.trim()) {
            return Err(another());
        }
    }
    complete(data_dir, &directory, backup)?;
    drop(held);
    load(data_dir)?;
    Ok(true)
}

/// Refuses what cannot be a creator's name.
pub fn check_name(name: &str) -> Result<(), CommandError> {
    if name.is_empty() {
        return Err(CommandError::usage("a name cannot be empty"));
    }
    check_line(name).map_err(|why| CommandError::new(format!("{name:?} cannot be a name: {why}")))
}

/// Makes the directory of the identity if it is not there. The lock is held until the file is
/// dropped, so that of two at once one makes the keys and the other finds them.
fn locked(data_dir: &Path) -> Result<(PathBuf, File), CommandError> {
    let directory = guarded(data_dir)?;
    make_private(&OsDisk, data_dir)?;
    make_private(&OsDisk, &directory)?;
    fs::set_permissions(&directory, Permissions::from_mode(0o700))
        .map_err(|error| refused("protect", &directory, &error))?;
    let lock = directory.join(LOCK);
    let held = private(&lock, OpenOptions::new().create(true))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| refused("lock", &lock, &error))?;
    Ok((directory, held))
}

/// The directory of the identity. It and the data directory, if they are there, belong to this user,
/// and nobody else can write to them.
fn guarded(data_dir: &Path) -> Result<PathBuf, CommandError> {
    let directory = data_dir.join(DIRECTORY);
    keep_to_owner(data_dir)?;
    keep_to_owner(&directory)?;
    keep_secret(&directory)?;
    Ok(directory)
}

/// An action on a path that the system refused, with the store's words for a read-only disk.
fn refused(action: &str, path: &Path, error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { what: format!("cannot {action} {}", path.display()) }.into()
        }
        _ => CommandError::io(action, path, error),
    }
}

/// Writes what is missing of an identity, the name last.
fn complete(data_dir: &Path, directory: &Path, identity: &Identity) -> Result<(), CommandError> {
    keep(directory, ED25519, identity.keys.ed25519_pem().as_bytes())?;
    keep(directory, ML_DSA_65, identity.keys.ml_dsa_65_pem().as_bytes())?;
    keep(directory, COMPLETE, name_line(&identity.name).as_bytes())?;
    sync_directory(data_dir)
}

fn name_line(name: &str) -> String {
    format!("{NAME_FIELD}{name}\n")
}

/// The identity of a data directory, if there is one. An error if another user could have put it
/// there.
pub fn find(data_dir: &Path) -> Result<Option<Identity>, CommandError> {
    let directory = guarded(data_dir)?;
    let complete = directory.join(COMPLETE);
    let Some(text) = read(&complete)? else { return Ok(None) };
    let name = text.strip_prefix(NAME_FIELD).and_then(|rest| rest.strip_suffix('\n'));
    let name = name.unwrap_or_default().to_owned();
    let key = |file: &str| {
        let path = directory.join(file);
        read(&path)?.ok_or_else(|| {
            CommandError::new(format!("the creator's key {} is gone", path.display()))
                .with_hint(RESTORE)
        })
    };
    let keys = CreatorKeys::from_pem(&key(ED25519)?, &key(ML_DSA_65)?)
        .map_err(|error| unusable(&directory, &error))?;
    Ok(Some(Identity { keys, name }))
}

fn unusable(directory: &Path, error: &KeyError) -> CommandError {
    CommandError::new(format!("the creator's keys in {}: {error}", directory.display()))
        .with_hint(RESTORE)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, CommandError> {
    let failed = |error| CommandError::io("read", path, &error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    check_owner(path, &file.metadata().map_err(failed)?)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Writes a file unless there is one. The caller holds the lock.
fn keep(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
    if directory.join(name).exists() { Ok(()) } else { replace(directory, name, bytes) }
}

/// Writes a file that is complete or as it was before. The caller holds the lock.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), CommandError> {
    let path = directory.join(name);
    let new = directory.join(format!("{name}.new"));
    // What a crash left, or another user once put there, must not get the bytes.
    let _ = fs::remove_file(&new);
    let written = private(&new, OpenOptions::new().create_new(true))
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(refused("write", &path, &error));
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
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| init(dir.path(), "Ana").expect("made"))).collect();
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
        init(dir.path(), "Ana").expect("made");
        let identity = dir.path().join(DIRECTORY);
        let first = fs::read(identity.join(ED25519)).expect("kept");
        fs::remove_file(identity.join(ML_DSA_65)).expect("removed");
        let error = init(dir.path(), "Ana").expect_err("a key is gone");
        assert!(error.message().contains("is gone"), "{}", error.message());
        fs::remove_file(identity.join(COMPLETE)).expect("removed");
        let (_, made) = init(dir.path(), "Ana").expect("completed");
        assert!(made);
        assert_eq!(fs::read(identity.join(ED25519)).expect("kept"), first);
    }

    #[test]
    fn a_name_is_one_line_and_not_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        for bad in ["", "Ana\nname: Rui"] {
            assert!(init(dir.path(), bad).is_err(), "{bad:?}");
            assert!(!dir.path().join(DIRECTORY).exists());
        }
        init(dir.path(), "Ana").expect("made");
        for bad in ["", "Ana\nname: Rui"] {
            assert!(rename(dir.path(), bad).is_err(), "{bad:?}");
            assert!(!init(dir.path(), bad).expect("there is one").1);
        }
        assert_eq!(load(dir.path()).expect("kept").name, "Ana");
    }

    #[test]
    fn a_backup_puts_back_whatever_is_missing_and_writes_over_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mine, _) = init(dir.path(), "Ana").expect("made");
        let id = mine.keys.public().id();
        let identity = dir.path().join(DIRECTORY);
        for missing in [&[ED25519][..], &[ML_DSA_65], &[COMPLETE], &[ED25519, ML_DSA_65, COMPLETE]]
        {
            for file in missing {
                fs::remove_file(identity.join(file)).expect("removed");
            }
            assert!(restore(dir.path(), &mine).expect("restored"), "{missing:?}");
            let here = load(dir.path()).expect("whole again");
            assert_eq!((here.keys.public().id(), here.name.as_str()), (id, "Ana"));
        }
        rename(dir.path(), "Rosa").expect("renamed");
        assert!(!restore(dir.path(), &mine).expect("it is here"));
        assert_eq!(load(dir.path()).expect("kept").name, "Rosa");

        let keys = CreatorKeys::generate().expect("randomness");
        let other = Identity { keys, name: "Rui".to_owned() };
        let files =
            || [ED25519, ML_DSA_65, COMPLETE].map(|file| fs::read(identity.join(file)).ok());
        // Whole, without its last file, with one key only, and with a key that cannot be read.
        for damage in 0..4 {
            match damage {
                1 => fs::remove_file(identity.join(COMPLETE)).expect("removed"),
                2 => fs::remove_file(identity.join(ML_DSA_65)).expect("removed"),
                3 => fs::write(identity.join(ED25519), "").expect("written"),
                _ => {}
            }
            let before = files();
            let error = restore(dir.path(), &other).expect_err("another one is here");
            assert!(error.message().contains("another identity"), "{}", error.message());
            assert_eq!(files(), before);
        }
    }
}
