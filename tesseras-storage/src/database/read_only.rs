//! Opens a read-only database, and leaves no file beside it.
//!
//! The last commits may be in the log alone, so the log is always read as well. There are three
//! cases, depending on the files:
//!
//! - *Log and its shared memory:* SQLite reads both in place, and takes the locks of any reader, so
//!   that it neither disturbs a writing process nor reads a partial state.
//! - *No log, or an empty one:* everything is in the database's file, and no process has it open.
//!   It is read as an immutable file.
//! - *A log alone, or one that is only a header and whose process was killed:* SQLite would have to
//!   write the shared memory. Both files are copied to a private temporary directory and opened there.
//!
//! A database of an older format is also copied, and the copy is migrated.

use std::io;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::TempDir;
use tesseras_core::ports::StoreError;

use super::config::{StorageConfig, configure, distrust_schema};
use super::format::{FORMAT, format_of, migrate};
use super::paths::{beside, length};
use super::{Database, without_log_and_readers};
use crate::columns::count;
use crate::error::{io_error, sql_error};
use crate::free_space::free_space;

/// The copy's name in its directory.
const COPY: &str = "tesseras.db";
/// The length of a log without a commit.
const LOG_HEADER_BYTES: u64 = 32;
/// Room that a copy needs beyond the copied bytes: shared memory and a migration's log.
const BESIDE_COPY_BYTES: u64 = 1024 * 1024;

/// Opens a database for reading. [`StoreError::IndexMissing`] if there is none,
/// [`StoreError::NewerFormat`] if a newer version of the software wrote it, [`StoreError::Full`] if
/// it must be copied and the temporary directory has no room.
pub(crate) fn open_read_only(path: &Path, config: &StorageConfig) -> Result<Database, StoreError> {
    let missing = || StoreError::IndexMissing { path: path.display().to_string() };
    let bytes = |path: &Path| length(path).map_err(|e| io_error("reading", path, e));
    if bytes(path)?.is_none_or(|bytes| bytes == 0) {
        return Err(missing());
    }
    let log = bytes(&beside(path, "-wal"))?;
    let shared_memory = bytes(&beside(path, "-shm"))?;
    let (mut connection, mut copy) = match (log, shared_memory) {
        (Some(_), Some(_)) => match in_place(path, "mode=ro&readonly_shm=1") {
            Ok(connection) => (connection, None),
            Err(error) if is_about_the_medium(&error) => copied(path)?,
            Err(error) if is_about_the_header(&error, log) => copied(path)?,
            Err(error) => return Err(opening(path, error)),
        },
        (Some(1..), None) => copied(path)?,
        (None | Some(0), _) => {
            let connection = in_place(path, "mode=ro&immutable=1");
            (connection.map_err(|error| opening(path, error))?, None)
        }
    };
    match format_of(&connection)? {
        0 => return Err(missing()),
        FORMAT => {}
        _ if copy.is_some() => migrate(&mut connection)?,
        _ => {
            let (mut newer, directory) = snapshot(&connection, path)?;
            migrate(&mut newer)?;
            (connection, copy) = (newer, Some(directory));
        }
    }
    let knobs = configure(&connection, config, config.cache_size_kb)
        .and_then(|()| connection.pragma_update(None, "query_only", true));
    knobs.map_err(|error| opening(path, error))?;
    Ok(without_log_and_readers(connection, copy))
}

/// [`StoreError::NewerFormat`] if a newer version of the software wrote the database at this path;
/// nothing is said about one that is missing or cannot be read. Copies and migrates nothing.
pub(crate) fn check_format(path: &Path) -> Result<(), StoreError> {
    let has_log = matches!(length(&beside(path, "-wal")), Ok(Some(1..)));
    let parameters = if has_log { "mode=ro&readonly_shm=1" } else { "mode=ro&immutable=1" };
    let Ok(connection) = in_place(path, parameters) else { return Ok(()) };
    match format_of(&connection) {
        Err(newer @ StoreError::NewerFormat { .. }) => Err(newer),
        _ => Ok(()),
    }
}

