//! The key of a node: created at the first start, in one file that only its user may read, and only
//! used if no other user could have placed it there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tesseras_core::ports::StoreError;
use tesseras_crypto::{KeyError, NodeKeys};
use tesseras_disk::{OsDisk, create_directories_durably};
use tesseras_storage::{check_owner, keep_secret, keep_to_owner};
use thiserror::Error;
use zeroize::Zeroizing;

/// The file in `identity/`: 32 bytes of secret seed, then 8 bytes of nonce.
pub const FILE: &str = "node.key";
const FILE_BYTES: usize = 40;

/// Why there is no node key.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation, as an infinitive.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another user could have placed it there.
    #[error(transparent)]
    Owner(StoreError),
    /// The file is not a node key.
    #[error("{} is not a node key: its length is {bytes} instead of {FILE_BYTES} bytes", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
    },
    /// The key has less proof of work than this network requires.
    #[error("the key in {} has {found} bits of proof of work; this network requires {needed}", path.display())]
    TooLittleWork {
        /// The file.
        path: PathBuf,
        /// The proof of work of the key, in bits.
        found: u32,
        /// The proof of work that this network requires, in bits.
        needed: u32,
    },
    /// No key can be generated.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The node key of a data directory; if there is none, it is generated with a proof of work of
/// `work_bits`.
pub fn load_or_create(data_dir: &Path, work_bits: u32) -> Result<NodeKeys, IdentityError> {
    let directory = data_dir.join("identity");
    keep_to_owner(data_dir).map_err(IdentityError::Owner)?;
    keep_to_owner(&directory).map_err(IdentityError::Owner)?;
    keep_secret(&directory).map_err(IdentityError::Owner)?;
    match load(&directory.join(FILE), work_bits)? {
        Some(keys) => Ok(keys),
        None => create(&directory, work_bits),
    }
}

/// The key in a file; `None` if there is no file.
fn load(path: &Path, work_bits: u32) -> Result<Option<NodeKeys>, IdentityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("read", path)(source)),
    };
    let found = file.metadata().map_err(failed("look at", path))?;
    check_owner(path, &found).map_err(IdentityError::Owner)?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed("protect", path))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
    let mut start = file.take(FILE_BYTES as u64);
    start.read_to_end(&mut bytes).map_err(failed("read", path))?;
    parse(path, &bytes, found.len(), work_bits).map(Some)
}

/// Generates a key and writes it to a temporary file, which is then renamed: the key file is
/// complete or absent.
fn create(directory: &Path, work_bits: u32) -> Result<NodeKeys, IdentityError> {
    create_directories_durably(&OsDisk, directory).map_err(failed("create", directory))?;
    let keys = NodeKeys::generate(work_bits)?;
    let path = directory.join(FILE);
    let aside = directory.join(format!(".{FILE}.{}", std::process::id()));
    // A file left by a crash or by another user must not receive the secret.
    let _ = fs::remove_file(&aside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)
        .map_err(failed("create", &aside))?;
    let written = file
        .write_all(&*keys.seed())
        .and_then(|()| file.write_all(&keys.public().nonce))
        .and_then(|()| file.sync_all());
    written.map_err(failed("write", &aside))?;
    fs::rename(&aside, &path).map_err(failed("create", &path))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))?;
    Ok(keys)
}

/// The system's error, with the operation and the file.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Io { what, path, source }
}

/// The key of a file that is `length` bytes long and begins with `bytes`.
fn parse(
    path: &Path,
    bytes: &[u8],
    length: u64,
    work_bits: u32,
) -> Result<NodeKeys, IdentityError> {
    let malformed = || IdentityError::Malformed { path: path.to_owned(), bytes: length };
    if length != FILE_BYTES as u64 {
        return Err(malformed());
    }
    let (seed, nonce) = bytes.split_at_checked(32).ok_or_else(malformed)?;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.try_into().map_err(|_| malformed())?);
    let nonce: [u8; 8] = nonce.try_into().map_err(|_| malformed())?;
    let keys = NodeKeys::from_parts(&seed, nonce);
    let found = keys.public().work_bits();
    if found < work_bits {
        let path = path.to_owned();
        return Err(IdentityError::TooLittleWork { path, found, needed: work_bits });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_to_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path(), 4).unwrap();
        let again = load_or_create(dir.path(), 4).unwrap();
        assert_eq!(first.id(), again.id());
        let path = dir.path().join("identity").join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(
            load_or_create(dir.path(), 150),
            Err(IdentityError::TooLittleWork { .. })
        ));
        fs::write(&path, b"short").unwrap();
        assert!(matches!(
            load_or_create(dir.path(), 4),
            Err(IdentityError::Malformed { bytes: 5, .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"short", "a damaged key is never overwritten");
    }

    #[test]
    fn a_key_that_another_user_could_have_put_there_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), 4).unwrap();
        let directory = dir.path().join("identity");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        load_or_create(dir.path(), 4).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        if fs::metadata(dir.path()).unwrap().uid() != 0 {
            eprintln!("skipped: only root can give a file away");
            return;
        }
        for path in [dir.path(), &directory, &directory.join(FILE)] {
            chown(path, Some(65534), None).unwrap();
            let refused = load_or_create(dir.path(), 4).err().unwrap().to_string();
            assert!(refused.contains(path.to_str().unwrap()), "{refused}");
            assert!(refused.contains("65534"), "{refused}");
            chown(path, Some(0), None).unwrap();
        }
        load_or_create(dir.path(), 4).unwrap();
    }
}
