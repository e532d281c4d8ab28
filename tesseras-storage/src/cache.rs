//! A fragment store that caches the most recently read pieces of another one.
//!
//! - The bound is on memory that is really in use: the bytes of an entry count from before it is
//!   read until its last reader and its last slice are dropped, evicted or not. Room is made before
//!   the read; if none can be made, or for a piece above an eighth of the bound, the read bypasses
//!   the cache.
//! - Bytes are verified once, when they are loaded; a hit returns them as they are in memory.
//! - Of several concurrent misses of one piece, one reads the disk and the others wait for it.
//! - Storing or deleting a piece drops it here after the inner store is done. A concurrent read of
//!   it may still answer those who asked before; it leaves nothing behind for later ones.
//!
//! Reads that must reach the disk (an audit) use the inner store. A piece that is deleted past this
//! cache may be served until it is evicted: still with the right bytes, since they were verified,
//! but of a piece that is no longer listed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use tesseras_core::buffer::PageBuffer;
use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::lock::{lock, wait};
use tesseras_core::ports::{BlobReader, Charge, FragmentStore, HeldPiece, StagedBlob, StoreError};
use tesseras_crypto::hash::Blake3;

use crate::cas::check_range;
use crate::metrics::StorageMetrics;

/// The largest entry, as a fraction of the cache.
const LARGEST_PART: u64 = 8;
/// How much is read and hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

type Key = (TesseraHash, Piece);

/// A least-recently-used cache, bounded in bytes, around a fragment store.
pub struct CachedFragmentStore {
    inner: Box<dyn FragmentStore>,
    max_bytes: u64,
    state: Mutex<State>,
    /// A load has ended, with success or not.
    loaded: Condvar,
    budget: Arc<Budget>,
    metrics: Option<StorageMetrics>,
}

impl std::fmt::Debug for CachedFragmentStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedFragmentStore")
            .field("max_bytes", &self.max_bytes)
            .field("used_bytes", &self.used_bytes())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    slots: HashMap<Key, Slot>,
    /// Keys of ready slots, by their last use.
    by_use: BTreeMap<u64, Key>,
    /// Counts uses and loads; never repeats.
    clock: u64,
}

enum Slot {
    /// Being read.
    Loading { load: u64 },
    /// In memory.
    Ready { held_piece: HeldPiece, bytes: Arc<Cached>, used: u64 },
}

/// Bytes in memory that the cache counts.
#[derive(Default)]
struct Budget {
    used: AtomicU64,
    gauge: Mutex<Option<prometheus::IntGauge>>,
}

impl Budget {
    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        if let Some(gauge) = &*lock(&self.gauge) {
            gauge.add(bytes as i64);
        }
    }

    fn subtract(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if let Some(gauge) = &*lock(&self.gauge) {
            gauge.sub(bytes as i64);
        }
    }
}

/// Reserved room; released on drop.
struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.subtract(self.bytes);
    }
}

/// Verified bytes and the room they take.
struct Cached {
    bytes: PageBuffer,
    _room: Room,
}

/// Serves a cached piece. Every slice of its bytes, however small, keeps the whole piece in memory,
/// and so the room that it takes.
struct CachedReader(Bytes);

impl CachedReader {
    fn new(cached: Arc<Cached>) -> Self {
        Self(Bytes::from_owner(Lent(cached)))
    }
}

