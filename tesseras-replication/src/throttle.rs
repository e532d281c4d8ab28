//! The bandwidth of all repairs of this node together, in both directions.
//!
//! A transfer of a routine repair waits until there is bandwidth for all of it. One of an urgent
//! repair starts at once; what it transfers delays the others.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tesseras_core::lock::lock;
use tokio::time::{Instant, sleep};

use crate::peers::TransferState;
use crate::policy::token_bucket::TokenBucket;

/// The longest time before a waiting transfer asks again: bandwidth may be given back.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What all repairs of this node share.
pub(crate) struct Throttle {
    begun: Instant,
    bucket: Mutex<TokenBucket>,
    /// Held by the transfer that is next: they start in the order of their arrival.
    first: tokio::sync::Mutex<()>,
    /// How many bytes were transferred since the start.
    moved: AtomicU64,
}

impl Throttle {
    /// For so many bytes per second; 0 is no limit.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            begun: Instant::now(),
            bucket: Mutex::new(TokenBucket::new(bytes_per_second)),
            first: tokio::sync::Mutex::default(),
            moved: AtomicU64::new(0),
        }
    }

    /// How many bytes repairs have transferred since the start.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// So many bytes were transferred without waiting.
    pub(crate) fn spent(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        lock(&self.bucket).spend(self.begun.elapsed(), bytes);
    }

    async fn wait_for(&self, bytes: u64) {
        let _first = self.first.lock().await;
        loop {
            let now = self.begun.elapsed();
            let taken = lock(&self.bucket).take(now, bytes);
            match taken {
                Ok(()) => return,
                Err(later) => sleep((later - now).min(ASK_EVERY)).await,
            }
        }
    }
}

/// One repair's use of the bandwidth.
#[derive(Clone, Copy)]
pub(crate) struct Throttled<'a> {
    pub(crate) by: &'a Throttle,
    /// Whether its transfers wait for bandwidth.
    pub(crate) waits: bool,
    pub(crate) waited: &'a Waited,
}

impl<'a> Throttled<'a> {
    /// Waits until so many bytes may be transferred, which is not the lateness of the peer. They count
    /// until the result is dropped; from then on, what was transferred counts.
    pub(crate) async fn reserve(&self, bytes: u64, state: &TransferState) -> Transferring<'a> {
        if self.waits {
            let _waiting = self.waited.begin();
            state.wait_for(self.by.wait_for(bytes)).await;
        } else {
            lock(&self.by.bucket).spend(self.by.begun.elapsed(), bytes);
        }
        Transferring { by: self.by, granted: bytes, state: state.clone() }
    }
}

/// A transfer for which there is bandwidth.
pub(crate) struct Transferring<'a> {
    by: &'a Throttle,
    granted: u64,
    state: TransferState,
}

impl Drop for Transferring<'_> {
    fn drop(&mut self) {
        let moved = self.state.bytes();
        self.by.moved.fetch_add(moved, Ordering::Relaxed);
        let mut bucket = lock(&self.by.bucket);
        match self.granted.checked_sub(moved) {
            Some(unused) => bucket.give_back(unused),
            // It was sent more than once.
            None => bucket.spend(self.by.begun.elapsed(), moved - self.granted),
        }
    }
}

/// For how long a repair has waited for bandwidth with any of its transfers.
#[derive(Default)]
pub(crate) struct Waited(Mutex<Waits>);

#[derive(Default)]
struct Waits {
    now: usize,
    since: Option<Instant>,
    before: Duration,
}

impl Waited {
    /// For how long, including the time since it waits now.
    pub(crate) fn total(&self) -> Duration {
        let waits = lock(&self.0);
        waits.before + waits.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Waits until the result is dropped.
    fn begin(&self) -> impl Drop {
        let mut waits = lock(&self.0);
        waits.now += 1;
        waits.since.get_or_insert_with(Instant::now);
        Wait(self)
    }
}

struct Wait<'a>(&'a Waited);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waits = lock(&self.0.0);
        waits.now -= 1;
        if waits.now == 0
            && let Some(since) = waits.since.take()
        {
            waits.before += since.elapsed();
        }
    }
}
