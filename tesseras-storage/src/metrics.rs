//! The store's Prometheus metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntGauge, Registry};

/// The fragment cache's metrics. Clones share their values.
#[derive(Debug, Clone)]
pub struct StorageMetrics {
    /// Reads served from the cache: `tesseras_fragment_cache_hits_total`.
    pub fragment_cache_hits: IntCounter,
    /// Reads from disk, including those of pieces too large for the cache:
    /// `tesseras_fragment_cache_misses_total`.
    pub fragment_cache_misses: IntCounter,
    /// Bytes in the cache, or being read into it: `tesseras_fragment_cache_bytes`.
    pub fragment_cache_bytes: IntGauge,
}

impl StorageMetrics {
    /// Makes the metrics and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            fragment_cache_hits: IntCounter::new(
                "tesseras_fragment_cache_hits_total",
                "Reads of held pieces that were served from memory.",
            )?,
            fragment_cache_misses: IntCounter::new(
                "tesseras_fragment_cache_misses_total",
                "Reads of held pieces that went to the disk.",
            )?,
            fragment_cache_bytes: IntGauge::new(
                "tesseras_fragment_cache_bytes",
                "Bytes of held pieces in memory.",
            )?,
        };
        registry.register(Box::new(metrics.fragment_cache_hits.clone()))?;
        registry.register(Box::new(metrics.fragment_cache_misses.clone()))?;
        registry.register(Box::new(metrics.fragment_cache_bytes.clone()))?;
        Ok(metrics)
    }
}

/// What is stored now, and what happened since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Objects.
    pub objects: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// How often bytes were stored that were an object already.
    pub dedup_hits: u64,
    /// The length of those in bytes.
    pub bytes_saved: u64,
    /// Files that were removed because their last reference was.
    pub deletions: u64,
    /// Files without a row that garbage collection removed.
    pub orphans: u64,
    /// Rows whose references garbage collection corrected.
    pub leaked: u64,
    /// Files without a row that garbage collection left, because they were changed so short ago.
    pub skipped_young: u64,
}

/// The counters of [`ObjectCounts`].
#[derive(Debug, Default)]
pub(crate) struct ObjectCounters {
    pub(crate) dedup_hits: AtomicU64,
    pub(crate) bytes_saved: AtomicU64,
    pub(crate) deletions: AtomicU64,
    pub(crate) orphans: AtomicU64,
    pub(crate) leaked: AtomicU64,
    pub(crate) skipped_young: AtomicU64,
}

impl ObjectCounters {
    /// Their values, for a store with so many objects of so many bytes.
    pub(crate) fn with(&self, objects: u64, bytes: u64) -> ObjectCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ObjectCounts {
            objects,
            bytes,
            dedup_hits: of(&self.dedup_hits),
            bytes_saved: of(&self.bytes_saved),
            deletions: of(&self.deletions),
            orphans: of(&self.orphans),
            leaked: of(&self.leaked),
            skipped_young: of(&self.skipped_young),
        }
    }
}

/// Counts so many more.
pub(crate) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
