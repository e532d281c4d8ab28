//! Detects the format of a file from its content as well as its name, and decides whether it is
//! kept.

mod format;
mod programs;
mod pronom;
mod rare;
mod side_files;

pub use format::Format;
use format::{extension, format, undescribed};
pub use pronom::pronom;

use crate::texts::Description;
use crate::walk::SkipReason;

/// How many of a file's first bytes are examined.
pub const HEAD_BYTES: usize = 4096;

/// Plain UTF-8 text.
pub const TEXT: Format = format("text/plain", "txt", Description::Text);
const JPEG: Format = format("image/jpeg", "jpg", Description::Jpeg);
const PNG: Format = format("image/png", "png", Description::Png);
const GIF: Format = format("image/gif", "gif", Description::Gif);
const WEBP: Format = format("image/webp", "webp", Description::Webp);
const HEIC: Format = format("image/heic", "heic", Description::Heif);
const HEIF: Format = format("image/heif", "heif", Description::Heif);
const AVIF: Format = format("image/avif", "avif", Description::Heif);
const TIFF: Format = format("image/tiff", "tif", Description::Tiff);
const BMP: Format = format("image/bmp", "bmp", Description::Bmp);
const DNG: Format = format("image/x-adobe-dng", "dng", Description::Raw);
const CR2: Format = format("image/x-canon-cr2", "cr2", Description::Raw);
const CR3: Format = format("image/x-canon-cr3", "cr3", Description::Raw);
const NEF: Format = format("image/x-nikon-nef", "nef", Description::Raw);
const ARW: Format = format("image/x-sony-arw", "arw", Description::Raw);
const PEF: Format = format("image/x-pentax-pef", "pef", Description::Raw);
const ORF: Format = format("image/x-olympus-orf", "orf", Description::Raw);
const RW2: Format = format("image/x-panasonic-rw2", "rw2", Description::Raw);
const RAF: Format = format("image/x-fuji-raf", "raf", Description::Raw);
const MP4: Format = format("video/mp4", "mp4", Description::Mp4);
const MOV: Format = format("video/quicktime", "mov", Description::Mp4);
const THREE_GP: Format = format("video/3gpp", "3gp", Description::Mp4);
const THREE_G2: Format = format("video/3gpp2", "3g2", Description::Mp4);
const M4A: Format = format("audio/mp4", "m4a", Description::Mp4);
const WEBM: Format = format("video/webm", "webm", Description::Webm);
const MATROSKA: Format = format("video/matroska", "mkv", Description::Webm);
const AVI: Format = format("video/x-msvideo", "avi", Description::Avi);
const WAV: Format = format("audio/wav", "wav", Description::Wav);
const MP3: Format = format("audio/mpeg", "mp3", Description::Mp3);
const AAC: Format = format("audio/aac", "aac", Description::Aac);
const OPUS: Format = format("audio/ogg", "opus", Description::Ogg);
const OGG: Format = format("audio/ogg", "ogg", Description::Ogg);
const OGV: Format = format("video/ogg", "ogv", Description::Ogg);
const FLAC: Format = format("audio/flac", "flac", Description::Flac);
const AMR: Format = format("audio/amr", "amr", Description::Amr);
const AMR_WB: Format = format("audio/amr-wb", "awb", Description::Amr);
const PDF: Format = format("application/pdf", "pdf", Description::Pdf);
const RTF: Format = undescribed("application/rtf", "rtf");
/// Text in an encoding other than UTF-8; only people can tell which.
pub(crate) const OTHER_TEXT: Format = undescribed("application/octet-stream", "txt");
/// An unknown format; its owner may know it.
const UNKNOWN: Format = undescribed("application/octet-stream", "bin");

/// The result of examining the first bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// It is kept. A text still has to be valid to its end: see [`TextCheck`].
    As(Format),
    /// It is not kept, and why.
    Not(SkipReason),
}

/// Detects the format of a file from its name and its first [`HEAD_BYTES`] bytes (all of them, if
/// it is shorter).
///
/// No file is left out because its format is unknown, since it cannot be replaced. Only programs,
/// hidden files that are not media, private keys, and files that other programs left for their own
/// use are left out.
pub fn recognise(name: &str, head: &[u8]) -> Recognised {
    if let Some(format) = by_magic(&extension(name), head) {
        return Recognised::As(format);
    }
    if side_files::is_side_file(name, head) {
        return Recognised::Not(SkipReason::SideFile);
    }
    // Also in what looks like a text, or has another name.
    if is_private_key(head) {
        return Recognised::Not(SkipReason::PrivateKey);
    }
    if name.starts_with('.') {
        return Recognised::Not(SkipReason::Hidden);
    }
    // A character that is split by the end of the head is not an error.
    if TextCheck::default().feed(head).is_ok() {
        return Recognised::As(TEXT);
    }
    if programs::is_program(head) {
        return Recognised::Not(SkipReason::Program);
    }
    Recognised::As(rare::recognise(&extension(name), head).unwrap_or_else(|| {
        let other_text = head.starts_with(b"\xff\xfe")
            || head.starts_with(b"\xfe\xff")
            || !head.iter().any(is_control);
        if other_text { OTHER_TEXT } else { UNKNOWN }
    }))
}

