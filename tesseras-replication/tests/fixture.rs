//! Capsules of every version, kept as bytes in `fixture/`: new software reads, packs and encodes
//! old ones to the same bytes, and each version makes its own again bit for bit.
//! `fixture/README.md` describes the files, and how those of a new version are written.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;
use tesseras_capsule::{
    CreateOptions, PackReader, StoredCapsule, create, export, unpack, verify_directory,
};
use tesseras_core::code::{NARROW, Piece};
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{Manifest, listed};
use tesseras_core::pack::{BLOCK, PackLayout, header};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{BlobReader, BlobStore, Origin, StoreError, Workbench as _};
use tesseras_core::progress::Meter;
use tesseras_core::time::Timestamp;
use tesseras_crypto::{CreatorKeys, CreatorPublic, SignaturePair, blake3, sha256};
use tesseras_replication::erasure;
use tesseras_replication::pieces::PieceSource;
use tesseras_storage::{StorageConfig, Store};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture");
const DECODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decoder/decode.py");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHANGED: &str = "this version no longer makes what it made: the formats changed. Add a new \
                       fixture, do not edit an old one (tests/fixture/README.md)";

/// 2026-01-02T03:04:05Z.
const CREATED: Timestamp = Timestamp(1_767_323_045);
/// 1999-12-31T23:59:59Z, in seconds; the files of a folder follow at one day's distance.
const MODIFIED: u64 = 946_684_799;
const ED25519_SEED: [u8; 32] = [0x17; 32];
const ML_DSA_65_SEED: [u8; 32] = [0x71; 32];
const NOISE_SEED: u64 = 0x7E55_E2A5_0000_0001;
/// Slightly more than the shortest coded pack, in samples of two bytes.
const NOISE_SAMPLES: u32 = 2_100_001;

/// The two capsules of each version: one so short that it is only copied whole, one with a coded
/// form.
const WHOLE: &str = "whole";
const CODED: &str = "coded";

const PLAN: &str = "plan";
const PLAN_ED25519: &str = "plan.ed25519.sig";
const PLAN_ML_DSA_65: &str = "plan.ml-dsa-65.sig";
const PACK: &str = "pack.digests";

/// A recording that is too long to be kept here: 16-bit mono at 44.1 kHz, of xorshift64 noise.
fn noise() -> Vec<u8> {
    let bytes = 2 * NOISE_SAMPLES;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(44_100_u32.to_le_bytes());
    out.extend(88_200_u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    let mut state = NOISE_SEED;
    for _ in 0..NOISE_SAMPLES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(((state >> 48) as u16).to_le_bytes());
    }
    out
}

/// The content of the folder: paths and bytes.
fn folder(which: &str) -> Vec<(&'static str, Vec<u8>)> {
    let kept = |name: &str| fs::read(Path::new(FIXTURE).join("folder").join(name)).unwrap();
    match which {
        WHOLE => vec![
            ("carta à avó.txt", kept("carta.txt")),
            ("verão/praia.png", kept("praia.png")),
            ("verão/praia.txt", kept("praia.txt")),
            ("vozes/avó.wav", kept("voz.wav")),
        ],
        _ => vec![("mar.txt", kept("mar.txt")), ("mar.wav", noise())],
    }
}

fn options(which: &str) -> CreateOptions {
    let some = |text: &str| Some(text.to_owned());
    let title = if which == WHOLE { "Verão de 1978" } else { "O mar" };
    CreateOptions {
        title: some(title),
        created: CREATED,
        creator_name: some("Inês d'Ávila"),
        language: some("pt-BR"),
        location: some("Rio de Janeiro"),
        tags: ["família", "mar"].map(str::to_owned).to_vec(),
        again: false,
    }
}

/// A capsule in a store, its plan, and the source of its pieces.
struct Stored {
    dir: TempDir,
    store: Store,
    capsule: Arc<StoredCapsule>,
    pack: Arc<dyn BlobReader>,
    plan: Plan,
}

