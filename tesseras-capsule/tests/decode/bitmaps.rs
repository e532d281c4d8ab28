//! decode/bmp.txt: plain rows and run lengths. The files are written here, pixel by pixel, so what
//! they show is known.

use crate::pictures::Pam;
use crate::pictures_python::{
    Noise, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all, text,
};

struct Bmp {
    width: u32,
    height: u32,
    bits: u16,
    compression: u32,
    downwards: bool,
    masks: Vec<u32>,
    palette: Vec<[u8; 4]>,
    pixels: Vec<u8>,
}

impl Bmp {
    fn bytes(&self) -> Vec<u8> {
        let start = 54 + 4 * (self.masks.len() + self.palette.len());
        let height = if self.downwards { self.height.wrapping_neg() } else { self.height };
        let mut out = b"BM".to_vec();
        let length = (start + self.pixels.len()) as u32;
        let size = [length, 0, start as u32, 40, self.width, height];
        out.extend(size.iter().flat_map(|n| n.to_le_bytes()));
        out.extend([1, 0]);
        out.extend(self.bits.to_le_bytes());
        let rest = [self.compression, self.pixels.len() as u32, 0, 0, self.palette.len() as u32, 0];
        out.extend(rest.iter().chain(&self.masks).flat_map(|n| n.to_le_bytes()));
        out.extend(self.palette.iter().flatten());
        out.extend(&self.pixels);
        out
    }
}

fn palette(count: usize) -> Vec<[u8; 4]> {
    let mut noise = Noise::new(count as u64);
    (0..count).map(|_| [noise.next() as u8, noise.next() as u8, noise.next() as u8, 0]).collect()
}

fn check(files: &[(Bmp, Vec<[u8; 4]>)]) {
    let bytes: Vec<_> = files.iter().map(|(bmp, _)| bmp.bytes()).collect();
    let Some(outcomes) = read_all("bmp", "show", &bytes) else { return };
    for ((bmp, expected), outcome) in files.iter().zip(outcomes) {
        let seen = Pam::parse(&outcome.expect("a good file"));
        assert_eq!((seen.width, seen.height), (bmp.width as usize, bmp.height as usize));
        let expected: Vec<u16> = expected.iter().flatten().map(|b| u16::from(*b)).collect();
        assert!(seen.samples == expected, "{} bits, {}", bmp.bits, bmp.compression);
    }
}

/// A picture of plain rows, and what it shows, from the top.
fn plain(width: u32, height: u32, bits: u16, downwards: bool) -> (Bmp, Vec<[u8; 4]>) {
    let mut noise = Noise::new(u64::from(width + u32::from(bits)));
    let palette = if bits <= 8 { palette(1 << bits) } else { Vec::new() };
    let masks = if bits == 32 { vec![0x3ff0_0000, 0xffc00, 0x3ff] } else { Vec::new() };
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for _ in 0..height {
        let mut packed = String::new();
        let mut row = Vec::new();
        for _ in 0..width {
            let value = u64::from(noise.next()) & ((1_u64 << bits) - 1);
            let of = |shift: u32, top: u64| ((value >> shift & top) * 255 / top) as u8;
            row.push(match bits {
                16 => [of(10, 31), of(5, 31), of(0, 31), 255],
                24 => [of(16, 255), of(8, 255), of(0, 255), 255],
                32 => [of(20, 1023), of(10, 1023), of(0, 1023), 255],
                _ => {
                    let [blue, green, red, _] = palette[value as usize];
                    [red, green, blue, 255]
                }
            });
            let value = if bits > 8 { value.swap_bytes() >> (64 - bits) } else { value };
            packed += &format!("{value:0width$b}", width = usize::from(bits));
        }
        let mut bytes: Vec<u8> = packed
            .as_bytes()
            .chunks(8)
            .map(|b| b.iter().fold(0, |n, b| n << 1 | (b - b'0')) << (8 - b.len()))
            .collect();
        bytes.resize(bytes.len().next_multiple_of(4), 0xaa);
        rows.push(bytes);
        shown.push(row);
    }
    if !downwards {
        shown.reverse();
    }
    let compression = if masks.is_empty() { 0 } else { 3 };
    let pixels = rows.concat();
    let bmp = Bmp { width, height, bits, compression, downwards, masks, palette, pixels };
    (bmp, shown.concat())
}

#[test]
fn a_stranger_sees_plain_rows() {
    let mut files = Vec::new();
    for bits in [1, 2, 4, 8, 16, 24, 32] {
        for (width, height) in [(1, 1), (7, 13), (65, 3)] {
            files.push(plain(width, height, bits, height == 13));
        }
    }
    check(&files);
}

/// A picture of run lengths, and the numbers of its colours, from the top.
fn runs(bits: u16, pixels: &[u8], shown: [[u8; 7]; 3]) -> (Bmp, Vec<[u8; 4]>) {
    let palette = palette(16);
    let colour = |n: &u8| {
        let [blue, green, red, _] = palette[usize::from(*n)];
        [red, green, blue, 255]
    };
    let shown = shown.iter().flatten().map(colour).collect();
    let compression = if bits == 8 { 1 } else { 2 };
    let pixels = pixels.to_vec();
    let (width, height, masks) = (7, 3, Vec::new());
    (Bmp { width, height, bits, compression, downwards: false, masks, palette, pixels }, shown)
}

#[test]
fn a_stranger_sees_run_lengths() {
    check(&[
        runs(
            8,
            &[3, 5, 0, 4, 1, 2, 3, 4, 0, 0, 0, 3, 9, 8, 7, 0, 0, 2, 2, 0, 2, 6, 0, 0, 9, 1, 0, 1],
            [[1; 7], [9, 8, 7, 0, 0, 6, 6], [5, 5, 5, 1, 2, 3, 4]],
        ),
        runs(
            4,
            &[7, 0x12, 0, 0, 0, 5, 0x12, 0x34, 0x50, 0, 0, 2, 1, 1, 1, 0xab, 0, 1],
            [[0, 0, 0, 0, 0, 0, 10], [1, 2, 3, 4, 5, 0, 0], [1, 2, 1, 2, 1, 2, 1]],
        ),
    ]);
}

#[test]
fn the_bitmap_that_the_text_prints_is_true() {
    let file = printed(&text("bmp"), "(hexadecimal):");
    let Some(outcomes) = read_all("bmp", "show", &[file]) else { return };
    let seen = Pam::parse(outcomes[0].as_ref().unwrap());
    let white = [255; 4];
    let expected = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], white].concat();
    assert_eq!(seen, Pam { width: 2, height: 2, top: 255, samples: expected });
}

#[test]
fn a_bitmap_that_is_cut_off_is_refused() {
    for bits in [1, 8, 24, 32] {
        refuses_all("bmp", "show", &cut_everywhere(&plain(3, 3, bits, false).0.bytes()));
    }
    let (run_lengths, _) = runs(8, &[7, 1, 0, 0, 7, 2, 0, 0, 7, 3, 0, 1], [[0; 7]; 3]);
    refuses_all("bmp", "show", &cut_everywhere(&run_lengths.bytes()));
    answers_on_the_command_line("bmp", &[], &run_lengths.bytes());
}
