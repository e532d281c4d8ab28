//! The store's Prometheus metrics.

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