const PRIVATE: &[u8] = b"PRIVATE KEY";

/// Whether a line begins as private keys do in PEM (RFC 7468, and OpenSSH's) or in age's format.
fn is_private_key(head: &[u8]) -> bool {
    head.split(|byte| matches!(byte, b'\n' | b'\r')).any(|line| {
        line.starts_with(b"AGE-SECRET-KEY-")
            || (line.starts_with(b"-----BEGIN ")
                && line.windows(PRIVATE.len()).any(|part| part == PRIVATE))
    })
}

fn by_magic(extension: &str, head: &[u8]) -> Option<Format> {
    let at = |offset: usize, magic: &[u8]| {
        head.get(offset..offset + magic.len()).is_some_and(|bytes| bytes == magic)
    };
    Some(match head {
        [0xff, 0xd8, 0xff, ..] => JPEG,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => PNG,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => GIF,
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => tiff_family(extension, head),
        [b'I', b'I', b'+', 0, ..] | [b'M', b'M', 0, b'+', ..] => TIFF,
        [b'I', b'I', b'R', b'O' | b'S', ..] | [b'M', b'M', b'O', b'R', ..] => ORF,
        [b'I', b'I', b'U', 0, ..] => RW2,
        [b'R', b'I', b'F', b'F', ..] | [b'R', b'F', b'6', b'4', ..] => match head.get(8..12)? {
            b"WAVE" => WAV,
            b"WEBP" => WEBP,
            b"AVI " => AVI,
            _ => return None,
        },
        [0x1a, 0x45, 0xdf, 0xa3, ..] => ebml(head)?,
        [b'f', b'L', b'a', b'C', kind, ..] if kind & 0x7f == 0 => FLAC,
        [b'O', b'g', b'g', b'S', 0, ..] => ogg(head),
        [b'I', b'D', b'3', 2..=4, revision, ..] if *revision < 0x10 => MP3,
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 => mpeg_audio(*second, *third)?,
        _ if at(0, b"FUJIFILMCCD-RAW") => RAF,
        _ if at(0, b"#!AMR\n") => AMR,
        _ if at(0, b"#!AMR-WB\n") => AMR_WB,
        _ if at(0, b"%PDF-") => PDF,
        _ if at(0, b"{\\rtf") => RTF,
        _ if at(0, b"BM") && is_bmp(head) => BMP,
        _ if at(4, b"ftyp") => iso_media(head)?,
        _ if head.get(4..8).is_some_and(|kind| is_old_quicktime(kind, head)) => MOV,
        _ => return None,
    })
}

