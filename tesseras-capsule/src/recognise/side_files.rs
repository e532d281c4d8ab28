//! Files that other programs leave beside memories for their own use: their content is also in the
//! memories, or meaningless without that program.
//!
//! A name alone suffices only if no person would use it. If people may have written the file
//! themselves, its content must also be that of the program.

/// Whether a file is a side file, by its name and first bytes.
pub(super) fn is_side_file(name: &str, head: &[u8]) -> bool {
    const NAMES: [&str; 6] =
        [".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".picasa.ini", "picasa.ini"];
    let name = name.to_lowercase();
    let extension = super::format::extension(&name);
    NAMES.contains(&name.as_str())
        // AppleDouble: metadata of macOS that another file system cannot store.
        || (name.starts_with("._") && head.starts_with(b"\x00\x05\x16\x07"))
        || (extension == "aae" && (head.starts_with(b"bplist") || has(head, "<plist")))
        || (extension == "xmp" && (has(head, "xmpmeta") || has(head, "xpacket")))
        || (extension == "json" && is_takeout(&name, head))
}

/// The metadata that Google Takeout writes beside each photo: `IMG_1.jpg.json`, or
/// `IMG_1.jpg.supplemental-metadata.json`, often truncated.
fn is_takeout(name: &str, head: &[u8]) -> bool {
    let begins = head.trim_ascii_start().starts_with(b"{");
    let keys = has(head, "\"phototakentime\"") && has(head, "\"timestamp\"");
    begins && (keys || (is_beside_media(name) && has(head, "\"title\"")))
}

/// Whether the name of a `.json` is that of a photo or film with something after it.
fn is_beside_media(name: &str) -> bool {
    const MEDIA: [&str; 22] = [
        "jpg", "jpeg", "png", "gif", "webp", "heic", "heif", "avif", "tif", "tiff", "bmp", "dng",
        "mp4", "mov", "m4v", "3gp", "avi", "mpg", "mts", "webm", "mkv", "wmv",
    ];
    let Some(stem) = name.strip_suffix(".json") else { return false };
    let stem = match stem.rsplit_once('.') {
        Some((before, word)) if !word.is_empty() && "supplemental-metadata".starts_with(word) => {
            before
        }
        _ => stem,
    };
    MEDIA.contains(&super::format::extension(stem).as_str())
}

/// Whether a head contains these ASCII letters, in upper or lower case.
fn has(head: &[u8], wanted: &str) -> bool {
    head.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}
