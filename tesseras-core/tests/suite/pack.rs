//! The pack: every byte comes from one place, and every tar reader finds the capsule in it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tesseras_core::code::MAX_PACK_BYTES;
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{FileEntry, Manifest, unlisted};
use tesseras_core::pack::{PackLayout, PackSource, Segment, directory_name, header};

use crate::{file, manifest, paths};

const TESSERA: TesseraHash = TesseraHash::new([0xee; 32]);
const DIRECTORY: &str = "tessera-eeeeeeeeeeeeeeee";

/// A capsule whose files hold bytes that follow from where they come from.
struct Capsule {
    manifest: Manifest,
    layout: PackLayout,
}

fn capsule(files: impl IntoIterator<Item = FileEntry>) -> Capsule {
    let manifest = manifest(&[], files);
    let bytes = manifest.render().len() as u64;
    let layout = PackLayout::new(&TESSERA, &manifest, bytes).expect("a layout");
    Capsule { manifest, layout }
}

impl Capsule {
    /// The byte at a place of a source.
    fn byte(source: PackSource, at: u64) -> u8 {
        let seed = match source {
            PackSource::Manifest => 1,
            PackSource::Ed25519Signature => 2,
            PackSource::MlDsa65Signature => 3,
            PackSource::Sums => 4,
            PackSource::File(hash) => u64::from(hash.as_bytes()[7]) + 5,
        };
        (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7) as u8
    }

    /// Reads a range run by run, the caller's way: from where the last one ended.
    fn read(&self, from: u64, to: u64, limit: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while from + (out.len() as u64) < to {
            let at = from + out.len() as u64;
            let limit = limit.min(to - at);
            match self.layout.segment(at, limit).expect("before the end") {
                Segment::Header(bytes) => {
                    assert!((1..=limit).contains(&(bytes.len() as u64)));
                    out.extend(bytes);
                }
                Segment::File { source, offset, bytes } => {
                    assert!((1..=limit).contains(&bytes));
                    out.extend((offset..offset + bytes).map(|at| Self::byte(source, at)));
                }
                Segment::Zeros(bytes) => {
                    assert!((1..=limit).contains(&bytes));
                    out.resize(out.len() + bytes as usize, 0);
                }
            }
        }
        out
    }

    fn pack(&self) -> Vec<u8> {
        self.read(0, self.layout.bytes(), u64::MAX)
    }

    /// What must be found at each path.
    fn expected(&self) -> BTreeMap<String, Vec<u8>> {
        let content = |source, bytes| (0..bytes).map(|at| Self::byte(source, at)).collect();
        let mut all: BTreeMap<String, Vec<u8>> = self
            .manifest
            .files()
            .iter()
            .map(|f| (f.path.to_string(), content(PackSource::File(f.blake3), f.bytes)))
            .collect();
        let manifest = self.manifest.render().len() as u64;
        let sums = tesseras_core::sums::bytes(&self.manifest);
        for (path, source, bytes) in [
            (unlisted::MANIFEST, PackSource::Manifest, manifest),
            (unlisted::ED25519_SIGNATURE, PackSource::Ed25519Signature, 64),
            (unlisted::ML_DSA_65_SIGNATURE, PackSource::MlDsa65Signature, 3309),
            (unlisted::SHA256SUMS, PackSource::Sums, sums),
        ] {
            all.insert(path.to_owned(), content(source, bytes));
        }
        all
    }
}

/// What the `tar` crate finds in a pack, path by path, in the order in which it lies there.
fn unpacked(pack: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(pack);
    let entries = archive.entries().expect("a tar");
    let read = entries.map(|entry| {
        let mut entry = entry.expect("an entry");
        let header = entry.header();
        assert_eq!(header.entry_type(), tar::EntryType::Regular);
        assert_eq!((header.mode().ok(), header.mtime().ok()), (Some(0o644), Some(0)));
        assert_eq!((header.uid().ok(), header.gid().ok()), (Some(0), Some(0)));
        assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
        let path = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("all of it");
        assert_eq!(content.len() as u64, entry.size());
        (path, content)
    });
    read.collect()
}

