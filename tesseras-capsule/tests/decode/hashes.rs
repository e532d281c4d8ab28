//! decode/sha256.txt and decode/blake3.txt.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha512};
use tesseras_crypto::{blake3, sha256};

use crate::python;
use crate::samples::World;

const SHA256_TXT: &str = include_str!("../../texts/decode/sha256.txt");
const BLAKE3_TXT: &str = include_str!("../../texts/decode/blake3.txt");

/// Lengths at and around the boundaries of blocks, chunks and subtrees.
const LENGTHS: [usize; 62] = [
    0, 1, 2, 3, 54, 55, 56, 57, 63, 64, 65, 110, 111, 112, 113, 118, 119, 120, 121, 127, 128, 129,
    239, 240, 241, 255, 256, 257, 1000, 1022, 1023, 1024, 1025, 1087, 1088, 1089, 2047, 2048, 2049,
    3071, 3072, 3073, 4095, 4096, 4097, 5119, 5120, 5121, 6145, 7168, 7169, 8191, 8192, 8193, 9217,
    11_264, 15_360, 16_384, 16_385, 31_744, 65_537, 102_400,
];

/// Digits of the digest of bytes.
type Hash = fn(&[u8]) -> String;

fn sha256_hex(bytes: &[u8]) -> String {
    sha256(bytes).to_string()
}

fn blake3_hex(bytes: &[u8]) -> String {
    blake3(bytes).to_string()
}

fn sha512_hex(bytes: &[u8]) -> String {
    hex::encode(Sha512::digest(bytes))
}

/// The "pattern" of the texts.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// The part of a text below a heading.
fn below<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    rest
}

/// Checks lines of a length and the digest of the pattern, which may go on in the next line.
fn check_patterns(text: &str, hash: Hash) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_hex = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut count = 0;
    for (at, line) in lines.iter().enumerate() {
        let [length, first] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let (Ok(length), true) = (length.parse::<usize>(), is_hex(first)) else { continue };
        let more = lines.get(at + 1).map(|next| next.trim()).filter(|next| is_hex(next));
        let expected = hash(&pattern(length));
        let found = format!("{first}{}", more.unwrap_or_default());
        assert_eq!(found[..expected.len()], expected, "{length}");
        count += 1;
    }
    count
}

#[test]
fn the_vectors_of_the_texts_are_true() {
    let (first, second) = SHA256_TXT.split_once("\nSHA-512\n").unwrap();
    assert_eq!(check_patterns(below(first, "VECTORS FOR SHA-256"), sha256_hex), 11);
    assert!(first.contains(&sha256_hex(b"abc")));
    assert!(first.contains(&sha256_hex(&vec![b'a'; 1_000_000])));
    let second = below(second, "VECTORS FOR SHA-512");
    assert_eq!(check_patterns(second, sha512_hex), 8);
    let abc = sha512_hex(b"abc");
    assert!(second.contains(&format!("        {}\n        {}\n", &abc[..64], &abc[64..])));
    assert_eq!(check_patterns(below(BLAKE3_TXT, "VECTORS"), blake3_hex), 15);
}

/// The readers compute the tables by the rules of the text; what is printed there must be the same.
#[test]
fn the_printed_tables_follow_from_their_rules() {
    let kinds = ["SHA256", "SHA512"];
    let tables = kinds.map(|kind| {
        let row = |name: &str| format!("*(f'{{x:0{{{kind}.bits // 4}}X}}' for x in {kind}.{name})");
        python::values("sha256.py", &[&row("start"), &row("k")])
    });
    let words: Vec<&str> = SHA256_TXT.split_whitespace().collect();
    for table in tables.into_iter().flatten() {
        for row in table.lines() {
            let row: Vec<&str> = row.split(' ').collect();
            assert!([8, 64, 80].contains(&row.len()));
            assert!(words.windows(row.len()).any(|window| window == row), "{row:?}");
        }
    }
    let Some(row) = python::values("blake3.py", &["*(f'{x:08X}' for x in START)"]) else { return };
    let words: Vec<&str> = BLAKE3_TXT.split_whitespace().collect();
    for half in row.split_whitespace().collect::<Vec<_>>().chunks(4) {
        assert!(words.windows(4).any(|window| window == half), "{half:?}");
    }
}