impl Stored {
    /// Adds a capsule to a new store with `add`, and plans it as publishing does.
    fn new(add: impl FnOnce(&Path, &Store) -> TesseraHash) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), &StorageConfig::default()).unwrap();
        let hash = add(dir.path(), &store);
        let (blobs, library) = (store.blobs(), store.library());
        let capsule = Arc::new(StoredCapsule::open(&*blobs, &*library, &hash).unwrap());
        let pack: Arc<dyn BlobReader> = Arc::new(PackReader::new(capsule.clone(), blobs.clone()));
        let staging: Arc<dyn BlobStore> = blobs;
        let encoded = erasure::encode(&pack, &staging, &Meter::silent()).unwrap();
        for (index, staged) in encoded.parity.into_iter().enumerate() {
            assert_eq!(staged.hash, encoded.checksums[usize::from(NARROW.k) + index]);
            store.workbench().pin(&hash, staged.take(), CREATED).unwrap();
        }
        let plan = Plan::new(hash, pack.bytes(), encoded.pack_hash, encoded.checksums).unwrap();
        Self { dir, store, capsule, pack, plan }
    }

    /// Makes one of the two capsules of a folder, as `tes create` does.
    fn created(which: &str) -> Self {
        Self::new(|dir, store| {
            let root = dir.join("folder");
            for (day, (path, bytes)) in (0..).zip(folder(which)) {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, bytes).unwrap();
                let modified = UNIX_EPOCH + Duration::from_secs(MODIFIED + day * 86_400);
                File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            }
            let (blobs, library) = (store.blobs(), store.library());
            let options = options(which);
            let made =
                create(&root, &options, &keys(), &*blobs, &*library, &Meter::silent()).unwrap();
            assert_eq!(made.skipped, []);
            made.hash
        })
    }

    /// Unpacks a pack, as `tes fetch` does.
    fn fetched(pack: &[u8], hash: TesseraHash) -> Self {
        Self::new(|_, store| {
            let (blobs, library) = (store.blobs(), store.library());
            unpack(
                &Bytes(pack),
                &hash,
                &*blobs,
                &*library,
                Origin::Fetched,
                CREATED,
                &Meter::silent(),
            )
            .unwrap();
            hash
        })
    }

    fn pack(&self) -> Vec<u8> {
        read_all(&*self.pack)
    }

    /// Exports it, and returns the path.
    fn exported(&self) -> PathBuf {
        let blobs = self.store.blobs();
        export(&self.capsule, &*blobs, &self.dir.path().join("exported"), &Meter::silent()).unwrap()
    }

    /// Writes all fragments as files, and returns their directory.
    fn fragments(&self) -> PathBuf {
        let at = self.dir.path().join("fragments");
        fs::create_dir(&at).unwrap();
        let (blobs, workbench) = (self.store.blobs(), self.store.workbench());
        let (plan, pack) = (self.plan.clone(), self.pack.clone());
        let source = PieceSource::new(plan, blobs, workbench, Some(pack)).unwrap();
        for (index, checksum) in (0_u8..).zip(self.plan.checksums()) {
            let bytes = read_all(&*source.open(Piece::Index(index)).unwrap());
            assert_eq!(blake3(&bytes), *checksum, "fragment {index}");
            fs::write(at.join(format!("{index}.fragment")), bytes).unwrap();
        }
        at
    }
}

/// The files in `fixture/` of one capsule of one version.
struct Kept {
    at: PathBuf,
    dir: TempDir,
    plan: Vec<u8>,
    plan_signatures: SignaturePair,
    pack_digests: String,
}

impl Kept {
    fn read(version: &str, which: &str) -> Self {
        let at = Path::new(FIXTURE).join(version).join(which);
        let read = |name: &str| fs::read(at.join(name)).unwrap();
        let plan_signatures =
            SignaturePair { ed25519: read(PLAN_ED25519), ml_dsa_65: read(PLAN_ML_DSA_65) };
        let pack_digests = String::from_utf8(read(PACK)).unwrap();
        let plan = read(PLAN);
        let dir = tempfile::tempdir().unwrap();
        Self { at, dir, plan, plan_signatures, pack_digests }
    }

    fn plan(&self) -> Plan {
        Plan::parse(&self.plan).unwrap()
    }

