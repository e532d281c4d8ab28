//! SQLite's own changes: a VFS in front of the one of the operating system.
//!
//! It opens files with the latter, and for those below a recorded directory replaces the methods
//! that change a file by ones that record it, or fail. All other files keep their methods.
#![allow(
    unsafe_code,
    reason = "SQLite takes a VFS only as C structures; see docs/decisions/0045-power-cuts.md"
)]

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rusqlite::ffi;
use rustix::io::Errno;

use crate::recorder::RecordingDisk;
use crate::step::{FileId, Step, SyncedBy};

/// SQLite's name of this VFS.
const NAME: &CStr = c"tesseras-power-cut";

/// A file that SQLite has open.
#[derive(Clone)]
struct Open {
    disk: Arc<RecordingDisk>,
    file: FileId,
    path: std::path::PathBuf,
    /// The methods of the operating system's VFS.
    methods: &'static ffi::sqlite3_io_methods,
    /// SQLite syncs the directory of a log or journal that it has created when it first syncs it.
    names_it: bool,
}

#[derive(Default)]
struct Registry {
    disks: Vec<Weak<RecordingDisk>>,
    /// By the address of SQLite's structure.
    open: HashMap<usize, Open>,
    /// The recording methods, by the address of those that they replace.
    recording: HashMap<usize, &'static ffi::sqlite3_io_methods>,
}

static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
static SYSTEM: OnceLock<System> = OnceLock::new();

/// The VFS of the operating system.
struct System(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite keeps the structure for the life of the process, does not change it while it is
// registered, and calls it from any thread by itself.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

fn registry() -> MutexGuard<'static, Registry> {
    let registry = REGISTRY.get_or_init(Mutex::default);
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has SQLite record what it changes below the directory of this disk.
pub(crate) fn watch(disk: &Arc<RecordingDisk>) {
    SYSTEM.get_or_init(register);
    let mut registry = registry();
    registry.disks.retain(|disk| disk.strong_count() > 0);
    registry.disks.push(Arc::downgrade(disk));
}

/// Puts this VFS in front of the one of the operating system.
fn register() -> System {
    // SAFETY: called with null, it returns the default VFS, which is never freed.
    let system = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    assert!(!system.is_null(), "SQLite has a VFS on this system");
    // SAFETY: it is not null, and a structure of plain fields that may be copied. The functions
    // that are kept use no field that differs.
    let mut copy = unsafe { *system };
    copy.zName = NAME.as_ptr();
    copy.pNext = std::ptr::null_mut();
    copy.xOpen = Some(open);
    copy.xDelete = Some(delete);
    // SAFETY: the structure is leaked, so it lives as long as SQLite may use it.
    let code = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(copy)), 1) };
    assert_eq!(code, ffi::SQLITE_OK, "SQLite takes another VFS");
    System(system)
}

fn system() -> *mut ffi::sqlite3_vfs {
    SYSTEM.get().expect("it is registered before SQLite can call this").0
}

/// The disk that a path belongs to.
fn disk_of(path: &Path) -> Option<Arc<RecordingDisk>> {
    let disks: Vec<_> = registry().disks.iter().filter_map(Weak::upgrade).collect();
    disks.into_iter().find(|disk| path.starts_with(disk.root()))
}

/// SQLite's error for an error of the disk: only a write says that the disk is full.
fn code(errno: Errno, error: c_int) -> c_int {
    let is_full = errno == Errno::NOSPC && error == ffi::SQLITE_IOERR_WRITE;
    if is_full { ffi::SQLITE_FULL } else { error }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let system = system();
    let path = (!name.is_null()).then(|| {
        // SAFETY: SQLite passes a string that ends with zero, and keeps it during the call.
        Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())).to_owned()
    });
    let existed = path.as_deref().is_some_and(Path::exists);
    // SAFETY: the VFS of the system is never freed.
    let Some(open) = (unsafe { (*system).xOpen }) else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: the arguments are passed on as they came, with the VFS that the function belongs to.
    // The file's structure has its size, since this VFS has the same.
    let result = unsafe { open(system, name, file, flags, out_flags) };
    let recorded = path.as_deref().and_then(|path| Some((path, disk_of(path)?)));
    let Some((path, disk)) = recorded.filter(|_| result == ffi::SQLITE_OK) else { return result };
    let Some(id) = disk.sqlite_opened(path) else { return result };
    // SAFETY: a file that was opened has methods, which are static.
    let methods = unsafe { &*(*file).pMethods };
    let logs =
        ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
    let names_it = !existed && flags & logs != 0;
    let path = disk.name(path).unwrap_or_default();
    let mut registry = registry();
    registry.open.insert(file as usize, Open { disk, file: id, path, methods, names_it });
    let recording = registry
        .recording
        .entry(std::ptr::from_ref(methods) as usize)
        .or_insert_with(|| Box::leak(Box::new(recording(methods))));
    // SAFETY: the structure is SQLite's, and it is this VFS that sets its methods.
    unsafe { (*file).pMethods = *recording };
    ffi::SQLITE_OK
}

