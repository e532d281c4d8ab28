//! Reference counts against a model: whatever is named by whichever repositories, exactly what
//! something names is stored.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HoldingRepository as _, StoreError, TesseraRepository as _,
};
use tesseras_core::time::Timestamp;
use tesseras_crypto::hash::blake3;
use tesseras_storage::Store;

use crate::things::{add, content, dossier, fragment, manifest, open, put};

#[derive(Debug, Clone)]
enum Act {
    Store { place: u8, content: u64 },
    Delete { place: u8 },
    Add { manifest: u64 },
    Remove { manifest: u64 },
    PutDossier { manifest: u64 },
    Block { manifest: u64 },
    Unblock { manifest: u64 },
    Reopen,
}

/// Few places and contents, so that they meet: a photo may be a fragment, too, or a MANIFEST.
fn act() -> impl Strategy<Value = Act> {
    let number = 0..6_u64;
    prop_oneof![
        4 => (0..4_u8, number.clone()).prop_map(|(place, content)| Act::Store { place, content }),
        3 => (0..4_u8).prop_map(|place| Act::Delete { place }),
        3 => (FIRST_MANIFEST..6).prop_map(|manifest| Act::Add { manifest }),
        2 => number.clone().prop_map(|manifest| Act::Remove { manifest }),
        2 => number.clone().prop_map(|manifest| Act::PutDossier { manifest }),
        2 => number.clone().prop_map(|manifest| Act::Block { manifest }),
        2 => number.prop_map(|manifest| Act::Unblock { manifest }),
        1 => Just(Act::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    fragments: BTreeMap<u8, u64>,
    library: BTreeSet<u64>,
    dossiers: BTreeSet<u64>,
    blocked: BTreeSet<u64>,
}

/// The contents from this one on are MANIFESTs.
const FIRST_MANIFEST: u64 = 3;

/// The contents that a MANIFEST names: with others in common, and one of them is a MANIFEST itself.
fn files(manifest: u64) -> [u64; 2] {
    [manifest - 3, manifest - 2]
}

fn bytes(number: u64) -> Vec<u8> {
    match number < FIRST_MANIFEST {
        true => content(number, 100 + number as usize),
        false => manifest(number, &files(number).map(bytes)),
    }
}

fn hash(number: u64) -> ContentHash {
    blake3(&bytes(number))
}

impl Model {
    fn named(&self) -> BTreeSet<u64> {
        let files = self.library.iter().flat_map(|manifest| files(*manifest));
        let others = self.fragments.values().chain(&self.library).chain(&self.dossiers);
        others.copied().chain(files).collect()
    }

    fn apply(&mut self, store: &Store, act: &Act) {
        match act {
            Act::Store { place, content } => {
                let wanted = fragment(1, *place, &bytes(*content));
                let outcome = put(store, &wanted, &bytes(*content));
                match self.fragments.get(place) {
                    Some(held) if held != content => {
                        assert!(matches!(outcome, Err(StoreError::Mismatch { .. })));
                    }
                    _ => {
                        outcome.unwrap();
                        self.fragments.insert(*place, *content);
                    }
                }
            }
            Act::Delete { place } => {
                let held = self.fragments.remove(place);
                let named = fragment(1, *place, &bytes(held.unwrap_or(0)));
                assert_eq!(store.fragments().delete_fragment(&named).unwrap(), held.is_some());
            }
            Act::Add { manifest } => {
                let added = add(store, &bytes(*manifest), &files(*manifest).map(bytes));
                if self.blocked.contains(manifest) {
                    assert!(matches!(added, Err(StoreError::Blocked(_))));
                    return;
                }
                assert_eq!(added.unwrap(), self.library.insert(*manifest));
            }
            Act::Remove { manifest } => {
                let removed = store.library().remove(&hash(*manifest).into()).unwrap();
                assert_eq!(removed.is_some(), self.library.remove(manifest));
            }
            Act::PutDossier { manifest } => {
                let dossier = dossier(&bytes(*manifest));
                let kept = store.holdings().put_dossier(&hash(*manifest).into(), &dossier);
                if self.blocked.contains(manifest) {
                    assert!(matches!(kept, Err(StoreError::Blocked(_))));
                    return;
                }
                assert!(kept.unwrap());
                self.dossiers.insert(*manifest);
            }
            Act::Block { manifest } => {
                store.holdings().block(&hash(*manifest).into(), Timestamp(1)).unwrap();
                self.dossiers.remove(manifest);
                self.blocked.insert(*manifest);
            }
            Act::Unblock { manifest } => {
                store.library().unblock(&hash(*manifest).into()).unwrap();
                self.blocked.remove(manifest);
            }
            Act::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn exactly_what_is_named_is_stored(acts in prop::collection::vec(act(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model = Model::default();
        for act in &acts {
            if matches!(act, Act::Reopen) {
                drop(store);
                store = open(dir.path());
            }
            model.apply(&store, act);
            let named = model.named();
            for number in 0..6 {
                prop_assert_eq!(
                    store.blobs().contains(&hash(number)).unwrap(),
                    named.contains(&number)
                );
            }
        }
        let check = store.check().unwrap();
        prop_assert!(check.is_tidy(), "{:?}", check);
        prop_assert_eq!(check.objects, model.named().len() as u64);
    }
}
