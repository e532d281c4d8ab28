//! The PEM texts of keys, held against their RFCs by hand and against OpenSSL where it is.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding as _};
use tesseras_crypto::{CreatorKeys, CreatorPublic};

use crate::somebody;

/// SubjectPublicKeyInfo (RFC 8410): OID 1.3.101.112 and no parameters, then a bit string without
/// unused bits.
const ED25519_SPKI: &str = "302a300506032b6570032100";
/// SubjectPublicKeyInfo (RFC 9881): OID 2.16.840.1.101.3.4.3.18 and no parameters, then a bit
/// string of 1952 bytes without unused bits.
const ML_DSA_65_SPKI: &str = "308207b2300b0609608648016503040312038207a100";
/// PKCS#8 (RFC 9881), version 0, the same OID, then an octet string that holds the seed alone
/// under context tag 0.
const ML_DSA_65_SEED: &str = "3034020100300b060960864801650304031204228020";

/// What stands between the lines of a PEM text.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Base64::decode_vec(&body).expect("base64")
}

/// A PEM text as RFC 7468 has it: lines of 64.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = Base64::encode_string(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The SubjectPublicKeyInfo of a raw key, whose length may be wrong. Lengths over 255 bytes only.
pub(crate) fn ml_dsa_65_spki(raw: &[u8]) -> Vec<u8> {
    let long = |tag: u8, body: Vec<u8>| {
        let length = u16::try_from(body.len()).expect("a short text").to_be_bytes();
        [&[tag, 0x82, length[0], length[1]][..], &body].concat()
    };
    let algorithm = hex::decode("300b0609608648016503040312").expect("hex");
    let bits = long(3, [&[0][..], raw].concat());
    long(0x30, [algorithm, bits].concat())
}

#[test]
fn the_der_is_that_of_the_rfcs() {
    let keys = somebody();
    let public = keys.public();

    let ed = der(&public.ed25519_pem());
    assert_eq!(hex::encode(&ed[..12]), ED25519_SPKI);
    assert_eq!(ed.len(), 12 + 32);
    let ml = der(&public.ml_dsa_65_pem());
    assert_eq!(hex::encode(&ml[..22]), ML_DSA_65_SPKI);
    assert_eq!(ml.len(), 22 + 1952);
    assert_eq!(ml, ml_dsa_65_spki(&ml[22..]));

    let secret = der(&keys.ml_dsa_65_pem());
    assert_eq!(hex::encode(&secret), format!("{ML_DSA_65_SEED}{}", hex::encode([8; 32])));

    for (text, bytes) in [(public.ed25519_pem(), &ed), (public.ml_dsa_65_pem(), &ml)] {
        assert_eq!(text, pem("PUBLIC KEY", bytes), "one text, LF, lines of 64");
    }
    let id = tesseras_crypto::blake3(&[&ed[12..], &ml[22..]].concat());
    assert_eq!(public.id().as_bytes(), id.as_bytes());
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let public = somebody().public();
    let (ed, ml) = (public.ed25519_pem(), public.ml_dsa_65_pem());
    assert!(CreatorPublic::from_pem(&ml, &ed).is_err());
    assert!(CreatorPublic::from_pem(&ed, &ed).is_err());
    // ML-DSA-44 and ML-DSA-87 differ in one byte of the OID, and an algorithm with parameters
    // (here NULL) is none of RFC 8410's or RFC 9881's.
    for oid in [0x11, 0x13] {
        let mut bytes = der(&ml);
        assert_eq!(bytes[16], 0x12);
        bytes[16] = oid;
        assert!(CreatorPublic::from_pem(&ed, &pem("PUBLIC KEY", &bytes)).is_err());
    }
    let null = [hex::decode("302c300706032b65700500032100").unwrap(), der(&ed)[12..].to_vec()];
    assert!(CreatorPublic::from_pem(&pem("PUBLIC KEY", &null.concat()), &ml).is_err());
    for length in [1951, 1953] {
        let text = pem("PUBLIC KEY", &ml_dsa_65_spki(&vec![1; length]));
        assert!(CreatorPublic::from_pem(&ed, &text).is_err());
    }
    let secret = somebody();
    assert!(CreatorPublic::from_pem(&secret.ed25519_pem(), &ml).is_err());
    assert!(CreatorKeys::from_pem(&ed, &ml).is_err());
}

#[test]
fn openssl_reads_the_key_and_verifies_the_signature() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl command");
        return;
    }
    let keys = somebody();
    let text = openssl(&["pkey", "-pubin", "-text", "-noout"], keys.public().ed25519_pem());
    assert!(text.0 && text.1.contains("ED25519 Public-Key"), "{text:?}");

    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    };
    let message = b"MANIFEST, or whatever is signed";
    let key = file("key.pem", keys.public().ed25519_pem().as_bytes());
    let signature = file("signature", &keys.sign(message).ed25519);
    let good = file("message", message);
    let bad = file("another", b"MANIFEST, or whatever is forged");
    assert!(openssl_verifies(&key, &signature, &good));
    assert!(!openssl_verifies(&key, &signature, &bad));
}

fn openssl_verifies(key: &Path, signature: &Path, message: &Path) -> bool {
    let verify = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"];
    let output = Command::new("openssl")
        .args(verify)
        .arg(key)
        .arg("-sigfile")
        .arg(signature)
        .arg("-in")
        .arg(message)
        .output()
        .expect("openssl runs");
    output.status.success()
}

/// Whether openssl succeeded, and what it printed.
fn openssl(arguments: &[&str], input: String) -> (bool, String) {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
