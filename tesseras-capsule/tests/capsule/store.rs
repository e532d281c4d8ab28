//! A small store on disk that keeps what the ports promise, for tests only. It is strict: what was
//! staged and neither adopted nor discarded is found by [`Library::staged`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{
    BlobReader, BlobStore, BlobWriter, FreeSpace, NewTessera, StagedBlob, StoreError,
    TesseraRecord, TesseraRepository,
};
use tesseras_crypto::Blake3;

/// Objects and records in one directory.
pub struct Library {
    root: PathBuf,
    next: AtomicU64,
    records: Mutex<BTreeMap<TesseraHash, TesseraRecord>>,
    /// What its owner has dropped.
    pub blocked: Mutex<BTreeSet<TesseraHash>>,
    /// What [`BlobStore::free_space`] answers, in bytes.
    pub free: AtomicU64,
}

impl Library {
    pub fn new(root: &Path) -> Self {
        fs::create_dir_all(root.join("tmp")).unwrap();
        fs::create_dir_all(root.join("cas")).unwrap();
        Self {
            root: root.to_owned(),
            next: AtomicU64::new(0),
            records: Mutex::default(),
            blocked: Mutex::default(),
            free: AtomicU64::new(u64::MAX),
        }
    }

    pub fn object(&self, hash: &ContentHash) -> PathBuf {
        self.root.join("cas").join(hash.to_string())
    }

    pub fn objects(&self) -> usize {
        fs::read_dir(self.root.join("cas")).unwrap().count()
    }

    pub fn staged(&self) -> usize {
        fs::read_dir(self.root.join("tmp")).unwrap().count()
    }

    pub fn set_record(&self, record: TesseraRecord) {
        self.records.lock().unwrap().insert(record.hash, record);
    }
}

fn failed(what: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let what = what.display().to_string();
    move |e| StoreError::Backend { what, source: Box::new(e) }
}

struct Writer {
    file: Option<File>,
    path: PathBuf,
    hasher: Blake3,
    bytes: u64,
    finished: bool,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.as_mut().expect("open").write_all(bytes).map_err(failed(&self.path))
    }

    fn finish(mut self: Box<Self>) -> Result<StagedBlob, StoreError> {
        self.finished = true;
        let name = self.path.display().to_string();
        Ok(StagedBlob { hash: self.hasher.finish(), bytes: self.bytes, name })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            fs::remove_file(&self.path).unwrap();
        }
    }
}

struct Reader {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl BlobReader for Reader {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset + buffer.len() as u64;
        if end > self.bytes {
            return Err(StoreError::OutOfRange { offset, end, bytes: self.bytes });
        }
        self.file.read_exact_at(buffer, offset).map_err(failed(&self.path))
    }
}

impl BlobStore for Library {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("tmp").join(number.to_string());
        let file = Some(File::create_new(&path).map_err(failed(&path))?);
        Ok(Box::new(Writer { file, path, hasher: Blake3::default(), bytes: 0, finished: false }))
    }

    fn discard(&self, staged: StagedBlob) {
        fs::remove_file(staged.name).unwrap();
    }

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        let path = self.object(hash);
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Missing(*hash));
            }
            other => other.map_err(failed(&path))?,
        };
        let bytes = file.metadata().map_err(failed(&path))?.len();
        Ok(Box::new(Reader { file, path, bytes }))
    }

    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        Ok(self.object(hash).exists())
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        let bytes = self.free.load(Ordering::Relaxed);
        Ok(FreeSpace { bytes, block_bytes: 4096, files: u64::MAX })
    }
}

impl TesseraRepository for Library {
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError> {
        let mut records = self.records.lock().unwrap();
        if self.blocked.lock().unwrap().contains(&tessera.record.hash) {
            tessera.staged.into_iter().for_each(|staged| self.discard(staged));
            return Err(StoreError::Blocked(tessera.record.hash));
        }
        let new = !records.contains_key(&tessera.record.hash);
        let mut content = tessera.content.clone();
        content.dedup();
        assert_eq!(content, tessera.content, "content is named without repetition");
        assert!(content.contains(&ContentHash::from(tessera.record.hash)), "the MANIFEST too");
        for staged in tessera.staged {
            assert!(content.contains(&staged.hash), "staged for this tessera");
            fs::rename(&staged.name, self.object(&staged.hash)).unwrap();
        }
        if let Some(hash) = content.iter().find(|hash| !self.object(hash).exists()) {
            return Err(StoreError::Missing(*hash));
        }
        records.insert(tessera.record.hash, tessera.record);
        Ok(new)
    }

    fn unblock(&self, hash: &TesseraHash) -> Result<(), StoreError> {
        self.blocked.lock().unwrap().remove(hash);
        Ok(())
    }

    fn get(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        Ok(self.records.lock().unwrap().get(hash).cloned())
    }

    fn find(&self, hex_prefix: &str, limit: usize) -> Result<Vec<TesseraHash>, StoreError> {
        let records = self.records.lock().unwrap();
        let all = records.keys().filter(|hash| hash.to_string().starts_with(hex_prefix));
        Ok(all.take(limit).copied().collect())
    }

    fn list(&self) -> Result<Vec<TesseraRecord>, StoreError> {
        Ok(self.records.lock().unwrap().values().cloned().collect())
    }

    fn remove(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        Ok(self.records.lock().unwrap().remove(hash))
    }
}
