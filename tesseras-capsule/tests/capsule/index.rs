//! What people see who open a capsule with a browser or a viewer of texts.

use std::fs;

use tesseras_capsule::{CreateOptions, StoredCapsule, create, export};
use tesseras_core::progress::Meter;

use crate::samples::{World, jpeg, options, tree};

/// The files of an exported capsule, by name.
fn exported(world: &World, title: &str) -> (Vec<String>, String, String) {
    let options = CreateOptions { title: Some(title.to_owned()), ..options() };
    let library = &*world.library;
    let created =
        create(&world.folder, &options, &world.keys, library, library, &Meter::silent()).unwrap();
    let capsule = StoredCapsule::open(library, library, &created.hash).unwrap();
    let path = export(&capsule, library, &world.dir.path().join("out"), &Meter::silent()).unwrap();
    let names = tree(&path).into_iter().map(|(name, _)| name).collect();
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    (names, read("INDEX.txt"), read("INDEX.html"))
}

#[test]
fn every_memory_is_listed_with_what_is_known_and_who_says_it() {
    let world = World::small();
    world.put("1978 Lisbon/IMG_0001.jpg", &jpeg(b"tram"));
    world.put("trips/IMG_20190504_030201.jpg", &jpeg(b"hill"));
    let (names, text, html) = exported(&world, "Férias");
    for index in [&text, &html] {
        for known in [
            "Férias",
            "beach.jpg",
            "We swam until the sun went down. É lindo.",
            "letters/to grandma.txt",
            "Dear grandma,",
            "1978 (from the name of its folder)",
            "2019-05-04 03:02:01 (from the name of the file)",
            "not known",
            "(not the date of the photo or film)",
        ] {
            assert!(index.contains(known), "{known}: {index}");
        }
        let linked = |name: &&String| index.contains(name.as_str());
        let files = names.iter().filter(|name| name.starts_with("memories/"));
        let files = files.filter(|name| !name.ends_with('/') && !name.ends_with("meta.json"));
        assert_eq!(files.clone().filter(linked).count(), files.count(), "{index}");
    }
}

#[test]
fn what_a_file_and_its_name_say_is_kept_beside_it() {
    let world = World::new();
    world.put("2019 Rio/IMG_0001.jpg", &jpeg_with_caption("Vovó  na\nferry"));
    world.put("2019 Rio/IMG_0001.mov", b"\0\0\0\x14ftypqt  \0\0\0\0qt  ");
    world.put("2019 Rio/IMG_0002.jpg", &jpeg_with_caption("OLYMPUS DIGITAL CAMERA"));
    let (names, text, _) = exported(&world, "Rio");
    let path = world.dir.path().join("out").join(first_directory(&world));
    let metas: Vec<serde_json::Value> = names
        .iter()
        .filter(|name| name.ends_with("meta.json"))
        .map(|name| serde_json::from_slice(&fs::read(path.join(name)).unwrap()).unwrap())
        .collect();
    let [photo, film, other] = &metas[..] else { panic!("{metas:?}") };
    assert_eq!(photo["album"], "2019 Rio");
    assert_eq!(photo["caption"], "Vovó na ferry");
    assert_eq!(photo["pair"], film["original"]);
    assert_eq!(film["pair"], photo["original"]);
    assert_eq!(
        photo["date"],
        serde_json::json!({"value": "2019", "precision": "year", "source": "folder-name"})
    );
    assert!(other.get("caption").is_none() && other.get("pair").is_none(), "{other}");
    assert!(text.contains("shows: Vovó na ferry"), "{text}");
}

fn first_directory(world: &World) -> String {
    let mut entries = fs::read_dir(world.dir.path().join("out")).unwrap();
    entries.next().unwrap().unwrap().file_name().into_string().unwrap()
}

/// A JPEG whose EXIF has an ImageDescription alone.
fn jpeg_with_caption(caption: &str) -> Vec<u8> {
    let mut tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x0e\0\x02".to_vec();
    tiff.extend((caption.len() as u32 + 1).to_be_bytes());
    tiff.extend(b"\0\0\0\x1a\0\0\0\0");
    tiff.extend(caption.as_bytes());
    tiff.push(0);
    let length = (tiff.len() + 8) as u16;
    [&b"\xff\xd8\xff\xe1"[..], &length.to_be_bytes(), b"Exif\0\0", &tiff, b"\xff\xd9"].concat()
}

#[test]
fn no_name_is_markup_and_nothing_is_loaded_from_elsewhere() {
    let world = World::new();
    world.put("<script>alert(1).jpg", &jpeg(b"a"));
    world.put("a\" onerror=\"alert(1).jpg", &jpeg(b"b"));
    world.put("a\" onerror=\"alert(1).txt", b"</dd><img src=x onerror='alert(2)'> & so on\n");
    world.put("\u{202e}gpj.exe.jpg", &jpeg(b"c"));
    let (_, text, html) = exported(&world, "<b>\"T'</b> \u{202e}x");
    for markup in ["<script", "<b>", "<img src=x", "onerror=\"alert", "onerror='", "http:", "//"] {
        assert!(!html.contains(markup), "{markup}: {html}");
    }
    for shown in ["&lt;b&gt;&quot;T&#39;&lt;/b&gt;", "&lt;/dd&gt;", "&amp; so on"] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
    for index in [&text, &html] {
        assert!(!index.contains('\u{202e}'), "{index}");
    }
}

#[test]
fn a_long_text_is_shortened_and_a_folder_gives_the_same_index_again() {
    let world = World::new();
    world.put("letter.txt", "word ".repeat(100_000).as_bytes());
    world.put("other.txt", "é".repeat(5_000).as_bytes());
    // What is looked at ends inside a character, and little of it is shown.
    world.put("sparse.txt", format!("{}x{}", " ".repeat(601), "é".repeat(301)).as_bytes());
    world.put("spread.txt", format!("{}{}", " ".repeat(1001), "é".repeat(301)).as_bytes());
    let (_, text, html) = exported(&world, "Letters");
    assert!(text.len() < 6_000 && html.len() < 8_000, "{} {}", text.len(), html.len());
    assert!(text.contains("word ..."), "{text}");
    assert!(!text.contains(char::REPLACEMENT_CHARACTER), "{text}");
    let created = world.create().unwrap();
    assert!(created.new, "another title is another capsule");
    assert!(!world.create().unwrap().new);
}
