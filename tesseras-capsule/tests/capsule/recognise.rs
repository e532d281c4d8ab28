//! What a file is, by its content; and that nothing in a file makes this fail.

use std::io::Cursor;

use proptest::prelude::*;
use tesseras_capsule::SkipReason;
use tesseras_capsule::exif;
use tesseras_capsule::recognise::{Recognised, TextCheck, recognise};

use crate::samples::{jpeg, jpeg_with_exif, tiff_with_exif, wav};

fn ftyp(brands: &[&[u8; 4]]) -> Vec<u8> {
    let mut out = ((8 + 4 + 4 * brands.len()) as u32).to_be_bytes().to_vec();
    out.extend(b"ftyp");
    out.extend(brands[0]);
    out.extend([0; 4]);
    out.extend(brands[1..].iter().flat_map(|b| b.iter()));
    out
}

#[test]
fn common_files_are_known_by_their_content_whatever_their_name() {
    let ogg = |packet: &[u8]| [&b"OggS\0\x02"[..], &[0; 20], &[1, 30], packet].concat();
    let ebml = |kind: &[u8]| [b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01", kind, &[0; 8]].concat();
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (jpeg(b"x"), "image/jpeg", "jpg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec(), "image/png", "png"),
        (b"GIF89a\x01\0".to_vec(), "image/gif", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), "image/webp", "webp"),
        (b"RIFF\x10\0\0\0AVI LIST".to_vec(), "video/x-msvideo", "avi"),
        (wav(3), "audio/wav", "wav"),
        (tiff_with_exif(), "image/tiff", "tif"),
        (b"II*\0\x10\0\0\0CR\x02\0".to_vec(), "image/x-canon-cr2", "cr2"),
        (b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec(), "image/bmp", "bmp"),
        (ftyp(&[b"heic", b"mif1"]), "image/heic", "heic"),
        (ftyp(&[b"mif1", b"heic"]), "image/heic", "heic"),
        (ftyp(&[b"mif1", b"avif"]), "image/avif", "avif"),
        (ftyp(&[b"mif1", b"miaf"]), "image/heif", "heif"),
        (ftyp(&[b"avif"]), "image/avif", "avif"),
        (ftyp(&[b"isom", b"mp41"]), "video/mp4", "mp4"),
        (ftyp(&[b"XAVC", b"mp42"]), "video/mp4", "mp4"),
        (ftyp(&[b"qt  "]), "video/quicktime", "mov"),
        (ftyp(&[b"3gp5"]), "video/3gpp", "3gp"),
        (ftyp(&[b"3g2a"]), "video/3gpp2", "3g2"),
        (ftyp(&[b"M4A "]), "audio/mp4", "m4a"),
        (ftyp(&[b"crx "]), "image/x-canon-cr3", "cr3"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat".to_vec(), "video/quicktime", "mov"),
        (ebml(b"\x42\x82\x84webm"), "video/webm", "webm"),
        (ebml(b"\x42\x82\x88matroska"), "video/matroska", "mkv"),
        (b"ID3\x04\0\0\0\0\0\0".to_vec(), "audio/mpeg", "mp3"),
        (b"\xff\xfb\x90\x64\0\0".to_vec(), "audio/mpeg", "mp3"),
        (b"\xff\xf1\x50\x80\0\0".to_vec(), "audio/aac", "aac"),
        (ogg(b"OpusHead"), "audio/ogg", "opus"),
        (ogg(b"\x01vorbis"), "audio/ogg", "ogg"),
        (ogg(b"\x80theora"), "video/ogg", "ogv"),
        (b"fLaC\0\0\0\x22".to_vec(), "audio/flac", "flac"),
        (b"#!AMR\n\x3c".to_vec(), "audio/amr", "amr"),
        (b"%PDF-1.7\n".to_vec(), "application/pdf", "pdf"),
        ("Querida avó,\r\n\tum beijo".as_bytes().to_vec(), "text/plain", "txt"),
        (b"BMW is a car, GIF a word, ID3 a tag".to_vec(), "text/plain", "txt"),
        (b"the free text".to_vec(), "text/plain", "txt"),
    ];
    for (head, mime, extension) in cases {
        match recognise("misnamed.xyz", &head) {
            Recognised::As(format) => {
                assert_eq!((format.mime, format.extension), (mime, extension), "{head:?}");
            }
            Recognised::Not(why) => panic!("{mime}: {why}"),
        }
    }
    match recognise("photo.DNG", &tiff_with_exif()) {
        Recognised::As(format) => assert_eq!(format.extension, "dng"),
        other => panic!("{other:?}"),
    }
}

/// A ZIP archive whose first member is stored.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0\0\0\0\0".to_vec();
    out.extend([0; 8]);
    out.extend((content.len() as u32).to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out.extend((name.len() as u16).to_le_bytes());
    out.extend([0; 2]);
    out.extend(name.as_bytes());
    out.extend(content);
    out
}

fn transport_stream(packet: usize, offset: usize) -> Vec<u8> {
    let mut out = vec![0; packet * 6];
    (0..6).for_each(|n| out[n * packet + offset] = 0x47);
    out
}

#[test]
fn letters_and_films_of_other_programs_are_kept_with_their_types() {
    let office = |part: &str| [zip("[Content_Types].xml", b"<x/>"), zip(part, b"<x/>")].concat();
    let ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0".to_vec();
    let asf = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9".to_vec();
    let word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let odt = "application/vnd.oasis.opendocument.text";
    let unknown = "application/octet-stream";
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("a", office("word/document.xml"), word, "docx"),
        ("a.docx", office("docProps/app.xml"), word, "docx"),
        ("a", zip("mimetype", odt.as_bytes()), odt, "odt"),
        ("a", zip("mimetype", b"application/epub+zip"), "application/epub+zip", "epub"),
        ("a.zip", zip("photo.jpg", b"x\0"), "application/zip", "zip"),
        ("carta.doc", ole, "application/msword", "doc"),
        ("a.rtf", b"{\\rtf1\\ansi Dear grandma}".to_vec(), "application/rtf", "rtf"),
        ("a", b"\xff\x0a\xfa\x1f".to_vec(), "image/jxl", "jxl"),
        ("a", b"\0\0\0\x0cJXL \r\n\x87\n\0".to_vec(), "image/jxl", "jxl"),
        ("a", b"8BPS\0\x01\0\0".to_vec(), "image/vnd.adobe.photoshop", "psd"),
        ("a", b"\0\0\x01\xba\x44\0".to_vec(), "video/mpeg", "mpg"),
        ("a", transport_stream(188, 0), "video/mp2t", "ts"),
        ("a", transport_stream(192, 4), "video/mp2t", "mts"),
        ("a.wma", asf.clone(), "audio/x-ms-wma", "wma"),
        ("a.wmv", asf, "video/x-ms-wmv", "wmv"),
        ("a", b"FORM\0\0\0\x40AIFFCOMM".to_vec(), "audio/aiff", "aiff"),
        ("a", b"MThd\0\0\0\x06\0\x01".to_vec(), "audio/midi", "mid"),
        ("a.txt", b"caf\xe9 com leite".to_vec(), unknown, "txt"),
        ("a", b"MZ, but no program\0".to_vec(), unknown, "bin"),
        ("a", b"\x64\x86\0\0 two bytes of chance".to_vec(), unknown, "bin"),
    ];
    for (name, head, mime, extension) in cases {
        match recognise(name, &head) {
            Recognised::As(format) => {
                assert_eq!((format.mime, format.extension), (mime, extension), "{name}: {head:?}");
                assert!(!format.is_described() && !format.is_text(), "{mime}");
            }
            Recognised::Not(why) => panic!("{mime}: {why}"),
        }
    }
}