/// A cached piece in the form that [`Bytes`] needs for an owner.
struct Lent(Arc<Cached>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl BlobReader for CachedReader {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn is_verified(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(offset, buffer.len(), self.bytes())?;
        let start = offset as usize;
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }

    fn read_chunk(&self, offset: u64, limit: usize) -> Result<Bytes, StoreError> {
        check_range(offset, 0, self.bytes())?;
        let start = offset as usize;
        Ok(self.0.slice(start..start.saturating_add(limit).min(self.0.len())))
    }
}

/// How a read is served.
enum Step {
    Hit(Arc<Cached>),
    Load { load: u64, room: Room },
    GoPast,
}

impl CachedFragmentStore {
    /// A cache of at most `max_bytes` bytes around `inner`.
    pub fn new(inner: Box<dyn FragmentStore>, max_bytes: u64) -> Self {
        Self {
            inner,
            max_bytes,
            state: Mutex::default(),
            loaded: Condvar::new(),
            budget: Arc::default(),
            metrics: None,
        }
    }

    /// The same cache with metrics.
    pub fn with_metrics(mut self, metrics: StorageMetrics) -> Self {
        let gauge = metrics.fragment_cache_bytes.clone();
        gauge.add(self.used_bytes() as i64);
        *lock(&self.budget.gauge) = Some(gauge);
        self.metrics = Some(metrics);
        self
    }

    /// Bytes that the cache holds in memory now; never above its bound.
    pub fn used_bytes(&self) -> u64 {
        self.budget.used.load(Ordering::SeqCst)
    }

    fn decide(&self, held_piece: &HeldPiece) -> Step {
        if held_piece.bytes > self.max_bytes / LARGEST_PART {
            return Step::GoPast;
        }
        let key = (held_piece.tessera, held_piece.piece);
        let mut state = lock(&self.state);
        loop {
            match state.slots.get(&key) {
                Some(Slot::Loading { .. }) => {
                    state = wait(&self.loaded, state);
                }
                Some(Slot::Ready { held_piece: held, bytes, .. }) => {
                    // A piece under that key with other bytes: the inner store returns the right
                    // error.
                    if held != held_piece {
                        return Step::GoPast;
                    }
                    let bytes = Arc::clone(bytes);
                    state.touch(&key);
                    return Step::Hit(bytes);
                }
                None => {
                    let Some(room) = self.make_room(&mut state, held_piece.bytes) else {
                        return Step::GoPast;
                    };
                    let load = state.tick();
                    state.slots.insert(key, Slot::Loading { load });
                    return Step::Load { load, room };
                }
            }
        }
    }

    /// Evicts the least recently used pieces until there is room. Pieces that are being read would
    /// free nothing, and stay.
    fn make_room(&self, state: &mut State, bytes: u64) -> Option<Room> {
        let mut evicted = Vec::new();
        let mut free = self.max_bytes.saturating_sub(self.used_bytes());
        for (used, key) in &state.by_use {
            if free >= bytes {
                break;
            }
            if let Some(Slot::Ready { bytes: entry, .. }) = state.slots.get(key)
                && Arc::strong_count(entry) == 1
            {
                free += entry.bytes.len() as u64;
                evicted.push((*used, *key));
            }
        }
        if free < bytes {
            return None;
        }
        for (used, key) in evicted {
            state.by_use.remove(&used);
            state.slots.remove(&key);
        }
        // Other threads can only release room: all that take it hold the state's lock, as we do.
        self.budget.add(bytes);
        Some(Room { budget: Arc::clone(&self.budget), bytes })
    }

    /// Reads a piece from the inner store and keeps it, unless it was dropped in the meantime.
    fn load(
        &self,
        held_piece: &HeldPiece,
        load: u64,
        room: Room,
    ) -> Result<Box<dyn BlobReader>, StoreError> {
        let key = (held_piece.tessera, held_piece.piece);
        let ends = LoadEnds { cache: self, key, load };
        let reader = self.inner.read_fragment(held_piece)?;
        if reader.bytes() != held_piece.bytes {
            return Err(StoreError::Corrupt(held_piece.checksum));
        }
        let cached = Arc::new(Cached { bytes: read_verified(&*reader, held_piece)?, _room: room });
        let mut state = lock(&self.state);
        if state.is_loading(&key, load) {
            let used = state.tick();
            state.by_use.insert(used, key);
            let bytes = Arc::clone(&cached);
            state.slots.insert(key, Slot::Ready { held_piece: *held_piece, bytes, used });
        }
        drop(state);
        drop(ends);
        Ok(Box::new(CachedReader::new(cached)))
    }

    /// Drops a piece, and detaches a load of it in progress.
    fn forget(&self, held_piece: &HeldPiece) {
        let key = (held_piece.tessera, held_piece.piece);
        let mut state = lock(&self.state);
        if let Some(Slot::Ready { used, .. }) = state.slots.remove(&key) {
            state.by_use.remove(&used);
        }
        drop(state);
        self.loaded.notify_all();
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn touch(&mut self, key: &Key) {
        let now = self.tick();
        if let Some(Slot::Ready { used, .. }) = self.slots.get_mut(key) {
            self.by_use.remove(used);
            *used = now;
            self.by_use.insert(now, *key);
        }
    }

    fn is_loading(&self, key: &Key, load: u64) -> bool {
        matches!(self.slots.get(key), Some(Slot::Loading { load: current }) if *current == load)
    }
}

/// Ends a load in every case: removes its mark if it is still there, and wakes the waiting threads.
struct LoadEnds<'a> {
    cache: &'a CachedFragmentStore,
    key: Key,
    load: u64,
}

impl Drop for LoadEnds<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.cache.state);
        if state.is_loading(&self.key, self.load) {
            state.slots.remove(&self.key);
        }
        drop(state);
        self.cache.loaded.notify_all();
    }
}

