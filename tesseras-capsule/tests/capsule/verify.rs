//! Whatever is wrong with a capsule is found, and the file in which it lies is named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tesseras_capsule::{
    FileStatus, Report, SignatureStatus, VerifyError, verify_directory, verify_opened,
    verify_stored,
};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::Meter;

use crate::samples::{World, tree};

fn verify(path: &Path) -> Report {
    verify_directory(path, None, &Meter::silent()).unwrap()
}

fn faults(report: &Report) -> Vec<(&str, FileStatus)> {
    report.faults().map(|f| (f.path.as_str(), f.status)).collect()
}

#[test]
fn what_was_exported_is_valid_and_every_file_is_named() {
    let world = World::small();
    let path = world.exported();
    let report = verify(&path);
    assert!(report.valid, "{report:?}");
    assert_eq!(report.hash, world.create().unwrap().hash);
    let files: Vec<String> = tree(&path).into_iter().map(|(name, _)| name).collect();
    // HASH.txt is for people, and no part of the capsule.
    let of_capsule = |name: &&str| !name.ends_with('/') && *name != "HASH.txt";
    let files: Vec<&str> = files.iter().map(String::as_str).filter(of_capsule).collect();
    assert_eq!(report.files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), files);

    let wrong = TesseraHash::new([9; 32]);
    let report = verify_directory(&path, Some(&wrong), &Meter::silent()).unwrap();
    assert!(!report.valid);
    assert_eq!(faults(&report), [("MANIFEST", FileStatus::Corrupt)]);
}

#[test]
fn a_flipped_bit_is_found_in_the_very_file() {
    let world = World::small();
    let path = world.exported();
    for (name, bytes) in tree(&path) {
        if name.ends_with('/') {
            continue;
        }
        // All bytes of MANIFEST and SHA256SUMS matter differently; of others a few are enough.
        let step = match name.as_str() {
            "MANIFEST" | "SHA256SUMS" => 131,
            _ => bytes.len().div_ceil(5).max(1),
        };
        for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(path.join(&name), &bad).unwrap();
            let report = verify(&path);
            assert!(!report.valid, "{name} byte {at}");
            assert_eq!(faults(&report), [(name.as_str(), FileStatus::Corrupt)], "byte {at}");
        }
        fs::write(path.join(&name), &bytes).unwrap();
    }
    assert!(verify(&path).valid);
}

#[test]
fn a_missing_file_is_named() {
    let world = World::small();
    let path = world.exported();
    for (name, bytes) in tree(&path) {
        if name.ends_with('/') {
            continue;
        }
        fs::remove_file(path.join(&name)).unwrap();
        let report = verify(&path);
        assert_eq!(report.valid, name == "HASH.txt", "{name}");
        if report.valid {
            continue;
        }
        assert_eq!(faults(&report), [(name.as_str(), FileStatus::Missing)]);
        match name.as_str() {
            "MANIFEST.ed25519.sig" => assert_eq!(
                (report.ed25519, report.ml_dsa_65),
                (SignatureStatus::Missing, SignatureStatus::Valid)
            ),
            "MANIFEST.ml-dsa-65.sig" => assert_eq!(
                (report.ed25519, report.ml_dsa_65),
                (SignatureStatus::Valid, SignatureStatus::Missing)
            ),
            _ => {}
        }
        fs::write(path.join(&name), &bytes).unwrap();
    }
    fs::remove_file(path.join("MANIFEST.ed25519.sig")).unwrap();
    fs::remove_file(path.join("MANIFEST.ml-dsa-65.sig")).unwrap();
    let report = verify(&path);
    assert!(!report.valid);
    assert_eq!(
        (report.ed25519, report.ml_dsa_65),
        (SignatureStatus::Missing, SignatureStatus::Missing)
    );
    fs::remove_file(path.join("SHA256SUMS")).unwrap();
    assert!(!verify(&path).valid);
}

#[test]
fn a_folder_that_is_no_capsule_is_not_judged_file_by_file() {
    let world = World::small();
    let attempt = || verify_directory(&world.folder, None, &Meter::silent());
    assert!(matches!(attempt(), Err(VerifyError::NoCapsule { .. })));
    world.put("MANIFEST", b"Manifest-Version: 1.0\n");
    let error = attempt().unwrap_err().to_string();
    assert!(error.contains("is not a capsule") && error.lines().count() == 1, "{error}");
    // Whatever else is left of a capsule, its owner is told what is lost.
    let path = world.exported();
    fs::remove_file(path.join("MANIFEST")).unwrap();
    fs::remove_file(path.join("MANIFEST.ed25519.sig")).unwrap();
    fs::remove_file(path.join("SHA256SUMS")).unwrap();
    assert!(!verify(&path).valid);
}

#[test]
fn what_does_not_belong_is_named_and_links_are_not_followed() {
    let world = World::small();
    let path = world.exported();
    fs::write(path.join("memories/extra.txt"), b"x").unwrap();
    fs::create_dir_all(path.join("new/empty")).unwrap();
    fs::create_dir_all(path.join("other")).unwrap();
    fs::write(path.join("other/file"), b"").unwrap();
    symlink("/etc", path.join("etc")).unwrap();
    symlink("README.decode", path.join("LISEZMOI")).unwrap();
    let report = verify(&path);
    assert!(!report.valid);
    let names: Vec<&str> = report.faults().map(|f| f.path.as_str()).collect();
    assert_eq!(names, ["LISEZMOI", "etc", "memories/extra.txt", "new/empty", "other/file"]);
    assert!(report.faults().all(|f| f.status == FileStatus::Unexpected));
}

