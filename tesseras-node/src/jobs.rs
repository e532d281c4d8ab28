//! What a node does by itself: announce, repair, remember peers. All jobs share one shape.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::RngExt as _;
use tesseras_core::ids::{DhtKey, TesseraHash};
use tesseras_core::ports::PeerRepository;
use tesseras_core::words::count;
use tesseras_replication::clock::ClockOff;
use tesseras_replication::publish::PublishError;
use tesseras_replication::repair::RepairError;
use tesseras_replication::{ANNOUNCE_BATCH, Directory as _, Replication, progress};
use tesseras_wire::{BoxFuture, SharedMemory};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tesseras_dht::{Dht, REANNOUNCE_EVERY, REANNOUNCE_JITTER};

use crate::clock;
use crate::directory::DhtDirectory;

/// How long after the start everything held is announced: when most peers are known.
const FIRST_ANNOUNCEMENT: Duration = Duration::from_secs(20);
/// How often new pieces are announced that no roster asked about.
const ANNOUNCE_NEW_EVERY: Duration = Duration::from_secs(30);
/// How soon it is tried again when nobody was there to announce to, or others may have refused it.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(30);
/// How often it is looked whether a publication was left to the background.
const LOOK_FOR_PUBLICATIONS_EVERY: Duration = Duration::from_secs(5);
/// How soon a publication that failed is tried again: twice as long each time, up to the second.
const PUBLISH_AGAIN: Duration = Duration::from_secs(30);
const PUBLISH_AGAIN_AT_MOST: Duration = Duration::from_secs(60 * 60);
/// How often peers are remembered, and own addresses looked at.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);
const FIRST_REMEMBER: Duration = Duration::from_secs(2);
/// Pieces of tasks that nobody went on with for this long are let go.
const WORKBENCH_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const _: () = assert!(FIRST_ANNOUNCEMENT.as_secs() < 60, "promise: within a minute of start");

/// One piece of work that comes back.
pub trait Job: Send + Sync + 'static {
    /// Its name, for logs and status.
    fn name(&self) -> &'static str;

    /// How long to wait before the first time, and then between times.
    fn pause(&self, first: bool) -> Duration;

    /// Does it once; says how it went.
    fn run(&self) -> BoxFuture<'_, String>;
}

/// How each job went last, a line each.
#[derive(Clone, Default)]
pub struct JobBoard(Arc<Mutex<Vec<(&'static str, String)>>>);

impl JobBoard {
    /// The lines.
    pub fn lines(&self) -> Vec<String> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.iter().map(|(name, line)| format!("{name}: {line}")).collect()
    }

    fn write(&self, name: &'static str, line: String) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match board.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = line,
            None => board.push((name, line)),
        }
    }
}

/// Runs a job until the token is cancelled. A run under way is dropped then: each is made so that
/// nothing is left half-done.
pub async fn run_for_ever(job: Arc<dyn Job>, board: JobBoard, token: CancellationToken) {
    let mut first = true;
    board.write(job.name(), "waiting".to_owned());
    loop {
        let pause = job.pause(first);
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        board.write(job.name(), "running".to_owned());
        let line = tokio::select! {
            () = token.cancelled() => return,
            line = job.run() => line,
        };
        tracing::debug!(job = job.name(), %line, "job done");
        board.write(job.name(), line);
        first = false;
    }
}

/// A duration moved at random by at most `jitter` either way.
fn jittered(duration: Duration, jitter: Duration) -> Duration {
    let jitter = jitter.min(duration).as_millis() as u64;
    let shift = Duration::from_millis(rand::rng().random_range(0..=2 * jitter));
    (duration + shift).saturating_sub(Duration::from_millis(jitter))
}

/// Announces this node as a holder of all that it holds.
pub struct Announce {
    /// What is held.
    pub replication: Replication,
    /// Where it is announced.
    pub directory: Arc<DhtDirectory>,
    /// Who knows whether anybody is there.
    pub dht: Dht,
    /// Whether it was done since the start.
    pub done: AtomicBool,
}

impl Job for Announce {
    fn name(&self) -> &'static str {
        "announce"
    }

    fn pause(&self, first: bool) -> Duration {
        if first {
            jittered(FIRST_ANNOUNCEMENT, FIRST_ANNOUNCEMENT / 2)
        } else if !self.done.load(Ordering::Relaxed) {
            ANNOUNCE_AGAIN
        } else {
            jittered(REANNOUNCE_EVERY, REANNOUNCE_JITTER)
        }
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let held = match self.replication.published_holdings().await {
                Ok(held) => held,
                Err(error) => return format!("failed: {error}"),
            };
            if self.dht.peers().await.is_empty() {
                self.done.store(false, Ordering::Relaxed);
                return "no peer is known yet".to_owned();
            }
            let keys: Vec<DhtKey> = held.iter().map(|tessera| tessera.dht_key()).collect();
            for batch in keys.chunks(ANNOUNCE_BATCH) {
                self.directory.announce(batch.to_vec()).await;
            }
            let checked = self.replication.check_clock().await;
            self.done.store(checked.is_ok(), Ordering::Relaxed);
            announced(keys.len(), checked)
        })
    }
}

/// Announces what came lately and was not announced since: the node that placed it may have died.
pub struct AnnounceNew {
    /// What came.
    pub replication: Replication,
}

