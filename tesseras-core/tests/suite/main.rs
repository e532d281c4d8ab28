//! Everything that is tested of this crate from outside, as one binary.

mod claims;
mod hash_code;
mod manifest;
mod pack;
mod placement;
mod plan;
mod sums;
mod wire;

use proptest::prelude::*;
use tesseras_core::ids::{ContentHash, CreatorId, Sha256Digest};
use tesseras_core::manifest::{FileEntry, Manifest, listed};
use tesseras_core::path::CapsulePath;

/// A file whose digests follow from a number.
fn file(number: u64, path: &str, bytes: u64) -> FileEntry {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    FileEntry {
        blake3: ContentHash::new(digest),
        sha256: Sha256Digest::new(digest),
        bytes,
        mime: "application/octet-stream".to_owned(),
        path: CapsulePath::new(path).expect("a path"),
    }
}

/// A manifest of these files and those that every capsule has.
fn manifest(headers: &[(&str, &str)], files: impl IntoIterator<Item = FileEntry>) -> Manifest {
    let always = [listed::ED25519_PEM, listed::ML_DSA_65_PEM, listed::README];
    let mut all: Vec<FileEntry> =
        always.iter().zip(1u64 << 40..).map(|(path, n)| file(n, path, 100 + n % 7)).collect();
    all.extend(files);
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Manifest::new(CreatorId::new([0xcc; 32]), 3, headers, all).expect("a manifest")
}

/// Names of all sorts: long, accented, pictorial, spaced.
fn name() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "Zebra",
        "é",
        "ção",
        "日本",
        "🌞",
        "👩‍👩‍👧",
        " ",
        "..",
        ".",
        "-",
        "\\",
        "0001",
        "x y",
        "%2F",
        "ﬁ",
        "=",
        "*",
        "long-long-long-name",
        "ßß",
    ]);
    prop::collection::vec(word, 1..12)
        .prop_map(|words| words.concat())
        .prop_filter("a component", |name| {
            CapsulePath::new(name.as_str()).is_ok() && name.len() <= 200
        })
}

/// Paths of which none is another's directory.
fn paths(most: usize) -> impl Strategy<Value = Vec<String>> {
    let path = prop::collection::vec(name(), 1..4);
    prop::collection::vec(path, 0..most).prop_map(|paths| {
        paths.into_iter().enumerate().map(|(i, p)| format!("m/{i}/{}", p.join("/"))).collect()
    })
}

/// A way to damage a text: which byte, which other byte, and how.
type Damage = (prop::sample::Index, u8, u8);

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..8u8), 1..5)
}

/// Applies damage of kinds that a text of lines may suffer.
fn damaged(text: &str, damage: &[Damage]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, byte, kind) in damage {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        if bytes.is_empty() {
            break;
        }
        let i = at.index(bytes.len());
        let line = at.index(lines.len());
        match kind {
            0 => bytes[i] = *byte,
            1 => bytes.insert(i, *byte),
            2 => drop(bytes.remove(i)),
            3 => bytes.truncate(i),
            4 => bytes.insert(i, b"0+ \n\r:/A"[usize::from(*byte) % 8]),
            5 => {
                lines.insert(line, lines[line].clone());
                bytes = lines.concat();
            }
            6 => {
                let other = usize::from(*byte) % lines.len();
                lines.swap(line, other);
                bytes = lines.concat();
            }
            _ => {
                lines.remove(line);
                bytes = lines.concat();
            }
        }
    }
    bytes
}
