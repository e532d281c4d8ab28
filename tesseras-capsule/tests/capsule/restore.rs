//! The folder comes back as it was: names, times, bytes; and nothing beside or over it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tesseras_capsule::{ExportedCapsule, RestoreError, Restored, StoredCapsule, export, restore};
use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::{FileEntry, Manifest, listed};
use tesseras_core::pack::directory_name;
use tesseras_core::path::CapsulePath;
use tesseras_core::ports::BlobStore as _;
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;

use crate::samples::{World, jpeg, tree};

fn date(folder: &Path, path: &str, at: SystemTime) {
    File::options().write(true).open(folder.join(path)).unwrap().set_modified(at).unwrap();
}

/// The files of a folder with their dates.
fn dates(folder: &Path) -> Vec<(String, SystemTime)> {
    let files = tree(folder).into_iter().filter(|(path, _)| !path.ends_with('/'));
    let date = |path: &str| fs::metadata(folder.join(path)).unwrap().modified().unwrap();
    files.map(|(path, _)| (path.clone(), date(&path))).collect()
}

/// A folder with contexts, equal files, deep and unusual names, and a date for each.
fn full() -> World {
    let world = World::small();
    world.put("beach.mov", b"\0\0\0\x14ftypqt  \0\0\0\0qt  ");
    world.put("1978/Praia ção/日本/IMG 0001 🚀.JPG", &jpeg(b"deep"));
    world.put("1978/copy.jpg", &jpeg(b"sea"));
    world.put("letters/latin1.txt", b"ver\xe3o");
    world.put("letters/carta.docx", b"PK\x03\x04word/document.xml");
    world.put("a:b?.txt", b"a name of Unix");
    for (n, (path, _)) in (0_u32..).zip(dates(&world.folder)) {
        let nanoseconds = if n % 2 == 0 { 0 } else { 123_456_789 + n };
        let at = UNIX_EPOCH + Duration::new(267_000_000 + u64::from(n), nanoseconds);
        date(&world.folder, &path, at);
    }
    world
}

fn restored(world: &World, dest: &Path) -> Restored {
    restore(&world.capsule(), &*world.library, dest, &Meter::silent()).unwrap()
}

#[test]
fn a_folder_comes_back_bit_for_bit_with_names_and_dates() {
    let world = full();
    let dest = world.dir.path().join("new/back");
    let back = restored(&world, &dest);
    assert_eq!(tree(&dest), tree(&world.folder));
    assert_eq!(dates(&dest), dates(&world.folder));
    assert_eq!((back.path.as_path(), back.files), (&*dest, 10));
    assert!(back.renamed.is_empty() && back.damaged.is_empty() && back.undated.is_empty());
    assert_eq!(fs::read_dir(dest.parent().unwrap()).unwrap().count(), 1, "nothing beside it");

    // From an exported directory, into a directory that is there and empty.
    let exported = ExportedCapsule::open(&world.exported()).unwrap();
    let empty = world.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let blobs = &**exported.blobs();
    restore(exported.capsule(), blobs, &empty, &Meter::silent()).unwrap();
    assert_eq!(tree(&empty), tree(&world.folder));
    assert_eq!(dates(&empty), dates(&world.folder));
}

#[test]
fn names_come_back_as_their_disk_spelled_them() {
    let world = World::small();
    world.put("fe\u{301}rias/cafe\u{301}.jpg", &jpeg(b"decomposed"));
    world.put("fe\u{301}rias/cafe\u{301}.txt", b"a text beside it");
    world.put("f\u{e9}rias/caf\u{e9}.jpg", &jpeg(b"composed"));
    world.put("f\u{e9}rias/caf\u{e9}.txt", b"a text beside it");
    let capsule = world.capsule();
    let dest = world.dir.path().join("back");
    let back = restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!(tree(&dest), tree(&world.folder));
    assert_eq!(back.renamed, []);
    let memories = capsule.memories(&*world.library).unwrap();
    assert!(memories.iter().all(|m| !m.original.contains('\u{301}')), "{memories:?}");
}

