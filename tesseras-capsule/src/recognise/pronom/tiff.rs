//! TIFF, and what is TIFF inside: EXIF and most raw files.

use super::bytes::{at, find};

/// Points to the directory of EXIF.
const EXIF_DIRECTORY: u16 = 0x8769;
const EXIF_VERSION: u16 = 0x9000;
const TIFF_EP_VERSION: u16 = 0x9216;
const GEO_KEYS: u16 = 0x87af;
const DNG_VERSION: u16 = 0xc612;
const BYTE: u16 = 1;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const UNDEFINED: u16 = 7;

/// A TIFF, as far as its bytes are known.
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

/// One entry of a directory.
struct Field {
    kind: u16,
    count: u32,
    value: [u8; 4],
}

impl<'a> Tiff<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"II*\0" => Some(Self { bytes, big_endian: false }),
            b"MM\0*" => Some(Self { bytes, big_endian: true }),
            _ => None,
        }
    }

    /// The version of EXIF: four digits.
    pub(super) fn exif_version(&self) -> Option<[u8; 4]> {
        let directory = self.field(self.first()?, EXIF_DIRECTORY)?;
        if (directory.kind, directory.count) != (LONG, 1) {
            return None;
        }
        let version = self.field(self.long(directory.value), EXIF_VERSION)?;
        ((version.kind, version.count) == (UNDEFINED, 4)).then_some(version.value)
    }

    /// The offset of the first directory.
    fn first(&self) -> Option<u32> {
        Some(self.long(super::bytes::four(self.bytes, 4)?))
    }

    fn field(&self, directory: u32, tag: u16) -> Option<Field> {
        let fields = self.bytes.get(usize::try_from(directory).ok()?..)?;
        let count = usize::from(self.short(fields.get(..2)?));
        let field =
            fields[2..].chunks_exact(12).take(count).find(|f| self.short(&f[..2]) == tag)?;
        Some(Field {
            kind: self.short(&field[2..4]),
            count: self.long(field[4..8].try_into().ok()?),
            value: field[8..12].try_into().ok()?,
        })
    }

    fn short(&self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn long(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// The identifier of a TIFF or of a raw file that is one inside. A name alone proves nothing.
pub(super) fn pronom(extension: &str, head: &[u8]) -> Option<&'static str> {
    let Some(tiff) = Tiff::new(head) else { return big_tiff(extension, head) };
    let field = |tag| tiff.field(tiff.first()?, tag);
    if let Some(version) = field(DNG_VERSION) {
        return dng(&version);
    }
    match extension {
        "arw" => return sony(head),
        "pef" => return is_pentax(head).then_some("fmt/1781"),
        "tif" => {}
        // NEF among them: its signature was not tried on the file of a camera.
        _ => return None,
    }
    if field(TIFF_EP_VERSION).is_some() {
        return None;
    }
    if field(GEO_KEYS).is_some_and(|keys| keys.kind == SHORT) {
        return Some("fmt/155");
    }
    match tiff.exif_version().as_ref() {
        Some(b"0200") => Some("x-fmt/399"),
        Some(b"0210") => Some("x-fmt/388"),
        Some(b"0220") => Some("x-fmt/387"),
        _ => Some("fmt/353"),
    }
}

fn dng(version: &Field) -> Option<&'static str> {
    if (version.kind, version.count) != (BYTE, 4) {
        return None;
    }
    match version.value {
        [1, 0, 0, 0] => Some("fmt/436"),
        [1, 1, 0, 0] => Some("fmt/152"),
        [1, 2, 0, 0] => Some("fmt/437"),
        [1, 3, 0, 0] => Some("fmt/438"),
        [1, 4, 0, 0] => Some("fmt/730"),
        [1, 5, 0, 0] => Some("fmt/1841"),
        [1, 6, 0, 0] => Some("fmt/1842"),
        [1, 7, _, _] => Some("fmt/1943"),
        _ => None,
    }
}

/// A first directory at offset 16 is also the beginning of another format.
fn big_tiff(extension: &str, head: &[u8]) -> Option<&'static str> {
    let is_big = at(head, 0, b"II+\0\x08\0\0\0") || at(head, 0, b"MM\0+\0\x08\0\0");
    let is_other = at(head, 8, &[16, 0, 0, 0, 0, 0, 0, 0]);
    (extension == "tif" && is_big && !is_other).then_some("fmt/1917")
}

fn sony(head: &[u8]) -> Option<&'static str> {
    let name = find(head.get(4..520.min(head.len()))?, b"SONY")? + 8;
    let rest = &head[name..head.len().min(name + 2048 + 9)];
    let version = find(rest, b"\x00\xb0\x01\0\x04\0\0\0")? + 8;
    match rest.get(version).filter(|_| at(head, 0, b"II*\0"))? {
        1 => Some("fmt/1126"),
        2 => Some("fmt/191"),
        3 => Some("fmt/1127"),
        _ => None,
    }
}

fn is_pentax(head: &[u8]) -> bool {
    let name = find(head, b"PENTAX").filter(|_| at(head, 0, b"MM\0*"));
    name.is_some_and(|name| {
        let rest = &head[name + 6..];
        find(rest, b"AOC\0MM").is_some_and(|gap| gap <= 2048)
    })
}
