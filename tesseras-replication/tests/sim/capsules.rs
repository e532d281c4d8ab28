//! Capsules made once with real keys, and their form in the simulation: a pack is its bytes.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use tesseras_capsule::{CreateOptions, PackReader, StoredCapsule, create};
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::listed;
use tesseras_core::ports::{
    BlobReader, BlobStore, NewTessera, Origin, StoreError, TesseraRecord, TesseraRepository,
};
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;
use tesseras_crypto::{CreatorKeys, NamedManifest};
use tesseras_replication::{Capsules, OpenCapsule, UnpackError, UnpackingCapsule};

use crate::memory::{Memory, Reader};

/// A capsule that was made.
pub struct Made {
    pub record: TesseraRecord,
    pub pack: Arc<Vec<u8>>,
    capsule: Arc<StoredCapsule>,
    /// MANIFEST and public keys.
    parts: Vec<Vec<u8>>,
}

/// The creator of all capsules.
pub fn creator() -> CreatorKeys {
    CreatorKeys::from_seeds(&[5; 32], &[6; 32])
}

/// A few KiB: it is kept in whole copies.
pub fn small() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| make(2000))
}

/// Just long enough for the coded form.
pub fn coded() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| make(4 << 20))
}

/// Kept in whole copies that take a while on a slow line.
pub fn album() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| make(2 << 20))
}

/// In fragments of 1 MiB.
pub fn film() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| make(15 << 20))
}

/// Several small ones.
pub fn many() -> &'static [Made] {
    static MADE: OnceLock<Vec<Made>> = OnceLock::new();
    MADE.get_or_init(|| (1..25).map(|number| make(2000 + 8 * number)).collect())
}

/// The capsule of a hash.
pub fn known(tessera: &TesseraHash) -> &'static Made {
    let lazily = [small, coded, album, film].into_iter().map(|made| made());
    lazily.chain(many()).find(|made| made.record.hash == *tessera).unwrap()
}

fn make(bytes: usize) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let mut jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    while jpeg.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        jpeg.extend(state.to_le_bytes());
    }
    // The date of a file is part of the capsule: it is constant, so that every run has the same
    // hash.
    let mut file = std::fs::File::create(dir.path().join("sea.jpg")).unwrap();
    file.write_all(&jpeg).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_600_000_000)).unwrap();
    drop(file);
    let memory = Memory::default();
    let options = CreateOptions {
        title: Some("Sea".to_owned()),
        created: Timestamp(1_700_000_000),
        ..CreateOptions::default()
    };
    let made =
        create(dir.path(), &options, &creator(), &memory, &memory, &Meter::silent()).unwrap();
    let record = TesseraRepository::get(&memory, &made.hash).unwrap().unwrap();
    let capsule = Arc::new(StoredCapsule::of_record(&memory, &record).unwrap());
    let pem = |path| capsule.manifest().file(path).unwrap().blake3;
    let parts = [record.hash.into(), pem(listed::ED25519_PEM), pem(listed::ML_DSA_65_PEM)];
    let read = |hash| read_all(&*BlobStore::open(&memory, &hash).unwrap());
    let parts = parts.map(read).to_vec();
    let pack = read_all(&PackReader::new(capsule.clone(), Arc::new(memory.clone())));
    Made { record, capsule, pack: Arc::new(pack), parts }
}

fn read_all(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Adds a capsule to a library that its owner asks for, as its creator or as one who has fetched it.
pub fn add(memory: &Memory, made: &Made, origin: Origin) -> TesseraRecord {
    memory.unblock(&made.record.hash).unwrap();
    try_to_add(memory, made, origin).unwrap()
}

fn try_to_add(memory: &Memory, made: &Made, origin: Origin) -> Result<TesseraRecord, StoreError> {
    let staged: Vec<_> = made
        .parts
        .iter()
        .map(|part| {
            let mut writer = memory.stage().unwrap();
            writer.write(part).unwrap();
            writer.finish().unwrap()
        })
        .collect();
    let record = TesseraRecord { origin, ..made.record.clone() };
    let content = staged.iter().map(|staged| staged.hash).collect();
    memory.add(NewTessera { record: record.clone(), content, staged })?;
    Ok(record)
}

/// The capsules of one simulated node.
pub struct SimCapsules(pub Memory);

impl OpenCapsule for &'static Made {
    fn named(&self) -> &NamedManifest<Arc<[u8]>> {
        self.capsule.named()
    }

    fn signatures(&self) -> &SignaturePair {
        self.capsule.signatures()
    }

    fn creator_pems(&self) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        Ok((self.parts[1].clone(), self.parts[2].clone()))
    }

    fn pack(&self) -> Arc<dyn BlobReader> {
        Arc::new(Reader(self.pack.clone()))
    }

    fn check(&self) -> Result<(), UnpackError> {
        Ok(())
    }
}

impl Capsules for SimCapsules {
    fn open(&self, record: &TesseraRecord) -> Result<Arc<dyn OpenCapsule>, StoreError> {
        self.0.attempt("open_capsule")?;
        Ok(Arc::new(known(&record.hash)))
    }

    fn unpack(&self, tessera: &TesseraHash) -> Box<dyn UnpackingCapsule> {
        Box::new(Unpacking { made: known(tessera), memory: self.0.clone(), taken: 0 })
    }
}

/// A capsule that is compared with the one that was made. It takes whole records of this length, as
/// the real one takes headers and the MANIFEST.
const RECORD: usize = 100_003;

struct Unpacking {
    made: &'static Made,
    memory: Memory,
    taken: usize,
}

impl UnpackingCapsule for Unpacking {
    fn advance(
        &mut self,
        pack: &dyn BlobReader,
        available: u64,
        meter: &Meter,
    ) -> Result<u64, UnpackError> {
        let whole = self.made.pack.len();
        let end = match available as usize {
            end if end == whole => end,
            end => end / RECORD * RECORD,
        };
        let mut bytes = vec![0; end - self.taken];
        pack.read_at(self.taken as u64, &mut bytes)?;
        if bytes != self.made.pack[self.taken..][..bytes.len()] {
            return Err(UnpackError::Invalid("not the bytes that were packed".to_owned()));
        }
        self.taken += bytes.len();
        meter.add(bytes.len() as u64);
        Ok(self.taken as u64)
    }

    fn finish(self: Box<Self>) -> Result<TesseraRecord, UnpackError> {
        assert_eq!(self.taken, self.made.pack.len());
        Ok(try_to_add(&self.memory, self.made, Origin::Fetched)?)
    }
}
