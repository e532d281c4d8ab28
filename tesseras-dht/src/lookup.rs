//! One iterative lookup (Kademlia, section 2.3): ask the nearest known, learn nearer ones, stop
//! when the k nearest that answer have answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::{DhtKey, Distance, NodeId};

use crate::config::DhtConfig;

/// A lookup ends with what it has after this long.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(30);
/// A lookup asks at most this many peers per result that it wants.
const QUERIES_PER_RESULT: usize = 8;
/// It remembers at most this many candidates per result that it wants; the farthest are forgotten.
const CANDIDATES_PER_RESULT: usize = 10;
/// Slow peers may multiply the requests in flight by this at most.
const SLOW_FACTOR: usize = 4;
/// A peer that takes so many times as long as the median of the others is slow, but not before
/// [`SLOW_AT_LEAST`].
const SLOWER: u32 = 8;
const SLOW_AT_LEAST: Duration = Duration::from_millis(100);
/// After so many times as long as makes it slow, a peer is waited for no longer.
const LOST_FACTOR: u32 = 3;
/// A peer that failed is asked again at other addresses at most this often.
const MAX_RETRIES: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Waiting { since: Duration },
    Answered,
    Failed,
}

#[derive(Debug)]
struct Candidate {
    contact: Contact,
    state: State,
    /// The addresses of the last request.
    tried: Vec<SocketAddr>,
    retries: u8,
}

/// A lookup under way. It never asks the same address of a peer twice, so it ends.
#[derive(Debug)]
pub struct Lookup {
    target: DhtKey,
    k: usize,
    alpha: usize,
    /// The most that [`Lookup::slow_after`] may be.
    slow_after_at_most: Duration,
    /// How long answers took so far, in order.
    answers: Vec<Duration>,
    deadline: Duration,
    /// Whether it ends as soon as the node with the target's id has answered.
    one_node: bool,
    queries: usize,
    candidates: BTreeMap<Distance, Candidate>,
    /// Those of the candidates that are waited for.
    in_flight: BTreeSet<Distance>,
}

impl Lookup {
    /// A lookup of the k nodes nearest to a point.
    pub fn new(target: DhtKey, config: &DhtConfig, now: Duration) -> Self {
        Self {
            target,
            k: config.k,
            alpha: config.alpha,
            slow_after_at_most: config.slow_after,
            answers: Vec::new(),
            deadline: now + LOOKUP_DEADLINE,
            one_node: false,
            queries: 0,
            candidates: BTreeMap::new(),
            in_flight: BTreeSet::new(),
        }
    }

    /// A lookup of one node, which ends as soon as that has answered.
    pub fn of_node(id: NodeId, config: &DhtConfig, now: Duration) -> Self {
        Self { one_node: true, ..Self::new(id.into(), config, now) }
    }

    /// Where it goes.
    pub fn target(&self) -> DhtKey {
        self.target
    }

    /// Adds a peer that somebody named. A known one gains its new addresses.
    pub fn add(&mut self, contact: Contact) {
        if contact.addresses.is_empty() {
            return;
        }
        let distance = contact.id.distance(&self.target);
        if let Some(known) = self.candidates.get_mut(&distance) {
            known.learn(contact.addresses);
            return;
        }
        let candidate = Candidate { contact, state: State::New, tried: Vec::new(), retries: 0 };
        self.candidates.insert(distance, candidate);
        if self.candidates.len() > self.k * CANDIDATES_PER_RESULT {
            let farthest = self.candidates.iter().rev();
            let farthest = farthest
                .filter(|(_, c)| matches!(c.state, State::New | State::Failed))
                .map(|(distance, _)| *distance)
                .next();
            if let Some(farthest) = farthest {
                self.candidates.remove(&farthest);
            }
        }
    }

    /// Whom to ask now.
    pub fn next(&mut self, now: Duration) -> Vec<Contact> {
        let mut asked = Vec::new();
        let mut prompt = self.waiting().filter(|c| !self.is_slow(c, now)).count();
        while prompt < self.alpha
            && self.in_flight.len() < self.alpha * SLOW_FACTOR
            && self.queries < self.k * QUERIES_PER_RESULT
            && !self.is_over(now)
        {
            let Some(distance) = self.next_in_window(now) else { break };
            let Some(candidate) = self.candidates.get_mut(&distance) else { break };
            candidate.state = State::Waiting { since: now };
            candidate.tried.clone_from(&candidate.contact.addresses);
            asked.push(candidate.contact.clone());
            self.queries += 1;
            self.in_flight.insert(distance);
            prompt += 1;
        }
        asked
    }

    /// A peer answered, at the address that was dialled if that is known.
    pub fn answered(&mut self, id: &NodeId, address: Option<SocketAddr>, now: Duration) {
        let distance = id.distance(&self.target);
        self.in_flight.remove(&distance);
        if let Some(candidate) = self.candidates.get_mut(&distance) {
            if let State::Waiting { since } = candidate.state {
                let took = now.saturating_sub(since);
                self.answers.insert(self.answers.partition_point(|known| *known < took), took);
            }
            candidate.state = State::Answered;
            if let Some(address) = address {
                candidate.contact.addresses = vec![address];
            }
        }
    }