impl Job for AnnounceNew {
    fn name(&self) -> &'static str {
        "announce new"
    }

    fn pause(&self, _first: bool) -> Duration {
        ANNOUNCE_NEW_EVERY
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let tesserae = self.replication.announce_unannounced().await;
            announced(tesserae, self.replication.check_clock().await)
        })
    }
}

/// The line of a job that announced. What a wrong clock dates is refused, and announced again.
fn announced(tesserae: usize, checked: Result<(), ClockOff>) -> String {
    let line = format!("announced {}", count(tesserae as u64, "tessera", "tesserae"));
    match checked {
        Ok(()) => line,
        Err(off) => format!("{line}; others may refuse that, so it is repeated soon: {off}"),
    }
}

/// Looks after every tessera of which this node holds a piece.
pub struct Repair {
    /// Who does it.
    pub replication: Replication,
    /// How often.
    pub interval: Duration,
    /// Moved by how much, at random.
    pub jitter: Duration,
}

impl Job for Repair {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn pause(&self, _first: bool) -> Duration {
        jittered(self.interval, self.jitter)
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let tesserae = match self.replication.looked_after().await {
                Ok(tesserae) => tesserae,
                Err(error) => return format!("failed: {error}"),
            };
            let (mut restored, mut failed) = (0, 0);
            let mut put_off = Vec::new();
            let all = tesserae.len();
            let mut each = self.replication.repair_each(tesserae, progress::silent());
            while let Some((tessera, result)) = each.next().await {
                match result {
                    Ok(done) => restored += done.restored,
                    Err(RepairError::ClockOff(off)) => put_off.push(off),
                    Err(error) => {
                        tracing::warn!(%tessera, %error, "not repaired");
                        failed += 1;
                    }
                }
            }
            let mut line = format!(
                "checked {}, restored {}, {failed} failed",
                count(all as u64, "tessera", "tesserae"),
                count(restored as u64, "piece", "pieces")
            );
            if let Some(off) = put_off.first() {
                line += &format!(", {} put off: {off}", put_off.len());
            }
            line
        })
    }
}

/// Goes on with publications that their owners left to the background.
pub struct Publish {
    /// Who does it.
    pub replication: Replication,
    /// When each that failed is tried again, and how long it waits the next time.
    pub again: Mutex<HashMap<TesseraHash, (Instant, Duration)>>,
}

impl Publish {
    async fn go_on(&self, tessera: TesseraHash) -> bool {
        let error = match self.replication.publish_signed(tessera, &progress::silent()).await {
            Ok(published) => {
                tracing::info!(%tessera, holders = published.holders, "published");
                self.table().remove(&tessera);
                return true;
            }
            // It is still under way for `tes`, or was just stopped.
            Err(PublishError::InProgress(_) | PublishError::Stopped(_)) => return false,
            Err(error) => error,
        };
        tracing::warn!(%tessera, %error, "not published yet");
        let mut table = self.table();
        let (at, pause) = table.entry(tessera).or_insert((Instant::now(), PUBLISH_AGAIN));
        *at = Instant::now() + *pause;
        *pause = (*pause * 2).min(PUBLISH_AGAIN_AT_MOST);
        false
    }

    fn table(&self) -> MutexGuard<'_, HashMap<TesseraHash, (Instant, Duration)>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn pause(&self, _first: bool) -> Duration {
        LOOK_FOR_PUBLICATIONS_EVERY
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let publishing = match self.replication.publishing().await {
                Ok(publishing) => publishing,
                Err(error) => return format!("failed: {error}"),
            };
            self.table().retain(|tessera, _| publishing.contains(tessera));
            let mut published = 0;
            for tessera in &publishing {
                let waits = self.table().get(tessera).is_some_and(|(at, _)| *at > Instant::now());
                if !waits && self.go_on(*tessera).await {
                    published += 1;
                }
            }
            format!("published {published}, {} go on", publishing.len() - published)
        })
    }
}

/// Remembers peers for the next start, and keeps what is known of own addresses fresh.
pub struct Remember {
    /// Who knows peers.
    pub dht: Dht,
    /// Who wants to know this node's addresses.
    pub directory: Arc<DhtDirectory>,
    /// Where peers are kept.
    pub peers: Arc<dyn PeerRepository>,
    /// Who was silent lately.
    pub memory: SharedMemory,
    /// Whose unfinished tasks are let go one day.
    pub replication: Replication,
}

impl Job for Remember {
    fn name(&self) -> &'static str {
        "remember"
    }

    fn pause(&self, first: bool) -> Duration {
        if first { FIRST_REMEMBER } else { REMEMBER_EVERY }
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            self.directory.refresh_own_addresses().await;
            let peers = self.dht.peers().await;
            let known = peers.len() as u64;
            let silent = self.memory.list();
            let (store, workbench) =
                (self.peers.clone(), self.replication.stores().workbench.clone());
            let done = tokio::task::spawn_blocking(move || {
                let now = clock::now();
                store.remember_peers(&peers, now)?;
                store.remember_silent(&silent)?;
                let stale = now.0.saturating_sub(WORKBENCH_LIFETIME.as_secs());
                workbench.unpin_before(tesseras_core::time::Timestamp(stale))
            });
            match done.await {
                Ok(Ok(())) => format!("{} remembered", count(known, "peer", "peers")),
                Ok(Err(error)) => format!("failed: {error}"),
                Err(error) => format!("failed: {error}"),
            }
        })
    }
}
