//! Checks the erasure code against its description in `docs/FORMAT.md`: by its vectors, and by
//! `decoder/decode.py`, which was written from that page and shares nothing with our codec.
//!
//! It uses only the codec of this crate, so that it stays valid whatever else changes.

use std::path::Path;
use std::process::{Command, Output};

use reed_solomon_simd::ReedSolomonEncoder;
use tesseras_core::code::{CodedForm, NARROW, Shape, WIDE};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;

const FORMAT_MD: &str = include_str!("../../docs/FORMAT.md");
const DECODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decoder/decode.py");

/// Parity of equally long data fragments, column by column over windows.
fn parity(shape: Shape, data: &[&[u8]], window: usize) -> Vec<Vec<u8>> {
    let (k, m, length) = (usize::from(shape.k), usize::from(shape.m), data[0].len());
    let mut out = vec![Vec::with_capacity(length); m];
    let mut encoder = ReedSolomonEncoder::new(k, m, window).expect("a known shape");
    for start in (0..length).step_by(window) {
        let end = length.min(start + window);
        encoder.reset(k, m, end - start).expect("a known shape");
        for fragment in data {
            encoder.add_original_shard(&fragment[start..end]).expect("k of one length");
        }
        let result = encoder.encode().expect("all are there");
        for (fragment, column) in out.iter_mut().zip(result.recovery_iter()) {
            fragment.extend(column);
        }
    }
    out
}

/// Pseudo-random bytes (xorshift64), the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The data fragments of the worked example in FORMAT.md.
fn example(k: u8) -> Vec<Vec<u8>> {
    let byte = |i: u32, b: u32| ((7 * i * i + 13 * b * b + i * b + 1) % 256) as u8;
    (0..u32::from(k)).map(|i| (0..64).map(|b| byte(i, b)).collect()).collect()
}

