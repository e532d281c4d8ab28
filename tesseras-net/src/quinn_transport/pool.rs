//! The outgoing connections, by address.
//!
//! A place in the pool is taken by a connection, or by the handshake that will make one, so the
//! limit covers both. A caller that finds neither gets a [`DialTicket`] and dials; others in the
//! meantime wait for the result. A full pool closes its oldest idle connection to make room, and
//! never one that is in use.
//!
//! The pool has one task, the reaper, from [`Pool::start`] until its owner cancels it, or until the
//! pool is closed or dropped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tesseras_core::ids::NodeId;
use tesseras_core::lock::lock;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Lease, PooledConnection, code};
use super::dial_error::DialError;
use crate::metrics::{Eviction, NetMetrics};
use crate::settings::PoolConfig;

/// The result of a handshake; `None` while it runs. If its sender is dropped first, the dialler was
/// cancelled, and another caller may try.
pub(crate) type DialOutcome = Option<Result<(), DialError>>;

#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    metrics: NetMetrics,
    places: Mutex<HashMap<SocketAddr, Place>>,
    /// Ends the reaper.
    reaper: CancellationToken,
}

#[derive(Debug)]
enum Place {
    Dialling(watch::Receiver<DialOutcome>),
    Open(Arc<PooledConnection>),
}

/// The pool's entry for an address.
pub(crate) enum PoolEntry {
    /// A connection to the expected node.
    Connection(Lease),
    /// A connection to another node.
    WrongNode(NodeId),
    /// A handshake in progress.
    Handshake(watch::Receiver<DialOutcome>),
    /// No entry: the caller must dial.
    Dial(DialTicket),
    /// No entry, and no free place.
    Full,
}