/// These methods, of which those that change a file record it.
fn recording(methods: &ffi::sqlite3_io_methods) -> ffi::sqlite3_io_methods {
    ffi::sqlite3_io_methods {
        xClose: Some(close),
        xWrite: Some(write),
        xTruncate: Some(truncate),
        xSync: Some(sync),
        ..*methods
    }
}

fn find(file: *mut ffi::sqlite3_file) -> Option<Open> {
    registry().open.get(&(file as usize)).cloned()
}

unsafe extern "C" fn delete(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_directory: c_int,
) -> c_int {
    let system = system();
    // SAFETY: as in `open`.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())).to_owned();
    // SAFETY: as in `open`.
    let Some(delete) = (unsafe { (*system).xDelete }) else { return ffi::SQLITE_IOERR_DELETE };
    // SAFETY: as in `open`.
    let remove = || unsafe { delete(system, name, sync_directory) };
    let Some(disk) = disk_of(&path) else { return remove() };
    let Some(inside) = disk.name(&path) else { return remove() };
    let mut result = ffi::SQLITE_OK;
    let directory = inside.parent().unwrap_or(Path::new("")).to_owned();
    let removed = disk.sqlite_change(Step::Remove(inside), || {
        result = remove();
        result == ffi::SQLITE_OK
    });
    if let Err(errno) = removed {
        return code(errno, ffi::SQLITE_IOERR_DELETE);
    }
    if result == ffi::SQLITE_OK && sync_directory != 0 {
        // It is synced by now. A fault of the disk here is one of the removal.
        let _ = disk.sqlite_change(Step::SyncDirectory(directory), || true);
    }
    result
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let Some(open) = registry().open.remove(&(file as usize)) else {
        return ffi::SQLITE_IOERR_CLOSE;
    };
    match open.methods.xClose {
        // SAFETY: the file was opened by the VFS that these methods belong to.
        Some(close) => unsafe { close(file) },
        None => ffi::SQLITE_OK,
    }
}

/// Makes a change of an open file, and records it.
fn change(
    file: *mut ffi::sqlite3_file,
    error: c_int,
    step: impl FnOnce(&Open) -> Step,
    make: impl FnOnce(&ffi::sqlite3_io_methods) -> c_int,
) -> c_int {
    let Some(open) = find(file) else { return error };
    let mut result = ffi::SQLITE_OK;
    let changed = open.disk.sqlite_change(step(&open), || {
        result = make(open.methods);
        result == ffi::SQLITE_OK
    });
    changed.map_or_else(|errno| code(errno, error), |()| result)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (error, size) = (ffi::SQLITE_IOERR_WRITE, usize::try_from(length).unwrap_or(0));
    // SAFETY: SQLite passes this many bytes, and keeps them during the call.
    let copy = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) }.to_vec();
    let at_byte = u64::try_from(at).unwrap_or(0);
    let step = |open: &Open| Step::Write { file: open.file, at: at_byte, bytes: copy };
    change(file, error, step, |methods| match methods.xWrite {
        // SAFETY: the arguments are passed on as they came, to the methods of this file.
        Some(write) => unsafe { write(file, bytes, length, at) },
        None => error,
    })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    let bytes = u64::try_from(length).unwrap_or(0);
    let step = |open: &Open| Step::Truncate { file: open.file, length: bytes };
    change(file, ffi::SQLITE_IOERR_TRUNCATE, step, |methods| match methods.xTruncate {
        // SAFETY: as in `write`.
        Some(truncate) => unsafe { truncate(file, length) },
        None => ffi::SQLITE_IOERR_TRUNCATE,
    })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    let step = |open: &Open| Step::SyncFile {
        file: open.file,
        path: open.path.clone(),
        by: SyncedBy::Sqlite,
    };
    let result = change(file, ffi::SQLITE_IOERR_FSYNC, step, |methods| match methods.xSync {
        // SAFETY: as in `write`.
        Some(sync) => unsafe { sync(file, flags) },
        None => ffi::SQLITE_IOERR_FSYNC,
    });
    if result == ffi::SQLITE_OK
        && let Some(open) = registry().open.get_mut(&(file as usize))
        && std::mem::take(&mut open.names_it)
    {
        let directory = open.path.parent().unwrap_or(Path::new("")).to_owned();
        let disk = Arc::clone(&open.disk);
        // It is synced by now. A fault of the disk here is one of the sync.
        let _ = disk.sqlite_change(Step::SyncDirectory(directory), || true);
    }
    result
}
