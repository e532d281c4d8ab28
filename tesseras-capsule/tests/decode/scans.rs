//! decode/tiff.txt. The fixtures were written by libtiff; beside each lies what it shows, as a PNG.

use std::fs;

use crate::pictures::{Pam, by_crate};
use crate::pictures_python::{
    HERE, Noise, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all, run,
    text,
};

const FIXTURES: [&str; 6] = [
    "lzw-16",
    "lzw-grey",
    "lzw-predictor-colour",
    "packbits-palette",
    "plain-bits",
    "zlib-opacity",
];

fn fixture(name: &str, extension: &str) -> Vec<u8> {
    fs::read(format!("{HERE}/fixtures/{name}.{extension}")).unwrap()
}

#[test]
fn a_stranger_sees_the_scans_of_others() {
    let files = FIXTURES.map(|name| fixture(name, "tif"));
    let Some(outcomes) = read_all("tiff", "show", &files) else { return };
    for (name, outcome) in FIXTURES.iter().zip(outcomes) {
        let seen = Pam::parse(&outcome.unwrap_or_else(|why| panic!("{name}: {why}")));
        assert!(seen == by_crate(&fixture(name, "png")), "{name}");
    }
}

/// A TIFF or BigTIFF of red, green and blue in 8 bits, in tiles of 16 by 16, and its pixels.
fn tiled(big: bool, highest_first: bool, apart: bool) -> (Vec<u8>, Vec<u16>) {
    let (width, height) = (21, 18);
    let mut noise = Noise::new(3);
    let pixels = noise.bytes(width * height * 3);
    let number = |value: usize, size: usize| {
        let bytes = (value as u64).to_le_bytes();
        let mut bytes = bytes[..size].to_vec();
        if highest_first {
            bytes.reverse();
        }
        bytes
    };
    let wide = if big { 8 } else { 4 };
    let mut out = if highest_first { b"MM".to_vec() } else { b"II".to_vec() };
    out.extend(number(if big { 43 } else { 42 }, 2));
    if big {
        out.extend([number(8, 2), number(0, 2)].concat());
    }
    let table_at = out.len();
    out.extend(number(0, wide));
    let mut places = Vec::new();
    let step = if apart { 1 } else { 3 };
    for channels in (0..3).step_by(step).map(|first| first..first + step) {
        for (left, top) in [(0, 0), (16, 0), (0, 16), (16, 16)] {
            places.push(out.len());
            for (x, y) in (0..256).map(|i| (left + i % 16, top + i / 16)) {
                for channel in channels.clone() {
                    let inside = x < width && y < height;
                    out.push(if inside { pixels[(y * width + x) * 3 + channel] } else { 0x55 });
                }
            }
        }
    }
    let length = if apart { 256 } else { 768 };
    let places_at = out.len();
    places.iter().for_each(|place| out.extend(number(*place, 4)));
    let lengths_at = out.len();
    places.iter().for_each(|_| out.extend(number(length, 4)));
    let table = number(out.len(), wide);
    out.splice(table_at..table_at + wide, table);
    let entries = [
        (256, 1, width),
        (257, 1, height),
        (258, 1, 8),
        (262, 1, 2),
        (277, 1, 3),
        (284, 1, if apart { 2 } else { 1 }),
        (322, 1, 16),
        (323, 1, 16),
        (324, places.len(), places_at),
        (325, places.len(), lengths_at),
    ];
    out.extend(number(entries.len(), if big { 8 } else { 2 }));
    for (tag, count, value) in entries {
        out.extend([number(tag, 2), number(4, 2), number(count, wide)].concat());
        // A single number of 4 bytes is at the front of its field, whatever the order of bytes.
        let mut field = if count == 1 { number(value, 4) } else { number(value, wide) };
        field.resize(wide, 0);
        out.extend(field);
    }
    out.extend(number(0, wide));
    let shown = pixels.chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).map(u16::from).collect();
    (out, shown)
}

#[test]
fn a_stranger_sees_tiles_planes_and_big_files() {
    let mut files = Vec::new();
    let mut expected = Vec::new();
    for form in 0..8 {
        let (file, pixels) = tiled(form & 1 != 0, form & 2 != 0, form & 4 != 0);
        files.push(file);
        expected.push(pixels);
    }
    let Some(outcomes) = read_all("tiff", "show", &files) else { return };
    for (form, (outcome, expected)) in outcomes.iter().zip(expected).enumerate() {
        let seen = Pam::parse(outcome.as_ref().unwrap_or_else(|why| panic!("{form}: {why}")));
        assert_eq!((seen.width, seen.height), (21, 18));
        assert!(seen.samples == expected, "{form}");
    }
}

#[test]
fn the_codes_that_the_text_prints_are_true() {
    let codes = printed(&text("tiff"), "Example:");
    assert_eq!(codes.len(), 6);
    let Some(outcomes) = read_all("tiff", "lzw", &[codes]) else { return };
    assert_eq!(outcomes[0].as_deref(), Ok(&[1, 1, 1, 1][..]));
}

#[test]
fn a_scan_that_is_cut_off_is_refused() {
    let (file, _) = tiled(false, true, false);
    let cut: Vec<_> = cut_everywhere(&file).into_iter().step_by(7).collect();
    refuses_all("tiff", "show", &cut);
    // libtiff puts the table behind the pixels.
    let file = fixture("zlib-opacity", "tif");
    if let Some(output) = run("tiff", &[], &file[..file.len() / 3]) {
        assert!(!output.status.success());
    }
    answers_on_the_command_line("tiff", &[], &file);
}

#[test]
fn damage_of_a_scan_is_no_surprise() {
    let mut noise = Noise::new(11);
    let damaged = (0..200).map(|i| {
        let mut file = fixture(FIXTURES[i % FIXTURES.len()], "tif");
        for _ in 0..3 {
            let at = noise.below(file.len() as u32) as usize;
            file[at] = noise.next() as u8;
        }
        file
    });
    read_all("tiff", "show", &damaged.collect::<Vec<_>>());
}
