//! decode/pem.txt and decode/text.txt.

use std::fs;

use base64ct::{Base64, Encoding as _};
use tesseras_crypto::CreatorKeys;

use crate::python;

const PEM_TXT: &str = include_str!("../../texts/decode/pem.txt");
const TEXT_TXT: &str = include_str!("../../texts/decode/text.txt");

/// A public key as a PEM text.
pub fn pem(front: &str, key: &[u8]) -> String {
    let body = Base64::encode_string(&[&hex::decode(front).unwrap(), key].concat());
    let lines = body.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap());
    let lines: Vec<&str> = lines.collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

/// What the reader says of a text: a kind and the digits of a key, if it is one.
fn read(text: &str) -> Option<Option<String>> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key.pem"), text).unwrap();
    let output = python::run("pem.py", &["key.pem"], directory.path())?;
    let said = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    Some(output.status.success().then_some(said))
}

#[test]
fn a_stranger_reads_the_public_keys() {
    let public = CreatorKeys::from_seeds(&[1; 32], &[2; 32]).public();
    for (kind, text, length) in
        [("ed25519", public.ed25519_pem(), 32), ("ml-dsa-65", public.ml_dsa_65_pem(), 1952)]
    {
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = Base64::decode_vec(&body).unwrap();
        let key = format!("{kind} {}", hex::encode(&der[der.len() - length..]));
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let Some(found) = read(&text) else { return };
            assert_eq!(found.as_deref(), Some(&*key));
        }
    }
}

#[test]
fn what_is_no_public_key_is_refused() {
    let front = "302a300506032b6570032100";
    let good = pem(front, &[9; 32]);
    let Some(found) = read(&good) else { return };
    assert_eq!(found, Some(format!("ed25519 {}", "09".repeat(32))));
    for bad in [
        String::new(),
        good.replace("BEGIN", "BEGUN"),
        good.replace("-----END PUBLIC KEY-----", ""),
        good.replace("PUBLIC", "PRIVATE"),
        good.replace("CQk=", "CQk"),
        good.replace("CQk=", "CQl="),
        good.replace("CQk=", "CQ==CQk="),
        good.replace("CQk=", "C==="),
        good.replacen("CQkJ", "CQ_J", 1),
        pem(front, &[9; 31]),
        pem(front, &[9; 33]),
        pem("302a300506032b656e032100", &[9; 32]),
        pem("308207b2300b0609608648016503040312038207a100", &[9; 1951]),
        pem("308207b2300b0609608648016503040313038207a100", &[9; 1952]),
    ] {
        assert_ne!(bad, good);
        assert_eq!(read(&bad), Some(None), "{bad}");
    }
}

#[test]
fn the_vectors_of_pem_are_true() {
    for text in ["f", "fo", "foo", "foob", "fooba", "foobar"] {
        assert!(
            PEM_TXT.contains(&format!("\n  {text:<9}{}\n", Base64::encode_string(text.as_bytes())))
        );
    }
    let mut lines = PEM_TXT.lines().map(str::trim);
    let pem: Vec<&str> =
        lines.by_ref().skip_while(|line| *line != "-----BEGIN PUBLIC KEY-----").take(3).collect();
    let key = lines.find(|line| line.len() == 64).unwrap();
    if let Some(found) = read(&(pem.join("\n") + "\n")) {
        assert_eq!(found, Some(format!("ed25519 {key}")));
    }
    let long = self::pem("308207b2300b0609608648016503040312038207a100", &[0xff; 1952]);
    assert!(long.contains("\nMIIHsjALBglghkgBZQMEAxIDggehA"));
    let lengths: Vec<usize> = long.lines().skip(1).map(str::len).collect();
    assert_eq!((lengths[..41].iter().sum::<usize>(), lengths[41]), (41 * 64, 8));
}

/// The numbers of characters in hexadecimal, and whether all are valid.
fn numbers(bytes: &[u8]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes);
    let numbers: Vec<String> = text.chars().map(|c| format!("{:X}", u32::from(c))).collect();
    (numbers.join(" "), str::from_utf8(bytes).is_ok())
}

#[test]
fn the_vectors_of_utf_8_are_true() {
    let mut count = 0;
    for line in TEXT_TXT.lines() {
        let Some((bytes, found)) = line.split_once(" = ") else { continue };
        let Ok(bytes) = hex::decode(bytes.replace(' ', "").to_lowercase()) else { continue };
        let found = found.split(" (").next().unwrap();
        assert_eq!(found, numbers(&bytes).0, "{line}");
        count += 1;
    }
    assert_eq!(count, 17);
}

#[test]
fn a_stranger_reads_characters_as_we_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a");
    let read = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let output = python::run("text.py", &["a"], directory.path())?;
        let said = String::from_utf8(output.stdout).unwrap();
        Some((said.trim_end().to_owned(), output.status.success()))
    };
    let valid: String = (0..0x11_0000).step_by(97).filter_map(char::from_u32).collect();
    let Some(found) = read(valid.as_bytes()) else { return };
    assert_eq!(found, numbers(valid.as_bytes()));
    // All neighbours of two, then many of four, with a letter between the groups.
    let edges =
        *b"\x00\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\
        \xf1\xf3\xf4\xf5\xff";
    let mut bytes = Vec::new();
    for first in edges {
        for second in edges {
            bytes.extend([first, second, b'x']);
            for third in edges {
                bytes.extend([first, second, third, 0xbf, b'x', first, second, third, b'x']);
            }
        }
    }
    assert_eq!(read(&bytes).unwrap(), numbers(&bytes));
    for length in 1..=3 {
        let cut = &"\u{1f642}".as_bytes()[..length];
        assert_eq!(read(cut).unwrap(), ("FFFD".to_owned(), false));
    }
}
