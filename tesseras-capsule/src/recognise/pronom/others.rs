//! Films, documents and texts.

use super::bytes::{at, find, has};

/// The brands among the first 64 bytes decide; a later part of the file cannot change them.
pub(super) fn iso_media(extension: &str, head: &[u8]) -> Option<&'static str> {
    let is_mp4 = (8..=72).any(|offset| {
        [b"isom", b"iso2", b"mp41", b"mp42"].iter().any(|brand| at(head, offset, &brand[..]))
    });
    match extension {
        "mp4" => (at(head, 4, b"ftyp") && is_mp4).then_some("fmt/199"),
        "mov" => (at(head, 4, b"ftypqt  ") && !is_mp4).then_some("x-fmt/384"),
        _ => match head.get(4..16)? {
            [b'f', b't', b'y', b'p', b'3', b'g', kind, b'4'..=b'9', 0, 0, 0..=3, 0] => {
                b"eghprst".contains(kind).then_some("fmt/357")
            }
            _ => None,
        },
    }
}

pub(super) fn ebml(head: &[u8]) -> Option<&'static str> {
    let kind = head.get(4..head.len().min(52)).filter(|_| at(head, 0, b"\x1a\x45\xdf\xa3"))?;
    let is = |magic: &[u8]| find(kind, magic).is_some_and(|gap| gap <= 32);
    match (is(b"\x42\x82\x84webm\x42\x87"), is(b"\x42\x82\x88matroska\x42\x87")) {
        (true, _) => Some("fmt/573"),
        (_, true) => Some("fmt/569"),
        _ => None,
    }
}

/// Kinds such as PDF/A say so anywhere in the file, so that this is the version alone.
pub(super) fn pdf(head: &[u8]) -> Option<&'static str> {
    let kinds: [&[u8]; 4] = [b"<pdf", b"GTS_PDF", b"ISO_PDF", b"/Collection "];
    if kinds.iter().any(|kind| has(head, kind)) {
        return None;
    }
    match head.get(..8)? {
        b"%PDF-1.0" => Some("fmt/14"),
        b"%PDF-1.1" => Some("fmt/15"),
        b"%PDF-1.2" => Some("fmt/16"),
        b"%PDF-1.3" => Some("fmt/17"),
        b"%PDF-1.4" => Some("fmt/18"),
        b"%PDF-1.5" => Some("fmt/19"),
        b"%PDF-1.6" => Some("fmt/20"),
        b"%PDF-1.7" => Some("fmt/276"),
        b"%PDF-2.0" => Some("fmt/1129"),
        _ => None,
    }
}

/// A ZIP archive whose first member, which is not compressed, says what it is.
pub(super) fn self_named(head: &[u8]) -> Option<&'static str> {
    if !(at(head, 0, b"PK\x03\x04") && at(head, 8, b"\0\0") && at(head, 30, b"mimetype")) {
        return None;
    }
    if at(head, 38, b"application/epub+zip") {
        return Some("fmt/483");
    }
    at(head, 38, b"image/openraster").then_some("fmt/998")
}

/// PRONOM knows plain text by its name alone; a text of another format may have the same one.
pub(super) fn text(extension: &str, head: &[u8]) -> Option<&'static str> {
    let first = head.trim_ascii_start().first()?;
    (extension == "txt" && !b"<{[%\xef".contains(first)).then_some("x-fmt/111")
}
