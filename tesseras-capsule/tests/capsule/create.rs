//! From a folder to a capsule: what is kept, what is left out, and what is said of both.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tesseras_capsule::{
    CreateError, CreateOptions, Created, MemoryType, SkipReason, StoredCapsule, create, dry_run,
};
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::{Meter, OnProgress};
use tesseras_core::time::Timestamp;

use crate::samples::{NOW, World, jpeg, jpeg_with_exif, options, wav};

#[test]
fn a_folder_becomes_memories_with_their_contexts() {
    let world = World::small();
    let created = world.create().unwrap();
    assert_eq!((created.memories, created.places, created.new), (3, 0, true));
    assert_eq!(created.skipped, []);
    assert_eq!(world.library.staged(), 0);

    let capsule = world.capsule();
    assert_eq!(capsule.hash(), created.hash);
    assert_eq!(capsule.manifest().header("title"), Some("Férias 2025"));
    assert_eq!(capsule.manifest().header("created"), Some("2026-01-02T03:04:05Z"));
    assert_eq!(capsule.layout().entries().len() as u64, created.files);
    let bytes: u64 = capsule.layout().entries().iter().map(|e| e.bytes).sum();
    assert_eq!(bytes, created.bytes);

    let memories = capsule.memories(&*world.library).unwrap();
    let listed: Vec<_> = memories
        .iter()
        .map(|m| (m.original.as_str(), m.memory_type, m.mime.as_str(), m.has_context))
        .collect();
    assert_eq!(
        listed,
        [
            ("beach.jpg", MemoryType::Moment, "image/jpeg", true),
            ("letters/to grandma.txt", MemoryType::Reflection, "text/plain", false),
            ("voices/um dó.wav", MemoryType::Moment, "audio/wav", false),
        ]
    );
    let digest = tesseras_crypto::blake3(&jpeg(b"sea")).to_string();
    assert_eq!(memories[0].path, format!("memories/0001-{}", &digest[..8]));
    let paths: Vec<&str> = capsule.files().iter().map(|f| f.path.as_str()).collect();
    for path in ["decode/jpeg.txt", "decode/json.txt", "decode/text.txt", "decode/wav.txt"] {
        assert!(paths.contains(&path), "{path}");
    }
    assert!(!paths.contains(&"decode/png.txt"), "only what is used is described");
    // The same folder at the same moment is the same tessera, and adds nothing.
    let objects = world.library.objects();
    let again = world.create().unwrap();
    assert_eq!((again.hash, again.new), (created.hash, false));
    assert_eq!(world.library.objects(), objects);
    assert_eq!(world.library.list().unwrap().len(), 1);
}

#[test]
fn meta_says_when_where_and_under_which_name() {
    let world = World::new();
    world.put("rio.jpg", &jpeg_with_exif());
    world.put("rio.TXT", b"Copacabana");
    let created = world.create().unwrap();
    assert_eq!((created.places, created.gps_files), (1, vec!["rio.jpg".to_owned()]));
    let capsule = world.capsule();
    assert_eq!(capsule.gps_files(&*world.library).unwrap(), ["rio.jpg"]);
    let memory = &capsule.memories(&*world.library).unwrap()[0];
    assert_eq!(memory.taken.as_deref(), Some("2019-12-31T23:59:58-03:00"));
    let place = memory.place.unwrap();
    assert_eq!((place.latitude, place.longitude), (-22.95, -43.21));
    let entry = capsule.manifest().file(&format!("{}/meta.json", memory.path)).unwrap();
    let text = fs::read_to_string(world.library.object(&entry.blake3)).unwrap();
    assert!(text.starts_with("{\n  \"version\": 1,\n  \"type\": \"moment\",\n"), "{text}");
    assert!(text.contains("\"context\": \"rio.TXT\"") && text.contains("\"modified\": \"20"));
    assert!(text.contains("\"context_modified\": \"20"), "{text}");
}