#[test]
fn a_spelling_that_is_not_one_of_the_path_is_not_taken() {
    let world = World::new();
    let long = format!("{}/{}.txt", "e\u{301}".repeat(100), "x");
    let composed = long.replace("e\u{301}", "\u{e9}");
    let cases = [
        ("a.txt", "../outside.txt"),
        ("b.txt", "/b.txt"),
        ("d/\u{e9}.txt", "d//e\u{301}.txt"),
        ("d/\u{ed}.txt", "e\u{301}.txt"),
        ("line.txt", "line\n.txt"),
        (composed.as_str(), long.as_str()),
    ];
    let metas = cases.map(|(original, spelling)| {
        let mut meta = meta(original);
        meta["original_spelling"] = spelling.into();
        meta
    });
    let capsule = described(&world, &metas);
    let dest = world.dir.path().join("back");
    let back = restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!((back.files, back.renamed), (cases.len() as u64, vec![]));
    for (original, _) in cases {
        assert!(dest.join(original).exists(), "{original}");
    }
}

/// The id of a process that has ended.
fn dead() -> u32 {
    let mut process = std::process::Command::new("true").spawn().unwrap();
    let id = process.id();
    process.wait().unwrap();
    id
}

#[test]
fn what_dead_processes_left_is_removed_and_nothing_else() {
    let world = World::small();
    let capsule = world.capsule();
    let (dead, alive) = (dead(), std::process::id());
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), "mine").unwrap();
    let parent = world.dir.path().join("parent");
    let leave = |name: &str| {
        fs::create_dir_all(parent.join(name).join("below")).unwrap();
        fs::write(parent.join(name).join("below/half.jpg"), "half").unwrap();
    };
    let left = [
        format!(".tessera-0123456789abcdef.partial-{dead}"),
        format!(".{}.partial-{dead}-3", directory_name(&capsule.hash())),
    ];
    let kept = [
        format!(".tessera-0123456789abcdef.partial-{alive}"),
        format!(".tessera-0123456789abcde.partial-{dead}"),
        format!(".tessera-0123456789ABCDEF.partial-{dead}"),
        format!(".tessera-0123456789abcdef.partial-{dead}x"),
        format!(".tessera-0123456789abcdef.partial-0{dead}"),
        format!(".tessera-0123456789abcdef.partial-{dead}-3-4"),
        ".tessera-0123456789abcdef.partial-".to_owned(),
        format!("tessera-0123456789abcdef.partial-{dead}"),
    ];
    left.iter().chain(&kept).for_each(|name| leave(name));
    let link = format!(".tessera-00000000000000aa.partial-{dead}");
    symlink(&outside, parent.join(&link)).unwrap();
    let file = format!(".tessera-00000000000000bb.partial-{dead}");
    fs::write(parent.join(&file), "a file").unwrap();
    // One of another machine or container, where the number means another process.
    let elsewhere = format!(".tessera-00000000000000cc.partial-{dead}");
    leave(&elsewhere);
    let held = File::open(parent.join(&elsewhere)).unwrap();
    held.lock().unwrap();
    let names = || {
        let names = fs::read_dir(&parent).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut expected: Vec<_> = kept.into_iter().chain([link, file, elsewhere]).collect();
    expected.push("back".to_owned());
    expected.sort();

    restore(&capsule, &*world.library, &parent.join("back"), &Meter::silent()).unwrap();
    assert_eq!(names(), expected);
    left.iter().for_each(|name| leave(name));
    let exported = export(&capsule, &*world.library, &parent, &Meter::silent()).unwrap();
    expected.push(exported.file_name().unwrap().to_str().unwrap().to_owned());
    expected.sort();
    assert_eq!(names(), expected);
    assert_eq!(tree(&outside), [("mine".to_owned(), b"mine".to_vec())]);

    // A directory that holds nothing else is empty.
    let dest = world.dir.path().join("empty");
    fs::create_dir_all(dest.join(&left[0])).unwrap();
    restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!(tree(&dest), tree(&world.folder));
}

