//! decode/deflate.txt.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::pictures_python::{
    Noise, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all, run, text,
};

/// Bytes of many kinds and lengths, those around the sizes of blocks and windows included.
fn samples() -> Vec<Vec<u8>> {
    let mut noise = Noise::new(1);
    let mut all = Vec::new();
    for length in [0, 1, 2, 3, 257, 258, 259, 1000, 32_767, 32_768, 32_769, 65_535, 65_536, 70_001]
    {
        all.push(noise.bytes(length));
        all.push((0..length).map(|_| b"etaoin"[noise.below(6) as usize]).collect());
        all.push(vec![7; length]);
        all.push((0..length).map(|i| (i / 300 * 7 + i % 5) as u8).collect());
    }
    all
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new().filename("letter.txt").comment("of 1978").extra("abc");
    let mut encoder: GzEncoder<Vec<u8>> = builder.write(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn check(function: &str, files: &[Vec<u8>], expected: &[Vec<u8>]) {
    let Some(outcomes) = read_all("deflate", function, files) else { return };
    for (outcome, expected) in outcomes.iter().zip(expected) {
        assert!(outcome.as_ref() == Ok(expected), "{function}: {} bytes", expected.len());
    }
}

#[test]
fn a_stranger_decompresses_what_others_compressed() {
    let samples = samples();
    for level in [0, 1, 6, 9] {
        let files: Vec<_> = samples.iter().map(|bytes| zlib(bytes, level)).collect();
        check("zlib", &files, &samples);
    }
    let raw = |bytes: &Vec<u8>| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        // A stream of several blocks, some of them empty.
        for part in bytes.chunks(bytes.len() / 3 + 1) {
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    };
    check("raw", &samples.iter().map(raw).collect::<Vec<_>>(), &samples);
}

#[test]
fn a_stranger_reads_gzip_files_and_rows_of_them() {
    let samples = &samples()[..32];
    let files: Vec<_> = samples.iter().map(|bytes| gzip(bytes)).collect();
    check("gzip", &files, samples);
    check("gzip", &[files.concat()], &[samples.concat()]);
}

#[test]
fn the_streams_that_the_text_prints_are_true() {
    let text = text("deflate");
    let blah = b"blah blah blah blah blah!";
    for (function, label, expected) in [
        ("raw", "deflate, kind 1, no output:", &b""[..]),
        ("raw", "deflate, kind 0, \"abc\":", b"abc"),
        ("zlib", "zlib, kind 1, \"a\":", b"a"),
        ("zlib", "distance 1, ten times \"a\":", b"aaaaaaaaaa"),
        ("zlib", "zlib, kind 1, \"blah blah blah blah blah!\":", blah),
        ("raw", "deflate, kind 2, \"aaebeaaecbaaacebaeae\":", b"aaebeaaecbaaacebaeae"),
        ("gzip", "gzip, kind 1, \"123456789\":", b"123456789"),
    ] {
        let stream = printed(&text, label);
        let theirs = match function {
            "zlib" => std::io::read_to_string(flate2::read::ZlibDecoder::new(&*stream)),
            "gzip" => std::io::read_to_string(flate2::read::GzDecoder::new(&*stream)),
            _ => std::io::read_to_string(flate2::read::DeflateDecoder::new(&*stream)),
        };
        assert_eq!(theirs.unwrap().as_bytes(), expected, "{label}");
        check(function, &[stream], &[expected.to_vec()]);
    }
}

#[test]
fn check_numbers_are_those_of_others() {
    for bytes in [&b"123456789"[..], b"", &Noise::new(2).bytes(1000)] {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        // zlib's frame ends with the Adler-32.
        let stream = zlib(bytes, 1);
        let adler = u32::from_be_bytes(*stream.last_chunk().unwrap());
        for (kind, expected) in [("crc32", crc.sum()), ("adler32", adler)] {
            let Some(output) = run("deflate", &[kind], bytes) else { return };
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{expected:08x}\n"));
        }
    }
    let text = text("deflate").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("CRC-32 0xCBF43926 and the Adler-32 0x091E01DE"));
}

#[test]
fn what_is_cut_off_or_damaged_is_refused() {
    let bytes = b"some words, some words again, and then other words: 0123456789".repeat(3);
    for (function, file) in [("zlib", zlib(&bytes, 9)), ("zlib", zlib(&bytes, 0))] {
        refuses_all("deflate", function, &cut_everywhere(&file));
        let flipped = (0..file.len() * 8).map(|bit| {
            let mut file = file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            file
        });
        let flipped: Vec<_> = flipped.collect();
        let Some(outcomes) = read_all("deflate", function, &flipped) else { return };
        // A bit that means nothing (the level, with its check bits) may be another.
        let read = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(read <= 7, "{read} of {} damaged streams were read", flipped.len());
        assert!(outcomes.iter().flatten().all(|out| *out == bytes));
    }
    refuses_all("deflate", "gzip", &cut_everywhere(&gzip(&bytes)));
}

#[test]
fn what_follows_no_rule_is_refused() {
    let wrong = [
        &b""[..],
        &[0x07],                                     // a block of kind 3
        &[0x01, 0x03, 0x00, 0xfd, 0xff, 1, 2],       // a length that does not match its inverse
        &[0x4b, 0x04, 0x62, 0x00], // one byte, then a copy from before the beginning
        &[0x05, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // more symbols than there are
    ];
    refuses_all("deflate", "raw", &wrong.map(<[u8]>::to_vec));
}

#[test]
fn the_command_line_answers() {
    answers_on_the_command_line("deflate", &["zlib"], &zlib(b"a letter", 9));
}
