//! Partial directories that processes left which are gone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, geteuid, test_kill_process};

/// The name of a partial directory of this process, at this attempt.
pub(super) fn name_of(name: &str, attempt: u32) -> String {
    let process = std::process::id();
    match attempt {
        0 => format!(".{name}.partial-{process}"),
        n => format!(".{name}.partial-{process}-{n}"),
    }
}

/// Removes the partial directories in `parent` whose processes are gone: real directories of this
/// user, with a name from [`name_of`]. Best effort: nothing depends on it.
pub(crate) fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if maker(&entry.file_name()).is_some_and(is_gone)
            && let Some(_lock) = lock_own(&entry.path())
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// [`remove_abandoned`] in a directory that has nothing else. Beside anything else, a partial
/// directory may be the rest of a folder whose move into place was interrupted, and stays.
pub(crate) fn remove_abandoned_alone(parent: &Path) {
    let Ok(mut entries) = fs::read_dir(parent) else { return };
    if entries.all(|entry| entry.is_ok_and(|entry| maker(&entry.file_name()).is_some_and(is_gone)))
    {
        remove_abandoned(parent);
    }
}

/// The process id in a directory name; `None` for any other name.
fn maker(name: &OsStr) -> Option<Pid> {
    let (hash, rest) = name.to_str()?.strip_prefix(".tessera-")?.split_at_checked(16)?;
    let rest = rest.strip_prefix(".partial-")?;
    let (process, attempt) = rest.split_once('-').unwrap_or((rest, "1"));
    let number = |text: &str| text.parse::<i32>().ok().filter(|n| *n > 0 && n.to_string() == text);
    let is_ours = hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && number(attempt).is_some();
    if is_ours { Pid::from_raw(number(process)?) } else { None }
}

fn is_gone(process: Pid) -> bool {
    test_kill_process(process) == Err(rustix::io::Errno::SRCH)
}

/// Locks a directory of this user, without following a link; `None` if it is anything else, or if a
/// process holds the lock, possibly in another pid namespace.
fn lock_own(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let is_own = directory.metadata().ok()?.uid() == geteuid().as_raw();
    (is_own && directory.try_lock().is_ok()).then_some(directory)
}
