//! What is on the disk of a node: rows of its index, read beside it, and files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tesseras_core::code::{NARROW, Piece};
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::ports::{
    FragmentStore as _, HeldPiece, HoldingRepository as _, StoreError, TesseraRepository as _,
};
use tesseras_storage::{StorageConfig, Store};

use crate::chance::Chance;
use crate::failure::Result;

/// How many rows are read at once.
const PAGE: usize = 500;
/// How often the index is opened, while its node may just be starting or ending.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// The rows of one index.
#[derive(Debug, Default)]
pub struct Rows {
    /// Pieces that the node holds for others.
    pub held: BTreeMap<(TesseraHash, Piece), ContentHash>,
    /// Pieces of which it knows that another node has acknowledged them, and that node.
    pub placed: Vec<(NodeId, TesseraHash, Piece)>,
    /// Its library.
    pub library: BTreeSet<TesseraHash>,
}

/// Reads the index of a data directory, and changes nothing, whether its node runs or not; what was
/// placed only of the named tesserae. Empty if there is no index.
pub fn rows(data: &Path, of: &[TesseraHash]) -> Result<Rows> {
    for _ in 0..TRIES {
        match read(data, of) {
            Err(StoreError::IndexMissing { .. }) => return Ok(Rows::default()),
            Ok(rows) => return Ok(rows),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    Ok(read(data, of)?)
}

fn read(data: &Path, of: &[TesseraHash]) -> std::result::Result<Rows, StoreError> {
    let store = Store::open_read_only(data, &StorageConfig::default())?;
    let fragments = store.fragments();
    let mut rows = Rows::default();
    let mut after = None;
    loop {
        let page = fragments.held_tesserae(after.as_ref(), PAGE)?;
        for tessera in &page {
            for HeldPiece { tessera, piece, checksum, .. } in fragments.list_fragments(tessera)? {
                rows.held.insert((tessera, piece), checksum);
            }
        }
        match page.last() {
            Some(last) => after = Some(*last),
            None => break,
        }
    }
    for tessera in of {
        let placed = store.holdings().placements(tessera)?.into_iter();
        rows.placed.extend(placed.map(|placed| (placed.holder, *tessera, placed.piece)));
    }
    rows.library = store.library().list()?.into_iter().map(|record| record.hash).collect();
    Ok(rows)
}

/// Where the bytes of a hash are stored.
pub fn blob(data: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    data.join(format!("cas/{}/{name}.blob", &name[..2]))
}

/// Whether the bytes of a hash are there, and have it.
pub fn is_sound(data: &Path, hash: &ContentHash) -> bool {
    let bytes = fs::read(blob(data, hash));
    bytes.is_ok_and(|bytes| ContentHash::new(*blake3::hash(&bytes).as_bytes()) == *hash)
}

/// All stored files.
pub fn blobs(data: &Path) -> Vec<ContentHash> {
    let files = entries(&data.join("cas")).into_iter().flat_map(|shard| entries(&shard));
    let hash = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".blob")?.parse().ok();
    files.filter_map(hash).collect()
}

/// Flips one bit of a stored file, as a rotting disk does. False if it is not there or empty.
pub fn flip(data: &Path, hash: &ContentHash, chance: &mut Chance) -> Result<bool> {
    let Ok(mut file) = File::options().read(true).write(true).open(blob(data, hash)) else {
        return Ok(false);
    };
    let bytes = file.metadata()?.len();
    if bytes == 0 {
        return Ok(false);
    }
    let at = SeekFrom::Start(chance.below(bytes));
    let mut byte = [0];
    file.seek(at)?;
    file.read_exact(&mut byte)?;
    byte[0] ^= 1 << chance.below(8);
    file.seek(at)?;
    file.write_all(&byte)?;
    Ok(true)
}

/// The bytes that processes have staged and not stored: in all directories of `tmp/` but that of
/// unfinished tasks.
pub fn staged_bytes(data: &Path) -> u64 {
    let own = entries(&data.join("tmp")).into_iter();
    let own = own.filter(|path| path.file_name().is_some_and(|name| name != "tasks"));
    let lengths = own.flat_map(|path| entries(&path)).map(fs::metadata);
    lengths.filter_map(|metadata| Some(metadata.ok()?.len())).sum()
}

/// Files that belong to nothing after a collection: staged ones, and signatures of what is not
/// listed. What the index says of `cas/` is compared by `tes check`.
pub fn strays(data: &Path, library: &BTreeSet<TesseraHash>) -> Vec<PathBuf> {
    let tmp = entries(&data.join("tmp")).into_iter();
    let mut strays: Vec<PathBuf> =
        tmp.filter(|path| path.file_name().is_some_and(|name| name != "tasks")).collect();
    strays.extend(entries(&data.join("library")).into_iter().filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let hash = name.strip_suffix(".signatures").and_then(|hash| hash.parse().ok());
        hash.is_none_or(|hash: TesseraHash| !library.contains(&hash))
    }));
    strays
}

/// What lies in a directory; nothing if it is not there.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(directory).into_iter().flatten().flatten();
    listed.map(|entry| entry.path()).collect()
}

/// Whether a tessera can be read from these pieces: a whole copy, or k fragments.
pub fn is_readable(pieces: &BTreeSet<Piece>) -> bool {
    let fragments = pieces.iter().filter(|piece| matches!(piece, Piece::Index(_))).count();
    pieces.contains(&Piece::Whole) || fragments >= usize::from(NARROW.k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_a_staged_byte_and_a_stray_file_are_seen() {
        let data = tempfile::tempdir().unwrap();
        let data = data.path();
        let hash = ContentHash::new(*blake3::hash(b"kept").as_bytes());
        fs::create_dir_all(blob(data, &hash).parent().unwrap()).unwrap();
        fs::write(blob(data, &hash), "kept").unwrap();
        assert!(is_sound(data, &hash) && blobs(data) == [hash]);
        let mut chance = Chance::new(1, 1);
        assert!(flip(data, &hash, &mut chance).unwrap());
        assert!(!is_sound(data, &hash));
        assert!(!flip(data, &ContentHash::new([1; 32]), &mut chance).unwrap());
        fs::create_dir_all(data.join("tmp/1-0")).unwrap();
        fs::create_dir_all(data.join("tmp/tasks/x")).unwrap();
        fs::write(data.join("tmp/tasks/x/y"), "a task's").unwrap();
        assert_eq!(staged_bytes(data), 0);
        fs::write(data.join("tmp/1-0/0"), "staged").unwrap();
        assert_eq!(staged_bytes(data), 6);
        let listed = TesseraHash::new([3; 32]);
        fs::create_dir_all(data.join("library")).unwrap();
        for hash in [listed, TesseraHash::new([4; 32])] {
            fs::write(data.join(format!("library/{hash}.signatures")), "").unwrap();
        }
        let strays = strays(data, &BTreeSet::from([listed]));
        assert_eq!(strays.len(), 2, "{strays:?}");
    }
}
