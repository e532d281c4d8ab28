//! decode/png.txt and decode/gif.txt: pictures without loss.

use std::io::{Cursor, Write as _};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use crate::pictures_python::{
    Noise, Outcome, answers_on_the_command_line, cut_everywhere, printed, read_all, refuses_all,
    text,
};

/// What the readers print: size, the highest value of a sample, and four samples per pixel.
#[derive(Debug, PartialEq)]
pub struct Pam {
    pub width: usize,
    pub height: usize,
    pub top: u32,
    pub samples: Vec<u16>,
}

impl Pam {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(7).position(|w| w == b"ENDHDR\n").expect("the end") + 7;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let value = |name: &str| -> u32 {
            let line = head.lines().find(|line| line.starts_with(name)).expect("a line");
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        let samples = match value("MAXVAL") {
            255 => bytes[end..].iter().map(|b| u16::from(*b)).collect(),
            _ => bytes[end..].chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect(),
        };
        let (width, height) = (value("WIDTH") as usize, value("HEIGHT") as usize);
        Self { width, height, top: value("MAXVAL"), samples }
    }
}

/// A PNG that is written here, since encoders write few of all the forms there are.
struct Made {
    width: u32,
    height: u32,
    depth: u8,
    colour: u8,
    interlaced: bool,
    transparency: Option<Vec<u8>>,
}

/// First column, every, first row, every.
const ADAM7: [[u32; 4]; 7] = [
    [0, 8, 0, 8],
    [4, 8, 0, 8],
    [0, 4, 4, 8],
    [2, 4, 0, 4],
    [0, 2, 2, 4],
    [1, 2, 0, 2],
    [0, 1, 1, 2],
];

impl Made {
    fn samples(&self) -> u32 {
        [1, 0, 3, 1, 2, 0, 4][usize::from(self.colour)]
    }

    /// A sample of the picture: half of it smooth, half of it noise.
    fn sample(&self, x: u32, y: u32, channel: u32, noise: &mut Noise) -> u32 {
        let value = if (x / 3 + y).is_multiple_of(2) {
            x * 2311 + y * 977 + channel * 5000
        } else {
            noise.next()
        };
        let end = 1_u64 << self.depth;
        (u64::from(value) % end) as u32
    }

