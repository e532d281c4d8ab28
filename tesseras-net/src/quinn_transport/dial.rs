//! From a target to a connection: one that is there already, or a new one, address by address.

use std::net::SocketAddr;

use tesseras_core::contact::MAX_ADDRESSES;
use tesseras_core::ids::NodeId;
use tesseras_core::words::one_line;
use tokio::time::{Instant, timeout_at};

use super::QuinnTransport;
use super::connection::{Lease, PooledConnection, canonical};
use super::pool::{Found, Outcome};
use tesseras_wire::{RequestError, Target};

/// Why an address gave no connection; the same for all who wait for it.
#[derive(Debug, Clone)]
pub(crate) enum DialError {
    /// No handshake, and why.
    Connect(String),
    /// Somebody else answered.
    WrongNode(NodeId),
}

const NO_ANSWER: &str = "no handshake in time";

impl QuinnTransport {
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
        // Boxed, since most requests need no room for it.
        Box::pin(self.dial(addresses, target.id, until)).await
    }

    /// Tries one address after the other.
    async fn dial(
        &self,
        addresses: Vec<SocketAddr>,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<(Lease, bool), RequestError> {
        let mut last = RequestError::NoAddress;
        for address in addresses {
            match self.connect_to(address, expected, until).await {
                Ok(found) => return Ok(found),
                Err(error @ RequestError::Unavailable(_)) => return Err(error),
                Err(error) => last = error,
            }
            if Instant::now() >= until {
                break;
            }
        }
        Err(last)
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<(Lease, bool), RequestError> {
        let refuse = |error| request_error(address, expected, error);
        loop {
            if self.closed.is_cancelled() {
                return Err(RequestError::Unavailable("the node is shutting down"));
            }
            match self.pool.claim(address, expected) {
                Found::Connection(lease) => return Ok((lease, true)),
                Found::WrongNode(found) => return Err(refuse(DialError::WrongNode(found))),
                Found::Full => {
                    return Err(RequestError::Unavailable("all connections are busy"));
                }
                Found::Handshake(outcome) => match joined(outcome, until).await {
                    // It was refused for not being whom the dialler wanted; we may want it.
                    Some(Err(DialError::WrongNode(found)))
                        if expected.is_none_or(|expected| expected == found) => {}
                    Some(Err(error)) => return Err(refuse(error)),
                    Some(Ok(())) => {}
                    None if Instant::now() >= until => {
                        return Err(refuse(DialError::Connect(NO_ANSWER.to_owned())));
                    }
                    None => {}
                },
                Found::Dial(ticket) => {
                    let patience = Instant::now() + self.connect_deadline;
                    return match self.handshake(address, expected, until.min(patience)).await {
                        Ok(connection) => Ok((ticket.opened(&connection), false)),
                        Err(error) => {
                            // A caller in a hurry must not speak for the more patient ones.
                            if patience <= until || !matches!(error, DialError::Connect(_)) {
                                ticket.failed(error.clone());
                            }
                            Err(refuse(error))
                        }
                    };
                }
            }
        }
    }

    async fn handshake(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        until: Instant,
    ) -> Result<std::sync::Arc<PooledConnection>, DialError> {
        if self.silence.lasts(address) {
            return Err(DialError::Connect("no answer a moment ago".to_owned()));
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
            // The peer may have written a part of it.
            (Ok(Err(error)), _) => Err(DialError::Connect(one_line(&error.to_string()))),
            (Ok(Ok(_)), None) => Err(DialError::Connect("no certificate was shown".to_owned())),
            (Err(_), _) => {
                self.silence.note(address, dialled);
                Err(DialError::Connect(NO_ANSWER.to_owned()))
            }
        }
    }
}

/// Waits for somebody else's handshake; `None` if it was given up, or our time is.
async fn joined(mut outcome: tokio::sync::watch::Receiver<Outcome>, until: Instant) -> Outcome {
    let settled = timeout_at(until, outcome.wait_for(Option::is_some)).await.ok()?.ok()?;
    settled.clone()
}

/// The addresses that can be dialled at all, each once, at most [`MAX_ADDRESSES`].
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

fn request_error(address: SocketAddr, expected: Option<NodeId>, error: DialError) -> RequestError {
    match (error, expected) {
        (DialError::Connect(reason), _) => RequestError::Connect { address, reason },
        (DialError::WrongNode(found), Some(expected)) => {
            RequestError::WrongNode { address, expected, found }
        }
        (DialError::WrongNode(found), None) => {
            RequestError::Connect { address, reason: format!("refused as node {found}") }
        }
    }
}