/// The rest of the folder may be nowhere else.
#[test]
fn an_interrupted_restore_into_an_existing_directory_is_left_as_it_is() {
    let world = World::small();
    let dest = world.dir.path().join("dest");
    let rest = format!(".tessera-0123456789abcdef.partial-{}/second.jpg", dead());
    fs::create_dir_all(dest.join(&rest).parent().unwrap()).unwrap();
    fs::write(dest.join(&rest), "second").unwrap();
    fs::write(dest.join("first.jpg"), "first").unwrap();
    let before = tree(&dest);
    let error = restore(&world.capsule(), &*world.library, &dest, &Meter::silent()).unwrap_err();
    assert!(matches!(error, RestoreError::Exists { .. }), "{error}");
    assert_eq!(tree(&dest), before);
}

#[test]
fn nothing_is_written_over() {
    let world = full();
    let capsule = world.capsule();
    let attempt = |dest: &Path| restore(&capsule, &*world.library, dest, &Meter::silent());
    let file = world.dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let used = world.dir.path().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("mine"), "mine").unwrap();
    let dangling = world.dir.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let before = fs::read_dir(world.dir.path()).unwrap().count();
    for dest in [&file, &used, &dangling] {
        let error = attempt(dest).unwrap_err();
        assert!(matches!(error, RestoreError::Exists { .. }), "{error}");
    }
    assert_eq!(tree(&used), [("mine".to_owned(), b"mine".to_vec())]);
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), before, "nothing is left beside");
}