    /// The rows of one pass, filtered by each of the five filters in turn.
    fn pass(&self, [x0, dx, y0, dy]: [u32; 4], noise: &mut Noise, out: &mut Vec<u8>) {
        let bits = (self.samples() * u32::from(self.depth)) as usize;
        let bpp = (bits / 8).max(1);
        let columns: Vec<u32> = (x0..self.width).step_by(dx as usize).collect();
        if columns.is_empty() {
            return;
        }
        let mut above = vec![0; (columns.len() * bits).div_ceil(8)];
        for (i, y) in (y0..self.height).step_by(dy as usize).enumerate() {
            let mut packed = String::new();
            for x in &columns {
                for channel in 0..self.samples() {
                    let sample = self.sample(*x, y, channel, noise);
                    packed += &format!("{sample:0width$b}", width = usize::from(self.depth));
                }
            }
            let row: Vec<u8> = packed
                .as_bytes()
                .chunks(8)
                .map(|b| b.iter().fold(0, |n, b| n << 1 | (b - b'0')) << (8 - b.len()))
                .collect();
            let filter = (i + 4) % 5;
            out.push(filter as u8);
            for at in 0..row.len() {
                let left = |row: &[u8]| if at < bpp { 0 } else { i16::from(row[at - bpp]) };
                let (a, b, c) = (left(&row), i16::from(above[at]), left(&above));
                let nearest = [a, b, c].into_iter().min_by_key(|n| (a + b - c - n).abs()).unwrap();
                let predicted = [0, a, b, (a + b) / 2, nearest][filter];
                out.push(row[at].wrapping_sub(predicted as u8));
            }
            above = row;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut noise = Noise::new(u64::from(self.width));
        let mut raw = Vec::new();
        match self.interlaced {
            true => ADAM7.iter().for_each(|pass| self.pass(*pass, &mut noise, &mut raw)),
            false => self.pass([0, 1, 0, 1], &mut noise, &mut raw),
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(self.height % 10));
        encoder.write_all(&raw).unwrap();
        let stream = encoder.finish().unwrap();
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut head = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        head.extend([self.depth, self.colour, 0, 0, u8::from(self.interlaced)]);
        chunk(&mut out, b"IHDR", &head);
        chunk(&mut out, b"tEXt", b"Title\0a test");
        if self.colour == 3 {
            chunk(&mut out, b"PLTE", &noise.bytes(3 << self.depth));
        }
        if let Some(transparency) = &self.transparency {
            chunk(&mut out, b"tRNS", transparency);
        }
        for part in stream.chunks(stream.len() / 3 + 1) {
            chunk(&mut out, b"IDAT", part);
        }
        chunk(&mut out, b"IEND", b"");
        out
    }
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    out.extend((content.len() as u32).to_be_bytes());
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(content);
    out.extend(kind);
    out.extend(content);
    out.extend(crc.sum().to_be_bytes());
}

/// All colour types, depths and sizes.
fn pngs() -> Vec<Vec<u8>> {
    let forms: [(u8, &[u8]); 5] =
        [(0, &[1, 2, 4, 8, 16]), (2, &[8, 16]), (3, &[1, 2, 4, 8]), (4, &[8, 16]), (6, &[8, 16])];
    let mut all = Vec::new();
    for (colour, depths) in forms {
        for depth in depths {
            for (width, height) in [(1, 1), (7, 13), (65, 3), (2, 5), (16, 16)] {
                for interlaced in [false, true] {
                    let transparency = match (colour, height % 2) {
                        (0, 1) => Some(vec![0, 1]),
                        (2, 1) => Some(vec![0, 10, 0, 20, 0, 30]),
                        (3, 1) => Some(vec![0, 200]),
                        _ => None,
                    };
                    let depth = *depth;
                    let made = Made { width, height, depth, colour, interlaced, transparency };
                    all.push(made.bytes());
                }
            }
        }
    }
    all
}

/// The pixels of the `png` crate.
pub fn by_crate(file: &[u8]) -> Pam {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut buffer).unwrap();
    let values: Vec<u16> = match info.bit_depth {
        png::BitDepth::Sixteen => {
            buffer.chunks(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect()
        }
        _ => buffer.iter().map(|b| u16::from(*b)).collect(),
    };
    let top = if info.bit_depth == png::BitDepth::Sixteen { u16::MAX } else { 255 };
    let samples = values
        .chunks(info.color_type.samples())
        .flat_map(|pixel| match *pixel {
            [grey] => [grey, grey, grey, top],
            [grey, opacity] => [grey, grey, grey, opacity],
            [red, green, blue] => [red, green, blue, top],
            [red, green, blue, opacity] => [red, green, blue, opacity],
            _ => panic!("a pixel of other samples"),
        })
        .collect();
    let (width, height) = (info.width as usize, info.height as usize);
    Pam { width, height, top: u32::from(top), samples }
}

#[test]
fn a_stranger_sees_every_kind_of_png() {
    let files = pngs();
    let Some(outcomes) = read_all("png", "show", &files) else { return };
    for (i, (file, outcome)) in files.iter().zip(outcomes).enumerate() {
        let seen = Pam::parse(&outcome.unwrap_or_else(|why| panic!("{i}: {why}")));
        assert!(seen == by_crate(file), "picture {i}, {:?}", &file[16..29]);
    }
}

#[test]
fn a_png_that_others_wrote_is_seen_as_well() {
    let mut noise = Noise::new(4);
    let pixels = noise.bytes(31 * 17 * 4);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 31, 17);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let Some(outcomes) = read_all("png", "show", &[file]) else { return };
    let seen = Pam::parse(outcomes[0].as_ref().unwrap());
    assert!(seen.samples == pixels.iter().map(|b| u16::from(*b)).collect::<Vec<_>>());
}

#[test]
fn the_png_that_the_text_prints_is_true() {
    let file = printed(&text("png"), "blue 0. In hexadecimal:");
    let pixel = Pam { width: 1, height: 1, top: 255, samples: vec![255, 128, 0, 255] };
    assert_eq!(by_crate(&file), pixel);
    let Some(outcomes) = read_all("png", "show", &[file]) else { return };
    assert_eq!(Pam::parse(outcomes[0].as_ref().unwrap()), pixel);
}

#[test]
fn a_png_that_is_cut_off_or_damaged_is_refused() {
    for interlaced in [false, true] {
        let made = |transparency| Made {
            width: 5,
            height: 6,
            depth: 4,
            colour: 3,
            interlaced,
            transparency,
        };
        let file = made(Some(vec![1, 2, 3])).bytes();
        refuses_all("png", "show", &cut_everywhere(&file));
        let flipped = (0..file.len()).map(|at| {
            let mut file = file.clone();
            file[at] ^= 0x10;
            file
        });
        refuses_all("png", "show", &flipped.collect::<Vec<_>>());
    }
}