#[test]
fn every_kept_file_is_a_memory_and_equal_bytes_are_stored_once() {
    let world = World::new();
    for name in ["a.jpg", "b/a.jpg", "c.jpeg"] {
        world.put(name, &jpeg(b"same"));
    }
    world.put("c.txt", b"text of c");
    world.put("C.txt", b"of nobody");
    world.put("notes.md", b"# A text of its own\n");
    let created = world.create().unwrap();
    assert_eq!(created.memories, 5);
    let capsule = world.capsule();
    let media = capsule.files().iter().filter(|f| f.path.as_str().ends_with("media.jpg"));
    let mut hashes: Vec<_> = media.map(|f| f.blake3).collect();
    assert_eq!(hashes.len(), 3);
    hashes.dedup();
    assert_eq!(hashes.len(), 1);
    let memories = capsule.memories(&*world.library).unwrap();
    let with: Vec<&str> =
        memories.iter().filter(|m| m.has_context).map(|m| m.original.as_str()).collect();
    assert_eq!(with, ["c.jpeg"]);
}

#[test]
fn what_is_left_out_is_reported_with_its_reason() {
    let world = World::small();
    world.put("empty.jpg", b"");
    world.put(".DS_Store", b"\0\0\0\x01Bud1");
    world.put("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    world.put("game.exe", &program());
    world.put(".profile", b"a hidden text");
    world.put(".hidden/inside.jpg", &jpeg(b"x"));
    world.put("line\nbreak.jpg", &jpeg(b"x"));
    fs::write(world.folder.join(std::ffi::OsStr::from_bytes(b"bad\xff.jpg")), jpeg(b"x")).unwrap();
    symlink("/etc/passwd", world.folder.join("link.txt")).unwrap();
    symlink("/etc", world.folder.join("linked")).unwrap();
    let pipe = world.folder.join("pipe.jpg");
    std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();

    let created = world.create().unwrap();
    assert_eq!(created.memories, 3);
    let reasons: Vec<_> = created.skipped.iter().map(|s| (s.path.as_str(), &s.reason)).collect();
    let find = |path: &str| {
        reasons
            .iter()
            .find(|(p, _)| *p == path)
            .unwrap_or_else(|| panic!("{path}: {reasons:?}"))
            .1
            .clone()
    };
    assert_eq!(find("empty.jpg"), SkipReason::Empty);
    assert_eq!(find("link.txt"), SkipReason::Symlink);
    assert_eq!(find("linked"), SkipReason::Symlink);
    assert_eq!(find("pipe.jpg"), SkipReason::Special);
    assert_eq!(find(".hidden"), SkipReason::HiddenDirectory);
    assert_eq!(find(".DS_Store"), SkipReason::SideFile);
    assert_eq!(find("Thumbs.db"), SkipReason::SideFile);
    assert!(find("Thumbs.db").to_string().contains("side file of another program"));
    assert_eq!(find("game.exe"), SkipReason::Program);
    assert_eq!(find(".profile"), SkipReason::Hidden);
    assert!(matches!(find("line\\x0abreak.jpg"), SkipReason::Name(_)));
    assert!(matches!(find("bad\\xff.jpg"), SkipReason::Name(_)));
    assert_eq!(reasons.len(), 11);
    assert_eq!(world.library.staged(), 0);
}

/// A program of Windows, as far as its headers.
fn program() -> Vec<u8> {
    let mut out = vec![0; 0x80];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x40;
    out[0x40..0x44].copy_from_slice(b"PE\0\0");
    out
}

#[test]
fn what_nobody_describes_is_kept_as_it_is_and_marked() {
    let world = World::small();
    let late = [&b"x".repeat(600_000)[..], b"\0"].concat();
    let files: [(&str, &[u8], &str, &str); 5] = [
        ("archive.zip", b"PK\x03\x04 and so on", "application/zip", "media.zip"),
        ("latin1.txt", b"caf\xe9 com leite", "application/octet-stream", "media.txt"),
        ("late.txt", &late, "application/octet-stream", "media.txt"),
        ("unknown", b"\x01\x02\x03", "application/octet-stream", "media.bin"),
        ("wide.txt", b"\xff\xfeh\0i\0", "application/octet-stream", "media.txt"),
    ];
    for (path, bytes, _, _) in files {
        world.put(path, bytes);
    }
    world.put("beach.txt", b"praia em Latin-1: ver\xe3o");
    let created = world.create().unwrap();
    assert_eq!(created.skipped, []);
    let marked = ["archive.zip", "beach.txt", "late.txt", "latin1.txt", "unknown", "wide.txt"];
    let mut undescribed = created.undescribed;
    undescribed.sort();
    assert_eq!(undescribed, marked);

    let capsule = world.capsule();
    let memories = capsule.memories(&*world.library).unwrap();
    for (path, bytes, mime, name) in files {
        let memory = memories.iter().find(|m| m.original == path).expect(path);
        assert_eq!((memory.mime.as_str(), memory.described), (mime, false), "{path}");
        let entry = capsule.manifest().file(&format!("{}/{name}", memory.path)).expect(path);
        assert_eq!(fs::read(world.library.object(&entry.blake3)).unwrap(), bytes, "{path}");
    }
    let described = memories.iter().filter(|m| m.described).count();
    assert_eq!(described, memories.len() - marked.len());
}

#[test]
fn the_same_content_is_made_once_whatever_the_date_and_mended_on_the_way() {
    let world = World::small();
    let first = world.create().unwrap();
    let library = &*world.library;
    let later = CreateOptions { created: Timestamp(NOW.0 + 86_400), ..options() };
    let attempt = |options: &CreateOptions| {
        create(&world.folder, options, &world.keys, library, library, &Meter::silent()).unwrap()
    };
    let capsule = world.capsule();
    let photo = capsule.files().iter().find(|f| f.mime == "image/jpeg").unwrap();
    fs::write(library.object(&photo.blake3), b"rot").unwrap();
    let objects = library.objects();
    let same = attempt(&later);
    assert_eq!((same.hash, same.new), (first.hash, false));
    assert_eq!((library.objects(), library.staged()), (objects, 0));
    assert_eq!(fs::read(library.object(&photo.blake3)).unwrap(), jpeg(b"sea"));

    let titled = CreateOptions { title: Some("Outra".to_owned()), ..later.clone() };
    assert!(attempt(&titled).new, "another title is another tessera");
    let again = attempt(&CreateOptions { again: true, ..later.clone() });
    assert!(again.new && again.hash != first.hash);
    let other = tesseras_crypto::CreatorKeys::from_seeds(&[8; 32], &[9; 32]);
    let by_other =
        create(&world.folder, &later, &other, library, library, &Meter::silent()).unwrap();
    assert!(by_other.new, "another creator's tessera is another");
    world.put("new.txt", b"one more");
    assert!(attempt(&later).new);
}

#[test]
fn names_are_kept_in_nfc_and_colliding_names_both_stay() {
    let world = World::new();
    world.put("cafe\u{301}.jpg", &jpeg(b"decomposed"));
    world.put("caf\u{e9}.jpg", &jpeg(b"composed"));
    world.put("🌞 sun/ünïted.jpg", &jpeg(b"x"));
    assert_eq!(world.create().unwrap().memories, 3);
    let originals: Vec<String> = world
        .capsule()
        .memories(&*world.library)
        .unwrap()
        .into_iter()
        .map(|m| m.original)
        .collect();
    assert_eq!(originals, ["caf\u{e9}.jpg", "caf\u{e9}.jpg", "🌞 sun/ünïted.jpg"]);
}

#[test]
fn what_cannot_be_read_is_reported() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    let world = World::small();
    world.put("secret/in.jpg", &jpeg(b"x"));
    let locked = world.folder.join("beach.jpg");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let directory = world.folder.join("secret");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    let created = world.create().unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let paths: Vec<&str> = created.skipped.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["beach.jpg", "secret"]);
    assert!(created.skipped.iter().all(|s| matches!(s.reason, SkipReason::Unreadable(_))));
    assert_eq!(created.memories, 3, "the text beside the locked photo is a memory of its own");
}