#[test]
fn damaged_files_are_named_and_the_others_come_back() {
    let world = full();
    let capsule = world.capsule();
    let library = &*world.library;
    let memories = capsule.memories(library).unwrap();
    let memory = |original: &str| memories.iter().find(|m| m.original == original).unwrap();
    let entry = |path: String| capsule.manifest().file(&path).unwrap();
    let voice = entry(format!("{}/media.wav", memory("voices/um dó.wav").path));
    fs::write(library.object(&voice.blake3), vec![0; voice.bytes as usize]).unwrap();
    let deep = memory("1978/Praia ção/日本/IMG 0001 🚀.JPG");
    let meta = entry(format!("{}/meta.json", deep.path));
    fs::remove_file(library.object(&meta.blake3)).unwrap();

    let dest = world.dir.path().join("back");
    let back = restore(&capsule, library, &dest, &Meter::silent()).unwrap();
    let damaged: Vec<_> =
        back.damaged.iter().map(|d| (d.path.as_str(), d.original.as_deref())).collect();
    let voice = (voice.path.as_str(), Some("voices/um dó.wav"));
    assert_eq!(damaged.len(), 2);
    assert!(damaged.contains(&voice) && damaged.contains(&(meta.path.as_str(), None)));
    // A photo whose name is lost is still a photo.
    let name = format!("{}.jpg", deep.path.strip_prefix("memories/").unwrap());
    assert_eq!(fs::read(dest.join(&name)).unwrap(), jpeg(b"deep"));
    assert_eq!(back.renamed.iter().map(|r| r.now.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    assert_eq!(back.undated, [name]);
    assert_eq!(fs::read(dest.join("beach.jpg")).unwrap(), jpeg(b"sea"));
    assert!(!dest.join("voices/um dó.wav").exists());

    for file in capsule.files() {
        let _ = fs::remove_file(library.object(&file.blake3));
    }
    let nothing = restore(&capsule, library, &world.dir.path().join("none"), &Meter::silent());
    assert!(matches!(nothing, Err(RestoreError::Nothing { .. })), "{nothing:?}");
    assert!(!world.dir.path().join("none").exists());
}

#[test]
fn an_intact_copy_in_an_export_speaks_for_a_damaged_one() {
    let world = full();
    let path = world.exported();
    let capsule = world.capsule();
    let sea = tesseras_crypto::blake3(&jpeg(b"sea"));
    let same: Vec<&FileEntry> = capsule.files().iter().filter(|f| f.blake3 == sea).collect();
    assert_eq!(same.len(), 2);
    for damaged in same {
        let damaged = path.join(damaged.path.as_str());
        let good = fs::read(&damaged).unwrap();
        fs::write(&damaged, vec![0; good.len()]).unwrap();
        let exported = ExportedCapsule::open(&path).unwrap();
        let dest = world.dir.path().join("back");
        let back =
            restore(exported.capsule(), &**exported.blobs(), &dest, &Meter::silent()).unwrap();
        assert_eq!(back.damaged, []);
        assert_eq!(tree(&dest), tree(&world.folder));
        fs::remove_dir_all(&dest).unwrap();
        fs::write(&damaged, good).unwrap();
    }
}

/// A capsule that asks for files under these paths, as a hostile creator could make it. Media and
/// contexts hold their own number.
fn asking(world: &World, originals: &[&str], context: Option<&str>) -> StoredCapsule {
    let metas = originals.iter().map(|original| {
        let mut meta = meta(original);
        if let Some(context) = context {
            meta["context"] = context.into();
        }
        meta
    });
    described(world, &metas.collect::<Vec<_>>())
}

fn meta(original: &str) -> serde_json::Value {
    serde_json::json!({
        "version": 1, "type": "moment", "original": original, "mime": "text/plain", "bytes": 1,
    })
}

/// A capsule whose memories are described like this.
fn described(world: &World, metas: &[serde_json::Value]) -> StoredCapsule {
    let mut files = Vec::new();
    let mut put = |path: String, bytes: &[u8]| {
        let mut writer = world.library.stage().unwrap();
        writer.write(bytes).unwrap();
        let staged = writer.finish().unwrap();
        fs::rename(staged.name, world.library.object(&staged.hash)).unwrap();
        files.push(FileEntry {
            blake3: staged.hash,
            sha256: tesseras_crypto::sha256(bytes),
            bytes: bytes.len() as u64,
            mime: "text/plain".to_owned(),
            path: CapsulePath::new(path).unwrap(),
        });
    };
    for path in [listed::ED25519_PEM, listed::ML_DSA_65_PEM, listed::README] {
        put(path.to_owned(), b"not looked at");
    }
    for (n, meta) in metas.iter().enumerate() {
        let directory = format!("memories/{:04}-00000000", n + 1);
        if meta["context"].is_string() {
            put(format!("{directory}/context.txt"), format!("context {n}").as_bytes());
        }
        put(format!("{directory}/media.txt"), format!("medium {n}").as_bytes());
        put(format!("{directory}/meta.json"), meta.to_string().as_bytes());
    }
    let creator = world.keys.public().id();
    let manifest = Manifest::new(creator, metas.len() as u64, Vec::new(), files).unwrap();
    let bytes = manifest.render().into_bytes();
    let hash = TesseraHash::from(tesseras_crypto::blake3(&bytes));
    let signatures = SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() };
    StoredCapsule::new(hash, bytes, signatures).unwrap()
}

#[test]
fn clashes_and_refused_names_are_kept_under_safe_names() {
    let world = World::new();
    let long = "x".repeat(255) + "/" + &"y".repeat(255);
    let deep = "d/".repeat(70) + "deep.txt";
    let originals =
        ["a.txt", "a.txt", "a.txt/inside.txt", "d", "d/file.txt", &long, &deep, "a (2).txt"];
    let capsule = asking(&world, &originals, None);
    let dest = world.dir.path().join("back");
    let back = restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!(back.files, originals.len() as u64);
    let renamed: Vec<_> = back.renamed.iter().map(|r| (r.path.as_str(), r.now.as_str())).collect();
    assert_eq!(
        renamed,
        [
            ("a.txt", "a (2).txt"),
            ("a.txt/inside.txt", "a (3).txt/inside.txt"),
            ("d/file.txt", "d (2)/file.txt"),
            (deep.as_str(), "deep.txt"),
            ("a (2).txt", "a (2) (2).txt"),
        ]
    );
    assert!(back.renamed.iter().all(|r| !r.reason.is_empty()));
    for (n, original) in originals.iter().enumerate() {
        let now = renamed.iter().find(|(path, now)| {
            path == original
                && fs::read(dest.join(now)).unwrap() == format!("medium {n}").as_bytes()
        });
        let path = now.map_or(*original, |(_, now)| now);
        assert_eq!(fs::read_to_string(dest.join(path)).unwrap(), format!("medium {n}"), "{path}");
    }
    // None of the memories says when it was changed.
    assert_eq!(back.undated.len(), originals.len());
}

#[test]
fn hostile_paths_stay_in_the_folder() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.join("absolute.txt");
    let originals = [
        "../outside/up.txt",
        "a/../../outside/up.txt",
        absolute.to_str().unwrap(),
        "..",
        "",
        "line\nbreak.txt",
        "/",
        "cafe\u{301}.txt",
    ];
    let capsule = asking(&world, &originals, Some("../../outside/context.txt"));
    let dest = world.dir.path().join("back");
    let back = restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!(back.files, 2 * originals.len() as u64);
    assert_eq!(back.renamed.len(), 2 * originals.len());
    assert!(tree(&outside).is_empty());
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 2 * originals.len(), "all lie at its top");
    assert!(back.renamed.iter().all(|r| !r.path.contains('\n') && !r.now.contains('\n')));
    let mut beside: Vec<_> =
        fs::read_dir(world.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["back", "folder", "library", "outside"]);
}

