//! Pictures, and cameras' raw files that are not TIFF inside.

use super::bytes::{at, find, four};
use super::tiff::Tiff;
use crate::recognise::HEAD_BYTES;

/// The first segment decides. EXIF of a version that PRONOM does not have is not a raw stream.
pub(super) fn jpeg(head: &[u8]) -> Option<&'static str> {
    let kind = head.get(3)?;
    if *kind == 0xe0 && at(head, 6, b"JFIF\0") {
        return match head.get(11..14)? {
            [1, 0, 0..=2] => Some("fmt/42"),
            [1, 1, 0..=2] => Some("fmt/43"),
            [1, 2, 0..=2] => Some("fmt/44"),
            _ => None,
        };
    }
    if *kind == 0xe1 && at(head, 6, b"Exif") {
        let length = usize::from(u16::from_be_bytes([*head.get(4)?, *head.get(5)?]));
        let tiff = head.get(12..head.len().min(4 + length))?;
        let is_exif = at(head, 6, b"Exif\0\0");
        return match &Tiff::new(tiff).filter(|_| is_exif)?.exif_version()? {
            b"0200" => Some("x-fmt/398"),
            b"0210" => Some("x-fmt/390"),
            b"0220" => Some("x-fmt/391"),
            b"0221" => Some("fmt/645"),
            [b'0', b'2', b'3', b'0'..=b'9'] => Some("fmt/1507"),
            _ => None,
        };
    }
    // SPIFF is too rare to be tested here.
    (*kind != 0xe8).then_some("fmt/41")
}

/// Versions differ only in the kinds of chunks. An international text may follow the pixels, so that
/// the older versions are certain only of a file that ends within the head.
pub(super) fn png(head: &[u8]) -> Option<&'static str> {
    if !at(head, 0, b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR") {
        return None;
    }
    let (mut is_1_1, mut is_1_2, mut has_pixels) = (false, false, false);
    let mut offset = 8;
    loop {
        let (Some(length), Some(kind)) = (four(head, offset), four(head, offset + 4)) else {
            return (is_1_2 && has_pixels).then_some("fmt/13");
        };
        match &kind {
            b"acTL" if !has_pixels => return Some("fmt/935"),
            b"iTXt" => is_1_2 = true,
            b"iCCP" | b"sRGB" | b"sPLT" => is_1_1 = true,
            b"IDAT" => has_pixels = true,
            b"IEND" if head.len() < HEAD_BYTES => {
                return Some(match (is_1_2, is_1_1) {
                    (true, _) => "fmt/13",
                    (false, true) => "fmt/12",
                    (false, false) => "fmt/11",
                });
            }
            b"IEND" => return (is_1_2 && has_pixels).then_some("fmt/13"),
            _ => {}
        }
        offset = offset.saturating_add(12).saturating_add(u32::from_be_bytes(length) as usize);
        if offset > head.len() {
            return (is_1_2 && has_pixels).then_some("fmt/13");
        }
    }
}

pub(super) fn gif(head: &[u8]) -> Option<&'static str> {
    match head.get(..6)? {
        b"GIF87a" => Some("fmt/3"),
        b"GIF89a" => Some("fmt/4"),
        _ => None,
    }
}

pub(super) fn webp(head: &[u8]) -> Option<&'static str> {
    match (head.get(..4)?, head.get(8..16)?) {
        (b"RIFF", b"WEBPVP8 ") => Some("fmt/566"),
        (b"RIFF", b"WEBPVP8L") => Some("fmt/567"),
        (b"RIFF", b"WEBPVP8X") => Some("fmt/568"),
        _ => None,
    }
}

/// Versions differ in the length of the second header; then in its planes, bits per pixel and
/// compression. That of 12 bytes is also OS/2's first one, for which PRONOM uses the same identifier.
pub(super) fn bmp(head: &[u8]) -> Option<&'static str> {
    let length = u32::from_le_bytes(four(head, 14)?);
    if length == 12 {
        let planes_and_bits = head.get(22..26)?;
        return matches!(planes_and_bits, [1, 0, 1 | 4 | 8 | 24, 0]).then_some("fmt/115");
    }
    let [1, 0, bits, 0] = four(head, 26)? else { return None };
    if matches!(length, 16 | 64) {
        return Some("x-fmt/270");
    }
    let compression = u32::from_le_bytes(four(head, 30)?);
    let known = matches!(bits, 1 | 4 | 8 | 16 | 24 | 32);
    match (length, bits, compression) {
        (40, 24, 4) | (40, 1, 3) => Some("x-fmt/270"),
        (40, _, 0..=2) if known => Some("fmt/116"),
        (40, 16 | 32, 3) => Some("fmt/117"),
        (108, _, 0..=3) if known => Some("fmt/118"),
        (124, _, 0..=5) if known => Some("fmt/119"),
        _ => None,
    }
}

pub(super) fn heif(head: &[u8]) -> Option<&'static str> {
    let brand = head.get(8..12).filter(|_| at(head, 4, b"ftyp"))?;
    matches!(brand, b"heic" | b"heix" | b"hevc" | b"hevx" | b"mif1" | b"msf1").then_some("fmt/1101")
}

/// Raw files that a fixed beginning distinguishes.
pub(super) fn raw(head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&str, &[u8]); 6] = [
        ("fmt/592", b"II*\0\x10\0\0\0CR\x02\0"),
        ("fmt/642", b"FUJIFILMCCD-RAW "),
        ("fmt/662", b"IIU\0\x18\0\0\0\x88\xe7\x74\xd8"),
        ("fmt/668", b"IIRO\x08\0\0\0"),
        ("fmt/668", b"IIRS\x08\0\0\0"),
        ("fmt/668", b"MMOR\0\0\0\x08"),
    ];
    if at(head, 4, b"ftypcrx ") {
        let movie = find(head, b"moov")?;
        return at(head, movie + 36, b"CanonCR3").then_some("fmt/1595");
    }
    MAGIC.iter().find(|(_, magic)| at(head, 0, magic)).map(|(puid, _)| *puid)
}
