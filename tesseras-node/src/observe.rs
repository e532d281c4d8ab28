//! The HTTP endpoint for operators: `/metrics` (Prometheus text 0.0.4) and `/healthz`.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tesseras_core::ports::StoreError;
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_storage::{ObjectCounts, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::jobs::JobBoard;

/// The gauges that are read from the node's parts at each request.
#[derive(Clone)]
pub struct Gauges {
    pieces: IntGauge,
    fragment_bytes: IntGauge,
    damaged: IntGauge,
    storage_limit: IntGauge,
    peers: IntGauge,
    reachable: IntGauge,
    dht_records: IntGauge,
    clock_offset: IntGauge,
    job_failures: IntGaugeVec,
}

impl Gauges {
    /// Makes the gauges and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let job_failures = IntGaugeVec::new(
            Opts::new("tesseras_job_failures", "Runs of a background job in a row that failed."),
            &["job"],
        )?;
        registry.register(Box::new(job_failures.clone()))?;
        Ok(Self {
            job_failures,
            pieces: gauge("tesseras_held_pieces", "Pieces held for other nodes.")?,
            fragment_bytes: gauge("tesseras_held_bytes", "Bytes held for other nodes.")?,
            damaged: gauge(
                "tesseras_damaged_pieces",
                "Pieces held for other nodes whose bytes were found damaged and not yet replaced.",
            )?,
            storage_limit: gauge("tesseras_storage_limit_bytes", "Bytes offered to others.")?,
            peers: gauge("tesseras_dht_peers", "Nodes in the routing table.")?,
            reachable: gauge(
                "tesseras_reachable",
                "1 if another node has reached this one recently.",
            )?,
            dht_records: gauge("tesseras_dht_records", "Holder records kept for others.")?,
            clock_offset: gauge(
                "tesseras_clock_offset_seconds",
                "Seconds that the clock is ahead of its peers' if they do not tolerate it; else 0.",
            )?,
        })
    }
}

/// The sources of the endpoint.
#[derive(Clone)]
pub struct Observed {
    /// Counters and gauges.
    pub registry: Registry,
    /// Gauges that are read at each request.
    pub gauges: Gauges,
    /// The node's DHT.
    pub dht: Dht,
    /// The node's replication.
    pub replication: Replication,
    /// The data directory.
    pub store: Store,
    /// The state of the background jobs.
    pub board: JobBoard,
    /// Bytes offered to others.
    pub storage_limit: u64,
}

/// Serves until the token is cancelled.
pub async fn serve(listener: TcpListener, observed: Observed, token: CancellationToken) {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .with_state(observed);
    let served = axum::serve(listener, app).with_graceful_shutdown(token.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the metrics endpoint failed");
    }
}

/// Opens the endpoint's socket.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

impl Observed {
    /// Writes all metrics as text.
    fn encode(&self, objects: &ObjectCounts, text: &mut Vec<u8>) -> Result<(), prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(requests(&self.replication)?);
        families.extend(counts(objects)?);
        TextEncoder::new().encode(&families, text)
    }

    async fn refresh(&self) -> Result<ObjectCounts, String> {
        let status = self.dht.status().await.ok_or("the node is stopping")?;
        let fragments = self.replication.stores().fragments.clone();
        let store = self.store.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let (held, damaged) = (fragments.totals()?, fragments.count_damaged()?);
            Ok::<_, StoreError>((held, damaged, store.object_counts()?))
        });
        let counted = counted.await.map_err(|e| e.to_string())?;
        let ((count, bytes), damaged, objects) = counted.map_err(|e| e.to_string())?;
        let set =
            |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.gauges.pieces, count);
        set(&self.gauges.fragment_bytes, bytes);
        set(&self.gauges.damaged, damaged);
        set(&self.gauges.storage_limit, self.storage_limit);
        set(&self.gauges.peers, status.peers as u64);
        set(&self.gauges.reachable, status.reachable.into());
        set(&self.gauges.dht_records, status.records as u64);
        let clock_off = status.clock.filter(|offset| offset.is_off());
        self.gauges.clock_offset.set(clock_off.map_or(0, |offset| offset.seconds));
        for report in self.board.reports() {
            let failures = self.gauges.job_failures.with_label_values(&[report.name.as_str()]);
            failures.set(report.consecutive_failures.into());
        }
        Ok(objects)
    }
}

/// The requests that replication sent to other nodes, and the bytes of repairs.
fn requests(replication: &Replication) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let requests = replication.requests();
    counters([
        ("tesseras_replication_requests_total", "Requests about tesserae.", requests.sent),
        (
            "tesseras_hedged_requests_total",
            "Requests sent in place of a late one.",
            requests.hedged,
        ),
        (
            "tesseras_hedges_needed_total",
            "Hedges whose late request failed or stalled.",
            requests.needed,
        ),
        (
            "tesseras_repair_bytes_total",
            "Bytes of pieces and dossiers that repairs have sent and received.",
            replication.repair_bytes(),
        ),
        (
            "tesseras_replaced_pieces_total",
            "Damaged pieces of this node that repairs have replaced.",
            replication.replaced_pieces(),
        ),
    ])
}

/// What is stored, and what became of it since the start.
fn counts(objects: &ObjectCounts) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let mut families = Vec::new();
    for (name, help, value) in [
        ("tesseras_cas_objects", "Stored objects: files and pieces.", objects.objects),
        ("tesseras_cas_bytes", "Their bytes.", objects.bytes),
    ] {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        families.extend(gauge.collect());
    }
    families.extend(counters([
        (
            "tesseras_cas_dedup_hits_total",
            "Bytes to store that were an object already.",
            objects.dedup_hits,
        ),
        ("tesseras_cas_bytes_saved_total", "The length of those.", objects.bytes_saved),
        (
            "tesseras_cas_gc_refcount_deletions_total",
            "Objects removed with their last reference.",
            objects.deletions,
        ),
        (
            "tesseras_cas_gc_sweep_orphans_cleaned_total",
            "Files without a row that were removed.",
            objects.orphans,
        ),
        (
            "tesseras_cas_gc_sweep_leaked_refs_cleaned_total",
            "Rows whose references were counted wrongly.",
            objects.leaked,
        ),
        (
            "tesseras_cas_gc_sweep_skipped_young_total",
            "Files without a row that were left for a later collection.",
            objects.skipped_young,
        ),
    ])?);
    Ok(families)
}

/// Counters with these names, texts and values.
fn counters<const N: usize>(
    all: [(&str, &str, u64); N],
) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let mut families = Vec::new();
    for (name, help, value) in all {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        families.extend(counter.collect());
    }
    Ok(families)
}

async fn metrics(State(observed): State<Observed>) -> impl IntoResponse {
    let mut text = Vec::new();
    let encoded = match observed.refresh().await {
        Ok(objects) => observed.encode(&objects, &mut text).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    match encoded {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn health(State(observed): State<Observed>) -> impl IntoResponse {
    match observed.refresh().await {
        Ok(_) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
