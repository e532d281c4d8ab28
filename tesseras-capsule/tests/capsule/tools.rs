//! A person with common tools and README.decode, but without our software.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::samples::World;

/// Runs a tool in a directory. `false`, with a note, if there is no such tool.
pub fn run(tool: &str, arguments: &[&str], directory: &Path) -> bool {
    let outcome =
        Command::new(tool).args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let Ok(output) = outcome else {
        eprintln!("skipped: there is no {tool} here");
        return false;
    };
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    true
}

#[test]
fn sha256sum_checks_every_file() {
    let world = World::small();
    let path = world.exported();
    run("sha256sum", &["--strict", "-c", "SHA256SUMS"], &path);
}

#[test]
fn openssl_checks_both_signatures() {
    let world = World::small();
    let path = world.exported();
    let knows_ml_dsa = Command::new("openssl")
        .args(["pkey", "-pubin", "-noout", "-in", "identity/creator.ml-dsa-65.pem"])
        .current_dir(&path)
        .output()
        .is_ok_and(|output| output.status.success());
    for kind in ["ed25519", "ml-dsa-65"] {
        if kind == "ml-dsa-65" && !knows_ml_dsa {
            eprintln!("skipped: this openssl is older than 3.5");
            continue;
        }
        let key = format!("identity/creator.{kind}.pem");
        let signature = format!("MANIFEST.{kind}.sig");
        let arguments = ["pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin"];
        run(
            "openssl",
            &[&arguments[..], &["-in", "MANIFEST", "-sigfile", &signature]].concat(),
            &path,
        );
    }
}

/// What decode/pem.txt says of the keys' bytes.
#[test]
fn the_keys_have_the_fronts_that_are_described() {
    let world = World::small();
    let path = world.exported();
    let text = fs::read_to_string(path.join("decode/pem.txt")).unwrap();
    for (name, front, length) in [("ed25519", 12, 44), ("ml-dsa-65", 22, 1974)] {
        let pem = fs::read_to_string(path.join(format!("identity/creator.{name}.pem"))).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64(&body);
        assert_eq!(der.len(), length);
        let hex: Vec<String> = der[..front].iter().map(|b| format!("{b:02X}")).collect();
        let described = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(described.contains(&hex.join(" ")), "{name}");
    }
}

/// As decode/pem.txt explains it.
fn base64(text: &str) -> Vec<u8> {
    const ROW: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | ROW.iter().position(|r| *r == c).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
