//! From a target to a connection: an existing one or a new one. The addresses of a target are tried
//! in parallel, each a little after the one before (Happy Eyeballs, RFC 8305), so that a dead
//! address costs little.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tesseras_core::contact::{MAX_ADDRESSES, canonical};
use tesseras_core::ids::NodeId;
use tesseras_core::words::one_line;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::connection::{Lease, PooledConnection};
use super::dial_backoff::DialBackoff;
use super::dial_error::DialError;
use super::endpoint::Endpoints;
use super::last_address::LastAddress;
use super::pool::{DialOutcome, DialTicket, Pool, PoolEntry};
use super::window::Widths;
use tesseras_wire::{RequestError, Target};

/// How long an address is tried by itself before the next one is tried as well (RFC 8305, section
/// 5: "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

const NO_ANSWER: &str = "no handshake in time";

/// What is needed to make outgoing connections.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) pool: Arc<Pool>,
    pub(super) widths: Widths,
    /// Addresses that recently did not answer.
    pub(super) backoff: DialBackoff,
    pub(super) last_address: LastAddress,
    /// How long one handshake may take.
    pub(super) connect_deadline: Duration,
    pub(super) closed: CancellationToken,
}

impl Dialler {
    /// A connection to the target, and whether it had been used before.
    pub(super) async fn connect(
        &self,
        target: &Target,
        until: Instant,
    ) -> Result<(Lease, bool), RequestError> {
        let addresses = diallable(&target.addresses);
        if let Some(lease) = self.pool.find(&addresses, target.id) {
            return Ok((lease, true));
        }
        // Boxed, since most requests find a connection and need no room for this.
        Box::pin(self.dial(addresses, target.id, until)).await
    }

    /// Tries one address after the other, without waiting for the previous ones to fail. The first
    /// handshake to succeed wins, and the others are cancelled.
    async fn dial(
        &self,
        mut addresses: Vec<SocketAddr>,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<(Lease, bool), RequestError> {
        self.last_address.put_first(expected, &mut addresses);
        let mut untried = addresses.into_iter();
        let mut trying = FuturesUnordered::new();
        let mut next_at = Instant::now();
        let mut last = RequestError::NoAddress;
        loop {
            let may_try = untried.len() > 0 && (trying.is_empty() || next_at < until);
            tokio::select! {
                biased;
                Some(tried) = trying.next() => match tried {
                    Ok(found) => return Ok(found),
                    Err(error) => {
                        last = error;
                        next_at = Instant::now();
                    }
                },
                () = sleep_until(next_at), if may_try => {
                    let address = untried.next();
                    trying.extend(address.map(|a| self.connect_to(a, expected, until)));
                    next_at = Instant::now() + ATTEMPT_DELAY;
                }
                else => return Err(last),
            }
            if trying.is_empty() && next_at >= until {
                return Err(last);
            }
        }
    }

    /// A connection to one address: that of another request, or a new one.
    async fn connect_to(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<(Lease, bool), RequestError> {
        let refuse = |error: DialError| error.at(address, expected);
        loop {
            if self.closed.is_cancelled() {
                return Err(RequestError::Unavailable("the node is shutting down"));
            }
            match self.pool.claim(address, expected) {
                PoolEntry::Connection(lease) => return Ok((lease, true)),
                PoolEntry::WrongNode(found) => return Err(refuse(DialError::WrongNode(found))),
                PoolEntry::Full => {
                    return Err(RequestError::Unavailable("all connections are busy"));
                }
                PoolEntry::Handshake(outcome) => match joined(outcome, until).await {
                    // It was refused because the dialler expected another node, but this may be the
                    // one we want.
                    Some(Err(DialError::WrongNode(found)))
                        if expected.is_none_or(|expected| expected == found) => {}
                    Some(Err(error)) => return Err(refuse(error)),
                    Some(Ok(())) => {}
                    None if Instant::now() >= until => {
                        return Err(refuse(DialError::Connect(NO_ANSWER.to_owned())));
                    }
                    None => {}
                },
                PoolEntry::Dial(ticket) => {
                    let dialled = self.dial_for(ticket, address, expected, until).await;
                    return dialled.map(|lease| (lease, false)).map_err(refuse);
                }
            }
        }
    }

    /// Dials for all requests that wait for this address.
    async fn dial_for(
        &self,
        ticket: DialTicket,
        address: SocketAddr,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<Lease, DialError> {
        let patience = Instant::now() + self.connect_deadline;
        match self.handshake(address, expected, until.min(patience)).await {
            Ok(connection) => {
                self.last_address.note(connection.id, address);
                Ok(ticket.opened(&connection))
            }
            Err(error) => {
                // A caller with a short deadline must not fail the others that wait.
                if patience <= until || !matches!(error, DialError::Connect(_)) {
                    ticket.failed(error.clone());
                }
                Err(error)
            }
        }
    }

    async fn handshake(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<Arc<PooledConnection>, DialError> {
        if self.backoff.lasts(address) {
            return Err(DialError::Connect("it did not answer recently".to_owned()));
        }
        let dialled = Instant::now();
        let expectation = self.endpoints.identity().expect(expected);
        let connecting =
            self.endpoints.connect(address, expectation.clone()).map_err(DialError::Connect)?;
        let outcome = timeout_at(until, connecting).await;
        let found = expectation.found();
        match (outcome, found) {
            (Ok(Ok(quic)), Some(public)) => {
                Ok(PooledConnection::new(quic, public, self.widths.clone()))
            }
            (Ok(Err(_)), Some(public)) if expected.is_some_and(|id| id != public.id()) => {
                Err(DialError::WrongNode(public.id()))
            }
            // The peer may have written part of it.
            (Ok(Err(error)), _) => Err(DialError::Connect(one_line(&error.to_string()))),
            (Ok(Ok(_)), None) => {
                Err(DialError::Connect("the peer presented no certificate".to_owned()))
            }
            (Err(_), _) => {
                self.backoff.note(address, dialled);
                Err(DialError::Connect(NO_ANSWER.to_owned()))
            }
        }
    }
}

/// Waits for another request's handshake; `None` if that was cancelled or our time is over.
async fn joined(mut outcome: watch::Receiver<DialOutcome>, until: Instant) -> DialOutcome {
    let settled = timeout_at(until, outcome.wait_for(Option::is_some)).await.ok()?.ok()?;
    settled.clone()
}

/// The addresses that can be dialled, without duplicates, at most [`MAX_ADDRESSES`].
fn diallable(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut found = Vec::with_capacity(MAX_ADDRESSES);
    for address in addresses.iter().copied().map(canonical) {
        let ip = address.ip();
        let possible = address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast();
        if possible && found.len() < MAX_ADDRESSES && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}
