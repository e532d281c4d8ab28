//! The cache over a store that counts, waits, and returns wrong bytes on demand; and against a
//! simple model with threads.

use std::collections::VecDeque;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use prometheus::{Encoder as _, Registry, TextEncoder};
use proptest::prelude::*;
use tesseras_core::contact::Subnet;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::PeerAt;
use tesseras_crypto::hash::blake3;

use super::*;

/// A fragment store in memory. Its `StagedBlob`s carry the number of their content.
#[derive(Default)]
struct Inner {
    held: Mutex<HashMap<Key, (HeldPiece, Vec<u8>)>>,
    reads: AtomicUsize,
    /// How long a read takes.
    pace: Duration,
    /// What the next readers get instead of the bytes.
    lie: Mutex<Option<Vec<u8>>>,
    /// Looked at whenever the store is read.
    cache: Mutex<Weak<CachedFragmentStore>>,
    used_at_read: AtomicU64,
    /// Whether a piece is read through the cache at the last moment before it is deleted.
    is_read_before_it_goes: AtomicBool,
}

struct Bytes(Vec<u8>, Duration);

impl BlobReader for Bytes {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(offset, buffer.len(), self.bytes())?;
        std::thread::sleep(self.1);
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

/// The same store for the cache and for the test.
#[derive(Clone, Default)]
struct Shared(Arc<Inner>);

impl std::ops::Deref for Shared {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FragmentStore for Shared {
    fn store_fragment(
        &self,
        fragment: &HeldPiece,
        staged: StagedBlob,
        _: &Charge,
    ) -> Result<(), StoreError> {
        let number = staged.name.parse().unwrap();
        let bytes = content(number, staged.bytes as usize);
        let key = (fragment.tessera, fragment.piece);
        lock(&self.held).entry(key).or_insert((*fragment, bytes));
        Ok(())
    }

    fn list_fragments(&self, _: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        Ok(lock(&self.held).values().map(|held| held.0).collect())
    }

    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        self.list_fragments(tessera)
    }

    fn list_attestable_fragments(
        &self,
        tessera: &TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        self.list_fragments(tessera)
    }

    fn mark_damaged(&self, _: &HeldPiece) -> Result<bool, StoreError> {
        unreachable!("the cache finds no damage")
    }

