//! SHA256SUMS is what `sha256sum` writes and checks.

use std::process::Command;

use tesseras_core::ids::Sha256Digest;
use tesseras_core::sums::{self, UnlistedDigests};

use crate::{file, manifest};

fn digests() -> UnlistedDigests {
    UnlistedDigests {
        manifest: Sha256Digest::new([1; 32]),
        ed25519_signature: Sha256Digest::new([2; 32]),
        ml_dsa_65_signature: Sha256Digest::new([3; 32]),
    }
}

#[test]
fn every_file_but_itself_in_byte_order() {
    let files = [file(1, "zé/ü", 5), file(2, "MANIFEST.a", 0), file(3, "A b", 1)];
    let made = manifest(&[], files);
    let text = sums::render(&made, &digests());
    assert_eq!(text.len() as u64, sums::bytes(&made));
    let mut seen = Vec::new();
    for line in text.split_terminator('\n') {
        let (digest, path) = line.split_once("  ").expect("two spaces");
        assert_eq!(digest.len(), 64);
        seen.push(path);
    }
    assert_eq!(
        seen,
        [
            "A b",
            "MANIFEST",
            "MANIFEST.a",
            "MANIFEST.ed25519.sig",
            "MANIFEST.ml-dsa-65.sig",
            "README.decode",
            "identity/creator.ed25519.pem",
            "identity/creator.ml-dsa-65.pem",
            "zé/ü"
        ]
    );
    assert!(text.contains(&format!("{}  MANIFEST\n", "01".repeat(32))));
    assert!(text.contains(&format!("{}  MANIFEST.ml-dsa-65.sig\n", "03".repeat(32))));
}

#[test]
fn sha256sum_writes_the_same_lines() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::write(path.join("a b é"), b"abc").expect("a file");
    let output = Command::new("sha256sum").arg("a b é").current_dir(path).output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no sha256sum command");
        return;
    };
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let mut abc = file(1, "a b é", 3);
    abc.sha256 = digest.parse().expect("a digest");
    let text = sums::render(&manifest(&[], [abc]), &digests());
    let ours = text.lines().find(|line| line.ends_with(" a b é")).expect("its line");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), format!("{ours}\n"));

    // GNU sha256sum escapes a backslash in a name, and reads our plain line all the same.
    std::fs::write(path.join("back\\slash"), b"abc").expect("a file");
    let mut abc = file(1, "back\\slash", 3);
    abc.sha256 = digest.parse().expect("a digest");
    let text = sums::render(&manifest(&[], [abc]), &digests());
    let line = text.lines().find(|line| line.contains('\\')).expect("its line");
    std::fs::write(path.join("SHA256SUMS"), format!("{line}\n")).expect("a file");
    let check = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(path).output();
    assert!(check.expect("sha256sum runs").status.success());
}
