//! The pack: read at any offset it is one and the same tar, and only that tar is unpacked.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use tesseras_capsule::{PackReader, UnpackError, Unpacking, export, unpack, verify_stored};
use tesseras_core::ids::TesseraHash;
use tesseras_core::pack::{PackSource, header};
use tesseras_core::ports::{BlobReader, BlobStore, Origin, StoreError, TesseraRepository as _};
use tesseras_core::progress::Meter;

use crate::samples::{NOW, World, jpeg, tree};
use crate::store::Library;

fn packed(world: &World) -> (Vec<u8>, PackReader) {
    let reader = PackReader::new(Arc::new(world.capsule()), world.library.clone());
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes).unwrap();
    (bytes, reader)
}

/// A pack in memory.
struct Bytes<'a>(&'a [u8]);

impl BlobReader for Bytes<'_> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let (from, to) = (offset as usize, offset as usize + buffer.len());
        let bytes = self.0.get(from..to).ok_or(StoreError::OutOfRange {
            offset,
            end: to as u64,
            bytes: self.bytes(),
        })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

fn try_unpack(pack: &[u8], hash: &TesseraHash, at: &Path) -> (Result<bool, UnpackError>, Library) {
    let library = Library::new(at);
    let outcome =
        unpack(&Bytes(pack), hash, &library, &library, Origin::Fetched, NOW, &Meter::silent())
            .map(|u| u.new);
    (outcome, library)
}

#[test]
fn the_pack_is_the_tar_of_the_exported_directory() {
    let world = World::small();
    world.put(&format!("{}.txt", "long name ".repeat(20)), b"a long name");
    let (pack, reader) = packed(&world);
    let dest = world.dir.path().join("dest");
    let exported = export(reader.capsule(), &*world.library, &dest, &Meter::silent()).unwrap();
    let mut archive = tar::Archive::new(&pack[..]);
    let mut listed = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!((entry.header().mode().unwrap(), entry.header().mtime().unwrap()), (0o644, 0));
        listed.push((path.split_once('/').unwrap().1.to_owned(), bytes));
    }
    assert_eq!(listed[0].0, "MANIFEST");
    listed.sort();
    let of_pack = |name: &str| !name.ends_with('/') && name != "HASH.txt";
    let files: Vec<_> = tree(&exported).into_iter().filter(|(n, _)| of_pack(n)).collect();
    assert!(listed == files);
    assert_eq!(packed(&world).0, pack, "two reads are the same bytes");

    let out = world.dir.path().join("untarred");
    fs::create_dir(&out).unwrap();
    let file = world.dir.path().join("pack.tar");
    fs::write(&file, &pack).unwrap();
    if crate::tools::run("tar", &["-xf", file.to_str().unwrap()], &out) {
        let name = exported.file_name().unwrap();
        fs::remove_file(exported.join("HASH.txt")).unwrap();
        assert!(tree(&out.join(name)) == tree(&exported), "what tar unpacks is what is exported");
    }
}

#[test]
fn any_range_of_the_pack_can_be_read() {
    let world = World::small();
    let (pack, reader) = packed(&world);
    let mut runner = proptest::test_runner::TestRunner::default();
    let ranges = (0..pack.len(), 0..70_000_usize);
    runner
        .run(&ranges, |(from, length)| {
            let to = (from + length).min(pack.len());
            let mut buffer = vec![1; to - from];
            reader.read_at(from as u64, &mut buffer).unwrap();
            prop_assert!(buffer == pack[from..to]);
            Ok(())
        })
        .unwrap();
    let error = reader.read_at(pack.len() as u64 - 1, &mut [0; 2]);
    assert!(matches!(error, Err(StoreError::OutOfRange { .. })));
    assert!(reader.read_at(u64::MAX, &mut [0; 2]).is_err());
}

#[test]
fn a_pack_becomes_the_same_capsule_elsewhere() {
    let world = World::small();
    world.put("again.jpg", &jpeg(b"sea"));
    let (pack, reader) = packed(&world);
    let hash = reader.capsule().hash();
    let (outcome, library) = try_unpack(&pack, &hash, &world.dir.path().join("other"));
    assert!(outcome.unwrap());
    assert_eq!(library.staged(), 0);
    assert_eq!(library.objects(), world.library.objects());
    let mut theirs = library.get(&hash).unwrap().unwrap();
    assert_eq!(theirs.origin, Origin::Fetched);
    theirs.origin = Origin::Created;
    assert_eq!(Some(theirs), world.library.get(&hash).unwrap());
    assert!(verify_stored(&library, &library, &hash, &Meter::silent()).unwrap().valid);
    let again =
        unpack(&Bytes(&pack), &hash, &library, &library, Origin::Fetched, NOW, &Meter::silent());
    assert!(!again.unwrap().new);
    assert_eq!(library.staged(), 0);
}