    fn count_damaged(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn read_fragment(&self, fragment: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError> {
        if let Some(cache) = lock(&self.cache).upgrade() {
            self.used_at_read.store(cache.used_bytes(), Ordering::SeqCst);
        }
        let held = lock(&self.held).get(&(fragment.tessera, fragment.piece)).cloned();
        // Counted once the piece is in hand: a thread that sees the count may delete it.
        self.reads.fetch_add(1, Ordering::SeqCst);
        match held {
            Some((known, bytes)) if known == *fragment => {
                let bytes = lock(&self.lie).clone().unwrap_or(bytes);
                Ok(Box::new(Bytes(bytes, self.pace)))
            }
            _ => Err(StoreError::Missing(fragment.checksum)),
        }
    }

    fn delete_fragment(&self, fragment: &HeldPiece) -> Result<bool, StoreError> {
        if self.is_read_before_it_goes.load(Ordering::SeqCst) {
            let cache = lock(&self.cache).upgrade().unwrap();
            read(&*cache, fragment).unwrap();
        }
        let mut held = lock(&self.held);
        let key = (fragment.tessera, fragment.piece);
        let known = held.get(&key).is_some_and(|(known, _)| known == fragment);
        Ok(known && held.remove(&key).is_some())
    }

    fn held_tesserae(
        &self,
        _: Option<&TesseraHash>,
        _: usize,
    ) -> Result<Vec<TesseraHash>, StoreError> {
        Ok(Vec::new())
    }

    fn totals(&self) -> Result<(u64, u64), StoreError> {
        Ok((0, 0))
    }
}

fn content(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length.max(8), number as u8);
    bytes
}

fn fragment(index: u8, number: u64, length: usize) -> HeldPiece {
    let bytes = content(number, length);
    HeldPiece {
        tessera: TesseraHash::new([0; 32]),
        piece: Piece::Index(index),
        checksum: blake3(&bytes),
        bytes: bytes.len() as u64,
    }
}

fn store(cache: &dyn FragmentStore, fragment: &HeldPiece, number: u64) {
    let staged =
        StagedBlob { hash: fragment.checksum, bytes: fragment.bytes, name: number.to_string() };
    let placer = PeerAt { id: NodeId::new([1; 20]), subnet: Subnet::V4([10, 0, 0]) };
    cache.store_fragment(fragment, staged, &Charge::Repair(placer)).unwrap();
}

fn read(cache: &dyn FragmentStore, fragment: &HeldPiece) -> Result<Vec<u8>, StoreError> {
    let reader = cache.read_fragment(fragment)?;
    let mut bytes = vec![0; reader.bytes() as usize];
    reader.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// All bytes of a piece, shared with the cache if it has them.
fn share(cache: &dyn FragmentStore, fragment: &HeldPiece) -> Result<bytes::Bytes, StoreError> {
    cache.read_fragment(fragment)?.read_chunk(0, usize::MAX)
}

fn cache_of(max_bytes: u64, pace: Duration) -> (Shared, Arc<CachedFragmentStore>) {
    let inner = Shared(Arc::new(Inner { pace, ..Inner::default() }));
    let cache = Arc::new(CachedFragmentStore::new(Box::new(inner.clone()), max_bytes));
    *lock(&inner.cache) = Arc::downgrade(&cache);
    (inner, cache)
}

fn reads(inner: &Inner) -> usize {
    inner.reads.load(Ordering::SeqCst)
}

#[test]
fn a_hit_skips_the_inner_store_and_is_counted() {
    let registry = Registry::new();
    let inner = Shared::default();
    let cache = CachedFragmentStore::new(Box::new(inner.clone()), 8000)
        .with_metrics(StorageMetrics::new(&registry).unwrap());
    let piece = fragment(1, 1, 1000);
    store(&cache, &piece, 1);
    assert_eq!((reads(&inner), cache.used_bytes()), (0, 0), "storing fills nothing");
    for _ in 0..3 {
        assert_eq!(read(&cache, &piece).unwrap(), content(1, 1000));
    }
    assert_eq!((reads(&inner), cache.used_bytes()), (1, 1000));

    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in [
        "tesseras_fragment_cache_hits_total 2",
        "tesseras_fragment_cache_misses_total 1",
        "tesseras_fragment_cache_bytes 1000",
        "# HELP tesseras_fragment_cache_hits_total Reads of held pieces that were served from \
         memory.",
        "# TYPE tesseras_fragment_cache_hits_total counter",
        "# HELP tesseras_fragment_cache_misses_total Reads of held pieces that went to the disk.",
        "# TYPE tesseras_fragment_cache_misses_total counter",
        "# HELP tesseras_fragment_cache_bytes Bytes of held pieces in memory.",
        "# TYPE tesseras_fragment_cache_bytes gauge",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    assert_eq!(text.lines().count(), 9, "three metrics, and no other:\n{text}");
}

#[test]
fn the_gauge_follows_every_byte_in_and_out() {
    let metrics = StorageMetrics::new(&Registry::new()).unwrap();
    let inner = Shared::default();
    let cache = CachedFragmentStore::new(Box::new(inner.clone()), 8000);
    let pieces: Vec<HeldPiece> = (0..9).map(|i| fragment(i, u64::from(i), 1000)).collect();
    for (piece, number) in pieces.iter().zip(0..) {
        store(&cache, piece, number);
    }
    // Bytes that came in before they were counted count, too.
    let lent = share(&cache, &pieces[0]).unwrap();
    let cache = cache.with_metrics(metrics.clone());
    let gauge = || metrics.fragment_cache_bytes.get();
    assert_eq!(gauge(), 1000);
    for piece in &pieces {
        read(&cache, piece).unwrap();
        assert_eq!(gauge() as u64, cache.used_bytes());
    }
    assert_eq!(gauge(), 8000);
    *lock(&inner.lie) = Some(vec![0; 1000]);
    cache.delete_fragment(&pieces[0]).unwrap();
    cache.delete_fragment(&pieces[8]).unwrap();
    store(&cache, &pieces[8], 8);
    assert!(read(&cache, &pieces[8]).is_err(), "what was read for nothing is not kept");
    assert_eq!(gauge(), 7000, "the last one is gone, the first one is lent");
    drop(lent);
    assert_eq!(gauge(), 6000);
    drop(cache);
    assert_eq!(gauge(), 0);
}

#[test]
fn what_is_stored_or_deleted_is_dropped() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let (old, new) = (fragment(1, 1, 500), fragment(1, 2, 500));
    store(&*cache, &old, 1);
    read(&*cache, &old).unwrap();
    store(&*cache, &old, 1);
    assert_eq!(cache.used_bytes(), 0);
    read(&*cache, &old).unwrap();
    assert!(cache.delete_fragment(&old).unwrap());
    assert_eq!(cache.used_bytes(), 0);
    assert!(matches!(read(&*cache, &old), Err(StoreError::Missing(_))));
    store(&*cache, &new, 2);
    assert_eq!(read(&*cache, &new).unwrap(), content(2, 500));
    assert!(matches!(read(&*cache, &old), Err(StoreError::Missing(_))), "same name, other bytes");
    assert_eq!(reads(&inner), 5);
}

#[test]
fn the_least_recently_used_goes_first_and_the_bound_holds_before_the_read() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let pieces: Vec<HeldPiece> = (0..9).map(|i| fragment(i, u64::from(i), 1000)).collect();
    for (piece, number) in pieces.iter().zip(0..) {
        store(&*cache, piece, number);
    }
    for piece in &pieces[..8] {
        read(&*cache, piece).unwrap();
    }
    read(&*cache, &pieces[0]).unwrap();
    assert_eq!((reads(&inner), cache.used_bytes()), (8, 8000));
    read(&*cache, &pieces[8]).unwrap();
    // While the ninth was read, the room for it was already counted, and the second had gone.
    assert_eq!(inner.used_at_read.load(Ordering::SeqCst), 8000);
    read(&*cache, &pieces[0]).unwrap();
    assert_eq!(reads(&inner), 9);
    read(&*cache, &pieces[1]).unwrap();
    assert_eq!((reads(&inner), cache.used_bytes()), (10, 8000));
}

#[test]
fn a_large_piece_is_streamed_past() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let (large, largest_kept) = (fragment(1, 1, 1001), fragment(2, 2, 1000));
    store(&*cache, &large, 1);
    store(&*cache, &largest_kept, 2);
    for _ in 0..2 {
        read(&*cache, &large).unwrap();
        read(&*cache, &largest_kept).unwrap();
    }
    assert_eq!((reads(&inner), cache.used_bytes()), (3, 1000));
}

#[test]
fn bytes_in_use_count_until_they_are_let_go() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let pieces: Vec<HeldPiece> = (0..10).map(|i| fragment(i, u64::from(i), 1000)).collect();
    for (piece, number) in pieces.iter().zip(0..) {
        store(&*cache, piece, number);
    }
    let readers: Vec<_> = pieces[..8].iter().map(|p| cache.read_fragment(p).unwrap()).collect();
    assert!(cache.delete_fragment(&pieces[0]).unwrap());
    assert_eq!(cache.used_bytes(), 8000, "its reader still holds it");
    // No room can be made, so the read bypasses the cache.
    read(&*cache, &pieces[8]).unwrap();
    read(&*cache, &pieces[8]).unwrap();
    assert_eq!((reads(&inner), cache.used_bytes()), (10, 8000));
    drop(readers);
    assert_eq!(cache.used_bytes(), 7000);
    read(&*cache, &pieces[8]).unwrap();
    assert_eq!(cache.used_bytes(), 8000);
}

