//! Metrics of the connections, in both directions.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of the connection pool, and of the connections that others made. Clones share their
/// counters.
#[derive(Debug, Clone)]
pub struct NetMetrics {
    /// `tesseras_conn_pool_size`: connections in the pool now.
    pub pool_size: IntGauge,
    /// `tesseras_conn_pool_hits_total`: requests that found a connection, or joined a handshake in
    /// progress.
    pub pool_hits: IntCounter,
    /// `tesseras_conn_pool_misses_total`: handshakes that were started.
    pub pool_misses: IntCounter,
    /// `tesseras_conn_pool_evictions_total{reason}`: connections that left the pool; see
    /// [`Eviction`] for the reasons.
    pub pool_evictions: IntCounterVec,
    /// `tesseras_inbound_connections`: connections that other nodes have made to this one, and that
    /// are open now; handshakes in progress do not count.
    pub inbound_connections: IntGauge,
}

/// Why a connection left the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// `capacity`: another connection needed its place.
    Capacity,
    /// `idle`: it was unused for the pool's idle timeout.
    Idle,
    /// `dead`: it broke, or the peer closed it.
    Dead,
}

impl Eviction {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Capacity, Self::Idle, Self::Dead];

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Idle => "idle",
            Self::Dead => "dead",
        }
    }
}

impl NetMetrics {
    /// Metrics that are not registered anywhere.
    pub fn unregistered() -> Self {
        let counter = |name: &str, help: &str| {
            IntCounter::new(name, help).expect("the name is a valid constant")
        };
        let metrics = Self {
            pool_size: IntGauge::new("tesseras_conn_pool_size", "Connections in the pool.")
                .expect("the name is a valid constant"),
            pool_hits: counter(
                "tesseras_conn_pool_hits_total",
                "Requests that found a connection in the pool.",
            ),
            pool_misses: counter(
                "tesseras_conn_pool_misses_total",
                "Handshakes begun because the pool had no connection.",
            ),
            pool_evictions: IntCounterVec::new(
                Opts::new(
                    "tesseras_conn_pool_evictions_total",
                    "Connections that left the pool, by reason.",
                ),
                &["reason"],
            )
            .expect("name and label are valid constants"),
            inbound_connections: IntGauge::new(
                "tesseras_inbound_connections",
                "Connections that other nodes have made to this one.",
            )
            .expect("the name is a valid constant"),
        };
        for reason in Eviction::ALL {
            metrics.evictions(reason);
        }
        metrics
    }

    /// Metrics registered with `registry`. Fails if it already has one of the names.
    pub fn with_metrics(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::unregistered();
        registry.register(Box::new(metrics.pool_size.clone()))?;
        registry.register(Box::new(metrics.pool_hits.clone()))?;
        registry.register(Box::new(metrics.pool_misses.clone()))?;
        registry.register(Box::new(metrics.pool_evictions.clone()))?;
        registry.register(Box::new(metrics.inbound_connections.clone()))?;
        Ok(metrics)
    }

    /// The counter of one reason.
    pub fn evictions(&self, reason: Eviction) -> IntCounter {
        self.pool_evictions.with_label_values(&[reason.label()])
    }
}
