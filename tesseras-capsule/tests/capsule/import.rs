//! An exported capsule comes into a library as the tessera that it is, whole or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tesseras_capsule::import::Before;
use tesseras_capsule::{ImportError, Imported, import, verify_stored};
use tesseras_core::ids::CreatorId;
use tesseras_core::ports::{Origin, TesseraRepository as _};
use tesseras_core::progress::{Meter, OnProgress};

use crate::samples::{NOW, World, tree};

fn attempt(from: &World, into: &World, own: Option<CreatorId>) -> Result<Imported, ImportError> {
    let path = from.dir.path().join("exports");
    let path = fs::read_dir(&path).unwrap().next().unwrap().unwrap().path();
    let library = &*into.library;
    import(&path, own, library, library, NOW, &Meter::silent())
}

#[test]
fn an_export_becomes_the_same_tessera() {
    let (from, into) = (World::small(), World::new());
    let made = from.create().unwrap();
    let path = from.exported();
    fs::write(path.join(".DS_Store"), b"Bud1").unwrap();
    let imported = attempt(&from, &into, None).unwrap();
    assert_eq!(
        imported,
        Imported {
            hash: made.hash,
            memories: made.memories,
            files: made.files,
            bytes: made.bytes,
            before: Before::Absent,
            ignored: vec![".DS_Store".to_owned()],
        }
    );
    let library = &*into.library;
    assert!(verify_stored(library, library, &made.hash, &Meter::silent()).unwrap().valid);
    let record = library.get(&made.hash).unwrap().unwrap();
    assert_eq!((record.origin, record.title.as_str()), (Origin::Fetched, "Férias 2025"));
    assert_eq!(library.staged(), 0);
    assert!(!tree(&path).iter().any(|(name, _)| name.contains("partial")));
}

#[test]
fn who_made_it_has_made_it_also_when_it_comes_from_a_stick() {
    let (from, into) = (World::small(), World::new());
    from.exported();
    let own = Some(from.keys.public().id());
    let hash = attempt(&from, &into, own).unwrap().hash;
    assert_eq!(into.library.get(&hash).unwrap().unwrap().origin, Origin::Created);
}

#[test]
fn what_is_here_stays_and_its_damage_is_mended() {
    let world = World::small();
    world.exported();
    assert_eq!(attempt(&world, &world, None).unwrap().before, Before::Whole);
    let capsule = world.capsule();
    let library = &*world.library;
    for file in capsule.files().iter().take(3) {
        fs::write(library.object(&file.blake3), b"rot").unwrap();
    }
    assert_eq!(attempt(&world, &world, None).unwrap().before, Before::Damaged);
    assert!(verify_stored(library, library, &capsule.hash(), &Meter::silent()).unwrap().valid);
    assert_eq!(library.staged(), 0);
}

#[test]
fn what_vanishes_or_shrinks_after_it_was_verified_is_named() {
    let gone = |file: &Path| fs::remove_file(file).unwrap();
    let cut = |file: &Path| fs::write(file, b"RIFF").unwrap();
    let all_gone = |file: &Path| fs::remove_dir_all(file.ancestors().nth(3).unwrap()).unwrap();
    let of_sound = "/media.wav";
    for (meddle, named) in
        [(gone as fn(&Path), of_sound), (cut, of_sound), (all_gone, "INDEX.html")]
    {
        let (from, into) = (World::small(), World::new());
        let path = from.exported();
        let capsule = from.capsule();
        let sound = capsule.files().iter().find(|file| file.mime == "audio/wav").unwrap();
        let file = path.join(sound.path.as_str());
        let verified = AtomicBool::new(false);
        // The first stage verifies and the second one reads; each begins with its total.
        let on_progress: OnProgress = Arc::new(move |progress| {
            let begins = progress.done == 0 && progress.total > 0;
            if begins && verified.swap(true, Ordering::Relaxed) && file.exists() {
                meddle(&file);
            }
        });
        let library = &*into.library;
        let meter = Meter::new("importing", 0, &on_progress);
        let error = import(&path, None, library, library, NOW, &meter).unwrap_err();
        assert!(matches!(error, ImportError::ChangedFile(_)), "{error:?}");
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(library.objects() + library.staged(), 0);
    }
}

#[test]
fn a_damaged_export_is_refused_with_its_first_faults() {
    let (from, into) = (World::small(), World::new());
    let path = from.exported();
    for (name, bytes) in tree(&path).into_iter().filter(|(name, _)| !name.ends_with('/')) {
        fs::write(path.join(&name), [&bytes[..], b"x"].concat()).unwrap();
        let error = attempt(&from, &into, None).unwrap_err().to_string();
        assert!(error.contains(&name), "{name}: {error}");
        fs::remove_file(path.join(&name)).unwrap();
        if name == "HASH.txt" {
            // It need not be there.
            fs::write(path.join(&name), bytes).unwrap();
            continue;
        }
        let error = attempt(&from, &into, None).unwrap_err().to_string();
        assert!(error.contains(&name), "{name}: {error}");
        fs::write(path.join(&name), bytes).unwrap();
    }
    assert_eq!(into.library.objects() + into.library.staged(), 0);
    let media = path.join("memories");
    fs::remove_dir_all(media).unwrap();
    let error = attempt(&from, &into, None).unwrap_err().to_string();
    assert!(error.contains("more"), "only the first are named: {error}");
}