#[test]
fn a_link_in_the_place_of_a_file_or_directory_is_not_the_file() {
    let world = World::small();
    let path = world.exported();
    let outside = world.dir.path().join("outside");
    fs::rename(path.join("identity"), &outside).unwrap();
    symlink(&outside, path.join("identity")).unwrap();
    let readme = path.join("README.decode");
    let copy = world.dir.path().join("copy");
    fs::rename(&readme, &copy).unwrap();
    symlink(&copy, &readme).unwrap();
    let report = verify(&path);
    assert_eq!(
        faults(&report),
        [
            ("README.decode", FileStatus::Unexpected),
            ("identity", FileStatus::Unexpected),
            ("identity/creator.ed25519.pem", FileStatus::Missing),
            ("identity/creator.ml-dsa-65.pem", FileStatus::Missing),
        ]
    );
    assert_eq!(report.ed25519, SignatureStatus::Invalid);
}

#[test]
fn somebody_elses_signature_over_a_changed_manifest_does_not_pass() {
    let world = World::small();
    let path = world.exported();
    let manifest = fs::read_to_string(path.join("MANIFEST")).unwrap();
    let forged = manifest.replace("title: Férias", "title: Ferias");
    assert_ne!(forged, manifest);
    fs::write(path.join("MANIFEST"), &forged).unwrap();
    // SHA256SUMS is made to fit, as a forger would.
    let sums = fs::read_to_string(path.join("SHA256SUMS")).unwrap();
    let digest = |text: &str| tesseras_crypto::sha256(text.as_bytes()).to_string();
    fs::write(path.join("SHA256SUMS"), sums.replace(&digest(&manifest), &digest(&forged))).unwrap();
    let report = verify(&path);
    assert_eq!(faults(&report), [("MANIFEST", FileStatus::Corrupt)]);

    // The forger signs with keys of their own.
    let forger = tesseras_crypto::CreatorKeys::from_seeds(&[3; 32], &[4; 32]);
    let signatures = forger.sign(forged.as_bytes());
    fs::write(path.join("MANIFEST.ed25519.sig"), &signatures.ed25519).unwrap();
    fs::write(path.join("MANIFEST.ml-dsa-65.sig"), &signatures.ml_dsa_65).unwrap();
    fs::write(path.join("identity/creator.ed25519.pem"), forger.public().ed25519_pem()).unwrap();
    fs::write(path.join("identity/creator.ml-dsa-65.pem"), forger.public().ml_dsa_65_pem())
        .unwrap();
    let report = verify(&path);
    assert!(!report.valid);
    assert_eq!(report.ed25519, SignatureStatus::Invalid);
    assert_eq!(report.ml_dsa_65, SignatureStatus::Invalid);
}

#[test]
fn a_stored_capsule_is_verified_object_by_object() {
    let world = World::small();
    let capsule = world.capsule();
    let library = &*world.library;
    let verify = || verify_stored(library, library, &capsule.hash(), &Meter::silent()).unwrap();
    assert!(verify().valid);
    for file in capsule.files() {
        let object = library.object(&file.blake3);
        let good = fs::read(&object).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 0x10;
        fs::write(&object, bad).unwrap();
        let report = verify();
        assert!(!report.valid);
        let same = capsule.files().iter().filter(|other| other.blake3 == file.blake3);
        let faulty = |status| -> Vec<_> {
            same.clone().map(|other| (other.path.as_str(), status)).collect()
        };
        assert_eq!(faults(&report), faulty(FileStatus::Corrupt));
        fs::remove_file(&object).unwrap();
        assert_eq!(faults(&verify()), faulty(FileStatus::Missing));
        fs::write(&object, good).unwrap();
    }
    let object = library.object(&ContentHash::from(capsule.hash()));
    let good = fs::read(&object).unwrap();
    fs::write(&object, &good[..good.len() - 1]).unwrap();
    let report = verify();
    assert_eq!(faults(&report), [("MANIFEST", FileStatus::Corrupt)]);
    assert_ne!(report.hash, capsule.hash());
    fs::remove_file(&object).unwrap();
    assert_eq!(faults(&verify()), [("MANIFEST", FileStatus::Missing)]);
    fs::write(&object, good).unwrap();

    let mut record = library.get(&capsule.hash()).unwrap().unwrap();
    record.signatures.ed25519[5] ^= 1;
    library.set_record(record);
    let report = verify();
    assert_eq!(faults(&report), [("MANIFEST.ed25519.sig", FileStatus::Corrupt)]);
    assert_eq!(
        (report.valid, report.ed25519, report.ml_dsa_65),
        (false, SignatureStatus::Invalid, SignatureStatus::Valid)
    );
    let unknown = TesseraHash::new([1; 32]);
    let error = verify_stored(library, library, &unknown, &Meter::silent());
    assert!(matches!(error, Err(VerifyError::NotStored(_))));
}

#[test]
fn an_object_that_this_machine_cannot_open_is_not_called_damaged() {
    let world = World::small();
    let capsule = world.capsule();
    let library = &*world.library;
    let verify = || verify_stored(library, library, &capsule.hash(), &Meter::silent());
    let opened = || verify_opened(library, &capsule, &Meter::silent());
    let objects = library.object(&capsule.hash().into()).parent().unwrap().to_owned();
    let away = objects.with_extension("away");
    fs::rename(&objects, &away).unwrap();
    // Opening a path below a file fails with `ENOTDIR`.
    fs::write(&objects, b"").unwrap();
    for outcome in [verify(), opened()] {
        assert!(matches!(outcome, Err(VerifyError::Store(_))), "{outcome:?}");
    }
    fs::remove_file(&objects).unwrap();
    fs::rename(&away, &objects).unwrap();
    assert!(verify().unwrap().valid && opened().unwrap().valid);
}
