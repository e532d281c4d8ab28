//! What a file is, by its content; and that nothing in a file makes this fail.

use std::io::Cursor;

use proptest::prelude::*;
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
