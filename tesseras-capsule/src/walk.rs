//! Finds the files of a folder, in an order that depends on their names alone, and says what was
//! left out and why. Symbolic links are not followed.

use std::fmt;
use std::io;

use rustix::io::Errno;
use tesseras_core::path::{CapsulePath, MAX_PATH_BYTES, TextError};
use tesseras_core::words::is_plain;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

use crate::dirfd::{Entry, Folder, Kind};

/// The most entries of a folder, over all its directories, that are looked at.
pub const MAX_ENTRIES: usize = 1_000_000;

/// Something that was left out of a capsule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Where it lies in the folder, as its disk spells it and fit to be printed: bytes that are not
    /// UTF-8 or would disturb a terminal stand as `\xNN`, and beside them a backslash as `\\`.
    pub path: String,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Why something was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// It is a symbolic link.
    Symlink,
    /// It is a pipe, a socket or a device.
    Special,
    /// It has no bytes.
    Empty,
    /// It cannot be opened or read.
    Unreadable(String),
    /// Its name cannot be stored.
    Name(String),
    /// Another program left it beside the memories for its own use; it is none of them.
    SideFile,
    /// It is a program, and no memory.
    Program,
    /// It is a hidden file, and no picture, sound or film.
    Hidden,
    /// It is a hidden directory.
    HiddenDirectory,
    /// It is a data directory of Tesseras, with the keys of its owner.
    DataDirectory,
    /// It is a private key.
    PrivateKey,
    /// It changed while it was read, or it is shorter than when the folder was listed.
    Changed,
    /// It was removed after its folder was listed.
    Gone,
}

impl SkipReason {
    /// Why something that was listed could not be opened or read.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            // Another kind of entry has taken the place of a file or directory.
            io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => Self::Changed,
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Self::Changed,
            _ => Self::Unreadable(why(error)),
        }
    }

    /// Whether it was to be kept and could not be: something can be done about it.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Changed | Self::Gone | Self::Name(_))
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => f.write_str("it is a symbolic link"),
            Self::Special => f.write_str("it is a pipe, a socket or a device"),
            Self::Empty => f.write_str("it is empty"),
            Self::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Self::Name(why) => {
                write!(f, "its name cannot be stored: {why}; rename it, then run create again")
            }
            Self::SideFile => f.write_str("it is a side file of another program"),
            Self::Program => f.write_str("it is a program"),
            Self::Hidden => f.write_str("it is a hidden file"),
            Self::HiddenDirectory => f.write_str("it is a hidden directory"),
            Self::DataDirectory => f.write_str("it is a data directory of Tesseras"),
            Self::PrivateKey => f.write_str("it is a private key, which must stay secret"),
            Self::Changed => f.write_str("it changed while it was read; run create again"),
            Self::Gone => f.write_str(
                "the folder changed while it was read, and it is gone; bring it back if you want \
                 to keep it, then run create again",
            ),
        }
    }
}

/// Why a folder could not be walked at all.
#[derive(Debug, Error)]
pub enum WalkError {
    /// The folder itself cannot be listed.
    #[error("the folder cannot be listed: {0}")]
    Unreadable(#[source] io::Error),
    /// It is a data directory of Tesseras.
    #[error("it is a data directory of Tesseras, and no folder of memories")]
    DataDirectory,
    /// It holds more than [`MAX_ENTRIES`].
    #[error("the folder holds more than {MAX_ENTRIES} entries; make several tesserae of its parts")]
    TooMany,
}

/// A file that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its relative path as the disk spells it.
    pub raw: Vec<u8>,
    /// The same in NFC, as it is stored.
    pub path: CapsulePath,
    /// Its length when it was found.
    pub bytes: u64,
}

/// What a folder holds; both lists in byte order of the paths.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub files: Vec<Found>,
    pub skipped: Vec<Skipped>,
}