/// Bytes without a pattern (xorshift64), the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Has a reader hash files of many lengths.
fn compare(reader: &str, options: &[&str], hash: Hash) {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = String::new();
    let mut arguments = options.to_vec();
    let names = LENGTHS.map(|length| format!("of {length} bytes"));
    for (name, length) in names.iter().zip(LENGTHS) {
        let bytes = noise(length);
        fs::write(directory.path().join(name), &bytes).unwrap();
        writeln!(expected, "{}  {name}", hash(&bytes)).unwrap();
        arguments.push(name);
    }
    let Some(output) = python::run(reader, &arguments, directory.path()) else { return };
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_stranger_computes_sha256_as_we_do() {
    compare("sha256.py", &[], sha256_hex);
}

#[test]
fn a_stranger_computes_sha512() {
    compare("sha256.py", &["--512"], sha512_hex);
}

#[test]
fn a_stranger_computes_blake3_as_we_do() {
    compare("blake3.py", &[], blake3_hex);
}

/// Whether a list of digests holds, and what was said.
fn check(reader: &str, list: &str, directory: &Path) -> Option<(bool, String)> {
    let output = python::run(reader, &["-c", list], directory)?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

#[test]
fn a_stranger_checks_every_file_of_a_capsule() {
    let world = World::small();
    let path = world.exported();
    let manifest = fs::read_to_string(path.join("MANIFEST")).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(output) = python::run("blake3.py", &["MANIFEST"], &path) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said[..16], name["tessera-".len()..], "the name of the capsule");

    let mut list = String::new();
    for line in manifest.lines().filter_map(|line| line.strip_prefix("blake3:")) {
        let fields: Vec<&str> = line.splitn(5, ' ').collect();
        writeln!(list, "{}  {}", fields[0], fields[4]).unwrap();
    }
    fs::write(path.join("list"), &list).unwrap();
    for (reader, list) in [("sha256.py", "SHA256SUMS"), ("blake3.py", "list")] {
        let (holds, said) = check(reader, list, &path).unwrap();
        let lines = fs::read_to_string(path.join(list)).unwrap().lines().count();
        assert!(holds && said.matches(": OK\n").count() == lines, "{said}");
    }

    let damaged = path.join("README.decode");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[100] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    for (reader, list) in [("sha256.py", "SHA256SUMS"), ("blake3.py", "list")] {
        let (holds, said) = check(reader, list, &path).unwrap();
        assert!(!holds && said.contains("README.decode: FAILED\n"), "{said}");
        assert_eq!(said.matches("FAILED").count(), 1, "{said}");
    }
}

#[test]
fn a_list_that_says_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    put("a", "a");
    for (reader, hash) in [("sha256.py", sha256_hex as Hash), ("blake3.py", blake3_hex)] {
        let digest = hash(b"a");
        for (list, holds) in [
            (format!("{digest}  a\n"), true),
            (String::new(), false),
            (format!("{digest}  a"), false),
            (format!("{digest} a\n"), false),
            (format!("{digest}  \n"), false),
            (format!("{}  a\n", &digest[1..]), false),
            (format!("{}  a\n", digest.to_uppercase()), false),
            (format!("{digest}  gone\n"), false),
            (format!("{digest}  a\n\n"), false),
            (format!("{digest}  a\n{}  a\n", hash(b"b")), false),
        ] {
            put("list", &list);
            let Some((found, said)) = check(reader, "list", directory.path()) else { return };
            assert_eq!(found, holds, "{reader}: {list:?}: {said}");
        }
    }
}