/// Files whose paths and lengths are awkward for a tar.
fn awkward() -> Vec<FileEntry> {
    // The directory and its slash take 25 of the 100 bytes.
    let fits = "f".repeat(75);
    let over = "g".repeat(76);
    let slash = format!("{}/{}", "h".repeat(74), "i".repeat(30));
    let before = format!("{}/{}", "j".repeat(75), "k".repeat(30));
    let cut_in_two = format!("{}é{}", "l".repeat(74), "m".repeat(30));
    let cut_in_four = format!("{}🌞.txt", "n".repeat(73));
    let deep = vec!["ção 日本 🌞"; 120].join("/");
    let widest = vec!["w".repeat(255); 15].join("/");
    let names = [
        "é.txt",
        "a b",
        "-rf",
        "..a/b..",
        "back\\slash",
        "new/👩‍👩‍👧/🌞",
        "=",
        "%00",
        "*?",
        &fits,
        &over,
        &slash,
        &before,
        &cut_in_two,
        &cut_in_four,
        &deep,
        &widest,
    ];
    let sizes = [0, 1, 511, 512, 513, 1024, 5000];
    names.iter().zip(1..).map(|(p, n)| file(n, p, sizes[n as usize % sizes.len()])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_byte_comes_from_one_place(
        paths in paths(8),
        sizes in prop::collection::vec(0..2000u64, 8),
        limit in 1..700u64,
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 8),
    ) {
        let files = paths.iter().zip(sizes).zip(1..).map(|((p, bytes), n)| file(n, p, bytes));
        let capsule = capsule(files);
        let pack = capsule.pack();
        prop_assert_eq!(pack.len() as u64, capsule.layout.bytes());
        prop_assert_eq!(pack.len() % 512, 0);
        prop_assert_eq!(&capsule.read(0, capsule.layout.bytes(), limit), &pack);
        for (a, b) in ranges {
            let (a, b) = (a.index(pack.len()), b.index(pack.len()));
            let (from, to) = (a.min(b), a.max(b));
            prop_assert_eq!(&capsule.read(from as u64, to as u64, limit), &pack[from..to]);
        }
        prop_assert_eq!(capsule.layout.segment(capsule.layout.bytes(), 1), None);
        prop_assert_eq!(capsule.layout.segment(u64::MAX, u64::MAX), None);
        prop_assert_eq!(capsule.layout.segment(0, 0), None);

        let found = unpacked(&pack);
        let names: Vec<&String> = found.iter().map(|(path, _)| path).collect();
        prop_assert_eq!(names[0], &format!("{DIRECTORY}/MANIFEST"));
        prop_assert!(names[1..].is_sorted());
        let expected: BTreeMap<String, Vec<u8>> = capsule
            .expected().into_iter().map(|(p, c)| (format!("{DIRECTORY}/{p}"), c)).collect();
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }
}

#[test]
fn the_entries_are_where_the_layout_says() {
    let capsule = capsule(awkward());
    let pack = capsule.pack();
    assert_eq!(directory_name(&TESSERA), DIRECTORY);
    let mut next = 0;
    for entry in capsule.layout.entries() {
        assert_eq!(entry.offset, next);
        let head = &pack[entry.offset as usize..entry.data_offset as usize];
        assert_eq!(head, header(&entry.path, entry.bytes));
        next = entry.data_offset + entry.bytes.div_ceil(512) * 512;
    }
    assert_eq!(next + 1024, capsule.layout.bytes());
    assert!(pack[next as usize..].iter().all(|b| *b == 0), "two zero blocks");
}

#[test]
fn awkward_names_are_read_back_by_the_tar_crate() {
    let capsule = capsule(awkward());
    let found: BTreeMap<String, Vec<u8>> = unpacked(&capsule.pack()).into_iter().collect();
    let expected = capsule.expected();
    assert_eq!(found.len(), expected.len());
    for (path, content) in expected {
        assert_eq!(found.get(&format!("{DIRECTORY}/{path}")), Some(&content), "{path}");
    }
}

#[test]
fn the_system_tar_unpacks_the_same_tree() {
    let capsule = capsule(awkward());
    for program in ["tar", "bsdtar", "busybox"] {
        let directory = tempfile::tempdir().expect("a directory");
        let arguments: &[&str] =
            if program == "busybox" { &["tar", "-xf", "-"] } else { &["-xf", "-"] };
        let child = Command::new(program)
            .args(arguments)
            .current_dir(directory.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no {program} command");
            continue;
        };
        child.stdin.take().expect("piped").write_all(&capsule.pack()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{program}");
        let root = directory.path().join(DIRECTORY);
        let mut found = BTreeMap::new();
        collect(&root, &root, &mut found);
        assert!(found == capsule.expected(), "{program}: another tree");
    }
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below").to_str().expect("UTF-8");
            found.insert(name.to_owned(), std::fs::read(&path).expect("a file"));
        }
    }
}

/// The sum that a tar header must carry, computed as POSIX says: its own field taken as spaces.
fn checksum(block: &[u8]) -> u32 {
    block
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum()
}

#[test]
fn header_bytes_are_those_of_posix() {
    let block = header("tessera-0/a é", 0o1234);
    assert_eq!(block.len(), 512);
    let field =
        |at: usize, bytes: &[u8]| assert_eq!(&block[at..at + bytes.len()], bytes, "at {at}");
    field(0, "tessera-0/a é\0".as_bytes());
    field(100, b"0000644\x000000000\x000000000\x0000000001234\x0000000000000\0");
    field(156, b"0\0");
    field(257, b"ustar\x0000\0");
    field(329, b"0000000\x000000000\0");
    assert!(block[345..].iter().all(|b| *b == 0));
    field(148, format!("{:06o}\0 ", checksum(&block)).as_bytes());
}

