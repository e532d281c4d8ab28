//! A tessera that is dropped while something of it is on its way here.

use std::sync::Barrier;

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    FragmentStore as _, HoldingRepository as _, StoreError, TesseraRepository as _, Workbench as _,
};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::time::Timestamp;

use tesseras_storage::Store;

use crate::things::{
    add, assert_tidy, content, dossier, fragment, manifest, open, put, record, stage, tessera, tree,
};

fn is_blocked<T>(outcome: &Result<T, StoreError>) -> bool {
    matches!(outcome, Err(StoreError::Blocked(_)))
}

#[test]
fn a_capsule_that_was_dropped_on_its_way_does_not_enter_the_library() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let files = [content(2, 5000)];
    let manifest = manifest(1, &files);
    let hash = record(&manifest).hash;
    store.library().unblock(&hash).unwrap();
    // By another process, while the capsule is staged.
    open(dir.path()).holdings().block(&hash, Timestamp(1)).unwrap();
    assert!(is_blocked(&add(&store, &manifest, &files)));
    assert_eq!(store.library().list().unwrap(), []);
    assert_tidy(&store);
    assert!(tree(&dir.path().join("cas")).is_empty());
    assert!(tree(&dir.path().join("library")).is_empty());
    store.library().unblock(&hash).unwrap();
    assert!(add(&store, &manifest, &files).unwrap(), "its owner asks for it again");
    assert_tidy(&store);
}

#[test]
fn a_piece_and_a_dossier_that_were_dropped_on_their_way_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bytes = content(3, 5000);
    let held = fragment(1, 0, &bytes);
    store.holdings().block(&tessera(1), Timestamp(1)).unwrap();
    assert!(is_blocked(&put(&store, &held, &bytes)));
    let manifest = content(4, 100);
    let hash = record(&manifest).hash;
    store.holdings().block(&hash, Timestamp(1)).unwrap();
    assert!(is_blocked(&store.holdings().put_dossier(&hash, &dossier(&manifest))));
    assert_eq!(store.fragments().totals().unwrap(), (0, 0));
    assert_tidy(&store);
    assert!(tree(&dir.path().join("cas")).is_empty());
}

#[test]
fn what_is_dropped_is_not_to_be_published_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    for number in 0..60 {
        let manifest = content(1000 + number, 100);
        let hash = record(&manifest).hash;
        assert!(add(&stores[0], &manifest, &[]).unwrap());
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let noting = scope.spawn(|| {
                let (holdings, wanted) = (stores[0].holdings(), PublicationEvent::Wanted);
                start.wait();
                holdings.note_publication_unless_dropped(&hash, wanted).unwrap()
            });
            start.wait();
            stores[1].holdings().block(&hash, Timestamp(1)).unwrap();
            noting.join().unwrap();
        });
        assert_eq!(stores[0].holdings().list_publications().unwrap(), [], "{number}");
        stores[1].library().remove(&hash).unwrap();
    }
    let kept = (content(1, 100), PublicationEvent::Published);
    let hash = record(&kept.0).hash;
    assert!(add(&stores[0], &kept.0, &[]).unwrap());
    let holdings = stores[0].holdings();
    let noted = holdings.note_publication_unless_dropped(&hash, kept.1).unwrap();
    assert!(noted.unwrap().published);
}

#[test]
fn nothing_is_left_of_a_tessera_whose_drop_races_what_stores_it() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path()), open(dir.path())];
    for number in 0..40 {
        let (files, piece) = ([content(number, 300)], content(2000 + number, 300));
        let manifest = manifest(number, &files);
        let hash = record(&manifest).hash;
        let held = tesseras_core::ports::HeldPiece { tessera: hash, ..fragment(0, 0, &piece) };
        let start = Barrier::new(3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                let added = add(&stores[0], &manifest, &files);
                assert!(matches!(added, Ok(true) | Err(StoreError::Blocked(_))), "{added:?}");
            });
            scope.spawn(|| {
                start.wait();
                let kept = stores[1].holdings().put_dossier(&hash, &dossier(&manifest));
                let stored = put(&stores[1], &held, &piece);
                assert!(matches!(kept, Ok(true) | Err(StoreError::Blocked(_))), "{kept:?}");
                assert!(matches!(stored, Ok(()) | Err(StoreError::Blocked(_))), "{stored:?}");
            });
            // As `tes drop` does.
            start.wait();
            stores[2].holdings().block(&hash, Timestamp(1)).unwrap();
            stores[2].library().remove(&hash).unwrap();
            for piece in stores[2].fragments().list_fragments(&hash).unwrap() {
                stores[2].fragments().delete_fragment(&piece).unwrap();
            }
        });
        assert_eq!(stores[0].library().get(&hash).unwrap(), None);
        assert_eq!(stores[0].fragments().list_fragments(&hash).unwrap(), []);
        assert_eq!(stores[0].holdings().dossier(&hash).unwrap(), None);
    }
    assert_tidy(&stores[0]);
}

fn pin(store: &Store, tessera: &TesseraHash, number: u64, now: u64) -> Result<(), StoreError> {
    let staged = stage(store, &content(number, 300)).unwrap();
    store.workbench().pin(tessera, staged, Timestamp(now))
}

#[test]
fn nothing_of_a_dropped_tessera_is_kept_for_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = tessera(1);
    pin(&store, &hash, 1, 10).unwrap();
    // As `tes drop` does, while the task goes on.
    open(dir.path()).holdings().block(&hash, Timestamp(10)).unwrap();
    open(dir.path()).workbench().unpin(&hash).unwrap();
    assert!(is_blocked(&pin(&store, &hash, 2, 11)));
    assert!(!dir.path().join("tmp/tasks").join(hash.to_string()).exists());
    drop(store);
    assert_eq!(open(dir.path()).sweep_tmp().unwrap().files, 0, "it is not left in another place");
}

#[test]
fn what_was_pinned_of_a_dropped_tessera_is_removed_whatever_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (dropped, kept) = (tessera(1), tessera(2));
    pin(&store, &dropped, 1, 10).unwrap();
    pin(&store, &kept, 2, 10).unwrap();
    // The command was killed before it removed the rest.
    store.holdings().block(&dropped, Timestamp(10)).unwrap();
    store.workbench().unpin_before(Timestamp(5)).unwrap();
    assert_eq!(store.workbench().pinned(&dropped).unwrap(), []);
    assert_eq!(store.workbench().pinned(&kept).unwrap().len(), 1);
}

#[test]
fn nothing_stays_pinned_of_a_tessera_whose_drop_races_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    for number in 0..60 {
        let (hash, start) = (tessera(number), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for piece in 0..10 {
                    let pinned = pin(&stores[0], &hash, piece, 10);
                    assert!(matches!(pinned, Ok(()) | Err(StoreError::Blocked(_))), "{pinned:?}");
                }
            });
            start.wait();
            stores[1].holdings().block(&hash, Timestamp(10)).unwrap();
            stores[1].workbench().unpin(&hash).unwrap();
        });
        assert_eq!(stores[0].workbench().pinned(&hash).unwrap(), [], "{number}");
    }
    assert_eq!(tree(&dir.path().join("tmp/tasks")).len(), 0);
}