/// Does something once, as soon as so many bytes were read at once; with 0, after the folder is
/// listed and before its first file is read.
fn meddler(at_once: u64, meddle: impl Fn() + Send + Sync + 'static) -> Meter {
    let (done, meddled) = (AtomicU64::new(0), AtomicBool::new(false));
    let on_progress: OnProgress = Arc::new(move |progress| {
        let step = progress.done.saturating_sub(done.swap(progress.done, Ordering::Relaxed));
        let is_due = progress.total > 0 && step >= at_once;
        if is_due && !meddled.swap(true, Ordering::Relaxed) {
            meddle();
        }
    });
    Meter::new("reading", 0, &on_progress)
}

/// Creates a capsule of the world's folder while somebody meddles.
fn create_meddled(world: &World, meddler: &Meter) -> Result<Created, CreateError> {
    let library = &*world.library;
    create(&world.folder, &options(), &world.keys, library, library, meddler)
}

#[test]
fn a_file_that_changes_while_it_is_read_is_left_out() {
    let world = World::small();
    world.put("beach.jpg", &jpeg(&[7; 1_000_000]));
    // No other file is half as long.
    let file = world.folder.join("beach.jpg");
    let meddler = meddler(10_000, move || {
        let mut bytes = fs::read(&file).unwrap();
        bytes.push(0);
        fs::write(&file, bytes).unwrap();
    });
    let created = create_meddled(&world, &meddler).unwrap();
    assert_eq!(created.skipped.len(), 1);
    assert_eq!(created.skipped[0].path, "beach.jpg");
    assert_eq!(created.skipped[0].reason, SkipReason::Changed);
    assert_eq!(created.memories, 3, "the text beside it is a memory of its own");
    assert_eq!(world.library.staged(), 0);
}

