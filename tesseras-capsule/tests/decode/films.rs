//! decode/webm.txt: how frames are found in a file. The files are written here.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::pictures_python::{answers_on_the_command_line, cut_everywhere, read_all, refuses_all};

/// A coded length of the fewest bytes, or of more.
fn coded(value: u64, bytes: usize) -> Vec<u8> {
    let needed = (1..=8).find(|n| value < (1 << (7 * n)) - 1).unwrap().max(bytes);
    let marked = value | 1 << (7 * needed);
    marked.to_be_bytes()[8 - needed..].to_vec()
}

/// An element whose length has at least so many bytes.
fn element(number: u32, content: &[u8], bytes: usize) -> Vec<u8> {
    let start = number.leading_zeros() as usize / 8;
    [&number.to_be_bytes()[start..], &coded(content.len() as u64, bytes), content].concat()
}

fn uint(number: u32, value: u64) -> Vec<u8> {
    let start = value.leading_zeros() as usize / 8;
    element(number, &value.to_be_bytes()[start..], 1)
}

fn track(number: u64, kind: u64, coding: &str, more: &[u8]) -> Vec<u8> {
    let coding = element(0x86, coding.as_bytes(), 1);
    element(0xae, &[&uint(0xd7, number)[..], &uint(0x83, kind), &coding, more].concat(), 2)
}

fn block(track: u64, time: i16, flags: u8, content: &[u8]) -> Vec<u8> {
    [&coded(track, 1)[..], &time.to_be_bytes(), &[flags], content].concat()
}

/// Frames of the lengths of the example in the text.
fn frames() -> [Vec<u8>; 3] {
    [vec![1; 800], vec![2; 500], vec![3; 1000]]
}

/// All kinds of blocks. Segment and clusters may be of unknown length.
fn file(unknown: bool) -> Vec<u8> {
    let master = |number: u32, content: &[u8]| match unknown {
        true => [&number.to_be_bytes()[..], &[0xff], content].concat(),
        false => element(number, content, 8),
    };
    let all = frames().concat();
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(b"a subtitle").unwrap();
    let compression = element(0x5034, &uint(0x4254, 0), 1);
    let compressed = element(0x6d80, &element(0x6240, &compression, 1), 1);
    let stripping = [uint(0x4254, 3), element(0x4255, &[0xaa, 0xbb], 1)].concat();
    let stripped = element(0x6d80, &element(0x6240, &element(0x5034, &stripping, 1), 1), 1);
    let tracks = [
        track(1, 1, "V_VP9", &uint(0x23_e383, 40_000_000)),
        track(2, 2, "A_OPUS", &stripped),
        track(200, 17, "S_TEXT/UTF8", &compressed),
    ];
    let xiph = [&[2, 255, 255, 255, 35, 255, 245][..], &all].concat();
    let ebml = [&[2, 0x43, 0x20, 0x5e, 0xd3][..], &all].concat();
    let first = [
        uint(0xe7, 1000),
        element(0xbf, &[0; 4], 1),
        element(0xa3, &block(1, 0, 0x80, b"key"), 1),
        element(0xa3, &block(2, -5, 0x02, &xiph), 3),
        element(0xa0, &[uint(0x9b, 20), element(0xa1, &block(1, 40, 0x06, &ebml), 4)].concat(), 1),
    ];
    let second = [
        uint(0xe7, 2000),
        element(0xa3, &block(2, 1, 0x04, &[1, 7, 7, 8, 8]), 1),
        element(0xa3, &block(200, 2, 0, &packed.finish().unwrap()), 1),
    ];
    let body = [
        element(0x1549_a966, &uint(0x2a_d7b1, 100_000), 1),
        element(0xec, &[0; 20], 2),
        element(0x1654_ae6b, &tracks.concat(), 1),
        master(0x1f43_b675, &first.concat()),
        master(0x1f43_b675, &second.concat()),
    ];
    [element(0x1a45_dfa3, &element(0x4282, b"webm", 1), 1), master(0x1853_8067, &body.concat())]
        .concat()
}

const EXPECTED: &str = "\
track 1 1 V_VP9
track 2 2 A_OPUS
track 200 17 S_TEXT/UTF8
frame 1 100000000 3 6b6579
frame 2 99500000 802 aabb010101010101
frame 2 99500000 502 aabb020202020202
frame 2 99500000 1002 aabb030303030303
frame 1 104000000 800 0101010101010101
frame 1 144000000 500 0202020202020202
frame 1 184000000 1000 0303030303030303
frame 2 200100000 4 aabb0707
frame 2 200100000 4 aabb0808
frame 200 200200000 10 6120737562746974
";

#[test]
fn a_stranger_finds_the_frames_of_a_film() {
    let Some(outcomes) = read_all("webm", "show", &[file(false), file(true)]) else { return };
    for outcome in outcomes {
        assert_eq!(String::from_utf8(outcome.unwrap()).unwrap(), EXPECTED);
    }
}

#[test]
fn a_film_that_is_cut_off_is_refused() {
    let file = file(false);
    // A header alone is a whole file, if nothing follows it.
    let header = element(0x1a45_dfa3, &element(0x4282, b"webm", 1), 1).len();
    let mut cut = cut_everywhere(&file);
    cut.remove(header);
    refuses_all("webm", "show", &cut.into_iter().step_by(5).collect::<Vec<_>>());
    answers_on_the_command_line("webm", &[], &file);
}
