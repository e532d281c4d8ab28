//! Capsules made to harm: they get a clear answer, and nothing outside of them is touched.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tesseras_capsule::{FileStatus, StoredCapsule, verify_directory};
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::Manifest;
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;

use crate::samples::World;

#[test]
fn a_hostile_manifest_is_named_with_its_reason() {
    let world = World::small();
    let path = world.exported();
    let good = fs::read_to_string(path.join("MANIFEST")).unwrap();
    let line = good.lines().last().unwrap();
    let name = line.rsplit_once(' ').map_or(line, |_| line.splitn(5, ' ').last().unwrap());
    let with = |name: &str| good.replace(line, "").trim_end().to_owned() + "\n" + name + "\n";
    let renamed = |to: &str| with(&line.replace(name, to));
    let huge = "title: x\n".repeat(10_000_000);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (renamed("memories/../../../etc/passwd").into(), "\"..\""),
        (renamed("/etc/passwd").into(), "absolute"),
        (renamed("z\u{7}").into(), "U+0007"),
        (renamed("z\0z").into(), "U+0000"),
        (renamed("z\rz").into(), "U+000D"),
        (renamed("ze\u{301}").into(), "normalization"),
        (renamed("SHA256SUMS").into(), "itself"),
        (with(&format!("{line}\n{line}")).into(), "after the path"),
        (with(&format!("{line}\n{line}/below")).into(), "directory"),
        (good.replace("title: ", "title: a\nb").into(), "line 4"),
        (good.replace("pack: 1", "pack: 2").into(), "pack version"),
        (good.replace("tesseras-manifest 1", "tesseras-manifest 9").into(), "begins with"),
        (good.trim_end().into(), "line feed"),
        (line.replace("text/plain", "text plain").into(), "begins with"),
        (b"\xff\xfe\0".to_vec(), "UTF-8"),
        (huge.into_bytes(), "longer than"),
        (Vec::new(), "begins with"),
    ];
    for (bytes, reason) in cases {
        fs::write(path.join("MANIFEST"), &bytes).unwrap();
        let report = verify_directory(&path, None, &Meter::silent()).unwrap();
        assert!(!report.valid);
        let faults: Vec<_> = report.faults().collect();
        assert_eq!(faults.len(), 1, "{reason}: {faults:?}");
        assert_eq!((faults[0].path.as_str(), faults[0].status), ("MANIFEST", FileStatus::Corrupt));
        let said = faults[0].reason.as_deref().unwrap();
        assert!(said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn an_endless_or_odd_manifest_does_not_hold_anybody_up() {
    let world = World::small();
    let path = world.exported();
    let manifest = path.join("MANIFEST");
    let check = |status: FileStatus| {
        let report = verify_directory(&path, None, &Meter::silent()).unwrap();
        let fault = report.faults().find(|f| f.path == "MANIFEST").unwrap().clone();
        assert_eq!(fault.status, status, "{fault:?}");
        assert!(!report.valid);
    };
    fs::remove_file(&manifest).unwrap();
    check(FileStatus::Missing);
    symlink("/dev/zero", &manifest).unwrap();
    check(FileStatus::Unexpected);
    fs::remove_file(&manifest).unwrap();
    std::process::Command::new("mkfifo").arg(&manifest).status().unwrap();
    check(FileStatus::Unexpected);
    fs::remove_file(&manifest).unwrap();
    fs::create_dir(&manifest).unwrap();
    check(FileStatus::Unexpected);
    let empty = world.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = verify_directory(&empty, None, &Meter::silent()).unwrap_err();
    assert!(error.to_string().contains("is not a capsule"), "{error}");
    let error = verify_directory(&empty.join("gone"), None, &Meter::silent()).unwrap_err();
    assert!(error.to_string().contains("gone"));
}

#[test]
fn wrong_lengths_are_found_without_reading() {
    let world = World::small();
    let path = world.exported();
    // A file that claims a terabyte, as a hole.
    let readme = fs::OpenOptions::new().write(true).open(path.join("README.decode")).unwrap();
    readme.set_len(1 << 40).unwrap();
    let report = verify_directory(&path, None, &Meter::silent()).unwrap();
    let fault = report.faults().next().unwrap();
    assert_eq!(fault.path, "README.decode");
    assert!(fault.reason.as_deref().unwrap().contains("instead of"));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_a_manifest_fail(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        lines in proptest::collection::vec("(blake3:[0-9a-f]{64} sha256:[0-9a-f]{64} [0-9]{1,20} a/b )?\\PC{0,20}", 0..6),
    ) {
        let signatures = SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() };
        let text = format!("tesseras-manifest 1\n{}\n", lines.join("\n"));
        for bytes in [bytes, text.into_bytes()] {
            let _ = Manifest::parse(&bytes);
            let hash = TesseraHash::from(tesseras_crypto::blake3(&bytes));
            prop_assert!(StoredCapsule::new(hash, bytes, signatures.clone()).is_err());
        }
    }
}