#[test]
fn a_hit_hands_out_the_cached_bytes_themselves() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let piece = fragment(1, 1, 1000);
    store(&*cache, &piece, 1);
    let first = cache.read_fragment(&piece).unwrap().read_chunk(100, 700).unwrap();
    let second = cache.read_fragment(&piece).unwrap().read_chunk(200, usize::MAX).unwrap();
    assert_eq!((&first[..], &second[..]), (&content(1, 1000)[100..800], &content(1, 1000)[200..]));
    assert_eq!(first[100..].as_ptr(), second.as_ptr(), "one memory for both");
    assert_eq!((reads(&inner), cache.used_bytes()), (1, 1000));
}

#[test]
fn bytes_handed_out_count_until_the_last_of_them_is_let_go() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let pieces: Vec<HeldPiece> = (0..10).map(|i| fragment(i, u64::from(i), 1000)).collect();
    for (piece, number) in pieces.iter().zip(0..) {
        store(&*cache, piece, number);
    }
    let mut chunks: Vec<_> = pieces[..8]
        .iter()
        .map(|piece| cache.read_fragment(piece).unwrap().read_chunk(990, 10).unwrap())
        .collect();
    assert!(cache.delete_fragment(&pieces[0]).unwrap());
    assert_eq!(cache.used_bytes(), 8000, "ten bytes of it keep all of it in memory");
    // No room can be made while every entry is in use, so the reads bypass the cache.
    for _ in 0..2 {
        read(&*cache, &pieces[8]).unwrap();
    }
    assert_eq!((reads(&inner), cache.used_bytes()), (10, 8000));
    // The first is deleted, and goes with its last chunk.
    let last = chunks[0].clone();
    chunks[0].clear();
    assert_eq!(cache.used_bytes(), 8000);
    assert_eq!(last[..], content(0, 1000)[990..]);
    drop(last);
    assert_eq!(cache.used_bytes(), 7000);
    read(&*cache, &pieces[8]).unwrap();
    assert_eq!(cache.used_bytes(), 8000);
    // An entry that no reader uses makes room for the next.
    drop(chunks);
    read(&*cache, &pieces[9]).unwrap();
    read(&*cache, &pieces[9]).unwrap();
    assert_eq!((reads(&inner), cache.used_bytes()), (12, 8000));
}