#[test]
fn what_vanishes_or_shrinks_before_it_is_read_has_changed() {
    let world = World::small();
    for name in ["cut.txt", "emptied.txt", "gone.jpg", "place.wav", "with/gone.jpg"] {
        world.put(name, &jpeg(&[7; 5000]));
    }
    let folder = world.folder.clone();
    let meddler = meddler(0, move || {
        fs::write(folder.join("cut.txt"), jpeg(&[7; 4000])).unwrap();
        fs::write(folder.join("emptied.txt"), b"").unwrap();
        fs::remove_file(folder.join("gone.jpg")).unwrap();
        fs::remove_file(folder.join("place.wav")).unwrap();
        fs::create_dir(folder.join("place.wav")).unwrap();
        fs::remove_dir_all(folder.join("with")).unwrap();
    });
    let created = create_meddled(&world, &meddler).unwrap();
    let skipped: Vec<_> = created.skipped.iter().map(|s| (s.path.as_str(), &s.reason)).collect();
    assert_eq!(
        skipped,
        [
            ("cut.txt", &SkipReason::Changed),
            ("emptied.txt", &SkipReason::Changed),
            ("gone.jpg", &SkipReason::Gone),
            ("place.wav", &SkipReason::Changed),
            ("with/gone.jpg", &SkipReason::Gone),
        ]
    );
    for (_, reason) in skipped {
        assert!(reason.is_failure() && reason.to_string().contains("changed"), "{reason}");
    }
    assert_eq!((created.memories, world.library.staged()), (3, 0));
}

#[test]
fn of_a_folder_that_vanishes_no_torso_is_made() {
    let moved_and_emptied = |folder: &Path| {
        let elsewhere = folder.with_extension("moved");
        fs::rename(folder, &elsewhere).unwrap();
        fs::remove_file(elsewhere.join("voices/um dó.wav")).unwrap();
        fs::create_dir(folder).unwrap();
    };
    let removed = |folder: &Path| fs::remove_dir_all(folder).unwrap();
    for vanish in [removed as fn(&Path), moved_and_emptied] {
        for at_once in [0, 10_000] {
            let world = World::small();
            world.put("beach.jpg", &jpeg(&[7; 1_000_000]));
            let folder = world.folder.clone();
            let error = create_meddled(&world, &meddler(at_once, move || vanish(&folder)));
            let error = error.unwrap_err();
            assert!(matches!(error, CreateError::Gone { .. }), "{error:?}");
            assert!(error.to_string().contains(world.folder.to_str().unwrap()), "{error}");
            assert_eq!(world.library.objects() + world.library.staged(), 0);
            assert_eq!(world.library.list().unwrap(), []);
        }
    }
}