/// The vectors of FORMAT.md under a label, by fragment index.
fn documented(label: &str) -> Vec<(usize, String)> {
    let (_, block) = FORMAT_MD.split_once(&format!("```{label}\n")).expect("the vectors");
    let (block, _) = block.split_once("```").expect("their end");
    block
        .lines()
        .map(|line| {
            let (index, bytes) = line.split_once(' ').expect("an index and bytes");
            (index.parse().expect("an index"), bytes.to_owned())
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn the_vectors_of_the_format_page_are_true() {
    for (shape, label) in [(NARROW, "vectors 16+8"), (WIDE, "vectors 48+24")] {
        let data = example(shape.k);
        let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let expected: Vec<(usize, String)> = (usize::from(shape.k)..)
            .zip(parity(shape, &data, 64).iter().map(|bytes| hex(bytes)))
            .collect();
        assert_eq!(documented(label), expected, "{label}");
    }
}

#[test]
fn the_weights_of_the_format_page_are_true() {
    let (_, line) = FORMAT_MD.split_once("```weights 16+8\n").expect("the weights");
    let (line, _) = line.split_once('\n').expect("one line");
    let documented: Vec<u16> =
        line.split(' ').map(|w| u16::from_str_radix(w, 16).expect("hex")).collect();
    // A data fragment whose first symbol is the element 1 shows its weight in the parity.
    let weight = |i: usize| {
        let mut data = vec![[0; 64]; 16];
        data[i][0] = 1;
        let data: Vec<&[u8]> = data.iter().map(|d| &d[..]).collect();
        let first = &parity(NARROW, &data, 64)[0];
        u16::from_le_bytes([first[0], first[32]])
    };
    assert_eq!(documented, (0..16).map(weight).collect::<Vec<_>>());
}

#[test]
fn windows_do_not_show_in_the_parity() {
    let pack = noise(48 * 3072);
    for (shape, length) in [(NARROW, 9216), (WIDE, 3072)] {
        let data: Vec<&[u8]> = pack.chunks(length).collect();
        let whole = parity(shape, &data, length);
        for window in [64, 1024, 2048, 65_536] {
            assert!(parity(shape, &data, window) == whole, "{window}");
        }
    }
}

/// A pack, its plan and all its fragments as files in a directory.
struct Fixture {
    directory: tempfile::TempDir,
    pack: Vec<u8>,
}

impl Fixture {
    fn new(shape: Shape, pack: Vec<u8>, fragment_bytes: usize, plan: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(directory.path().join(name), bytes).expect("a file");
        };
        let mut padded = pack.clone();
        padded.resize(usize::from(shape.k) * fragment_bytes, 0);
        let data: Vec<&[u8]> = padded.chunks(fragment_bytes).collect();
        let parity = parity(shape, &data, 64 * 1024);
        let all = data.iter().copied().chain(parity.iter().map(Vec::as_slice));
        for (index, bytes) in all.enumerate() {
            write(&format!("{index}.fragment"), bytes);
        }
        write("plan", plan.as_bytes());
        Self { directory, pack }
    }

    /// A pack slightly longer than the shortest that plans encode as 16 + 8.
    fn narrow() -> Self {
        let pack = noise(4 * 1024 * 1024 + 100_001);
        let form = CodedForm::of_pack(pack.len() as u64).expect("long enough");
        let none = ContentHash::new([0; 32]);
        let checksums = vec![none; usize::from(form.shape.n())];
        let plan = Plan::new(TesseraHash::new([1; 32]), pack.len() as u64, none, checksums)
            .expect("a plan")
            .render();
        assert_eq!(form.shape, NARROW);
        Self::new(form.shape, pack, form.fragment_bytes as usize, &plan)
    }

    /// 48 + 24 over a pack far shorter than those that use it, since only the arithmetic matters.
    fn wide() -> Self {
        let pack = noise(48 * 5 * 1024 - 1500);
        let plan = format!(
            "tesseras-plan 1\ntessera: {0}\npack: 1\nbytes: {1}\nblake3: {0}\ncode: 48+24\nlength: \
             5120\n",
            "00".repeat(32),
            pack.len()
        );
        Self::new(WIDE, pack, 5120, &plan)
    }

    /// Runs the decoder on some fragments; `None` if there is no Python.
    fn run(&self, indices: impl IntoIterator<Item = u8>) -> Option<Output> {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: there is no python3 command");
            return None;
        }
        let path = |name: &str| self.directory.path().join(name);
        let _ = std::fs::remove_file(path("out.tar"));
        let mut command = Command::new("python3");
        command.arg(DECODER).arg(path("plan")).arg(path("out.tar"));
        command.args(indices.into_iter().map(|index| path(&format!("{index}.fragment"))));
        Some(command.output().expect("python3 runs"))
    }

    fn rebuilds_from(&self, indices: impl IntoIterator<Item = u8>) {
        let indices: Vec<u8> = indices.into_iter().collect();
        let Some(output) = self.run(indices.iter().copied()) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{indices:?}: {said}");
        let out = std::fs::read(self.directory.path().join("out.tar")).expect("what it wrote");
        assert!(out == self.pack, "{indices:?}: another pack");
    }
}

#[test]
fn a_stranger_rebuilds_a_pack_of_16_and_8() {
    let fixture = Fixture::narrow();
    fixture.rebuilds_from(0..16);
    fixture.rebuilds_from(8..24);
    fixture.rebuilds_from((0..16).step_by(2).chain(16..24));
    fixture.rebuilds_from([23, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15]);
    fixture.rebuilds_from(0..24);
    fixture.rebuilds_from((3..16).chain([16, 19, 22]));
}

#[test]
fn a_stranger_rebuilds_a_pack_of_48_and_24() {
    let fixture = Fixture::wide();
    fixture.rebuilds_from(0..48);
    fixture.rebuilds_from(24..72);
    fixture.rebuilds_from((0..24).chain(48..72));
    fixture.rebuilds_from((0..48).step_by(2).chain(48..72));
    fixture.rebuilds_from((0..47).chain([71]));
}

#[test]
fn the_decoder_says_what_is_wrong() {
    let fixture = Fixture::wide();
    let Some(output) = fixture.run(0..47) else { return };
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("47") && said.contains("48"), "{said}");

    let short = fixture.directory.path().join("3.fragment");
    std::fs::write(&short, b"cut off").expect("a file");
    let output = fixture.run(0..48).expect("python3 was there");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("3.fragment"));
}

#[test]
fn the_decoder_stays_short_enough_to_be_read() {
    let lines = std::fs::read_to_string(Path::new(DECODER)).expect("the decoder").lines().count();
    assert!(lines <= 150, "{lines} lines");
}
