//! decode/wav.txt.

use crate::pictures_python::{
    HERE, Noise, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all, text,
};

/// A WAV file.
fn wav(form: u16, channels: u16, bits: u16, extensible: bool, data: &[u8]) -> Vec<u8> {
    let frame = channels * bits.div_ceil(8);
    let mut format = if extensible { 0xfffe } else { form }.to_le_bytes().to_vec();
    format.extend(channels.to_le_bytes());
    format.extend(8000_u32.to_le_bytes());
    format.extend((8000 * u32::from(frame)).to_le_bytes());
    format.extend(frame.to_le_bytes());
    format.extend(bits.to_le_bytes());
    if extensible {
        format.extend([22, 0]);
        format.extend(bits.to_le_bytes());
        format.extend([3, 0, 0, 0]);
        format.extend(form.to_le_bytes());
        format.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let mut chunks = b"WAVE".to_vec();
    for (kind, content) in [(b"LIST", &b"odd"[..]), (b"fmt ", &format), (b"data", data)] {
        chunks.extend(kind);
        chunks.extend((content.len() as u32).to_le_bytes());
        chunks.extend(content);
        chunks.resize(chunks.len().next_multiple_of(2), 0);
    }
    [b"RIFF", &(chunks.len() as u32).to_le_bytes()[..], &chunks].concat()
}

/// What the reader prints for some samples.
fn lines<T: std::fmt::Display>(channels: usize, samples: &[T]) -> String {
    let frames = samples
        .chunks(channels)
        .map(|frame| frame.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n");
    format!("8000 {channels} {}\n", samples.len() / channels) + &frames.collect::<String>()
}

fn check(files: &[(Vec<u8>, String)]) {
    let bytes: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
    let Some(outcomes) = read_all("wav", "show", &bytes) else { return };
    for ((_, expected), outcome) in files.iter().zip(outcomes) {
        assert_eq!(String::from_utf8(outcome.expect("a good file")).unwrap(), *expected);
    }
}

#[test]
fn a_stranger_hears_whole_numbers() {
    let mut noise = Noise::new(6);
    let mut files = Vec::new();
    for bits in [8, 16, 24, 32, 12, 20] {
        for (channels, extensible) in [(1, false), (2, true), (6, true)] {
            let size: u16 = bits / 8 + u16::from(bits % 8 != 0);
            let unused = 8 * size - bits;
            let mut samples: Vec<i32> =
                (0..6 * 20).map(|_| (noise.next() as i32) >> (32 - bits) << unused).collect();
            samples[0] = (i32::MIN >> (32 - bits)) << unused;
            samples[1] = (i32::MAX >> (32 - bits)) << unused;
            let bytes: Vec<u8> = match size {
                1 => samples.iter().map(|n| (n + 128) as u8).collect(),
                _ => samples
                    .iter()
                    .flat_map(|n| n.to_le_bytes().into_iter().take(size.into()))
                    .collect(),
            };
            let file = wav(1, channels, bits, extensible, &bytes);
            files.push((file, lines(channels.into(), &samples)));
        }
    }
    check(&files);
}

#[test]
fn a_stranger_hears_floating_point_numbers() {
    // Sums of few powers of two, which both languages print in the same way.
    let samples = [0.0, 0.5, -0.5, 0.75, -1.0, 0.0625, -0.328125, 12.5, 1.0];
    let short: Vec<u8> = samples.iter().flat_map(|n| (*n as f32).to_le_bytes()).collect();
    let long: Vec<u8> = samples.iter().flat_map(|n: &f64| n.to_le_bytes()).collect();
    let as_python = |n: &f64| format!("{n:?}");
    let expected = lines(3, &samples.iter().map(as_python).collect::<Vec<_>>());
    check(&[
        (wav(3, 3, 32, false, &short), expected.clone()),
        (wav(3, 3, 64, true, &long), expected),
    ]);
}

/// ITU-T G.711 by its segments: both laws are a sign and eight lines, each twice as steep as the
/// one before and 16 steps long.
fn by_segments(mu: bool, byte: u8) -> i32 {
    let byte = if mu { !byte } else { byte ^ 0x55 };
    let (segment, step) = (i32::from(byte >> 4 & 7), i32::from(byte & 15));
    let size: i32 = match (mu, segment) {
        (true, _) => (0..segment).map(|s| 16 * (8 << s)).sum::<i32>() + step * (8 << segment),
        // The first two lines of A-law are one.
        (false, 0) => 16 * step + 8,
        (false, _) => (256 << (segment - 1)) + (16 << (segment - 1)) * step + (8 << (segment - 1)),
    };
    // The sign bit means minus in mu-law, whose bytes are inverted, and plus in A-law.
    if mu == (byte >= 128) { -size } else { size }
}

#[test]
fn a_stranger_hears_both_laws() {
    let all: Vec<u8> = (0..=255).collect();
    let mut files = Vec::new();
    for (form, mu) in [(6, false), (7, true)] {
        // In mu-law, the steps of a line lie in the middle of their parts.
        let middle = |byte: u8| {
            let size = by_segments(mu, byte);
            let more = if mu { (4 << (!byte >> 4 & 7)) - 4 } else { 0 };
            if size < 0 || mu && !byte >= 128 { size - more } else { size + more }
        };
        let samples: Vec<i32> = all.iter().map(|byte| middle(*byte)).collect();
        files.push((wav(form, 2, 8, false, &all), lines(2, &samples)));
    }
    check(&files);
}

#[test]
fn the_values_that_the_text_prints_are_true() {
    let text = text("wav");
    let row = |label: &str| -> Vec<String> {
        let line = text.lines().find_map(|line| line.strip_prefix(label)).expect("a line");
        line.split_whitespace().map(str::to_owned).collect()
    };
    let bytes: Vec<u8> =
        row("  byte (hex) ").iter().map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    assert_eq!(bytes.len(), 8);
    let three = printed(&text, "(hexadecimal):");
    check(&[
        (wav(7, 1, 8, false, &bytes), lines(1, &row("  mu-law "))),
        (wav(6, 1, 8, false, &bytes), lines(1, &row("  A-law "))),
        (three, "8 1 3\n0\n1000\n-1000\n".to_owned()),
    ]);
}

#[test]
fn a_recording_that_was_not_finished_is_heard_to_its_end() {
    let mut file = wav(1, 1, 16, false, &[1, 0, 2, 0]);
    let length = file.len() - 8;
    file[length..length + 4].copy_from_slice(&[0xff; 4]);
    check(&[(file, lines(1, &[1, 2]))]);
}

#[test]
fn long_files_give_their_lengths_elsewhere() {
    let plain = wav(1, 1, 16, false, &[1, 0, 2, 0, 3, 0]);
    let mut file = b"RF64\xff\xff\xff\xffWAVEds64".to_vec();
    file.extend(28_u32.to_le_bytes());
    for length in [0_u64, 6, 3] {
        file.extend(length.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(&plain[12..]);
    let at = file.len() - 10;
    file[at..at + 4].copy_from_slice(&[0xff; 4]);
    file.extend(b"id3 \0\0\0\0");
    check(&[(file, lines(1, &[1, 2, 3]))]);
}

#[test]
fn what_is_cut_off_or_not_described_is_refused() {
    let file = wav(1, 2, 16, true, &[1, 0, 2, 0, 3, 0, 4, 0]);
    refuses_all("wav", "show", &cut_everywhere(&file));
    refuses_all(
        "wav",
        "show",
        &[
            wav(2, 1, 4, false, &[1, 2, 3, 4]),
            wav(17, 1, 4, false, &[1, 2, 3, 4]),
            wav(1, 1, 40, false, &[1, 2, 3, 4, 5]),
            wav(1, 0, 16, false, &[1, 2]),
            wav(1, 2, 16, false, &[1, 2, 3, 4, 5]),
            wav(3, 1, 32, false, &[0, 0, 0x80, 0x7f]),
            wav(6, 1, 16, false, &[1, 2]),
        ],
    );
    answers_on_the_command_line("wav", &[], &file);
}

/// What is in the FLAC fixtures: a triangle with a little roughness, wild numbers, silence.
fn in_fixture(i: i64, channel: i64, bits: u32) -> i64 {
    let top = 1_i64 << (bits - 1);
    let wave = ((i * 7 + channel * 50) % 400 - 200).abs() - 100;
    match i / 256 % 4 {
        3 => 0,
        2 => (i * i * 7919 + channel * 104_729) % (2 * top) - top,
        _ => wave * (top / 256) + (i * i * 31 + channel) % 7,
    }
}

fn flac(name: &str) -> Vec<u8> {
    std::fs::read(format!("{HERE}/fixtures/{name}.flac")).unwrap()
}

#[test]
fn a_stranger_hears_flac() {
    let forms = [
        ("8-mono", 8, 1, 1100),
        ("16-stereo", 16, 2, 1300),
        ("24-stereo", 24, 2, 1100),
        ("16-six", 16, 6, 300),
        ("16-one", 16, 1, 1),
    ];
    let files: Vec<_> = forms.iter().map(|(name, ..)| flac(name)).collect();
    let Some(outcomes) = read_all("flac", "show", &files) else { return };
    for ((name, bits, channels, count), outcome) in forms.into_iter().zip(outcomes) {
        let samples: Vec<i64> =
            (0..count * channels).map(|n| in_fixture(n / channels, n % channels, bits)).collect();
        let heard = String::from_utf8(outcome.expect("a good file")).unwrap();
        assert!(heard == lines(channels as usize, &samples), "{name}");
    }
}

#[test]
fn the_flac_that_the_text_prints_is_true() {
    let text = text("flac");
    let (_, samples) = text.split_once("All samples:").unwrap();
    let samples: Vec<i64> = samples.split_whitespace().map_while(|n| n.parse().ok()).collect();
    assert_eq!(samples.len(), 16);
    let file = printed(&text, "16 samples (hexadecimal):");
    let Some(outcomes) = read_all("flac", "show", &[file]) else { return };
    assert_eq!(String::from_utf8_lossy(outcomes[0].as_ref().unwrap()), lines(1, &samples));
}

#[test]
fn a_flac_that_is_cut_off_or_damaged_is_refused() {
    let file = printed(&text("flac"), "16 samples (hexadecimal):");
    refuses_all("flac", "show", &cut_everywhere(&file));
    // All of a frame is under its check numbers.
    let flipped = (42..file.len()).map(|at| {
        let mut file = file.clone();
        file[at] ^= 0x04;
        file
    });
    refuses_all("flac", "show", &flipped.collect::<Vec<_>>());
    answers_on_the_command_line("flac", &[], &flac("16-six"));
}