#[test]
fn damaged_bytes_are_noticed_and_not_kept() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let piece = fragment(1, 1, 1000);
    store(&*cache, &piece, 1);
    for lie in [content(2, 1000), content(1, 999), content(1, 1001)] {
        *lock(&inner.lie) = Some(lie);
        assert!(matches!(read(&*cache, &piece), Err(StoreError::Corrupt(_))));
        assert_eq!(cache.used_bytes(), 0);
    }
    *lock(&inner.lie) = None;
    assert_eq!(read(&*cache, &piece).unwrap(), content(1, 1000));
    // Verified once: the bytes now on disk do not matter for a hit.
    *lock(&inner.lie) = Some(content(2, 1000));
    assert_eq!(read(&*cache, &piece).unwrap(), content(1, 1000));
}

#[test]
fn of_many_who_miss_one_reads_the_disk() {
    let (inner, cache) = cache_of(80_000, Duration::from_millis(50));
    let piece = fragment(1, 1, 1000);
    store(&*cache, &piece, 1);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(read(&*cache, &piece).unwrap(), content(1, 1000)));
        }
    });
    assert_eq!(reads(&inner), 1);
}

#[test]
fn a_read_that_a_delete_overtakes_leaves_nothing_behind() {
    let (inner, cache) = cache_of(80_000, Duration::from_millis(100));
    let (old, new) = (fragment(1, 1, 1000), fragment(1, 2, 1000));
    store(&*cache, &old, 1);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| read(&*cache, &old));
        while reads(&inner) == 0 {
            std::thread::yield_now();
        }
        assert!(cache.delete_fragment(&old).unwrap());
        // Does not wait for the slow read, and does not get its result.
        assert!(matches!(read(&*cache, &old), Err(StoreError::Missing(_))));
        store(&*cache, &new, 2);
        assert_eq!(slow.join().unwrap().unwrap(), content(1, 1000), "it asked before");
    });
    assert!(matches!(read(&*cache, &old), Err(StoreError::Missing(_))));
    assert_eq!(read(&*cache, &new).unwrap(), content(2, 1000));
    assert_eq!(cache.used_bytes(), 1000);
}

#[test]
fn what_is_read_while_it_is_deleted_is_dropped_with_it() {
    let (inner, cache) = cache_of(8000, Duration::ZERO);
    let piece = fragment(1, 1, 1000);
    store(&*cache, &piece, 1);
    inner.is_read_before_it_goes.store(true, Ordering::SeqCst);
    assert!(cache.delete_fragment(&piece).unwrap());
    assert_eq!((reads(&inner), cache.used_bytes()), (1, 0));
    assert!(matches!(read(&*cache, &piece), Err(StoreError::Missing(_))));
}

