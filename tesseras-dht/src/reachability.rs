//! The addresses at which other nodes reach this one: configured, observed by peers, or proven by
//! dials back.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tesseras_core::contact::{MAX_ADDRESSES, Subnet, canonical};
use tesseras_core::ids::NodeId;

use tesseras_core::address;

/// The most candidates that are kept; a machine with more interfaces should advertise an address.
const MAX_CANDIDATES: usize = 16;
/// The most observations that are kept of the source address of our packets; the oldest is dropped.
const MAX_OPINIONS: usize = 32;
/// An address is unproven again after this many rounds of greetings without a dial back.
const ROUNDS_UNTIL_DOUBT: u32 = 3;

/// What one peer reported about this node.
#[derive(Debug)]
struct Opinion {
    peer: NodeId,
    peer_subnet: Subnet,
    ip: IpAddr,
}

/// What this node knows about its own addresses.
#[derive(Debug)]
pub struct Reachability {
    candidates: Vec<SocketAddr>,
    wildcard_port: Option<u16>,
    believed_for: Duration,
    opinions: VecDeque<Opinion>,
    /// Addresses that a peer has dialled, and when last; the most recent first.
    proven: Vec<(SocketAddr, Duration)>,
}

impl Reachability {
    /// The state before any peer was asked.
    pub fn new(
        candidates: &[SocketAddr],
        wildcard_port: Option<u16>,
        hello_every: Duration,
    ) -> Self {
        let mut kept = Vec::new();
        for candidate in candidates.iter().copied().map(canonical) {
            if address::is_dialable(candidate) && !kept.contains(&candidate) {
                kept.push(candidate);
            }
        }
        kept.truncate(MAX_CANDIDATES);
        Self {
            candidates: kept,
            wildcard_port: wildcard_port.filter(|port| *port != 0),
            believed_for: hello_every * ROUNDS_UNTIL_DOUBT,
            opinions: VecDeque::new(),
            proven: Vec::new(),
        }
    }

    /// Whether an address was dialled with success recently.
    pub fn is_reachable(&self, now: Duration) -> bool {
        self.proven(now).next().is_some()
    }

    /// Whether greeting one more peer could yield new information.
    pub fn wants_opinions(&self, now: Duration) -> bool {
        let asked = self.opinions.iter().map(|opinion| opinion.peer_subnet);
        !self.is_reachable(now)
            || (self.wildcard_port.is_some() && asked.collect::<BTreeSet<_>>().len() < 2)
    }

    /// The addresses this node announces: the proven ones, or else the candidates.
    pub fn addresses(&self, now: Duration) -> Vec<SocketAddr> {
        let proven: Vec<_> = self.proven(now).take(MAX_ADDRESSES).collect();
        if proven.is_empty() { self.to_try(now, None) } else { proven }
    }

    /// The addresses a peer is asked to dial: the proven ones first, then those of the rest that it
    /// can reach.
    pub fn to_try(&self, now: Duration, peer: Option<IpAddr>) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = self.proven(now).collect();
        for candidate in self.seen_from_outside().into_iter().chain(self.candidates.clone()) {
            if !addresses.contains(&candidate) {
                addresses.push(candidate);
            }
        }
        addresses.retain(|a| peer.is_none_or(|peer| address::makes_sense_to(*a, peer)));
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    /// Records what a peer at `peer_ip` reported: the source address of our packets and the
    /// addresses it has dialled. Returns whether this made a new candidate, which other peers
    /// should then dial.
    pub fn learn(
        &mut self,
        peer: NodeId,
        peer_ip: IpAddr,
        observed: SocketAddr,
        reached: &[SocketAddr],
        now: Duration,
    ) -> bool {
        for address in reached.iter().copied().map(canonical).take(MAX_ADDRESSES) {
            // Only what we have said ourselves can have been dialled.
            if self.to_try(now, Some(peer_ip)).contains(&address) {
                self.proven.retain(|(known, _)| *known != address);
                self.proven.insert(0, (address, now));
            }
        }
        self.proven.truncate(MAX_CANDIDATES);
        let before = self.seen_from_outside();
        let ip = canonical(observed).ip();
        if address::is_dialable(SocketAddr::new(ip, 1))
            && address::makes_sense_to(SocketAddr::new(ip, 1), peer_ip)
        {
            self.opinions.retain(|opinion| opinion.peer != peer);
            self.opinions.push_back(Opinion { peer, peer_subnet: Subnet::of(peer_ip), ip });
            if self.opinions.len() > MAX_OPINIONS {
                self.opinions.pop_front();
            }
        }
        let after = self.seen_from_outside();
        after.iter().any(|new| !before.contains(new) && !self.candidates.contains(new))
    }

    /// On a wildcard listen address: the IPs that peers of two neighbourhoods agree on.
    fn seen_from_outside(&self) -> Vec<SocketAddr> {
        let Some(port) = self.wildcard_port else { return Vec::new() };
        let mut agreed = Vec::new();
        for opinion in self.opinions.iter().rev() {
            let witnesses: BTreeSet<_> = self
                .opinions
                .iter()
                .filter(|other| other.ip == opinion.ip)
                .map(|other| other.peer_subnet)
                .collect();
            let address = SocketAddr::new(opinion.ip, port);
            if witnesses.len() >= 2 && !agreed.contains(&address) {
                agreed.push(address);
            }
        }
        agreed
    }

    fn proven(&self, now: Duration) -> impl Iterator<Item = SocketAddr> {
        let fresh = self.proven.iter().filter(move |(_, at)| *at + self.believed_for >= now);
        fresh.map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn peer(n: u8) -> NodeId {
        NodeId::new([n; 20])
    }

    #[test]
    fn an_ip_becomes_a_candidate_when_two_neighbourhoods_report_it() {
        let mut reach = Reachability::new(&[], Some(4433), Duration::from_secs(600));
        let seen = address("198.51.100.7:60000");
        let mut learn = |n, ip: &str| {
            reach.learn(peer(n), ip.parse().expect("an IP"), seen, &[], Duration::ZERO)
        };
        assert!(!learn(1, "192.0.2.1"));
        assert!(!learn(2, "192.0.2.2"), "the same neighbourhood");
        assert!(learn(3, "203.0.113.1"));
        assert!(!learn(3, "203.0.113.1"), "no news");
        assert_eq!(reach.addresses(Duration::ZERO), [address("198.51.100.7:4433")]);
        assert!(!reach.is_reachable(Duration::ZERO));
    }

    #[test]
    fn only_what_we_said_can_be_proven_and_only_for_a_while() {
        let ours = address("198.51.100.7:4433");
        let mut reach = Reachability::new(&[ours], None, Duration::from_secs(600));
        let ip = "192.0.2.1".parse().expect("an IP");
        let other = address("198.51.100.8:4433");
        reach.learn(peer(1), ip, ours, &[other], Duration::ZERO);
        assert!(!reach.is_reachable(Duration::ZERO));
        reach.learn(peer(1), ip, ours, &[ours], Duration::ZERO);
        assert!(reach.is_reachable(Duration::ZERO));
        assert!(!reach.is_reachable(Duration::from_secs(3 * 600 + 1)));
        assert_eq!(reach.addresses(Duration::from_secs(3 * 600 + 1)), [ours]);
    }
}
