//! The paths of the files of a restored folder: their own names if possible, and safe ones if a
//! name is taken, refused by the file system, or not allowed.
//!
//! Only the file system itself decides: one that treats `A.jpg` and `a.jpg` as the same file
//! reports it when the second is created. Nothing existing is opened or overwritten.

use std::collections::HashMap;
use std::fs::File;
use std::io;

use rustix::io::Errno;
use tesseras_core::ids::ContentHash;
use tesseras_core::words::is_plain;
use tesseras_crypto::blake3;

use crate::dirfd::Folder;
use crate::walk::why;

/// Files that are nested deeper are put at the top: a hostile capsule could otherwise create
/// thousands of directories with every file.
const MAX_DEPTH: usize = 64;
/// The longest safe name, in bytes, including a number that may be appended.
const MAX_SAFE_BYTES: usize = 100;
/// The longest extension that a safe name keeps.
const MAX_EXTENSION_BYTES: usize = 20;
/// How many numbers are tried for one name: more than a capsule has files.
const MAX_TRIES: u32 = 1_000_000;

/// A file that was created.
pub(super) struct Placed {
    /// Open for writing, and empty.
    pub file: File,
    /// Its path in the folder.
    pub path: String,
    /// Why this is not the requested path, if it is not.
    pub reason: Option<String>,
}

/// The replacement of a directory that could not get its own name.
#[derive(Clone)]
struct Moved {
    path: String,
    reason: String,
}

/// The path that could not be created, and the error.
type Failed = (String, io::Error);

/// The names used so far.
pub(super) struct Places<'a> {
    folder: &'a Folder,
    /// Directories that were created, by the digest of the requested path.
    directories: HashMap<ContentHash, Option<Moved>>,
    /// The next number to try, by the digest of a safe path.
    numbers: HashMap<ContentHash, u32>,
}

impl<'a> Places<'a> {
    /// All names of an empty folder.
    pub fn new(folder: &'a Folder) -> Self {
        Self { folder, directories: HashMap::new(), numbers: HashMap::new() }
    }

    /// Creates a file at a path, a [`CapsulePath`](tesseras_core::path::CapsulePath) in any
    /// normalization form, or, if that is impossible, under a safe name like `spare`.
    pub fn make(&mut self, wanted: Result<String, String>, spare: &str) -> Result<Placed, Failed> {
        let wanted = wanted.and_then(|path| match path.split('/').count() {
            depth if depth > MAX_DEPTH => Err(format!("it lay more than {MAX_DEPTH} levels deep")),
            _ => Ok(path),
        });
        let (directory, name, mut reason) = match &wanted {
            Err(reason) => (String::new(), spare, Some(reason.clone())),
            Ok(path) => {
                let (parent, name) = split(path);
                match self.directory(parent)? {
                    None => (parent.to_owned(), name, None),
                    Some(moved) => (moved.path, name, Some(moved.reason)),
                }
            }
        };
        if wanted.is_ok() {
            let path = join(&directory, name);
            match self.folder.make_file(path.as_bytes()) {
                Ok(file) => return Ok(Placed { file, path, reason }),
                Err(e) => reason = Some(refusal(&e).ok_or((path, e))?),
            }
        }
        let folder = self.folder;
        let (file, path) = self.safely(&directory, name, |path| folder.make_file(path))?;
        Ok(Placed { file, path, reason })
    }

    /// Ensures that a directory exists. Returns its path if that differs from the requested one.
    fn directory(&mut self, wanted: &str) -> Result<Option<Moved>, Failed> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let key = blake3(wanted.as_bytes());
        if let Some(known) = self.directories.get(&key) {
            return Ok(known.clone());
        }
        let (parent, name) = split(wanted);
        let above = self.directory(parent)?;
        let parent = above.as_ref().map_or(parent, |moved| &moved.path).to_owned();
        let path = join(&parent, name);
        let made = match self.folder.make_directory(path.as_bytes()) {
            Ok(()) => above.map(|moved| Moved { path, reason: moved.reason }),
            Err(e) => {
                let why = refusal(&e).ok_or((path, e))?;
                let folder = self.folder;
                let ((), path) = self.safely(&parent, name, |path| folder.make_directory(path))?;
                Some(Moved { path, reason: format!("its directory has another name: {why}") })
            }
        };
        self.directories.insert(key, made.clone());
        Ok(made)
    }

    /// Creates something under the first safe name that is free.
    fn safely<T>(
        &mut self,
        directory: &str,
        name: &str,
        mut make: impl FnMut(&[u8]) -> io::Result<T>,
    ) -> Result<(T, String), Failed> {
        let (stem, extension) = safe(name);
        let plain = join(directory, &format!("{stem}{extension}"));
        let next = self.numbers.entry(blake3(plain.to_lowercase().as_bytes())).or_insert(1);
        loop {
            let number = *next;
            *next += 1;
            let path = match number {
                1 => plain.clone(),
                n => join(directory, &format!("{stem} ({n}){extension}")),
            };
            match make(path.as_bytes()) {
                Ok(made) => return Ok((made, path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < MAX_TRIES => {}
                Err(e) => return Err((path, e)),
            }
        }
    }
}

/// Why a name is refused; `None` if the name is not the cause.
fn refusal(error: &io::Error) -> Option<String> {
    match error.raw_os_error().map(Errno::from_raw_os_error)? {
        Errno::EXIST | Errno::ISDIR | Errno::NOTDIR => {
            Some("another file here has this name already".to_owned())
        }
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => {
            Some(format!("this file system refuses its name: {}", why(error)))
        }
        _ => None,
    }
}

/// A name that every common file system accepts, in two parts: a number may be put between them.
fn safe(name: &str) -> (String, String) {
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    const PORTS: [&str; 2] = ["com", "lpt"];
    let clean = |c: char| match c {
        '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' => '_',
        c if is_plain(c) => c,
        _ => '_',
    };
    let name: String = name.chars().map(clean).collect();
    let name = name.trim_end_matches(['.', ' ']);
    let (stem, extension) = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION_BYTES => name.split_at(at),
        _ => (name, ""),
    };
    let room = MAX_SAFE_BYTES - MAX_EXTENSION_BYTES - " (1000000)".len();
    let end = (0..=room.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    let stem = stem[..end].trim_end_matches(['.', ' ']);
    let lower = stem.to_lowercase();
    let is_device = DEVICES.contains(&lower.as_str())
        || (lower.len() == 4
            && PORTS.iter().any(|port| lower.starts_with(port))
            && lower.ends_with(|c: char| c.is_ascii_digit()));
    let stem = if stem.is_empty() || is_device { format!("_{stem}") } else { stem.to_owned() };
    (stem, extension.to_owned())
}

/// A path's directory (without its slash) and name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_names_are_taken_by_every_file_system() {
        let whole = |name: &str| {
            let (stem, extension) = safe(name);
            stem + &extension
        };
        for (name, expected) in [
            ("beach.jpg", "beach.jpg"),
            ("avó 🌞.JPG", "avó 🌞.JPG"),
            ("12:30?.jpg", "12_30_.jpg"),
            ("a\n\u{2028}b", "a__b"),
            ("..", "_"),
            ("", "_"),
            ("end. . ", "end"),
            ("con.txt", "_con.txt"),
            ("Lpt1", "_Lpt1"),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(whole(name), expected, "{name:?}");
        }
        let long = whole(&("日".repeat(200) + ".jpeg"));
        assert!(long.len() <= MAX_SAFE_BYTES && long.ends_with("日.jpeg"), "{long}");
    }
}