impl Pool {
    /// An empty pool, whose reaper runs on `tracker` until `cancel` is cancelled. Must be called in
    /// a Tokio runtime.
    pub(crate) fn start(
        config: PoolConfig,
        metrics: NetMetrics,
        tracker: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Arc<Self> {
        let reaper = cancel.child_token();
        let pool =
            Arc::new(Self { config, metrics, places: Mutex::default(), reaper: reaper.clone() });
        // It does not keep the pool, and so the connections, of a transport that was dropped.
        let reaping = reap_for_ever(Arc::downgrade(&pool), config.reaper_interval);
        tracker.spawn(async move {
            reaper.run_until_cancelled(reaping).await;
        });
        pool
    }

    /// Ends the reaper, and removes what is dead or idle.
    pub(crate) fn close(&self) {
        self.reaper.cancel();
        self.reap(Instant::now());
    }

    /// A connection to one of the addresses, if there is one already.
    pub(crate) fn find(&self, addresses: &[SocketAddr], expected: Option<NodeId>) -> Option<Lease> {
        let mut places = self.places();
        for address in addresses {
            if let Some(lease) = self.living(&mut places, address)
                && expected.is_none_or(|expected| expected == lease.id)
            {
                self.metrics.pool_hits.inc();
                return Some(lease);
            }
        }
        None
    }

    /// The entry for one address; takes a place if there is none.
    pub(crate) fn claim(
        self: &Arc<Self>,
        address: SocketAddr,
        expected: Option<NodeId>,
    ) -> PoolEntry {
        let mut places = self.places();
        if let Some(lease) = self.living(&mut places, &address) {
            if expected.is_some_and(|expected| expected != lease.id) {
                return PoolEntry::WrongNode(lease.id);
            }
            self.metrics.pool_hits.inc();
            return PoolEntry::Connection(lease);
        }
        if let Some(Place::Dialling(outcome)) = places.get(&address) {
            return PoolEntry::Handshake(outcome.clone());
        }
        if !self.make_room(&mut places) {
            return PoolEntry::Full;
        }
        let (sender, outcome) = watch::channel(None);
        places.insert(address, Place::Dialling(outcome));
        self.metrics.pool_misses.inc();
        PoolEntry::Dial(DialTicket { pool: self.clone(), address, sender, settled: false })
    }

    /// Removes a connection that was found broken or silent.
    pub(crate) fn forget(&self, connection: &Arc<PooledConnection>) {
        connection.close(code::IDLE, "silent");
        let mut places = self.places();
        let is_it = |place: &Place| matches!(place, Place::Open(c) if Arc::ptr_eq(c, connection));
        let address = places.iter().find(|(_, place)| is_it(place)).map(|(address, _)| *address);
        if let Some(address) = address {
            self.evict(&mut places, &address, Eviction::Dead);
        }
    }

    /// Closes connections that have been idle too long, and removes dead ones.
    fn reap(&self, now: Instant) {
        let mut places = self.places();
        let expired: Vec<_> = places
            .iter()
            .filter_map(|(address, place)| {
                let Place::Open(connection) = place else { return None };
                if connection.is_dead() {
                    return Some((*address, Eviction::Dead));
                }
                let idle = now.saturating_duration_since(connection.idle_since()?);
                (idle >= self.config.idle_timeout).then_some((*address, Eviction::Idle))
            })
            .collect();
        for (address, reason) in expired {
            self.evict(&mut places, &address, reason);
        }
    }

    /// The connection at an address, if it is alive; a dead one is removed.
    fn living(
        &self,
        places: &mut HashMap<SocketAddr, Place>,
        address: &SocketAddr,
    ) -> Option<Lease> {
        let Some(Place::Open(connection)) = places.get(address) else { return None };
        let lease = connection.lease();
        if lease.is_none() {
            self.evict(places, address, Eviction::Dead);
        }
        lease
    }

    fn make_room(&self, places: &mut HashMap<SocketAddr, Place>) -> bool {
        if places.len() < self.config.max_connections.max(1) {
            return true;
        }
        let dead = open(places).find(|(_, c)| c.is_dead()).map(|(a, _)| (*a, Eviction::Dead));
        let oldest = || {
            open(places)
                .filter_map(|(address, c)| Some((c.idle_since()?, *address)))
                .min()
                .map(|(_, address)| (address, Eviction::Capacity))
        };
        let Some((address, reason)) = dead.or_else(oldest) else { return false };
        self.evict(places, &address, reason);
        true
    }

    fn evict(
        &self,
        places: &mut HashMap<SocketAddr, Place>,
        address: &SocketAddr,
        reason: Eviction,
    ) {
        if let Some(Place::Open(connection)) = places.remove(address) {
            connection.close(code::IDLE, reason.label());
            self.metrics.evictions(reason).inc();
            self.count(places);
        }
    }

    fn count(&self, places: &HashMap<SocketAddr, Place>) {
        self.metrics.pool_size.set(i64::try_from(open(places).count()).unwrap_or(i64::MAX));
    }

    fn places(&self) -> MutexGuard<'_, HashMap<SocketAddr, Place>> {
        lock(&self.places)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.reaper.cancel();
    }
}

/// Reaps again and again, for as long as there is a pool.
async fn reap_for_ever(pool: Weak<Pool>, period: Duration) {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.reap(Instant::now());
    }
}

fn open(
    places: &HashMap<SocketAddr, Place>,
) -> impl Iterator<Item = (&SocketAddr, &Arc<PooledConnection>)> {
    places.iter().filter_map(|(address, place)| match place {
        Place::Open(connection) => Some((address, connection)),
        Place::Dialling(_) => None,
    })
}

/// A place in the pool for a connection that is being dialled. Dropped unused, it frees the place,
/// and one of the waiting callers may try.
pub(crate) struct DialTicket {
    pool: Arc<Pool>,
    address: SocketAddr,
    sender: watch::Sender<DialOutcome>,
    settled: bool,
}

impl DialTicket {
    /// The handshake has succeeded.
    pub(crate) fn opened(mut self, connection: &Arc<PooledConnection>) -> Lease {
        let lease = connection.first_lease();
        let mut places = self.pool.places();
        places.insert(self.address, Place::Open(connection.clone()));
        self.pool.count(&places);
        drop(places);
        self.settled = true;
        self.sender.send_replace(Some(Ok(())));
        lease
    }

    /// The handshake failed, and would have failed for any caller.
    pub(crate) fn failed(self, error: DialError) {
        let sender = self.sender.clone();
        // The place is freed first, so that waiting callers do not find it taken.
        drop(self);
        sender.send_replace(Some(Err(error)));
    }
}

impl Drop for DialTicket {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.places().remove(&self.address);
        }
    }
}
