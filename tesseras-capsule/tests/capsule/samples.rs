//! Folders, files and capsules that the tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tesseras_capsule::{CreateError, CreateOptions, Created, StoredCapsule, create, export};
use tesseras_core::progress::Meter;
use tesseras_core::time::Timestamp;
use tesseras_crypto::CreatorKeys;

use crate::store::Library;

/// 2026-01-02T03:04:05Z.
pub const NOW: Timestamp = Timestamp(1_767_323_045);

/// A temporary place with a folder of memories, a library and a creator.
pub struct World {
    pub dir: TempDir,
    pub folder: PathBuf,
    pub library: Arc<Library>,
    pub keys: CreatorKeys,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let library = Arc::new(Library::new(&dir.path().join("library")));
        Self { folder, library, keys: CreatorKeys::from_seeds(&[1; 32], &[2; 32]), dir }
    }

    /// With a few memories of several kinds.
    pub fn small() -> Self {
        let world = Self::new();
        world.put("beach.jpg", &jpeg(b"sea"));
        world.put("beach.txt", "We swam until the sun went down. É lindo.\n".as_bytes());
        world.put("letters/to grandma.txt", b"Dear grandma,\n");
        world.put("voices/um dó.wav", &wav(300));
        world
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        put(&self.folder, path, bytes);
    }

    pub fn create(&self) -> Result<Created, CreateError> {
        let (library, folder) = (&*self.library, &self.folder);
        create(folder, &options(), &self.keys, library, library, &Meter::silent())
    }

    /// Creates and opens.
    pub fn capsule(&self) -> StoredCapsule {
        let hash = self.create().unwrap().hash;
        StoredCapsule::open(&*self.library, &*self.library, &hash).unwrap()
    }

    /// Creates and exports.
    pub fn exported(&self) -> PathBuf {
        let dest = self.dir.path().join("exports");
        export(&self.capsule(), &*self.library, &dest, &Meter::silent()).unwrap()
    }
}

pub fn options() -> CreateOptions {
    CreateOptions { title: Some("Férias 2025".to_owned()), created: NOW, ..Default::default() }
}

pub fn put(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// All files and directories beneath a directory (directories end with a slash), and their bytes.
pub fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    fn visit(root: &Path, at: &Path, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                out.push((name + "/", Vec::new()));
                visit(root, &path, out);
            } else {
                out.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    visit(root, root, &mut out);
    out.sort();
    out
}

pub fn jpeg(content: &[u8]) -> Vec<u8> {
    [&[0xff, 0xd8, 0xff, 0xfe, 0, 2][..], content, &[0xff, 0xd9]].concat()
}

/// A JPEG whose EXIF holds a date and a place in Rio.
pub fn jpeg_with_exif() -> Vec<u8> {
    let tiff = tiff_with_exif();
    let length = (tiff.len() + 8) as u16;
    let mut out = vec![0xff, 0xd8, 0xff, 0xe1];
    out.extend(length.to_be_bytes());
    out.extend(b"Exif\0\0");
    out.extend(tiff);
    out.extend([0xff, 0xd9]);
    out
}

/// One IFD with a pointer to EXIF and one to GPS, big-endian.
pub fn tiff_with_exif() -> Vec<u8> {
    let mut out = b"MM\0*\0\0\0\x08".to_vec();
    let entry = |out: &mut Vec<u8>, tag: u16, kind: u16, count: u32, value: u32| {
        out.extend(tag.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(count.to_be_bytes());
        out.extend(value.to_be_bytes());
    };
    // IFD0 at 8: 2 entries, 30 bytes. EXIF at 38: 2 entries. GPS at 68: 4 entries, 54 bytes.
    out.extend(2_u16.to_be_bytes());
    entry(&mut out, 0x8769, 4, 1, 38);
    entry(&mut out, 0x8825, 4, 1, 68);
    out.extend([0; 4]);
    out.extend(2_u16.to_be_bytes());
    entry(&mut out, 0x9003, 2, 20, 122);
    entry(&mut out, 0x9011, 2, 7, 142);
    out.extend([0; 4]);
    out.extend(4_u16.to_be_bytes());
    entry(&mut out, 1, 2, 2, u32::from_be_bytes(*b"S\0\0\0"));
    entry(&mut out, 2, 5, 3, 150);
    entry(&mut out, 3, 2, 2, u32::from_be_bytes(*b"W\0\0\0"));
    entry(&mut out, 4, 5, 3, 174);
    out.extend([0; 4]);
    assert_eq!(out.len(), 122);
    out.extend(b"2019:12:31 23:59:58\0-03:00\0\0");
    for number in [22_u32, 1, 57, 1, 0, 1, 43, 1, 12, 1, 36, 1] {
        out.extend(number.to_be_bytes());
    }
    out
}

pub fn wav(samples: u32) -> Vec<u8> {
    let mut out = b"RIFF".to_vec();
    out.extend((36 + 2 * samples).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(8000_u32.to_le_bytes());
    out.extend(16000_u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend((2 * samples).to_le_bytes());
    out.extend((0..samples).flat_map(|i| ((i * 37) as i16).to_le_bytes()));
    out
}
