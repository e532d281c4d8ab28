//! Test data, in a temporary folder that is removed with the scene.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tesseras_capsule::{CreateOptions, Created, PackReader, StoredCapsule, create};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{BlobReader, TesseraRepository as _};
use tesseras_core::progress::Meter;
use tesseras_crypto::CreatorKeys;
use tesseras_node::clock;
use tesseras_storage::{StorageConfig, Store};

use crate::failure::Result;

/// Bytes of a photo from a camera, and of one from an old phone.
pub const PHOTO: usize = 4 << 20;
/// See [`PHOTO`].
pub const SMALL_PHOTO: usize = 20 << 10;
/// What a JPEG begins with.
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0";

/// A folder for everything.
pub struct Scene {
    root: TempDir,
    /// MiB of user data.
    pub mib: u64,
    /// Who signs.
    pub keys: CreatorKeys,
}

impl Scene {
    /// An empty scene.
    pub fn new(mib: u64) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("tesseras-bench-").tempdir()?;
        Ok(Self { root, mib, keys: CreatorKeys::generate()? })
    }

    /// Bytes of user data.
    pub fn bytes(&self) -> u64 {
        self.mib << 20
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// An empty folder in it; what had its name before is gone.
    pub fn empty(&self, name: &str) -> Result<PathBuf> {
        self.remove(name)?;
        let path = self.path(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Removes a folder, if there is one of this name.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        if path.exists() { Ok(fs::remove_dir_all(path)?) } else { Ok(()) }
    }

    /// A folder of photos of noise, so many bytes together and so many each; warm in the page cache.
    pub fn album(&self, name: &str, seed: u64, bytes: u64, each: usize) -> Result<PathBuf> {
        let folder = self.empty(name)?;
        let mut noise = Noise::new(seed);
        let (mut left, mut number) = (bytes as usize, 0);
        while left > 0 {
            let mut photo = noise.take(left.min(each));
            photo[..JPEG.len()].copy_from_slice(JPEG);
            left -= photo.len();
            number += 1;
            File::create(folder.join(format!("photo {number:06}.jpg")))?.write_all(&photo)?;
        }
        Ok(folder)
    }

    /// Makes a capsule of a folder, as `tes create` does.
    pub fn create(&self, store: &Store, folder: &Path) -> Result<Created> {
        let options = CreateOptions { created: clock::system().now(), ..CreateOptions::default() };
        let (blobs, library) = (store.blobs(), store.library());
        let made = create(folder, &options, &self.keys, &*blobs, &*library, &Meter::silent())?;
        if made.skipped.is_empty() { Ok(made) } else { Err("a photo was left out".into()) }
    }
}

/// Opens a data directory as `tes` does.
pub fn open(dir: &Path) -> Result<Store> {
    Ok(Store::open(dir, &StorageConfig::default())?)
}

/// A capsule of the library.
pub fn capsule(store: &Store, hash: &TesseraHash) -> Result<StoredCapsule> {
    let record = store.library().get(hash)?.ok_or("the capsule is not in the library")?;
    Ok(StoredCapsule::of_record(&*store.blobs(), &record)?)
}

/// The pack of a capsule.
pub fn pack(store: &Store, hash: &TesseraHash) -> Result<Arc<dyn BlobReader>> {
    Ok(Arc::new(PackReader::new(Arc::new(capsule(store, hash)?), store.blobs())))
}

/// Bytes that no compressor and no accident repeats (xorshift64).
pub struct Noise(u64);

impl Noise {
    /// Always the same for one seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next bytes.
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes + 8);
        while out.len() < bytes {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            out.extend(self.0.to_le_bytes());
        }
        out.truncate(bytes);
        out
    }
}
