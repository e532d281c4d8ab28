//! decode/jpeg.txt. The fixtures were written by libjpeg-turbo from gradients, squares and noise.

use std::fs;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::pictures::by_crate;
use crate::pictures_python::{
    HERE, Noise, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all, run,
    text,
};

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{HERE}/fixtures/{name}.jpg")).unwrap()
}

/// Names and bytes of all fixtures.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let paths =
        fs::read_dir(format!("{HERE}/fixtures")).unwrap().map(|entry| entry.unwrap().path());
    let jpegs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    let mut all: Vec<_> = jpegs
        .map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Width, height, and red, green, blue of each pixel.
fn by_zune(file: &[u8]) -> (usize, usize, Vec<u8>) {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    let pixels = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    (width, height, pixels)
}

fn parse(ppm: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut parts = ppm.splitn(4, |b| *b == b'\n');
    assert_eq!(parts.next(), Some(&b"P6"[..]));
    let size = std::str::from_utf8(parts.next().unwrap()).unwrap();
    let (width, height) = size.split_once(' ').unwrap();
    assert_eq!(parts.next(), Some(&b"255"[..]));
    (width.parse().unwrap(), height.parse().unwrap(), parts.next().unwrap().to_vec())
}

/// The pixels that libjpeg-turbo shows, kept as a PNG beside the fixture.
fn by_libjpeg(name: &str) -> Option<Vec<u8>> {
    let kept = fs::read(format!("{HERE}/fixtures/{name}.png")).ok()?;
    let samples = by_crate(&kept).samples;
    Some(
        samples
            .chunks(4)
            .flat_map(|pixel| [pixel[0] as u8, pixel[1] as u8, pixel[2] as u8])
            .collect(),
    )
}

/// How far two pictures are apart: the largest difference of a sample, and the mean.
fn apart(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (differences.max().unwrap(), sum as f64 / a.len() as f64)
}

/// A sample of brightness or colour may be rounded up by one decoder and down by another. If each of
/// the three of a pixel is, its blue is apart by 1 + 1.772 at most, and so by 3 steps after rounding.
#[test]
fn a_stranger_sees_what_others_see() {
    let (names, files): (Vec<_>, Vec<_>) = fixtures().into_iter().unzip();
    assert!(names.len() >= 21, "{names:?}");
    let Some(outcomes) = read_all("jpeg", "show", &files) else { return };
    for ((name, file), outcome) in names.iter().zip(&files).zip(outcomes) {
        let (width, height, seen) = parse(&outcome.unwrap_or_else(|why| panic!("{name}: {why}")));
        let theirs = by_zune(file);
        assert_eq!((width, height), (theirs.0, theirs.1), "{name}");
        // Decoders stretch coarse colours in more than one way, so only libjpeg-turbo counts there.
        let grey_or_full = name.contains("grey") || name.contains("444") || name.contains("ink");
        let others = by_libjpeg(name).into_iter().chain(grey_or_full.then_some(theirs.2));
        let mut compared = 0;
        for other in others {
            let (most, mean) = apart(&seen, &other);
            let allowed = if name.contains("grey") { 1 } else { 3 };
            assert!(most <= allowed && mean < 0.6, "{name}: {most} at most, {mean} on average");
            compared += 1;
        }
        assert!(compared > 0, "{name}");
    }
}

#[test]
fn the_picture_that_the_text_prints_is_true() {
    let text = text("jpeg");
    let mut file = printed(&text, "a grey picture of 8 by 8 pixels");
    assert_eq!(file.len(), 7);
    file.extend([0x10; 64]);
    file.extend(printed(&text, "and 64 times 10"));
    let (_, table) = text.split_once("The samples:").unwrap();
    let samples: Vec<u8> =
        table.split_whitespace().map_while(|n| n.parse().ok()).take(64).collect();
    assert_eq!(samples.len(), 64);
    let pixels: Vec<u8> = samples.iter().flat_map(|n| [*n; 3]).collect();
    let Some(outcomes) = read_all("jpeg", "show", &[file]) else { return };
    assert_eq!(parse(outcomes[0].as_ref().unwrap()), (8, 8, pixels));
}

/// The tables that encoders use if they do not make their own.
#[test]
fn the_tables_that_the_text_prints_are_those_that_encoders_use() {
    let text = text("jpeg");
    let file = fixture("baseline-24x9-420-usual-tables");
    for (label, id) in [("DC 0  ", 0x00), ("AC 0  ", 0x10), ("DC 1  ", 0x01), ("AC 1  ", 0x11)] {
        let (_, rest) = text.split_once(&format!("\n  {label}")).unwrap();
        let (counts, symbols) = rest.split_once('\n').unwrap();
        let mut table: Vec<u8> = vec![id];
        table.extend(counts.split(' ').map(|n| n.parse::<u8>().unwrap()));
        let symbol_count = table[1..].iter().map(|n| usize::from(*n)).sum();
        table.extend(printed(symbols, "").iter().take(symbol_count));
        assert!(file.windows(table.len()).any(|window| window == table), "{label}");
    }
}

#[test]
fn a_stranger_finds_orientation_and_date() {
    let file = fixture("baseline-8x8-exif");
    let Some(output) = run("jpeg", &["exif"], &file) else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "6 1998:06:21 14:05:00\n");
}

#[test]
fn what_is_cut_off_is_refused() {
    for name in [
        "baseline-7x13-420-blocks",
        "progressive-7x13-420-blocks",
        "baseline-37x26-420-noise-restart",
    ] {
        refuses_all("jpeg", "show", &cut_everywhere(&fixture(name)));
    }
    answers_on_the_command_line("jpeg", &[], &fixture("progressive-33x17-grey-noise"));
}

/// It is shown or refused, but never more than that: `read_all` fails at a traceback.
#[test]
fn damage_is_no_surprise() {
    let mut noise = Noise::new(9);
    for name in ["baseline-37x26-420-noise-restart", "progressive-37x26-420-noise-restart"] {
        let file = fixture(name);
        // The size is left alone: a picture of millions of pixels takes long to refuse.
        let frame = file.windows(2).position(|w| w == [0xff, 0xc0] || w == [0xff, 0xc2]).unwrap();
        let damaged = (0..200).map(|_| {
            let mut file = file.clone();
            for _ in 0..3 {
                let at = noise.below(file.len() as u32) as usize;
                if !(frame..frame + 9).contains(&at) {
                    file[at] = noise.next() as u8;
                }
            }
            file
        });
        let Some(outcomes) = read_all("jpeg", "show", &damaged.collect::<Vec<_>>()) else { return };
        assert!(outcomes.iter().any(Result::is_err), "{name}");
    }
}