/// Reserved fields are zero, and the second header has one of the lengths that were ever used.
fn is_bmp(head: &[u8]) -> bool {
    head.get(6..10) == Some(&[0; 4])
        && head.get(14..18).is_some_and(|length| {
            matches!(length, [12 | 16 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
        })
}

/// QuickTime from before 2001 may start with any atom. Text has no zero bytes.
fn is_old_quicktime(kind: &[u8], head: &[u8]) -> bool {
    matches!(kind, b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot")
        && head.iter().take(64).any(|b| *b == 0)
}

/// Most cameras' raw files are TIFF inside; often only the name distinguishes them.
fn tiff_family(extension: &str, head: &[u8]) -> Format {
    if head.get(8..10) == Some(b"CR") {
        return CR2;
    }
    match extension {
        "dng" => DNG,
        "nef" | "nrw" => NEF,
        "arw" | "sr2" => ARW,
        "pef" => PEF,
        _ => TIFF,
    }
}

/// The document type of an EBML header (RFC 8794): element 0x4282 among its first bytes.
fn ebml(head: &[u8]) -> Option<Format> {
    let head = &head[..head.len().min(256)];
    let has = |magic: &[u8]| head.windows(magic.len()).any(|window| window == magic);
    if has(b"\x42\x82\x84webm") {
        Some(WEBM)
    } else if has(b"\x42\x82\x88matroska") {
        Some(MATROSKA)
    } else {
        None
    }
}

/// The content of the first packet of an Ogg stream (RFC 3533).
fn ogg(head: &[u8]) -> Format {
    let packet = head.get(26).and_then(|segments| head.get(27 + usize::from(*segments)..));
    match packet {
        Some(packet) if packet.starts_with(b"OpusHead") => OPUS,
        Some(packet) if packet.starts_with(b"\x80theora") => OGV,
        Some(packet) if packet.starts_with(b"fishead") => OGV,
        _ => OGG,
    }
}

/// The header of an MPEG audio frame (ISO/IEC 11172-3) or of an ADTS frame (ISO/IEC 13818-7).
fn mpeg_audio(second: u8, third: u8) -> Option<Format> {
    let layer = second >> 1 & 3;
    if layer == 0 {
        let is_adts = second & 0xf0 == 0xf0 && third >> 2 & 0xf < 13;
        return is_adts.then_some(AAC);
    }
    let version = second >> 3 & 3;
    let valid = version != 1 && layer == 1 && third >> 4 != 0xf && third >> 2 & 3 != 3;
    valid.then_some(MP3)
}

/// The brand of a file of the ISO base media family (ISO/IEC 14496-12).
fn iso_media(head: &[u8]) -> Option<Format> {
    let length = u32::from_be_bytes(head.get(..4)?.try_into().ok()?) as usize;
    let brands = head.get(8..length.clamp(8, head.len()))?;
    let compatible = brands.chunks_exact(4).skip(2);
    let major = brands.get(..4)?;
    let any = |wanted: &[&[u8]]| compatible.clone().any(|brand| wanted.contains(&brand));
    match major {
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some(HEIC),
        b"avif" | b"avis" => Some(AVIF),
        b"mif1" | b"msf1" if any(&[b"avif", b"avis"]) => Some(AVIF),
        b"mif1" | b"msf1" if any(&[b"heic", b"heix"]) => Some(HEIC),
        b"mif1" | b"msf1" => Some(HEIF),
        b"qt  " => Some(MOV),
        b"crx " => Some(CR3),
        b"M4A " | b"M4B " => Some(M4A),
        [b'3', b'g', b'2', _] => Some(THREE_G2),
        [b'3', b'g', ..] => Some(THREE_GP),
        b"avc1" | b"dash" | b"M4V " | b"MSNV" | b"F4V " => Some(MP4),
        [b'i', b's', b'o', _] | [b'm', b'p', b'4', _] | b"mp71" => Some(MP4),
        _ if any(&[b"isom", b"iso2", b"mp41", b"mp42", b"avc1"]) => Some(MP4),
        _ if any(&[b"qt  "]) => Some(MOV),
        _ => None,
    }
}

/// Whether a byte is not allowed in text. As in `file`, BEL to CR, and ESC, are allowed.
fn is_control(byte: &u8) -> bool {
    *byte < 0x20 && !(7..=13).contains(byte) && *byte != 0x1b
}

/// Checks that bytes which arrive in parts are UTF-8 text to their end, without zero bytes or
/// control characters other than those of plain text.
#[derive(Debug, Clone, Default)]
pub struct TextCheck {
    /// The start of a character that was split by the end of the last part.
    rest: Vec<u8>,
    /// The number of bytes before `rest`.
    checked: u64,
}

impl TextCheck {
    /// Checks the next bytes. The error says what is wrong, and at which byte.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut bytes = bytes;
        while !self.rest.is_empty() && !bytes.is_empty() {
            self.rest.push(bytes[0]);
            bytes = &bytes[1..];
            match std::str::from_utf8(&self.rest) {
                Ok(_) => {
                    self.checked += self.rest.len() as u64;
                    self.rest.clear();
                }
                Err(e) if e.error_len().is_none() => {}
                Err(_) => return Err(self.fault(0)),
            }
        }
        let valid = match std::str::from_utf8(bytes) {
            Ok(_) => bytes.len(),
            Err(e) if e.error_len().is_none() => e.valid_up_to(),
            Err(e) => return Err(self.fault(e.valid_up_to())),
        };
        if let Some(found) = bytes[..valid].iter().position(is_control) {
            let byte = bytes[found];
            return Err(format!(
                "byte {} is the control character {byte}",
                self.checked + found as u64
            ));
        }
        self.rest.extend_from_slice(&bytes[valid..]);
        self.checked += valid as u64;
        Ok(())
    }

    /// Ends the text: it must not end inside a character.
    pub fn finish(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault(0)) }
    }

    fn fault(&self, at: usize) -> String {
        format!("byte {} is not UTF-8", self.checked + at as u64)
    }
}
