//! The identifiers of PRONOM, from the first bytes of small files.

use tesseras_capsule::recognise::{Recognised, pronom, recognise};

fn exif(version: &[u8; 4]) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x1a\0\0\0\0\0\0\0".to_vec();
    tiff.extend(b"\x01\0\x00\x90\x07\0\x04\0\0\0");
    tiff.extend(version);
    tiff.extend([0; 4]);
    tiff
}

fn exif_jpeg(version: &[u8; 4]) -> Vec<u8> {
    [b"\xff\xd8\xff\xe1\0\x80Exif\0\0", &exif(version)[..]].concat()
}

fn png(chunks: &[&[u8; 4]]) -> Vec<u8> {
    let chunk = |kind: &&[u8; 4]| [&[0; 4], &kind[..], &[0; 4]].concat();
    let start = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".iter().copied().chain([0; 17]);
    start.chain(chunks.iter().flat_map(chunk)).collect()
}

fn cases() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    vec![
        // JFIF 1.01, 1.02, and a version that PRONOM does not have.
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\x01\0".to_vec(), Some("fmt/43")),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x02\0\0".to_vec(), Some("fmt/44")),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x02\x00\0\0".to_vec(), None),
        // Raw JPEG Stream.
        ("a.jpg", b"\xff\xd8\xff\xdb\0\x43".to_vec(), Some("fmt/41")),
        // Exchangeable Image File Format (Compressed) 2.2, 2.21, 2.3.x; 3.0 has no identifier.
        ("a.jpg", exif_jpeg(b"0220"), Some("x-fmt/391")),
        ("a.jpg", exif_jpeg(b"0221"), Some("fmt/645")),
        ("a.jpg", exif_jpeg(b"0232"), Some("fmt/1507")),
        ("a.jpg", exif_jpeg(b"0300"), None),
        // Exchangeable Image File Format (Uncompressed) 2.2; Tagged Image File Format.
        ("a.tif", exif(b"0220"), Some("x-fmt/387")),
        ("a.tif", exif(b"0300"), Some("fmt/353")),
        ("a.nef", exif(b"0220"), None),
        // Portable Network Graphics 1.0, 1.1, 1.2; animated; not known to its end.
        ("a.png", png(&[b"IDAT", b"IEND"]), Some("fmt/11")),
        ("a.png", png(&[b"sRGB", b"IDAT", b"IEND"]), Some("fmt/12")),
        ("a.png", png(&[b"sRGB", b"IDAT", b"iTXt", b"IEND"]), Some("fmt/13")),
        ("a.png", png(&[b"acTL", b"IDAT", b"IEND"]), Some("fmt/935")),
        ("a.png", png(&[b"sRGB", b"IDAT"]), None),
        // Graphics Interchange Format 87a, 89a.
        ("a.gif", b"GIF87a\x01\0".to_vec(), Some("fmt/3")),
        ("a.gif", b"GIF89a\x01\0".to_vec(), Some("fmt/4")),
        // WebP Extended.
        ("a.webp", b"RIFF\x10\0\0\0WEBPVP8X".to_vec(), Some("fmt/568")),
        // Acrobat PDF 1.4, 1.7; one that names a more special kind.
        ("a.pdf", b"%PDF-1.4\n".to_vec(), Some("fmt/18")),
        ("a.pdf", b"%PDF-1.7\n".to_vec(), Some("fmt/276")),
        ("a.pdf", b"%PDF-1.4\n<pdfaid:part>".to_vec(), None),
        // MPEG-4 Media File; Quicktime; High Efficiency Image File Format.
        ("a.mp4", b"\0\0\0\x14ftypisom\0\0\0\0mp41".to_vec(), Some("fmt/199")),
        ("a.mov", b"\0\0\0\x14ftypqt  \0\0\0\0qt  ".to_vec(), Some("x-fmt/384")),
        ("a.heic", b"\0\0\0\x14ftypheic\0\0\0\0mif1".to_vec(), Some("fmt/1101")),
        // Free Lossless Audio Codec; Adaptive Multi-Rate Audio.
        ("a.flac", b"fLaC\0\0\0\x22".to_vec(), Some("fmt/279")),
        ("a.amr", b"#!AMR\n\x3c".to_vec(), Some("fmt/356")),
        // Plain Text File, by its name.
        ("a.txt", b"Dear grandma".to_vec(), Some("x-fmt/111")),
        ("a.md", b"# Dear grandma".to_vec(), None),
    ]
}

#[test]
fn the_first_bytes_prove_the_identifier() {
    for (name, head, puid) in cases() {
        let Recognised::As(format) = recognise(name, &head) else { panic!("{name} is kept") };
        assert_eq!(pronom(name, &format, &head), puid, "{name}: {head:?}");
    }
}

#[test]
fn every_identifier_has_the_form_of_one() {
    for puid in cases().into_iter().filter_map(|(_, _, puid)| puid) {
        let number = puid.trim_start_matches("x-").strip_prefix("fmt/").unwrap();
        assert!(!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()), "{puid}");
    }
}