#[test]
fn a_pack_is_taken_as_it_arrives_whatever_the_cuts() {
    let world = World::small();
    world.put("film.webm", &crate::samples::jpeg(&vec![7; 700_000]));
    let (pack, reader) = packed(&world);
    let hash = reader.capsule().hash();
    let at = tempfile::tempdir().unwrap();
    let whole = try_unpack(&pack, &hash, &at.path().join("whole")).1;
    let cut_at = proptest::collection::btree_set(0..pack.len(), 0..40);
    let runs = proptest::test_runner::Config::with_cases(24);
    let case = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(runs);
    runner
        .run(&cut_at, |cuts| {
            case.set(case.get() + 1);
            let library = Library::new(&at.path().join(case.get().to_string()));
            let blobs: &dyn BlobStore = &library;
            let mut unpacking = Unpacking::new(hash, blobs);
            for cut in &cuts {
                // What is not at hand yet is not there.
                let here = Bytes(&pack[..*cut]);
                let arriving = Arriving { here, bytes: pack.len() as u64 };
                unpacking.advance(&arriving, *cut as u64, &Meter::silent()).unwrap();
            }
            if cuts.len() % 2 == 0 {
                let short = unpacking.finish(&library, Origin::Fetched, NOW).unwrap_err();
                prop_assert!(matches!(short, UnpackError::Short { .. }), "{short}");
                prop_assert_eq!(library.objects() + library.staged(), 0);
                return Ok(());
            }
            unpacking.advance(&Bytes(&pack), u64::MAX, &Meter::silent()).unwrap();
            prop_assert!(unpacking.finish(&library, Origin::Fetched, NOW).unwrap().new);
            prop_assert_eq!(library.objects(), whole.objects());
            prop_assert_eq!(library.staged(), 0);
            Ok(())
        })
        .unwrap();
}

/// A pack of which only the beginning can be read.
struct Arriving<'a> {
    here: Bytes<'a>,
    bytes: u64,
}

impl BlobReader for Arriving<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.here.read_at(offset, buffer)
    }
}

#[test]
fn every_flipped_bit_cut_or_addition_is_refused_and_leaves_nothing() {
    let world = World::small();
    let (pack, reader) = packed(&world);
    let hash = reader.capsule().hash();
    let refused = |pack: &[u8], what: &str| {
        let at = tempfile::tempdir().unwrap();
        let (outcome, library) = try_unpack(pack, &hash, at.path());
        assert!(outcome.is_err(), "{what}");
        assert_eq!(library.objects() + library.staged(), 0, "{what}");
        outcome.unwrap_err().to_string()
    };
    // One bit in each header, each file and each padding.
    for entry in reader.capsule().layout().entries() {
        for at in [entry.offset, entry.offset + 130, entry.offset + 500, entry.data_offset] {
            let mut bad = pack.clone();
            bad[at as usize] ^= 2;
            refused(&bad, &entry.path);
        }
        let end = entry.data_offset + entry.bytes;
        let mut bad = pack.clone();
        bad[end as usize] ^= 2;
        refused(&bad, &entry.path);
        let error = refused(&pack[..(end - 1) as usize], "cut");
        assert!(error.contains(entry.path.split_once('/').unwrap().1), "{error}");
    }
    refused(&pack[..pack.len() - 1], "the last byte is gone");
    refused(&[&pack[..], &[0]].concat(), "a byte too much");
    refused(&[], "nothing");
    refused(&[0; 4096], "zeros");
    let mut last = pack.clone();
    *last.last_mut().unwrap() = 1;
    refused(&last, "the end is not zeros");

    let other = TesseraHash::new([5; 32]);
    let at = tempfile::tempdir().unwrap();
    assert!(try_unpack(&pack, &other, at.path()).0.is_err());
    // The same first 16 digits, another capsule.
    let mut near = *hash.as_bytes();
    near[31] ^= 1;
    let near = TesseraHash::new(near);
    let error = try_unpack(&pack, &near, at.path()).0.unwrap_err();
    assert!(matches!(error, UnpackError::WrongTessera { found, .. } if found == hash));
}

#[test]
fn claims_are_bounded_before_memory_is_set_aside() {
    let hash = TesseraHash::new([5; 32]);
    let path = format!("tessera-{}/MANIFEST", hash.short());
    let at = tempfile::tempdir().unwrap();
    let pack = header(&path, 8_000_000_000);
    let error = try_unpack(&pack, &hash, at.path()).0.unwrap_err();
    assert!(matches!(error, UnpackError::ManifestTooLong(8_000_000_000)), "{error}");

    // A true MANIFEST, but the signatures over it are somebody else's.
    let world = World::small();
    let (mut pack, reader) = packed(&world);
    let forger = tesseras_crypto::CreatorKeys::from_seeds(&[3; 32], &[4; 32]);
    let capsule = reader.capsule();
    let forged = forger.sign(capsule.manifest_bytes());
    let sums = capsule
        .sums()
        .replace(
            &tesseras_crypto::sha256(&capsule.signatures().ed25519).to_string(),
            &tesseras_crypto::sha256(&forged.ed25519).to_string(),
        )
        .replace(
            &tesseras_crypto::sha256(&capsule.signatures().ml_dsa_65).to_string(),
            &tesseras_crypto::sha256(&forged.ml_dsa_65).to_string(),
        );
    for entry in capsule.layout().entries() {
        let with = match entry.source {
            PackSource::Ed25519Signature => &forged.ed25519[..],
            PackSource::MlDsa65Signature => &forged.ml_dsa_65,
            PackSource::Sums => sums.as_bytes(),
            PackSource::Manifest | PackSource::File(_) => continue,
        };
        pack[entry.data_offset as usize..][..with.len()].copy_from_slice(with);
    }
    let (outcome, library) = try_unpack(&pack, &capsule.hash(), at.path());
    assert!(matches!(outcome, Err(UnpackError::Signature("Ed25519"))), "{outcome:?}");
    assert_eq!(library.objects() + library.staged(), 0);
}

proptest! {
    #[test]
    fn no_bytes_make_unpacking_fail(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let hash = TesseraHash::new([5; 32]);
        let path = format!("tessera-{}/MANIFEST", hash.short());
        let framed = [header(&path, bytes.len() as u64), bytes.clone()].concat();
        let at = tempfile::tempdir().unwrap();
        for pack in [bytes, framed] {
            prop_assert!(try_unpack(&pack, &hash, at.path()).0.is_err());
        }
    }
}