/// One writer goes through versions of one piece while others read: `stored` is the last version
/// whose storing has ended, `leaving` the last whose deletion may have begun, `left` the last
/// whose deletion has ended. Readers keep what they read last, so that the cache is also short of
/// room because of what it has lent.
#[derive(Default)]
struct History {
    stored: AtomicU64,
    leaving: AtomicU64,
    left: AtomicU64,
}

/// How many pieces each racing reader keeps.
const KEPT: usize = 3;

fn race(max_bytes: u64, lengths: &[usize], versions: u64, pace: Duration) {
    let (_inner, cache) = cache_of(max_bytes, pace);
    let histories: Vec<History> = lengths.iter().map(|_| History::default()).collect();
    let version = |index: usize, version: u64| {
        fragment(index as u8, version * 1000 + index as u64, lengths[index])
    };
    let (cache, histories, version) = (&*cache, &histories, &version);
    std::thread::scope(|scope| {
        for (index, history) in histories.iter().enumerate() {
            scope.spawn(move || {
                for v in 1..=versions {
                    store(cache, &version(index, v), v * 1000 + index as u64);
                    history.stored.store(v, Ordering::SeqCst);
                    read(cache, &version(index, v)).unwrap();
                    history.leaving.store(v, Ordering::SeqCst);
                    assert!(cache.delete_fragment(&version(index, v)).unwrap());
                    history.left.store(v, Ordering::SeqCst);
                }
            });
            scope.spawn(move || {
                let mut kept = VecDeque::new();
                loop {
                    let left = history.left.load(Ordering::SeqCst);
                    if left == versions {
                        break;
                    }
                    let stored = history.stored.load(Ordering::SeqCst);
                    for v in left.max(1)..=left + 1 {
                        let outcome = share(cache, &version(index, v));
                        let must_be = stored >= v && history.leaving.load(Ordering::SeqCst) < v;
                        match outcome {
                            Ok(bytes) => {
                                assert!(v > left, "version {v} was read after it had left");
                                kept.push_back((version(index, v).checksum, bytes));
                            }
                            Err(StoreError::Missing(_)) => assert!(!must_be, "version {v} is lost"),
                            Err(other) => panic!("{other}"),
                        }
                        assert!(cache.used_bytes() <= max_bytes);
                    }
                    while kept.len() > KEPT {
                        // Unchanged since it was read, whatever was stored and deleted in the
                        // meantime.
                        let (checksum, bytes) = kept.pop_front().unwrap();
                        assert_eq!(blake3(&bytes), checksum);
                    }
                }
                assert!(kept.iter().all(|(checksum, bytes)| blake3(bytes) == *checksum));
            });
        }
    });
    assert_eq!(cache.used_bytes(), 0, "all is deleted and let go");
    assert!(lock(&cache.state).slots.is_empty() && lock(&cache.state).by_use.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn racing_reads_see_what_a_plain_store_would_show(
        max_bytes in prop_oneof![Just(0_u64), 100..3000_u64, Just(100_000)],
        lengths in prop::collection::vec(8..400_usize, 1..4),
        slow in any::<bool>(),
    ) {
        race(max_bytes, &lengths, 60, Duration::from_micros(if slow { 30 } else { 0 }));
    }

    /// In sequential use, the cache shows exactly what the store below shows, and never exceeds its
    /// bound.
    #[test]
    fn acts_in_turn_show_what_a_plain_store_shows(
        max_bytes in 0..6000_u64,
        acts in prop::collection::vec((0..4_u8, 0..5_u8, 0..3_u64), 1..80),
    ) {
        let (_inner, cache) = cache_of(max_bytes, Duration::ZERO);
        let plain = Shared::default();
        for (act, index, number) in acts {
            let piece = fragment(index, number, 100 + 90 * usize::from(index));
            match act {
                0 => {
                    store(&*cache, &piece, number);
                    store(&plain, &piece, number);
                }
                1 => prop_assert_eq!(
                    cache.delete_fragment(&piece).unwrap(),
                    plain.delete_fragment(&piece).unwrap()
                ),
                _ => prop_assert_eq!(read(&*cache, &piece).ok(), read(&plain, &piece).ok()),
            }
            prop_assert!(cache.used_bytes() <= max_bytes);
        }
    }
}
