//! The scrub of a node: reads what is stored, tells what is damaged, and mends it from other nodes.
//!
//! The store reads and records ([`tesseras_storage::Scrub`]). A damaged piece, or MANIFEST beside one,
//! is mended by a repair of its tessera; a damaged file of a capsule in the library by fetching the
//! capsule again, if it can be elsewhere. [`crate::jobs::ScrubJob`] does it bit by bit, in the pace
//! that `pace` says; a request does it at once (`at_once`).

mod at_once;
mod mend;
pub(crate) mod pace;
mod reply;

use prometheus::{IntCounter, Registry};
use tesseras_core::ports::StoreError;
use tesseras_replication::Replication;
use tesseras_storage::{Scrub, Scrubbed, Store};
use thiserror::Error;

pub use reply::reply;

/// Why the store could not be read on.
#[derive(Debug, Error)]
pub enum ScrubError {
    /// The index failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its task on a blocking thread panicked or was cancelled; a bug.
    #[error("its task was cancelled or panicked")]
    BrokenOff,
}

/// Reads and mends. Cheap to clone.
#[derive(Clone)]
pub struct Scrubber {
    /// The data directory.
    pub(crate) store: Store,
    /// Mends from other nodes.
    pub(crate) replication: Replication,
    /// Counts what was read and found.
    metrics: ScrubMetrics,
}

/// The scrub's metrics. Clones share their values.
#[derive(Debug, Clone)]
struct ScrubMetrics {
    objects: IntCounter,
    bytes: IntCounter,
    corrupt: IntCounter,
}

impl ScrubMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            objects: counter("tesseras_scrub_objects_total", "Stored objects that were re-read.")?,
            bytes: counter("tesseras_scrub_bytes_total", "Bytes of stored objects re-read.")?,
            corrupt: counter(
                "tesseras_scrub_corrupt_total",
                "Stored objects that did not match their hash when they were re-read.",
            )?,
        })
    }
}

impl Scrubber {
    /// A scrubber of this store; makes its metrics and registers them.
    pub fn new(
        store: &Store,
        replication: &Replication,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let (store, replication) = (store.clone(), replication.clone());
        Ok(Self { store, replication, metrics: ScrubMetrics::new(registry)? })
    }

    /// Reads on, about `most` bytes, on a blocking thread; counts what was read.
    pub(crate) async fn step(
        &self,
        mut walk: Scrub,
        most: u64,
    ) -> Result<(Scrub, Scrubbed), ScrubError> {
        let stepping = tokio::task::spawn_blocking(move || {
            let read = walk.step(most)?;
            Ok::<_, ScrubError>((walk, read))
        });
        let (walk, read) = stepping.await.map_err(|_| ScrubError::BrokenOff)??;
        self.metrics.objects.inc_by(read.objects);
        self.metrics.bytes.inc_by(read.bytes);
        self.metrics.corrupt.inc_by(read.corrupt);
        Ok((walk, read))
    }

    /// Reads the store on a blocking thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ScrubError> {
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || read(&store));
        Ok(reading.await.map_err(|_| ScrubError::BrokenOff)??)
    }
}
