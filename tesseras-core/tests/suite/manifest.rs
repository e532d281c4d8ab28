//! The MANIFEST: one text for one meaning, whatever is thrown at the reader.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tesseras_core::manifest::{
    FIRST_LINE, MAX_FILES, MAX_HEADERS, MAX_MANIFEST_BYTES, Manifest, ManifestError,
};

use crate::{damage, damaged, file, manifest, paths};

fn sample() -> String {
    let files = [file(1, "memories/0001-00000001/media.jpg", 5), file(2, "zé", 0)];
    manifest(&[("title", "Summer: 1978"), ("later", "kept")], files).render()
}

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text.as_bytes())
}

fn swap(from: &str, to: &str) -> Result<Manifest, ManifestError> {
    let sample = sample();
    assert!(sample.contains(from), "{from:?}");
    parse(&sample.replacen(from, to, 1))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_written_is_read_back(
        paths in paths(20),
        sizes in prop::collection::vec(any::<u64>(), 20),
        title in "[ -~à-ÿ😀-😎]{1,40}",
    ) {
        let files = paths.iter().zip(sizes).zip(0..).map(|((p, bytes), n)| file(n, p, bytes));
        let made = manifest(&[("title", &title), ("x-unknown", "kept")], files);
        let text = made.render();
        let read = parse(&text);
        prop_assert_eq!(read.as_ref(), Ok(&made));
        prop_assert_eq!(read.unwrap().render(), text);
        prop_assert_eq!(made.header("title"), Some(title.as_str()));
        prop_assert_eq!(made.header("x-unknown"), Some("kept"));
        for f in made.files() {
            prop_assert_eq!(made.file(f.path.as_str()), Some(f));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
        let with_head = [FIRST_LINE.as_bytes(), b"\n", &bytes].concat();
        prop_assert!(Manifest::parse(&bytes).is_err());
        prop_assert!(Manifest::parse(&with_head).is_err());
    }

    #[test]
    fn damage_is_refused_or_is_another_manifest_with_that_one_text(damage in damage()) {
        let bytes = damaged(&sample(), &damage);
        if let Ok(read) = Manifest::parse(&bytes) {
            prop_assert_eq!(read.render().into_bytes(), bytes);
        }
    }
}

#[test]
fn its_headers_stand_in_order_and_unknown_ones_are_kept() {
    let text = sample();
    let head: Vec<&str> = text.lines().take(6).collect();
    let creator = format!("creator: {}", "cc".repeat(32));
    assert_eq!(
        head,
        [FIRST_LINE, "pack: 1", "title: Summer: 1978", "later: kept", &creator, "memories: 3"]
    );
    let moved = swap("pack: 1\n", "").and(swap("later: kept\n", "later: kept\nmore: 1\n"));
    assert_eq!(moved.expect_err("`and` is not reached").to_string(), missing("pack"));
    let more = swap("later: kept\n", "later: kept\nmore: 1\n").expect("an unknown header");
    assert_eq!(more.header("more"), Some("1"));
}

fn missing(header: &'static str) -> String {
    ManifestError::Missing(header).to_string()
}

#[test]
fn versions_that_are_not_known_are_refused_by_name() {
    let newer = swap("tesseras-manifest 1", "tesseras-manifest 2");
    assert_eq!(newer, Err(ManifestError::Version(sample().replacen("1\n", "2\n", 1)[..40].into())));
    assert_eq!(swap("pack: 1", "pack: 2"), Err(ManifestError::PackVersion("2".into())));
    for pack in ["01", "+1", "1 ", " 1"] {
        let found = swap("pack: 1", &format!("pack: {pack}"));
        assert_eq!(found, Err(ManifestError::PackVersion(pack.into())));
    }
    for text in ["", "\n", "tesseras-manifest", "tesseras-manifest 1", "tesseras-manifest 10\n"] {
        assert!(matches!(parse(text), Err(ManifestError::Version(_))), "{text:?}");
    }
    assert!(matches!(swap("tesseras", "\u{feff}tesseras"), Err(ManifestError::Version(_))));
    assert!(matches!(swap("1\n", "1\r\n"), Err(ManifestError::Version(_))));
    assert!(parse("tesseras-manifest 1\n").is_err());
}

#[test]
fn numbers_have_one_form() {
    for memories in ["+3", "03", "3 ", "0x3", "", "-3", "18446744073709551616", "³"] {
        assert!(swap("memories: 3", &format!("memories: {memories}")).is_err(), "{memories:?}");
    }
    for bytes in ["+5", "05", "", "5.0", "18446744073709551616"] {
        let found = swap(" 5 application", &format!(" {bytes} application"));
        assert!(found.is_err(), "{bytes:?}");
    }
    let most = swap(" 5 application", " 18446744073709551615 application").expect("a length");
    assert_eq!(most.bytes(), u64::MAX, "the sum saturates");
}

#[test]
fn whatever_a_disk_or_terminal_could_misread_is_refused() {
    let path = "memories/0001-00000001/media.jpg";
    let hostile = [
        "../x",
        "memories/../x",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        ".",
        "..",
        "",
        "a\rb",
        "a\tb",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{2028}b",
        "cafe\u{301}",
        "a\0b",
    ];
    for bad in hostile {
        assert!(swap(path, bad).is_err(), "{bad:?}");
    }
    assert!(swap(path, &"x".repeat(256)).is_err());
    assert!(swap(path, &format!("m{}", "/x".repeat(2048))).is_err());
    for reserved in ["MANIFEST", "SHA256SUMS", "MANIFEST.ed25519.sig", "MANIFEST.ml-dsa-65.sig"] {
        assert!(swap(path, reserved).is_err(), "{reserved}");
        assert!(swap("zé", &format!("{reserved}/x")).is_err(), "a directory {reserved}");
    }
    for title in ["", " \u{301}e\u{301}", "a\u{2029}b", "a\u{9b}31mb"] {
        assert!(swap("Summer: 1978", title).is_err(), "{title:?}");
    }
    assert!(swap("Summer: 1978", &"x".repeat(4097)).is_err());
}

#[test]
fn the_form_of_lines_is_held_to() {
    let sample = sample();
    assert_eq!(parse(sample.trim_end()), Err(ManifestError::Unterminated));
    assert!(parse(&sample.replace('\n', "\r\n")).is_err());
    assert!(parse(&format!("{sample}\n")).is_err());
    assert!(parse(&format!("{sample}after: all\n")).is_err());
    assert!(swap("later: kept", "later: kept\nlater: twice").is_err(), "a header twice");
    assert!(swap("later: kept", "later: kept\n").is_err(), "an empty line");
    for header in ["Later: x", ": x", "la_ter: x", "later x", "later:x", "é: x"] {
        assert!(swap("later: kept", header).is_err(), "{header:?}");
    }
    assert!(swap("later", &"k".repeat(64)).is_ok() && swap("later", &"k".repeat(65)).is_err());
    assert!(swap("sha256:", "SHA256:").is_err() && swap("sha256:", "sha512:").is_err());
    assert!(swap("blake3:0", "blake3:A").is_err() && swap("blake3:00", "blake3:0").is_err());
    for mime in ["image", "image/", "/jpeg", "image/jpeg;q=1", "image/jp/eg", "im age/jpeg", "é/x"]
    {
        assert!(swap("application/octet-stream", mime).is_err(), "{mime:?}");
    }
    let last = sample.lines().last().expect("a line").to_owned();
    assert!(parse(&format!("{sample}{last}\n")).is_err(), "a path twice");
    let order = sample.replacen("identity/creator.ed", "zz", 1);
    assert!(parse(&order).is_err(), "paths out of order");
    assert!(Manifest::parse(b"tesseras-manifest 1\ntitle: \xff\n").is_err());
}

#[test]
fn every_capsule_has_its_keys_and_its_explanation() {
    for name in ["identity/creator.ed25519.pem", "identity/creator.ml-dsa-65.pem", "README.decode"]
    {
        let without: String =
            sample().split_inclusive('\n').filter(|line| !line.contains(name)).collect();
        assert!(matches!(parse(&without), Err(ManifestError::NotListed(n)) if n == name));
    }
}

#[test]
fn a_file_is_no_directory() {
    let both = |a: &str, b: &str| {
        let text = sample().replacen("zé", "zz/a", 1);
        let line = text.lines().last().expect("a line").to_owned();
        let lines = format!("{}\n{}\n", line.replace("zz/a", a), line.replace("zz/a", b));
        parse(&text.replacen(&format!("{line}\n"), &lines, 1))
    };
    assert_eq!(both("zz", "zz/a"), Err(ManifestError::FileAndDirectory("zz".into())));
    assert_eq!(both("zz/a", "zz/a/b/c"), Err(ManifestError::FileAndDirectory("zz/a".into())));
    assert!(both("zz/a", "zz/a.b").is_ok());
    assert!(both("zz/a-", "zz/a0").is_ok());
    // Between a file and what would lie in it other paths may stand: "-" and "." before "/".
    let text = sample();
    let line = text.lines().last().expect("a line");
    let lines: String =
        ["z", "z-1", "z.2", "z/x"].iter().map(|p| line.replace("zé", p) + "\n").collect();
    let found = parse(&text.replacen(&format!("{line}\n"), &lines, 1));
    assert_eq!(found, Err(ManifestError::FileAndDirectory("z".into())));
}

/// Runs the reader on something huge, which must not take long even without optimisation.
#[expect(clippy::disallowed_methods, reason = "how long it really takes is what is tested")]
fn quickly(text: &str) -> Result<Manifest, ManifestError> {
    let start = Instant::now();
    let found = parse(text);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    found
}

#[test]
fn huge_texts_are_refused_soon() {
    let lines = format!("{FIRST_LINE}\n{}", "a: b\n".repeat(10_000_000));
    assert_eq!(quickly(&lines), Err(ManifestError::TooLong(lines.len() as u64)));
    assert!(quickly(&format!("{FIRST_LINE}\n{}", "\n".repeat(10_000_000))).is_err());
    let one = format!("{FIRST_LINE}\ntitle: {}\n", "x".repeat(MAX_MANIFEST_BYTES as usize - 30));
    assert!(quickly(&one).is_err());

    let headers: String = (0..=MAX_HEADERS).map(|i| format!("h{i}: x\n")).collect();
    let found = quickly(&format!("{FIRST_LINE}\n{headers}"));
    assert_eq!(found, Err(ManifestError::TooMany("headers")));

    let zeros = "0".repeat(64);
    let files: String =
        (0..=MAX_FILES).map(|i| format!("blake3:{zeros} sha256:{zeros} 0 a/b {i:06}\n")).collect();
    let found = quickly(&format!("{FIRST_LINE}\n{files}"));
    assert_eq!(found, Err(ManifestError::TooMany("files")));
}

#[test]
fn paths_of_thousands_of_components_take_no_longer_than_others() {
    let zeros = "0".repeat(64);
    let deep = "/x".repeat(2045);
    let mut text = format!("{FIRST_LINE}\n");
    for i in 0..3900 {
        text += &format!("blake3:{zeros} sha256:{zeros} 0 a/b {i:04}{deep}\n");
    }
    assert!(text.len() as u64 <= MAX_MANIFEST_BYTES);
    assert!(matches!(quickly(&text), Err(ManifestError::NotListed(_))));
}