fn opening(path: &Path, error: rusqlite::Error) -> StoreError {
    sql_error(&format!("opening the database {} for reading", path.display()), error)
}

/// Opens a database in place, and reads from it once.
fn in_place(path: &Path, parameters: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, parameters), flags)?;
    distrust_schema(&connection)?;
    connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A path as SQLite's URI, with every special byte escaped.
fn uri(path: &Path, parameters: &str) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    format!("{uri}?{parameters}")
}

/// Whether SQLite failed because of the location of the files, not because of their content.
fn is_about_the_medium(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure))
}

/// Whether the log is only a header, which a process wrote that was killed before its first commit.
/// If it may not write the shared memory, SQLite tries to read such a log for ten seconds. Where a
/// process has the database open, it does not fail to.
fn is_about_the_header(error: &rusqlite::Error, log: Option<u64>) -> bool {
    let code = error.sqlite_error_code();
    code == Some(ErrorCode::FileLockingProtocolFailed) && log == Some(LOG_HEADER_BYTES)
}

/// Opens a private copy of a database that no process has open, and of its log.
fn copied(path: &Path) -> Result<(Connection, Option<TempDir>), StoreError> {
    let log = beside(path, "-wal");
    let bytes = |path: &Path| length(path).map_err(|e| io_error("reading", path, e));
    let directory = directory_for(bytes(path)?.unwrap_or(0) + bytes(&log)?.unwrap_or(0), path)?;
    let to = directory.path().join(COPY);
    for (from, to) in [(path, to.clone()), (log.as_path(), beside(&to, "-wal"))] {
        match std::fs::copy(from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("copying an index that cannot be read in place to", &to, e));
            }
            _ => {}
        }
    }
    let connection = open_copy(&to).map_err(|error| opening(path, error))?;
    Ok((connection, Some(directory)))
}

/// Opens a private copy of one state of a database that other processes may be writing to.
fn snapshot(connection: &Connection, path: &Path) -> Result<(Connection, TempDir), StoreError> {
    let knob = |name| connection.pragma_query_value(None, name, |row| count(row, 0));
    let bytes = knob("page_count").and_then(|pages| Ok(pages.saturating_mul(knob("page_size")?)));
    let directory = directory_for(bytes.map_err(|error| opening(path, error))?, path)?;
    let to = directory.path().join(COPY);
    let text = to.to_str().ok_or_else(|| {
        let error = io::Error::other("its path is not UTF-8");
        io_error("copying the index to", &to, error)
    })?;
    let copied = connection.execute("VACUUM INTO ?1", [text]).and_then(|_| open_copy(&to));
    let copied = copied.map_err(|error| {
        sql_error(&format!("copying the index {} to {text}", path.display()), error)
    })?;
    Ok((copied, directory))
}

fn open_copy(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    distrust_schema(&connection)?;
    Ok(connection)
}