#[test]
fn every_header_block_carries_its_checksum() {
    for entry in capsule(awkward()).layout.entries() {
        let head = header(&entry.path, entry.bytes);
        let last = head.len() - 512;
        for block in [&head[..512], &head[last..]] {
            let said = tar::Header::from_byte_slice(block).cksum().expect("octal");
            assert_eq!(said, checksum(block), "{}", entry.path);
        }
    }
}

#[test]
fn a_long_path_has_a_pax_header_and_its_name_is_cut_between_characters() {
    let path = |name: &str| format!("{DIRECTORY}/{name}");
    let fits = path(&"f".repeat(75));
    assert_eq!(header(&fits, 0).len(), 512, "100 bytes need no help");
    assert_eq!(&header(&fits, 0)[..101], format!("{fits}0").as_bytes(), "and no NUL");
    for (name, kept) in [("é", 99), ("🌞", 99), ("日", 99), ("ab", 100)] {
        let long = path(&format!("{}{name}", "f".repeat(74)));
        assert!(long.len() > 100);
        let head = header(&long, 7);
        assert_eq!(head.len(), 3 * 512);
        assert_eq!(&head[..10], b"PaxHeader\0");
        assert_eq!(head[156], b'x');
        let record = format!("{} path={long}\n", long.len() + 10);
        assert_eq!(&head[512..512 + record.len()], record.as_bytes());
        let cut = &head[1024..1124];
        assert_eq!(&cut[..kept], &long.as_bytes()[..kept]);
        assert!(cut[kept..].iter().all(|b| *b == 0), "{name}");
    }
}

#[test]
fn the_length_of_a_pax_record_counts_itself() {
    for length in 101..1200 {
        let path = "p".repeat(length);
        let head = header(&path, 0);
        let text = std::str::from_utf8(&head[512..head.len() - 512]).expect("UTF-8");
        let record = text.trim_end_matches('\0');
        let said: usize = record.split(' ').next().expect("a number").parse().expect("decimal");
        assert_eq!(said, record.len());
        assert!(record.ends_with('\n'));
        let size = std::str::from_utf8(&head[124..135]).expect("octal");
        assert_eq!(usize::from_str_radix(size, 8), Ok(record.len()));
    }
}

#[test]
fn a_file_of_eight_gibibytes_has_its_length_in_a_pax_header() {
    let limit: u64 = 8 << 30;
    for (bytes, blocks) in [(limit - 1, 1), (limit, 3), (limit + 1, 3), (1 << 61, 3)] {
        let head = header("tessera-0/film", bytes);
        assert_eq!(head.len(), blocks * 512);
        // The content is never read: the archive below ends with the header.
        let mut archive = tar::Archive::new(&head[..]);
        let entry = archive.entries().expect("a tar").next().expect("one").expect("an entry");
        assert_eq!(entry.size(), bytes);
        assert_eq!(&*entry.path_bytes(), b"tessera-0/film");
    }
    let both = header(&"d/".repeat(100), limit);
    let text = String::from_utf8_lossy(&both[512..1024]);
    assert!(text.starts_with("210 path=d/") && text.contains("\n19 size=8589934592\n"), "{text}");
}

#[test]
fn a_large_layout_is_exact_without_its_bytes() {
    let film = file(9, "film", 10 << 30);
    let capsule = capsule([film, file(10, "z", 1)]);
    let entries = capsule.layout.entries();
    let at = entries.iter().position(|e| e.bytes == 10 << 30).expect("the film");
    assert_eq!(entries[at].data_offset - entries[at].offset, 3 * 512);
    assert_eq!(entries[at + 1].offset, entries[at].data_offset + (10 << 30));
    let middle = entries[at].data_offset + (5 << 30) + 3;
    let run = capsule.layout.segment(middle, 1 << 20);
    let source = entries[at].source;
    assert_eq!(run, Some(Segment::File { source, offset: (5 << 30) + 3, bytes: 1 << 20 }));
}

#[test]
fn a_capsule_that_is_too_long_has_no_layout() {
    let layout = |sizes: &[u64]| {
        let files = sizes.iter().zip(1..).map(|(bytes, n)| file(n, &format!("f/{n}"), *bytes));
        PackLayout::new(&TESSERA, &manifest(&[], files), 1000)
    };
    assert!(layout(&[MAX_PACK_BYTES - (1 << 20)]).is_some());
    for sizes in [
        &[MAX_PACK_BYTES][..],
        &[u64::MAX],
        &[u64::MAX, u64::MAX],
        &[MAX_PACK_BYTES / 2, MAX_PACK_BYTES / 2],
    ] {
        assert_eq!(layout(sizes), None, "{sizes:?}");
    }
}
