//! From a stored capsule to a directory: the same bytes every time, whole or not at all.

use std::fs;

use proptest::prelude::*;
use tesseras_capsule::{ExportError, export, verify_directory, verify_stored};
use tesseras_core::pack::directory_name;
use tesseras_core::progress::Meter;

use crate::samples::{World, jpeg, put, tree};

#[test]
fn two_exports_are_the_same_bytes_and_nothing_is_written_over() {
    let world = World::small();
    let capsule = world.capsule();
    let dest = world.dir.path().join("a/b");
    let path = export(&capsule, &*world.library, &dest, &Meter::silent()).unwrap();
    assert_eq!(path, dest.join(directory_name(&capsule.hash())));
    let other = world.dir.path().join("c");
    let again = export(&capsule, &*world.library, &other, &Meter::silent()).unwrap();
    assert_eq!(tree(&path), tree(&again));
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 1, "nothing is left beside it");
    let before = tree(&path);
    let error = export(&capsule, &*world.library, &dest, &Meter::silent()).unwrap_err();
    assert!(matches!(error, ExportError::Exists { .. }), "{error}");
    assert_eq!(tree(&path), before);
    fs::remove_dir_all(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = export(&capsule, &*world.library, &dest, &Meter::silent()).unwrap_err();
    assert!(matches!(error, ExportError::Exists { .. }), "even an empty directory stays: {error}");
}

#[test]
fn a_damaged_object_is_named_and_leaves_nothing() {
    let world = World::small();
    let capsule = world.capsule();
    let dest = world.dir.path().join("dest");
    for damage in ["flip", "cut", "gone"] {
        let file = capsule.files().iter().find(|f| f.mime == "audio/wav").unwrap();
        let object = world.library.object(&file.blake3);
        let good = fs::read(&object).unwrap();
        match damage {
            "flip" => {
                let mut bad = good.clone();
                bad[100] ^= 4;
                fs::write(&object, bad).unwrap();
            }
            "cut" => fs::write(&object, &good[..50]).unwrap(),
            _ => fs::remove_file(&object).unwrap(),
        }
        let error = export(&capsule, &*world.library, &dest, &Meter::silent()).unwrap_err();
        assert!(error.to_string().contains("media.wav"), "{damage}: {error}");
        assert!(!dest.exists(), "{damage}");
        fs::write(&object, good).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_folder_survives_the_way_there_and_back(
        files in proptest::collection::btree_map(
            "([a-zé🌞 ._-]{1,8}/){0,2}[a-zàñ日本 '\"\\\\$]{1,12}\\.(jpg|txt|png|JPG)",
            (0_u8..4, proptest::collection::vec(any::<u8>(), 1..2000)),
            1..12,
        ),
    ) {
        let world = World::new();
        let mut media = 0;
        for (path, (kind, bytes)) in &files {
            // Dots and spaces may make names that a disk has no place for.
            if path.split('/').any(|c| c.starts_with('.')) {
                continue;
            }
            let target = world.folder.join(path);
            if std::fs::create_dir_all(target.parent().unwrap()).is_err() || target.is_dir() {
                continue;
            }
            if *kind == 0 {
                put(&world.folder, path, format!("{bytes:?}").as_bytes());
            } else {
                put(&world.folder, path, &jpeg(bytes));
                media += 1;
            }
        }
        prop_assume!(media > 0);
        let created = world.create().unwrap();
        prop_assert_eq!(&created.skipped, &[]);
        prop_assert!(created.memories >= media);
        let path = world.exported();
        let report = verify_directory(&path, Some(&created.hash), &Meter::silent()).unwrap();
        prop_assert!(report.valid, "{:?}", report);
        prop_assert_eq!(report.files.len() as u64, created.files);
        let stored =
            verify_stored(&*world.library, &*world.library, &created.hash, &Meter::silent()).unwrap();
        prop_assert_eq!(stored, report);
    }
}