    /// A copy of the capsule's directory, with the noise that is not kept put back.
    fn directory(&self) -> PathBuf {
        let name = tesseras_core::pack::directory_name(&self.plan().tessera());
        let copy = self.dir.path().join(&name);
        for (path, bytes) in tree(&self.at.join(name)) {
            let path = copy.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let manifest = Manifest::parse(&fs::read(copy.join("MANIFEST")).unwrap()).unwrap();
        for file in manifest.files() {
            let path = copy.join(file.path.as_str());
            if !path.exists() {
                let noise = noise();
                assert_eq!(blake3(&noise), file.blake3, "{} is not the noise", file.path.as_str());
                fs::write(path, noise).unwrap();
            }
        }
        copy
    }
}

fn keys() -> CreatorKeys {
    CreatorKeys::from_seeds(&ED25519_SEED, &ML_DSA_65_SEED)
}

/// The versions that have a fixture, and their two capsules each.
fn all_kept() -> Vec<(String, Kept)> {
    let mut versions: Vec<String> = fs::read_dir(FIXTURE)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    versions.sort();
    assert!(versions.iter().any(|version| version == "0.1.0"), "the first fixture is gone");
    let both = |version: String| {
        [WHOLE, CODED].map(|which| (format!("{version}/{which}"), Kept::read(&version, which)))
    };
    versions.into_iter().flat_map(both).collect()
}

/// All files beneath a directory, by path.
fn tree(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(at) = waiting.pop() {
        if at.is_dir() {
            waiting.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = at.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(&at).unwrap()));
        }
    }
    files.sort();
    files
}

/// Names the files that differ without their content, so that a failure stays readable.
fn assert_same_tree(left: &Path, right: &Path, why: &str) {
    let digests = |root: &Path| -> Vec<String> {
        let line = |(path, bytes): (String, Vec<u8>)| format!("{} {path}", blake3(&bytes));
        // HASH.txt of an export is no part of the capsule.
        tree(root).into_iter().filter(|(path, _)| path != "HASH.txt").map(line).collect()
    };
    assert_eq!(digests(left), digests(right), "{why}");
}

/// A pack in memory.
struct Bytes<'a>(&'a [u8]);

impl BlobReader for Bytes<'_> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

fn read_all(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(reader.bytes()).unwrap()];
    reader.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The pack of a directory, made without a store.
fn pack_of(directory: &Path) -> Vec<u8> {
    let manifest = fs::read(directory.join("MANIFEST")).unwrap();
    let hash = TesseraHash::from(blake3(&manifest));
    let bytes = manifest.len() as u64;
    let layout = PackLayout::new(&hash, &Manifest::parse(&manifest).unwrap(), bytes).unwrap();
    let mut pack = Vec::new();
    for entry in layout.entries() {
        let bytes = fs::read(directory.parent().unwrap().join(&entry.path)).unwrap();
        pack.extend(header(&entry.path, bytes.len() as u64));
        pack.extend(bytes);
        pack.resize(pack.len().next_multiple_of(BLOCK as usize), 0);
    }
    pack.extend([0; 2 * BLOCK as usize]);
    pack
}

fn digests(pack: &[u8]) -> String {
    format!("bytes {}\nblake3 {}\nsha256 {}\n", pack.len(), blake3(pack), sha256(pack))
}

fn assert_valid(directory: &Path, hash: TesseraHash, label: &str) {
    let report = verify_directory(directory, Some(&hash), &Meter::silent()).unwrap();
    let faults: Vec<_> = report.faults().collect();
    assert!(report.valid && faults.is_empty(), "{label}: {faults:?}");
}

#[test]
fn capsules_of_every_version_pack_to_the_same_bytes() {
    for (label, kept) in all_kept() {
        let directory = kept.directory();
        let hash = kept.plan().tessera();
        assert_valid(&directory, hash, &label);

        let pack = pack_of(&directory);
        assert_eq!(digests(&pack), kept.pack_digests, "{label}");
        let stored = Stored::fetched(&pack, hash);
        assert!(stored.pack() == pack, "{label}: the pack of the stored capsule is another");
        assert_same_tree(&stored.exported(), &directory, &label);

        // All fragments, too: the plan names the BLAKE3 of each.
        assert_eq!(stored.plan.render().into_bytes(), kept.plan, "{label}");
        assert_eq!(stored.plan.coded().is_some(), label.ends_with(CODED), "{label}");
        let pem = |path: &str| fs::read_to_string(directory.join(path)).unwrap();
        let creator =
            CreatorPublic::from_pem(&pem(listed::ED25519_PEM), &pem(listed::ML_DSA_65_PEM));
        let check = creator.unwrap().verify(&kept.plan, &kept.plan_signatures);
        assert!(check.both(), "{label}: {check:?}");
    }
}