/// The bytes of a piece; [`StoreError::Corrupt`] if they are not what was acknowledged.
fn read_verified(
    reader: &dyn BlobReader,
    held_piece: &HeldPiece,
) -> Result<PageBuffer, StoreError> {
    let corrupt = StoreError::Corrupt(held_piece.checksum);
    let Ok(length) = usize::try_from(held_piece.bytes) else { return Err(corrupt) };
    let mut bytes = PageBuffer::new(length);
    let mut hasher = Blake3::default();
    let mut offset = 0;
    for chunk in bytes.chunks_mut(CHUNK_BYTES) {
        reader.read_at(offset, chunk)?;
        hasher.update(chunk);
        offset += chunk.len() as u64;
    }
    let found: ContentHash = hasher.finish();
    if found != held_piece.checksum {
        return Err(corrupt);
    }
    Ok(bytes)
}

impl FragmentStore for CachedFragmentStore {
    fn store_fragment(
        &self,
        held_piece: &HeldPiece,
        staged: StagedBlob,
        charge: &Charge,
    ) -> Result<(), StoreError> {
        let outcome = self.inner.store_fragment(held_piece, staged, charge);
        self.forget(held_piece);
        outcome
    }

    fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        self.inner.list_fragments(tessera)
    }

    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        self.inner.list_sound_fragments(tessera)
    }

    fn list_attestable_fragments(
        &self,
        tessera: &TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        self.inner.list_attestable_fragments(tessera)
    }

    fn mark_damaged(&self, held_piece: &HeldPiece) -> Result<bool, StoreError> {
        let outcome = self.inner.mark_damaged(held_piece);
        self.forget(held_piece);
        outcome
    }

    fn count_damaged(&self) -> Result<u64, StoreError> {
        self.inner.count_damaged()
    }

    fn read_fragment(&self, held_piece: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError> {
        let step = self.decide(held_piece);
        if let Some(metrics) = &self.metrics {
            match step {
                Step::Hit(_) => metrics.fragment_cache_hits.inc(),
                Step::Load { .. } | Step::GoPast => metrics.fragment_cache_misses.inc(),
            }
        }
        match step {
            Step::Hit(bytes) => Ok(Box::new(CachedReader::new(bytes))),
            Step::Load { load, room } => self.load(held_piece, load, room),
            Step::GoPast => self.inner.read_fragment(held_piece),
        }
    }

    fn delete_fragment(&self, held_piece: &HeldPiece) -> Result<bool, StoreError> {
        let outcome = self.inner.delete_fragment(held_piece);
        self.forget(held_piece);
        outcome
    }

    fn held_tesserae(
        &self,
        after: Option<&TesseraHash>,
        limit: usize,
    ) -> Result<Vec<TesseraHash>, StoreError> {
        self.inner.held_tesserae(after, limit)
    }

    fn totals(&self) -> Result<(u64, u64), StoreError> {
        self.inner.totals()
    }
}

#[cfg(test)]
mod tests;