/// Rebuilds a PNG with another header, so that the check numbers are right and the rest is not.
fn with_header(head: [u8; 13]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut out, b"IHDR", &head);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&[0, 1, 2, 3]).unwrap();
    chunk(&mut out, b"IDAT", &encoder.finish().unwrap());
    chunk(&mut out, b"IEND", b"");
    out
}

#[test]
fn a_png_that_contradicts_itself_is_refused() {
    let good = [0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0];
    if let Some(outcomes) = read_all("png", "show", &[with_header(good)]) {
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
    }
    let mut files = Vec::new();
    // Width, height, depth, colour type, compression, filter method, interlace.
    for (at, value) in [(0, 127), (3, 0), (3, 2), (7, 0), (7, 9), (8, 16), (8, 3), (9, 3), (9, 5)] {
        let mut head = good;
        head[at] = value;
        files.push(with_header(head));
    }
    for at in 10..13 {
        let mut head = good;
        head[at] = 2;
        files.push(with_header(head));
    }
    refuses_all("png", "show", &files);
}

/// A GIF of one picture inside of a larger whole.
fn gif(width: u16, height: u16, colours: u8, interlaced: bool, transparent: Option<u8>) -> Vec<u8> {
    let mut noise = Noise::new(u64::from(width) * 7 + u64::from(colours));
    let palette = noise.bytes(3 * usize::from(colours));
    let count = usize::from(width) * usize::from(height);
    // Long rows of one colour as well as noise: both a table that grows fast and one that is full.
    let colour = |i: usize, noise: &mut Noise| match i / 200 % 2 {
        0 => (i / 17 % usize::from(colours)) as u8,
        _ => noise.below(u32::from(colours)) as u8,
    };
    let pixels: Vec<u8> = (0..count).map(|i| colour(i, &mut noise)).collect();
    let mut frame = gif::Frame::from_indexed_pixels(width, height, pixels, transparent);
    (frame.left, frame.top, frame.interlaced) = (2, 1, interlaced);
    let mut out = Vec::new();
    let mut encoder = gif::Encoder::new(&mut out, width + 3, height + 1, &palette).unwrap();
    encoder.set_repeat(gif::Repeat::Infinite).unwrap();
    encoder.write_frame(&frame).unwrap();
    drop(encoder);
    out
}

/// The first picture of the `gif` crate on the whole.
fn gif_by_crate(file: &[u8]) -> Pam {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(file).unwrap();
    let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    let frame = decoder.read_next_frame().unwrap().unwrap();
    let mut samples = vec![0; width * height * 4];
    for (i, pixel) in frame.buffer.chunks(4).enumerate() {
        let (x, y) = (i % usize::from(frame.width), i / usize::from(frame.width));
        let at = ((y + usize::from(frame.top)) * width + x + usize::from(frame.left)) * 4;
        if pixel[3] != 0 {
            samples[at..at + 4]
                .copy_from_slice(&[pixel[0], pixel[1], pixel[2], 255].map(u16::from));
        }
    }
    Pam { width, height, top: 255, samples }
}

#[test]
fn a_stranger_sees_a_gif() {
    let mut files = Vec::new();
    for (width, height) in [(1, 1), (7, 13), (65, 3), (150, 101)] {
        for colours in [2, 3, 16, 255] {
            for interlaced in [false, true] {
                let transparent = (height % 2 == 1).then_some(colours - 1);
                files.push(gif(width, height, colours, interlaced, transparent));
            }
        }
    }
    let example = printed(&text("gif"), "blue, in hexadecimal:");
    assert_eq!(&gif_by_crate(&example).samples[..12], [255, 0, 0, 255].repeat(3));
    files.push(example);
    let Some(outcomes) = read_all("gif", "show", &files) else { return };
    for (i, (file, outcome)) in files.iter().zip(outcomes).enumerate() {
        let seen = Pam::parse(&outcome.unwrap_or_else(|why| panic!("{i}: {why}")));
        assert!(seen == gif_by_crate(file), "picture {i}");
    }
}

#[test]
fn a_gif_that_is_cut_off_or_damaged_is_refused() {
    let file = gif(9, 8, 16, true, Some(3));
    // The last byte only says that nothing follows.
    let mut cut = cut_everywhere(&file);
    cut.truncate(file.len() - 1);
    refuses_all("gif", "show", &cut);

    let flipped = (0..file.len() * 8).map(|bit| {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        file
    });
    let Some(outcomes) = read_all("gif", "show", &flipped.collect::<Vec<_>>()) else { return };
    assert!(outcomes.iter().any(Outcome::is_ok), "a GIF has no check numbers");
}

#[test]
fn the_command_lines_answer() {
    answers_on_the_command_line("png", &[], &pngs()[20]);
    answers_on_the_command_line("gif", &[], &gif(9, 8, 16, true, None));
}