#[test]
fn a_stranger_brings_back_the_coded_capsule_of_every_version() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3 command");
        return;
    }
    for (label, kept) in all_kept().into_iter().filter(|(label, _)| label.ends_with(CODED)) {
        let (plan, directory) = (kept.plan(), kept.directory());
        assert_eq!(plan.coded().unwrap().shape, NARROW);
        let stored = Stored::fetched(&pack_of(&directory), plan.tessera());
        let fragments = stored.fragments();
        // Sixteen each time, all eight of parity among them.
        let sets: [Vec<u8>; 2] =
            [(8..24).collect(), (0..16).step_by(2).chain((16..24).rev()).collect()];
        for (round, indices) in sets.iter().enumerate() {
            let at = kept.dir.path().join(format!("rebuilt-{round}"));
            fs::create_dir(&at).unwrap();
            let tar = at.join("pack.tar");
            let output = Command::new("python3")
                .arg(DECODER)
                .arg(kept.at.join(PLAN))
                .arg(&tar)
                .args(indices.iter().map(|index| fragments.join(format!("{index}.fragment"))))
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{label} from {indices:?}: {said}");
            let rebuilt = fs::read(&tar).unwrap();
            assert_eq!(digests(&rebuilt), kept.pack_digests, "{label} from {indices:?}");
            untar(&tar, &at);
            let unpacked = at.join(directory.file_name().unwrap());
            assert_valid(&unpacked, plan.tessera(), &label);
            assert_same_tree(&unpacked, &directory, &label);
        }
    }
}

/// With the system's tar, which is independent of our code, or with another independent one.
fn untar(tar: &Path, to: &Path) {
    match Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(to).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "tar: {said}");
        }
        Err(_) => tar::Archive::new(File::open(tar).unwrap()).unpack(to).unwrap(),
    }
}

#[test]
fn this_version_makes_its_capsules_again_bit_for_bit() {
    let there = Path::new(FIXTURE).join(VERSION).is_dir();
    assert!(there, "version {VERSION} has no fixture yet: see tests/fixture/README.md");
    for which in [WHOLE, CODED] {
        let (made, kept) = (Stored::created(which), Kept::read(VERSION, which));
        assert_same_tree(&made.exported(), &kept.directory(), CHANGED);
        assert_eq!(digests(&made.pack()), kept.pack_digests, "{CHANGED}");
        let plan = made.plan.render();
        assert_eq!(plan.as_bytes(), kept.plan, "{CHANGED}");
        assert!(keys().sign(plan.as_bytes()) == kept.plan_signatures, "{CHANGED}");
    }
}

#[test]
fn the_page_beside_the_fixture_names_its_seeds() {
    let page = fs::read_to_string(Path::new(FIXTURE).join("README.md")).unwrap();
    let said = [
        format!("0x{NOISE_SEED:016X}"),
        NOISE_SAMPLES.to_string(),
        format!("{:02x}", ED25519_SEED[0]),
        format!("{:02x}", ML_DSA_65_SEED[0]),
    ];
    for wanted in said {
        assert!(page.contains(&format!("`{wanted}`")), "{wanted}");
    }
}

#[test]
#[ignore = "writes the fixture of a new version"]
fn write_the_fixture_of_a_new_version() {
    let at = Path::new(FIXTURE).join(VERSION);
    assert!(!at.exists(), "{} exists already; it is left as it is", at.display());
    let noise = noise();
    for which in [WHOLE, CODED] {
        let (made, at) = (Stored::created(which), at.join(which));
        let exported = made.exported();
        let directory = at.join(exported.file_name().unwrap());
        for (path, bytes) in tree(&exported).into_iter().filter(|(_, bytes)| *bytes != noise) {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let plan = made.plan.render();
        let signatures = keys().sign(plan.as_bytes());
        fs::write(at.join(PLAN), &plan).unwrap();
        fs::write(at.join(PLAN_ED25519), signatures.ed25519).unwrap();
        fs::write(at.join(PLAN_ML_DSA_65), signatures.ml_dsa_65).unwrap();
        fs::write(at.join(PACK), digests(&made.pack())).unwrap();
    }
}
