//! PRONOM's persistent unique identifiers (PUIDs): the names that archives give to formats.
//!
//! They follow version 118 of the DROID signature file (29 April 2024) and version 37 of its
//! container signatures (1 May 2024). Only the first bytes of a file are known here, so that an
//! identifier is given only if they prove it. Three rules follow:
//!
//! - The marks that end a file are not required: they only say that it is complete.
//! - If something later in the file could only tell which kind of the format it is, the identifier
//!   of the general format is given; if PRONOM has none, there is no identifier.
//! - If the first bytes show that a kind which is not in this list applies, there is none either.

mod bytes;
mod others;
mod pictures;
mod tiff;

use bytes::at;

use super::format::{Format, extension};

/// The identifier of a file's format: of the most specific one that its name, its first
/// [`HEAD_BYTES`](super::HEAD_BYTES) bytes (all of them, if it is shorter) and the format that was
/// detected from both prove.
pub fn pronom(name: &str, format: &Format, head: &[u8]) -> Option<&'static str> {
    match format.extension {
        "jpg" => pictures::jpeg(head),
        "png" => pictures::png(head),
        "gif" => pictures::gif(head),
        "webp" => pictures::webp(head),
        "bmp" if format.is_described() => pictures::bmp(head),
        "heic" | "heif" => pictures::heif(head),
        "tif" | "dng" | "nef" | "arw" | "pef" if format.is_described() => {
            tiff::pronom(format.extension, head)
        }
        "cr2" | "cr3" | "raf" | "rw2" | "orf" => pictures::raw(head),
        "mp4" | "mov" | "3gp" => others::iso_media(format.extension, head),
        "webm" | "mkv" => others::ebml(head),
        "pdf" => others::pdf(head),
        "epub" | "ora" => others::self_named(head),
        _ if format.is_text() => others::text(&extension(name), head),
        _ => fixed(format.extension, head),
    }
}

/// Formats that begin with a fixed sequence, and that no other one takes priority over.
fn fixed(extension: &str, head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&str, &str, &[u8]); 14] = [
        ("flac", "fmt/279", b"fLaC\0\0\0\x22"),
        ("flac", "fmt/279", b"fLaC\x80\0\0\x22"),
        ("amr", "fmt/356", b"#!AMR\n"),
        ("awb", "fmt/954", b"#!AMR-WB\n"),
        ("psd", "x-fmt/92", b"8BPS\0\x01\0\0\0\0\0\0\0"),
        ("psd", "fmt/996", b"8BPS\0\x02\0\0\0\0\0\0"),
        ("jxl", "fmt/1484", b"\xff\x0a"),
        ("jxl", "fmt/1485", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("jxr", "fmt/590", b"II\xbc\x01"),
        ("flv", "x-fmt/382", b"FLV\x01"),
        ("gz", "x-fmt/266", b"\x1f\x8b\x08"),
        ("7z", "fmt/484", b"7z\xbc\xaf\x27\x1c"),
        ("rar", "fmt/613", b"Rar!\x1a\x07\x01\0"),
        ("bin", "fmt/593", b"II\x1a\0\0\0HEAPCCDR"),
    ];
    let of_family = at(head, 0, b"\0\0\0\x0cjP  \r\n\x87\n");
    if extension == "avi" && at(head, 0, b"RIFF") && at(head, 8, b"AVI ") {
        return Some("fmt/5");
    }
    let found = MAGIC.iter().find(|(kind, _, magic)| *kind == extension && at(head, 0, magic));
    match found {
        Some((_, puid, _)) => Some(puid),
        None if of_family && at(head, 16, b"ftypjp2") => Some("x-fmt/392"),
        None if of_family && at(head, 16, b"ftypjpx") => Some("fmt/151"),
        None => None,
    }
}
