//! Formats that are kept although no text of `decode/` describes them yet: office documents, older
//! films and sounds, archives.

use infer::MatcherType;

use super::format::{Format, undescribed};

/// The format of a file that is neither described nor text, if it can be detected.
pub(super) fn recognise(extension: &str, head: &[u8]) -> Option<Format> {
    match head {
        [b'P', b'K', 3, 4, ..] => Some(zip(extension, head)),
        [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => Some(compound(extension)),
        [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..] => Some(asf(extension)),
        [0, 0, 1, 0xba, ..] => Some(undescribed("video/mpeg", "mpg")),
        [0, 0, 1, 0xb3, ..] => Some(undescribed("video/mpeg", "mpg")),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => {
            Some(undescribed("audio/aiff", "aiff"))
        }
        [b'M', b'T', b'h', b'd', 0, 0, 0, 6, ..] => Some(undescribed("audio/midi", "mid")),
        _ if is_transport_stream(head, 188, 0) => Some(undescribed("video/mp2t", "ts")),
        // Cameras put four bytes of time before each packet.
        _ if is_transport_stream(head, 192, 4) => Some(undescribed("video/mp2t", "mts")),
        _ => by_table(head),
    }
}

/// Other formats with magic numbers known to a library. Its detection of programs is too weak for
/// our purpose.
fn by_table(head: &[u8]) -> Option<Format> {
    let kind = infer::get(head)?;
    (kind.matcher_type() != MatcherType::App)
        .then(|| undescribed(kind.mime_type(), kind.extension()))
}

/// MPEG-2 transport streams (ISO/IEC 13818-1): every packet begins with the letter G.
fn is_transport_stream(head: &[u8], packet: usize, offset: usize) -> bool {
    const PACKETS: usize = 5;
    (0..PACKETS).all(|n| head.get(n * packet + offset) == Some(&0x47))
}

/// Windows Media: one container for sounds and films, which its name tells apart.
fn asf(extension: &str) -> Format {
    match extension {
        "wma" => undescribed("audio/x-ms-wma", "wma"),
        "asf" => undescribed("video/x-ms-asf", "asf"),
        _ => undescribed("video/x-ms-wmv", "wmv"),
    }
}

/// The compound files of Microsoft's programs until 2007, which their names tell apart.
fn compound(extension: &str) -> Format {
    match extension {
        "doc" | "dot" => undescribed("application/msword", "doc"),
        "xls" => undescribed("application/vnd.ms-excel", "xls"),
        "ppt" | "pps" => undescribed("application/vnd.ms-powerpoint", "ppt"),
        "msg" => undescribed("application/vnd.ms-outlook", "msg"),
        _ => undescribed("application/x-ole-storage", "ole"),
    }
}

const DOCX: Format =
    undescribed("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx");
const XLSX: Format =
    undescribed("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx");
const PPTX: Format = undescribed(
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "pptx",
);

/// Documents that are ZIP archives inside. OpenDocument and EPUB say what they are in a first
/// member named `mimetype`; those of Office Open XML name their parts so near the beginning that
/// the head mostly shows them.
fn zip(extension: &str, head: &[u8]) -> Format {
    const SELF_NAMED: [(&str, &str); 6] = [
        ("application/vnd.oasis.opendocument.text", "odt"),
        ("application/vnd.oasis.opendocument.spreadsheet", "ods"),
        ("application/vnd.oasis.opendocument.presentation", "odp"),
        ("application/vnd.oasis.opendocument.graphics", "odg"),
        ("application/epub+zip", "epub"),
        ("image/openraster", "ora"),
    ];
    let has = |wanted: &[u8]| head.windows(wanted.len()).any(|window| window == wanted);
    if head.get(30..38) == Some(b"mimetype") {
        let said = head.get(38..).unwrap_or_default();
        let said = &said[..said.len().min(128)];
        let found = SELF_NAMED
            .iter()
            .find(|(mime, _)| said.windows(mime.len()).any(|window| window == mime.as_bytes()));
        if let Some((mime, extension)) = found {
            return undescribed(mime, extension);
        }
    }
    let office = has(b"[Content_Types].xml") || has(b"_rels/.rels") || has(b"docProps/");
    match extension {
        _ if has(b"word/document.xml") => DOCX,
        _ if has(b"xl/workbook.xml") => XLSX,
        _ if has(b"ppt/presentation.xml") => PPTX,
        "docx" if office => DOCX,
        "xlsx" if office => XLSX,
        "pptx" if office => PPTX,
        "pages" => undescribed("application/vnd.apple.pages", "pages"),
        "numbers" => undescribed("application/vnd.apple.numbers", "numbers"),
        "key" => undescribed("application/vnd.apple.keynote", "key"),
        _ => undescribed("application/zip", "zip"),
    }
}