#[test]
fn a_folder_that_is_moved_while_it_is_read_is_kept_as_a_whole() {
    let world = World::small();
    let folder = world.folder.clone();
    let meddler = meddler(0, move || fs::rename(&folder, folder.with_extension("moved")).unwrap());
    let created = create_meddled(&world, &meddler).unwrap();
    assert_eq!((created.memories, created.skipped), (3, vec![]));
}

#[test]
fn a_dry_run_says_what_create_will_do_and_stores_nothing() {
    let world = World::small();
    world.put("empty.txt", b"");
    world.put("rio.jpg", &jpeg_with_exif());
    let draft = dry_run(&world.folder, &options(), &world.keys.public(), &Meter::silent()).unwrap();
    assert_eq!(world.library.objects() + world.library.staged(), 0);
    let created = world.create().unwrap();
    assert_eq!(
        (draft.memories, draft.files, draft.bytes, draft.places),
        (created.memories, created.files, created.bytes, created.places)
    );
    assert_eq!(draft.skipped, created.skipped);
}

#[test]
fn many_small_letters_need_room_for_their_blocks() {
    let world = World::new();
    (0..500).for_each(|number| world.put(&format!("{number}.txt"), b"a letter\n"));
    // More than their bytes, and less than their blocks.
    world.library.free.store(1 << 20, Ordering::Relaxed);
    assert!(matches!(world.create(), Err(CreateError::NoSpace(_))));
    world.library.free.store(8 << 20, Ordering::Relaxed);
    world.create().unwrap();
}

#[test]
fn nothing_is_stored_when_it_cannot_be_done() {
    let world = World::new();
    assert!(matches!(world.create(), Err(CreateError::Nothing { .. })));
    world.put("game.exe", &program());
    match world.create() {
        Err(CreateError::Nothing { skipped }) => assert_eq!(skipped.len(), 1),
        other => panic!("{other:?}"),
    }
    world.put("a.wav", &wav(500));
    world.library.free.store(1000, Ordering::Relaxed);
    assert!(matches!(world.create(), Err(CreateError::NoSpace(_))));
    world.library.free.store(u64::MAX, Ordering::Relaxed);
    let library = &*world.library;
    let attempt = |options: CreateOptions| {
        create(&world.folder, &options, &world.keys, library, library, &Meter::silent())
    };
    let title = Some("two\nlines".to_owned());
    let error = attempt(CreateOptions { title, ..options() }).unwrap_err().to_string();
    assert!(error.contains("title") && error.contains("U+000A"), "{error}");
    let tags = vec!["a,b".to_owned()];
    assert!(matches!(
        attempt(CreateOptions { tags, ..options() }),
        Err(CreateError::TagWithComma(_))
    ));
    let gone = world.dir.path().join("gone");
    let error = create(&gone, &options(), &world.keys, library, library, &Meter::silent());
    assert!(error.unwrap_err().to_string().contains("gone"));
    assert_eq!(library.objects() + library.staged(), 0);
}

#[test]
fn headers_come_from_the_person_and_the_folder() {
    let world = World::small();
    let library = &*world.library;
    let full = CreateOptions {
        title: None,
        created: NOW,
        creator_name: Some("Ana".to_owned()),
        language: Some("pt-BR".to_owned()),
        location: Some("Rio de Janeiro".to_owned()),
        tags: vec![" mar ".to_owned(), "sol".to_owned(), String::new()],
        again: false,
    };
    let created =
        create(&world.folder, &full, &world.keys, library, library, &Meter::silent()).unwrap();
    let capsule = StoredCapsule::open(library, library, &created.hash).unwrap();
    let header = |key| capsule.manifest().header(key);
    assert_eq!(header("title"), Some("folder"));
    assert_eq!(header("creator-name"), Some("Ana"));
    assert_eq!(header("language"), Some("pt-BR"));
    assert_eq!(header("location"), Some("Rio de Janeiro"));
    assert_eq!(header("tags"), Some("mar, sol"));
}