#[test]
fn side_files_are_told_from_what_people_write() {
    let takeout = br#"{ "title": "IMG_1.jpg", "photoTakenTime": { "timestamp": "1" } }"#;
    let apple = b"\0\x05\x16\x07\0\x02\0\0";
    let side: [(&str, &[u8]); 10] = [
        ("IMG_1.jpg.json", br#"{ "title": "IMG_1.jpg", "description": "" }"#),
        ("IMG_1.jpg.supplemental-metadata.json", takeout),
        ("IMG_1.MP4.supplemental-me.json", takeout),
        ("IMG_1(1).json", takeout),
        ("IMG_1.AAE", b"<?xml version=\"1.0\"?>\n<plist version=\"1.0\">"),
        ("IMG_1.xmp", b"<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
        ("desktop.ini", b"[.ShellClassInfo]"),
        (".picasa.ini", b"[Picasa]"),
        ("._IMG_1.jpg", apple),
    ];
    for (name, head) in side {
        assert_eq!(recognise(name, head), Recognised::Not(SkipReason::SideFile), "{name}");
    }
    let own: [(&str, &[u8]); 6] = [
        ("diary.json", br#"{ "title": "My diary", "day": 1 }"#),
        ("photo.jpg.json", b"[1, 2, 3]"),
        ("metadata.json", br#"{ "title": "Summer", "description": "We were happy" }"#),
        ("letter.xmp", b"Dear grandma"),
        ("notes.aae", b"Dear grandma"),
        ("picasa.txt", b"Dear grandma"),
    ];
    for (name, head) in own {
        assert!(matches!(recognise(name, head), Recognised::As(f) if f.is_text()), "{name}");
    }
    let hidden = recognise("._note", b"written by a person");
    assert_eq!(hidden, Recognised::Not(SkipReason::Hidden));
}

#[test]
fn private_keys_are_left_out_whatever_their_name() {
    for secret in [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3BlbnNzaC1rZXktdjE\r\n",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQVYBG\n",
        "# created: 2026-01-01\nAGE-SECRET-KEY-1QQQQ\n",
        "Bag Attributes\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBOBg\n",
    ] {
        for name in ["key.pem", "letter.txt", ".id"] {
            let found = recognise(name, secret.as_bytes());
            assert_eq!(found, Recognised::Not(SkipReason::PrivateKey), "{name}: {secret}");
        }
    }
    for kept in [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n",
        "I never lost my PRIVATE KEY----- again",
        "-----BEGIN LETTER-----",
    ] {
        let found = recognise("letter.txt", kept.as_bytes());
        assert!(matches!(found, Recognised::As(format) if format.is_text()), "{kept}");
    }
}

#[test]
fn a_text_is_checked_to_its_end_wherever_it_is_cut() {
    let text = "aé日🌞\n".repeat(5);
    for step in 1..9 {
        let mut check = TextCheck::default();
        for piece in text.as_bytes().chunks(step) {
            check.feed(piece).unwrap();
        }
        check.finish().unwrap();
        let mut check = TextCheck::default();
        let cut = &text.as_bytes()[..text.len() - 3];
        assert!(cut.chunks(step).try_for_each(|piece| check.feed(piece)).is_ok());
        assert!(check.finish().unwrap_err().contains("byte"));
    }
}

#[test]
fn hostile_exif_says_nothing() {
    let good = exif::read(Cursor::new(jpeg_with_exif()));
    assert_eq!(good.taken.as_deref(), Some("2019-12-31T23:59:58-03:00"));
    assert!(good.place.is_some());
    let mut zero = tiff_with_exif();
    zero[154..158].fill(0);
    assert_eq!(exif::read(Cursor::new(zero)).place, None);
    let mut beyond = tiff_with_exif();
    beyond[150..154].copy_from_slice(&91_u32.to_be_bytes());
    assert_eq!(exif::read(Cursor::new(beyond)).place, None);
}

proptest! {
    #[test]
    fn no_bytes_make_recognition_fail(
        name in "\\PC{0,12}",
        magic in proptest::sample::select(vec![
            &b""[..], b"\xff\xd8\xff\xe1", b"OggS\0", b"\x1a\x45\xdf\xa3", b"BM", b"RIFF",
            b"\0\0\0\x18ftyp", b"\xff\xff\xff\xffftyp", b"\0\0\0\x01ftyp", b"II*\0", b"\xff",
        ]),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let head = [magic, &rest].concat();
        let _ = recognise(&name, &head);
    }

    #[test]
    fn no_bytes_make_exif_fail(
        container in proptest::sample::select(vec![
            &b""[..], b"\xff\xd8\xff\xe1\x01\0Exif\0\0", b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\x40eXIf", b"RIFF\xff\0\0\0WEBPEXIF\x40\0\0\0",
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic\0\0\0\x80meta\0\0\0\0",
        ]),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let _ = exif::read(Cursor::new([container, &rest].concat()));
    }

    #[test]
    fn no_flips_make_exif_fail(
        flips in proptest::collection::vec((0_usize..220, any::<u8>()), 1..12),
    ) {
        let mut bytes = jpeg_with_exif();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = exif::read(Cursor::new(bytes));
    }
}