    /// A peer did not answer, or not what was asked.
    pub fn failed(&mut self, id: &NodeId) {
        let distance = id.distance(&self.target);
        self.in_flight.remove(&distance);
        if let Some(candidate) = self.candidates.get_mut(&distance) {
            candidate.state = State::Failed;
            let tried = std::mem::take(&mut candidate.tried);
            candidate.contact.addresses.retain(|address| !tried.contains(address));
            candidate.tried = tried;
            candidate.reconsider();
        }
    }

    /// Whether nothing more is worth asking or waiting for.
    pub fn is_done(&self, now: Duration) -> bool {
        if self.is_over(now) {
            return true;
        }
        // Its old address may be dead; by the time that this is sure, a new one may be known.
        let nearest = self.candidates.first_key_value().map(|(distance, _)| distance);
        if self.one_node && nearest.is_some_and(|nearest| self.in_flight.contains(nearest)) {
            return false;
        }
        let (mut counted, mut slow) = (0, false);
        for candidate in self.candidates.values() {
            if counted == self.k {
                break;
            }
            match candidate.state {
                State::Failed => {}
                State::Answered => counted += 1,
                State::New if self.queries >= self.k * QUERIES_PER_RESULT => {}
                State::New => return false,
                State::Waiting { since } if self.is_lost(since, now) => {}
                State::Waiting { .. } if self.is_slow(candidate, now) => slow = true,
                State::Waiting { .. } => return false,
            }
        }
        // With k nearest answers a slow peer is left behind; with fewer it may still be needed.
        counted == self.k || !slow
    }

    /// When time alone changes what is to be done.
    pub fn wakes_at(&self, now: Duration) -> Duration {
        let waiting = self.waiting().filter_map(|candidate| match candidate.state {
            State::Waiting { since } => Some([since + self.slow_after(), self.lost_at(since)]),
            _ => None,
        });
        waiting.flatten().filter(|at| *at > now).min().unwrap_or(self.deadline).min(self.deadline)
    }

    /// The k nearest that answered, nearest first.
    pub fn closest(&self) -> Vec<Contact> {
        self.all_answered().take(self.k).cloned().collect()
    }

    /// All that answered, nearest first.
    pub fn all_answered(&self) -> impl Iterator<Item = &Contact> {
        let all = self.candidates.values();
        all.filter(|c| c.state == State::Answered).map(|candidate| &candidate.contact)
    }

    /// The node whose id is the target, if it answered.
    pub fn found_node(&self) -> Option<Contact> {
        let nearest = self.all_answered().next()?;
        (DhtKey::from(nearest.id) == self.target).then(|| nearest.clone())
    }

    fn waiting(&self) -> impl Iterator<Item = &Candidate> {
        self.in_flight.iter().filter_map(|distance| self.candidates.get(distance))
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.deadline || (self.one_node && self.found_node().is_some())
    }

    fn is_slow(&self, candidate: &Candidate, now: Duration) -> bool {
        matches!(candidate.state, State::Waiting { since } if now >= since + self.slow_after())
    }

    fn is_lost(&self, since: Duration, now: Duration) -> bool {
        // Where nobody answers, all may be slow.
        !self.answers.is_empty() && now >= self.lost_at(since)
    }

    /// When a peer that was asked at this time is waited for no longer.
    fn lost_at(&self, since: Duration) -> Duration {
        since + self.slow_after() * LOST_FACTOR
    }

    /// How long after it was asked a peer is slow, by what the others take.
    fn slow_after(&self) -> Duration {
        let median = self.answers.get(self.answers.len().saturating_sub(1) / 2);
        let slow = median.map_or(self.slow_after_at_most, |median| *median * SLOWER);
        slow.max(SLOW_AT_LEAST).min(self.slow_after_at_most)
    }

    /// The nearest unasked candidate among the k nearest that have not failed and are not slow.
    fn next_in_window(&self, now: Duration) -> Option<Distance> {
        let alive = self
            .candidates
            .iter()
            .filter(|(_, c)| c.state != State::Failed && !self.is_slow(c, now));
        alive.take(self.k).find(|(_, c)| c.state == State::New).map(|(distance, _)| *distance)
    }
}

impl Candidate {
    fn learn(&mut self, addresses: Vec<SocketAddr>) {
        if self.state == State::Answered {
            return;
        }
        for address in addresses {
            let full = self.contact.addresses.len() >= MAX_ADDRESSES;
            let known = self.contact.addresses.contains(&address);
            let failed = self.state == State::Failed && self.tried.contains(&address);
            if !full && !known && !failed {
                self.contact.addresses.push(address);
            }
        }
        self.reconsider();
    }

    /// A failed peer of which another address is known is worth another try.
    fn reconsider(&mut self) {
        if self.state == State::Failed
            && !self.contact.addresses.is_empty()
            && self.retries < MAX_RETRIES
        {
            self.retries += 1;
            self.state = State::New;
        }
    }
}