/// Lists a folder and all directories in it.
pub(crate) fn walk(folder: &Folder) -> Result<Walk, WalkError> {
    let mut walk = Walk::default();
    let mut seen = 0;
    let mut directories = vec![Vec::new()];
    while let Some(directory) = directories.pop() {
        let entries = match folder.list(&directory, MAX_ENTRIES - seen) {
            Ok(Some(entries)) => entries,
            Ok(None) => return Err(WalkError::TooMany),
            Err(e) if directory.is_empty() => return Err(WalkError::Unreadable(e)),
            Err(e) => {
                walk.skip(&directory, SkipReason::of(&e));
                continue;
            }
        };
        seen += entries.len();
        if is_data_directory(&entries) {
            if directory.is_empty() {
                return Err(WalkError::DataDirectory);
            }
            walk.skip(&directory, SkipReason::DataDirectory);
            continue;
        }
        for entry in entries {
            let mut raw = directory.clone();
            if !raw.is_empty() {
                raw.push(b'/');
            }
            raw.extend_from_slice(&entry.name);
            match entry.kind {
                Kind::Symlink => walk.skip(&raw, SkipReason::Symlink),
                Kind::Special => walk.skip(&raw, SkipReason::Special),
                Kind::Gone => walk.skip(&raw, SkipReason::Gone),
                Kind::Directory if entry.name.starts_with(b".") => {
                    walk.skip(&raw, SkipReason::HiddenDirectory);
                }
                Kind::Directory | Kind::File => match stored_name(&raw) {
                    Err(reason) => walk.skip(&raw, reason),
                    Ok(_) if entry.kind == Kind::Directory => directories.push(raw),
                    Ok(_) if entry.bytes == 0 => walk.skip(&raw, SkipReason::Empty),
                    Ok(path) => walk.files.push(Found { raw, path, bytes: entry.bytes }),
                },
            }
        }
    }
    walk.files.sort_unstable_by(|a, b| a.raw.cmp(&b.raw));
    walk.skipped.sort_unstable();
    Ok(walk)
}

/// Whether these are the entries of a data directory, which has all of these directories from the
/// beginning.
fn is_data_directory(entries: &[Entry]) -> bool {
    let has = |name: &[u8]| {
        entries.iter().any(|entry| entry.kind == Kind::Directory && entry.name == name)
    };
    has(b"db") && has(b"cas") && has(b"tmp") && has(b"library")
}

impl Found {
    /// Its path as the disk spells it, where that is not its path in NFC.
    pub fn spelling(&self) -> Option<&str> {
        let raw = std::str::from_utf8(&self.raw).ok()?;
        (raw != self.path.as_str()).then_some(raw)
    }
}

impl Walk {
    fn skip(&mut self, raw: &[u8], reason: SkipReason) {
        self.skipped.push(Skipped { path: printable_path(raw), reason });
    }
}

/// The path under which a file is remembered: its own, in NFC.
fn stored_name(raw: &[u8]) -> Result<CapsulePath, SkipReason> {
    let text = std::str::from_utf8(raw).map_err(|_| SkipReason::Name("it is not UTF-8".into()))?;
    // What is far too long is not normalised first: composing shortens it at most threefold.
    if text.len() > 3 * MAX_PATH_BYTES {
        return Err(SkipReason::Name(TextError::TooLong.to_string()));
    }
    CapsulePath::new(text.nfc().collect::<String>()).map_err(|e| SkipReason::Name(e.to_string()))
}

/// A path as text that any terminal and any JSON reader can take, and from which its bytes can be
/// told: what is not UTF-8 or would disturb a terminal stands as `\xNN`, as `printf` and `$'…'` of
/// a shell take it, and beside that a backslash as `\\`.
pub(crate) fn printable_path(raw: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(raw)
        && text.chars().all(is_plain)
    {
        return text.to_owned();
    }
    let escape =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let mut out = String::with_capacity(2 * raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c if is_plain(c) => out.push(c),
                c => out.push_str(&escape(c.encode_utf8(&mut [0; 4]).as_bytes())),
            }
        }
        out.push_str(&escape(chunk.invalid()));
    }
    out
}

/// What the system said, without Rust's "(os error n)".
pub(crate) fn why(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_path_is_the_one_on_the_disk() {
        for (raw, printed) in [
            (&b"a\\b.jpg"[..], r"a\b.jpg"),
            ("cafe\u{301}.jpg".as_bytes(), "cafe\u{301}.jpg"),
            (b"f\xe9rias\\1.jpg", r"f\xe9rias\\1.jpg"),
            (b"line\n\x1b[2J", r"line\x0a\x1b[2J"),
            ("a\u{2028}b".as_bytes(), r"a\xe2\x80\xa8b"),
            ("gpj.\u{202e}exe".as_bytes(), r"gpj.\xe2\x80\xaeexe"),
            (b"cut\xe6\x97", r"cut\xe6\x97"),
        ] {
            assert_eq!(printable_path(raw), printed);
        }
    }
}
