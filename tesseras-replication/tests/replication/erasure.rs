//! Packs are encoded and rebuilt over a real store, for every kind of loss.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::{ProptestConfig, Strategy, prop_oneof, proptest};
use tesseras_core::code::{CODED_FROM_BYTES, CodedForm, Piece, WIDE_FROM_BYTES};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, Workbench as _};
use tesseras_core::progress::{Meter, OnProgress};
use tesseras_core::time::Timestamp;
use tesseras_crypto::blake3_of;
use tesseras_replication::erasure::{self, ErasureError, WINDOW};
use tesseras_replication::pieces::PieceSource;
use tesseras_storage::{StorageConfig, Store};

/// A pack whose bytes are a function of their position, so that none need be kept.
struct Pattern(u64);

impl BlobReader for Pattern {
    fn bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset + buffer.len() as u64;
        assert!(end <= self.0 && offset.is_multiple_of(8), "read beyond the end, or askew");
        for (at, eight) in (offset / 8..).zip(buffer.chunks_mut(8)) {
            let bytes = at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            eight.copy_from_slice(&bytes[..eight.len()]);
        }
        Ok(())
    }
}

/// Encodes a pack, loses pieces, and rebuilds them.
fn survives(bytes: u64, lost: &BTreeSet<u8>, wanted: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
    let blobs: Arc<dyn BlobStore> = store.blobs();
    let tessera = TesseraHash::new([1; 32]);
    let pack: Arc<dyn BlobReader> = Arc::new(Pattern(bytes));
    let done = Arc::new(AtomicU64::new(0));
    let on_progress: OnProgress = {
        let done = done.clone();
        Arc::new(move |progress| done.store(progress.done, Ordering::Relaxed))
    };
    let meter = Meter::new("encoding", u64::MAX, &on_progress);
    let encoded = erasure::encode(&pack, &blobs, &meter).unwrap();
    assert!(done.load(Ordering::Relaxed) >= bytes, "all of it was worked on");
    assert_eq!(encoded.pack_hash, blake3_of(&*pack).unwrap());
    let form = CodedForm::of_pack(bytes).unwrap();
    assert_eq!(encoded.parity.len(), usize::from(form.shape.m));
    for staged in encoded.parity {
        assert_eq!(staged.bytes, form.fragment_bytes);
        store.workbench().pin(&tessera, staged.take(), Timestamp(0)).unwrap();
    }
    let plan = Plan::new(tessera, bytes, encoded.pack_hash, encoded.checksums).unwrap();
    let at_hand =
        |pack| PieceSource::new(plan.clone(), blobs.clone(), store.workbench(), pack).unwrap();
    let source = at_hand(Some(pack));
    let left: Vec<_> = (0..form.shape.n())
        .filter(|index| !lost.contains(index))
        .map(|index| (index, source.open(Piece::Index(index)).unwrap()))
        .collect();
    let rebuilt = erasure::rebuild(&left, form, wanted, &blobs, &Meter::silent()).unwrap();
    assert_eq!(rebuilt.len(), wanted.len());
    for (index, staged) in wanted.iter().zip(rebuilt) {
        assert_eq!(Some(staged.hash), plan.checksum(Piece::Index(*index)), "piece {index}");
        assert_eq!(staged.bytes, form.fragment_bytes);
        store.workbench().pin(&tessera, staged.take(), Timestamp(0)).unwrap();
    }
    if (0..form.shape.k).all(|index| wanted.contains(&index)) {
        // From the fragments alone, without the pack: they are the pack.
        assert_eq!(blake3_of(&*at_hand(None).pack().unwrap()).unwrap(), plan.pack_hash());
    }
}

fn around_boundaries() -> impl Strategy<Value = u64> {
    let unit = 16 * 1024; // One more unit in each of sixteen fragments.
    let window = 16 * WINDOW as u64;
    prop_oneof![
        CODED_FROM_BYTES..CODED_FROM_BYTES + 3,
        CODED_FROM_BYTES + unit - 2..CODED_FROM_BYTES + unit + 3,
        CODED_FROM_BYTES + window - 2..CODED_FROM_BYTES + window + 3,
        CODED_FROM_BYTES..CODED_FROM_BYTES + 2 * window,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_sixteen_of_twenty_four_rebuild_the_rest(
        bytes in around_boundaries(),
        lost in proptest::collection::btree_set(0_u8..24, 0..=8),
    ) {
        survives(bytes, &lost, &lost.iter().copied().collect::<Vec<_>>());
    }
}

#[test]
fn all_data_comes_back_from_parity_and_the_rest() {
    survives(CODED_FROM_BYTES + 1, &(0..8).collect(), &(0..16).collect::<Vec<_>>());
}

#[test]
fn the_wide_code_begins_where_it_should_and_rebuilds_as_well() {
    survives(WIDE_FROM_BYTES, &(20..44).collect(), &[20, 43, 47, 48, 71]);
}

/// A pack whose end cannot be read.
struct Breaks(Arc<dyn BlobReader>);

impl BlobReader for Breaks {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        if offset + buffer.len() as u64 > self.bytes() - 1000 {
            return Err(StoreError::Corrupt(ContentHash::new([0; 32])));
        }
        self.0.read_at(offset, buffer)
    }
}

#[test]
fn too_few_pieces_and_a_disk_that_breaks_midway_leave_nothing_staged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &StorageConfig::default()).unwrap();
    let blobs: Arc<dyn BlobStore> = store.blobs();
    let pack: Arc<dyn BlobReader> = Arc::new(Pattern(CODED_FROM_BYTES));
    let form = CodedForm::of_pack(CODED_FROM_BYTES).unwrap();
    let data = |index| -> (u8, Arc<dyn BlobReader>) {
        (index, Arc::new(erasure::DataFragment::new(pack.clone(), form, index)))
    };
    let staged = || {
        let own = std::fs::read_dir(dir.path().join("tmp")).unwrap().next().unwrap().unwrap();
        std::fs::read_dir(own.path()).unwrap().count()
    };
    let mut pieces: Vec<_> = (0..15).map(data).collect();
    pieces.push(data(3)); // The same once more is no more.
    let error =
        erasure::rebuild(&pieces, form, &[15], &blobs, &Meter::silent()).err().expect("too few");
    assert!(matches!(error, ErasureError::TooFew { found: 15, needed: 16 }), "{error}");
    assert_eq!(staged(), 0);

    let breaks: Arc<dyn BlobReader> = Arc::new(Breaks(pack.clone()));
    let error = erasure::encode(&breaks, &blobs, &Meter::silent()).err().expect("it breaks");
    assert!(matches!(error, ErasureError::Store(StoreError::Corrupt(_))), "{error}");
    assert_eq!(staged(), 0);
    pieces.push((15, Arc::new(erasure::DataFragment::new(breaks, form, 15))));
    let error = erasure::rebuild(&pieces, form, &[20, 21], &blobs, &Meter::silent())
        .err()
        .expect("it breaks");
    assert!(matches!(error, ErasureError::Store(StoreError::Corrupt(_))), "{error}");
    assert_eq!(staged(), 0);
}