/// A new private temporary directory with room for this many bytes.
fn directory_for(bytes: u64, path: &Path) -> Result<TempDir, StoreError> {
    let all = std::env::temp_dir();
    let directory = TempDir::with_prefix_in("tesseras-", &all)
        .map_err(|e| io_error("making a directory in", &all, e))?;
    let needed = bytes.saturating_add(BESIDE_COPY_BYTES);
    free_space(directory.path())?.check([needed], 0).map_err(|error| StoreError::Full {
        what: format!(
            "a copy of the index {} in {}: {error} (TMPDIR chooses another place)",
            path.display(),
            all.display()
        ),
    })?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite_migration::Migrations;
    use tesseras_core::ids::TesseraHash;
    use tesseras_core::pack::PackLayout;
    use tesseras_core::ports::TesseraRepository as _;
    use tesseras_core::ports::{BlobStore as _, NewTessera, Origin, TesseraRecord};
    use tesseras_core::signature::SignaturePair;
    use tesseras_core::time::Timestamp;
    use tesseras_crypto::NamedManifest;

    use crate::Store;
    use crate::manifests::sample;

    fn add(store: &Store) -> TesseraHash {
        let stage = |bytes: &[u8]| {
            let mut writer = store.blobs().stage().unwrap();
            writer.write(bytes).unwrap();
            writer.finish().unwrap()
        };
        let staged = vec![stage(&sample(b"photo")), stage(b"photo")];
        let hash = staged[0].hash.into();
        let text = sample(b"photo");
        let named = NamedManifest::read(text.as_slice(), &hash).unwrap();
        let layout = PackLayout::new(&hash, named.manifest(), text.len() as u64).unwrap();
        let signatures = SignaturePair { ed25519: vec![1; 64], ml_dsa_65: vec![2; 3309] };
        let (origin, added) = (Origin::Created, Timestamp(7));
        let manifest = named.manifest();
        let record = TesseraRecord::of_manifest(hash, manifest, &layout, signatures, origin, added);
        let content = staged.iter().map(|blob| blob.hash).collect();
        store.library().add(NewTessera { record, content, staged }).unwrap();
        hash
    }

    /// A store as a version of format 2 left it, with one capsule, which has no signature file.
    fn of_format_2(dir: &Path) -> TesseraHash {
        let store = Store::open(dir, &StorageConfig::default()).unwrap();
        let hash = add(&store);
        drop(store);
        let (path, newer) = (dir.join("db/tesseras.db"), dir.join("db/newer.db"));
        std::fs::rename(&path, &newer).unwrap();
        std::fs::remove_dir_all(dir.join("library")).unwrap();
        let mut old = Connection::open(&path).unwrap();
        Migrations::from_slice(super::super::format::STEPS).to_version(&mut old, 2).unwrap();
        old.execute("ATTACH ?1 AS newer", [newer.to_str().unwrap()]).unwrap();
        let tables =
            [("objects", "hash, bytes, refs"), ("tesserae", "*"), ("tessera_content", "*")];
        for (table, columns) in tables {
            let copy = format!("INSERT INTO {table} SELECT {columns} FROM newer.{table}");
            old.execute(&copy, []).unwrap();
        }
        drop(old);
        std::fs::remove_file(newer).unwrap();
        hash
    }

    #[test]
    fn an_older_format_is_brought_forward_in_a_copy_alone() {
        let dir = tempfile::tempdir().unwrap();
        let hash = of_format_2(dir.path());
        let path = dir.path().join("db/tesseras.db");
        let before = std::fs::read(&path).unwrap();
        let store = Store::open_read_only(dir.path(), &StorageConfig::default()).unwrap();
        assert_eq!(store.library().get(&hash).unwrap().unwrap().title, "Summer");
        assert!(store.library().remove(&hash).is_err());
        drop(store);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(!dir.path().join("library").exists());
    }

    #[test]
    fn capsules_of_an_older_format_get_their_signature_files() {
        let dir = tempfile::tempdir().unwrap();
        let hash = of_format_2(dir.path());
        let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
        let record = store.library().get(&hash).unwrap().unwrap();
        let file = store.library().signature_file(&hash).unwrap().unwrap();
        assert_eq!((file.signatures, file.added), (record.signatures, record.added));
        assert!(store.check().unwrap().is_sound());
        // Done once: a file that is lost later is reported as missing by a check.
        drop(store);
        std::fs::remove_dir_all(dir.path().join("library")).unwrap();
        let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
        assert_eq!(store.check().unwrap().unsigned, [hash]);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), &StorageConfig::default()).unwrap());
        let path = dir.path().join("db/tesseras.db");
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", FORMAT as i64 + 1).unwrap();
        drop(newer);
        let refused = open_read_only(&path, &StorageConfig::default()).unwrap_err();
        assert!(matches!(refused, StoreError::NewerFormat { .. }), "{refused}");
    }

    #[test]
    fn a_path_means_itself_in_a_uri() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b?mode=rwc#%41é");
        std::fs::create_dir(&path).unwrap();
        drop(Store::open(&path, &StorageConfig::default()).unwrap());
        Store::open_read_only(&path, &StorageConfig::default()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