#[test]
fn what_a_capsule_says_of_its_memories_forges_no_line() {
    const LINES: &str = "a\nPublished\r\u{1b}[2J\u{2028}\u{202e}.txt";
    let one_line = |text: &str| {
        assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
        assert!(!text.contains(['\u{2028}', '\u{202e}']), "{text:?}");
        assert!(text.len() < 500, "{} bytes", text.len());
    };
    let world = World::new();
    let mut placed = meta(LINES);
    placed["mime"] = LINES.into();
    placed["taken"] = LINES.into();
    placed["place"] = serde_json::json!({ "latitude": 0.0, "longitude": 0.0 });
    let capsule = described(&world, &[placed]);
    let memories = capsule.memories(&*world.library).unwrap();
    let memory = &memories[0];
    for text in [&memory.original, &memory.mime, memory.taken.as_ref().unwrap()] {
        assert!(text.starts_with("a\\nPublished"), "it is said: {text:?}");
        one_line(text);
    }
    assert_eq!(capsule.gps_files(&*world.library).unwrap(), std::slice::from_ref(&memory.original));

    // What JSON's reader cannot make sense of, it repeats.
    let mut unknown = meta("a.txt");
    unknown["type"] = (LINES.to_owned() + &"y".repeat(10_000)).into();
    let capsule = described(&world, &[unknown, meta(LINES)]);
    one_line(&capsule.memories(&*world.library).unwrap_err().to_string());
    let dest = world.dir.path().join("back");
    let back = restore(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!((back.damaged.len(), back.renamed.len()), (1, 2));
    for damaged in &back.damaged {
        one_line(&damaged.reason);
    }
    for renamed in &back.renamed {
        [&renamed.path, &renamed.now, &renamed.reason].into_iter().for_each(|text| one_line(text));
    }
}

#[test]
fn links_in_an_export_are_not_followed() {
    let world = full();
    let path = world.exported();
    let secret = world.dir.path().join("secret");
    fs::write(&secret, jpeg(b"deep")).unwrap();
    let capsule = world.capsule();
    let deep = tesseras_crypto::blake3(&jpeg(b"deep"));
    let photo = capsule.files().iter().find(|f| f.blake3 == deep).unwrap();
    fs::remove_file(path.join(photo.path.as_str())).unwrap();
    symlink(&secret, path.join(photo.path.as_str())).unwrap();
    let exported = ExportedCapsule::open(&path).unwrap();
    let dest = world.dir.path().join("back");
    let back = restore(exported.capsule(), &**exported.blobs(), &dest, &Meter::silent()).unwrap();
    assert_eq!(back.damaged.iter().map(|d| &*d.path).collect::<Vec<_>>(), [photo.path.as_str()]);
}

#[test]
fn an_export_that_nobody_vouches_for_is_refused_and_one_lost_signature_is_not_enough() {
    let world = World::small();
    let path = world.exported();
    fs::remove_file(path.join("MANIFEST.ed25519.sig")).unwrap();
    let exported = ExportedCapsule::open(&path).unwrap();
    assert_eq!((exported.signatures().ed25519, exported.signatures().ml_dsa_65), (false, true));
    let manifest = fs::read_to_string(path.join("MANIFEST")).unwrap();
    fs::write(path.join("MANIFEST"), manifest.replace("title: F", "title: G")).unwrap();
    let error = ExportedCapsule::open(&path).err().unwrap().to_string();
    assert!(error.contains("nothing vouches"), "{error}");
    let error = ExportedCapsule::open(&world.folder).err().unwrap().to_string();
    assert!(error.contains("is not a capsule"), "{error}");
}
