//! One iterative lookup (Kademlia, section 2.3): ask the nearest known peers, learn nearer ones,
//! stop when the k nearest live ones have answered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::{DhtKey, Distance, NodeId};

use crate::config::DhtConfig;

/// A lookup ends with the results so far after this long.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(30);
/// A lookup asks at most this many peers per wanted result.
const QUERIES_PER_RESULT: usize = 8;
/// It remembers at most this many candidates per wanted result; the farthest are forgotten.
const CANDIDATES_PER_RESULT: usize = 10;
/// Slow peers may multiply the requests in flight by at most this.
const SLOW_FACTOR: usize = 4;
/// A peer is slow when it takes this many times the median of the others, but not before
/// [`SLOW_AT_LEAST`].
const SLOWER: u32 = 8;
const SLOW_AT_LEAST: Duration = Duration::from_millis(100);
/// A peer is given up after this many times the slow threshold.
const LOST_FACTOR: u32 = 3;
/// A peer that failed is retried at other addresses at most this often.
const MAX_RETRIES: u8 = 2;

/// The progress of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Waiting { since: Duration },
    Answered,
    Failed,
}

#[derive(Debug)]
struct Candidate {
    contact: Contact,
    standing: Standing,
    /// The addresses of the last request.
    tried: Vec<SocketAddr>,
    retries: u8,
    /// Whether it was silent lately: it is asked last and waited for only briefly.
    silent: bool,
}

/// A lookup in progress. It never asks the same address of a peer twice, so it ends.
#[derive(Debug)]
pub struct Lookup {
    target: DhtKey,
    k: usize,
    alpha: usize,
    /// Upper bound of [`Lookup::slow_after`].
    slow_after_at_most: Duration,
    /// DhtResponse times so far, sorted.
    answers: Vec<Duration>,
    deadline: Duration,
    /// Whether it ends as soon as the node with the target's id has answered.
    one_node: bool,
    /// With this many answers among the k nearest it does not wait for slow peers; at most `k`.
    enough: usize,
    queries: usize,
    candidates: BTreeMap<Distance, Candidate>,
    /// The candidates with a request in flight.
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
            enough: config.k,
            queries: 0,
            candidates: BTreeMap::new(),
            in_flight: BTreeSet::new(),
        }
    }

    /// A lookup of one node, which ends as soon as that node has answered.
    pub fn of_node(id: NodeId, config: &DhtConfig, now: Duration) -> Self {
        Self { one_node: true, ..Self::new(id.into(), config, now) }
    }

    /// A lookup of the nodes that are to store something: half of the k nearest are enough to end it
    /// while others are slow.
    pub fn of_targets(target: DhtKey, config: &DhtConfig, now: Duration) -> Self {
        Self { enough: config.k.div_ceil(2), ..Self::new(target, config, now) }
    }

    /// The point that is looked up.
    pub fn target(&self) -> DhtKey {
        self.target
    }

    /// Adds a peer that another node named. A known one gains its new addresses.
    pub fn add(&mut self, contact: Contact) {
        self.add_as(contact, false);
    }

    /// Adds a peer that was silent lately: it is asked only if there are fewer than k others, and
    /// is given up as soon as a slow peer would let the next request go out. A lookup's own target
    /// is asked like any other peer, since it may answer at another address.
    pub fn add_silent(&mut self, contact: Contact) {
        let is_target = self.one_node && DhtKey::from(contact.id) == self.target;
        self.add_as(contact, !is_target);
    }

    fn add_as(&mut self, contact: Contact, silent: bool) {
        if contact.addresses.is_empty() {
            return;
        }
        let distance = contact.id.distance(&self.target);
        if let Some(known) = self.candidates.get_mut(&distance) {
            known.learn(contact.addresses);
            return;
        }
        let candidate =
            Candidate { contact, standing: Standing::New, tried: Vec::new(), retries: 0, silent };
        self.candidates.insert(distance, candidate);
        if self.candidates.len() > self.k * CANDIDATES_PER_RESULT {
            let farthest = self.candidates.iter().rev();
            let farthest = farthest
                .filter(|(_, c)| matches!(c.standing, Standing::New | Standing::Failed))
                .map(|(distance, _)| *distance)
                .next();
            if let Some(farthest) = farthest {
                self.candidates.remove(&farthest);
            }
        }
    }

    /// The peers to ask now.
    pub fn next(&mut self, now: Duration) -> Vec<Contact> {
        let mut asked = Vec::new();
        let mut prompt = self.waiting().filter(|c| !self.is_slow(c, now)).count();
        while prompt < self.alpha && self.may_ask() && !self.is_over(now) {
            let Some(distance) = self.next_in_window(now) else { break };
            let Some(candidate) = self.candidates.get_mut(&distance) else { break };
            candidate.standing = Standing::Waiting { since: now };
            candidate.tried.clone_from(&candidate.contact.addresses);
            asked.push(candidate.contact.clone());
            self.queries += 1;
            self.in_flight.insert(distance);
            prompt += usize::from(!candidate.silent);
        }
        asked
    }

    /// A peer answered, at the dialled address if that is known. Returns its contact.
    pub fn answered(
        &mut self,
        id: &NodeId,
        address: Option<SocketAddr>,
        now: Duration,
    ) -> Option<Contact> {
        let distance = id.distance(&self.target);
        self.in_flight.remove(&distance);
        let candidate = self.candidates.get_mut(&distance)?;
        if let Standing::Waiting { since } = candidate.standing {
            let took = now.saturating_sub(since);
            self.answers.insert(self.answers.partition_point(|known| *known < took), took);
        }
        candidate.standing = Standing::Answered;
        if let Some(address) = address {
            candidate.contact.addresses = vec![address];
        }
        Some(candidate.contact.clone())
    }

    /// A peer did not answer, or sent an unexpected answer.
    pub fn failed(&mut self, id: &NodeId) {
        let distance = id.distance(&self.target);
        self.in_flight.remove(&distance);
        if let Some(candidate) = self.candidates.get_mut(&distance) {
            candidate.standing = Standing::Failed;
            let tried = std::mem::take(&mut candidate.tried);
            candidate.contact.addresses.retain(|address| !tried.contains(address));
            candidate.tried = tried;
            candidate.reconsider();
        }
    }

    /// Whether no further request or answer can improve the result.
    pub fn is_done(&self, now: Duration) -> bool {
        if self.is_over(now) {
            return true;
        }
        // Its old address may be dead; by the time this is certain, a new one may be known.
        let nearest = self.candidates.first_key_value().map(|(distance, _)| distance);
        if self.one_node && nearest.is_some_and(|nearest| self.in_flight.contains(nearest)) {
            return false;
        }
        let (mut counted, mut pending) = (0, false);
        for candidate in self.candidates.values() {
            if counted == self.k {
                break;
            }
            match candidate.standing {
                Standing::Failed => {}
                Standing::Answered => counted += 1,
                Standing::New if self.is_exhausted() => {}
                Standing::New if candidate.silent => pending |= self.may_ask(),
                Standing::New => return false,
                Standing::Waiting { since } if self.is_lost(candidate, since, now) => {}
                Standing::Waiting { .. } if self.is_slow(candidate, now) => pending = true,
                Standing::Waiting { .. } => return false,
            }
        }
        // With enough answers a slow peer is left behind; with fewer it may still be needed.
        counted >= self.enough || !pending
    }

    /// Peers that were asked and given up, and where they were asked.
    pub fn lost(&self, now: Duration) -> impl Iterator<Item = Contact> {
        let is_lost = move |candidate: &&Candidate| match candidate.standing {
            Standing::Waiting { since } => self.is_lost(candidate, since, now),
            _ => false,
        };
        let asked = |c: &Candidate| Contact { id: c.contact.id, addresses: c.tried.clone() };
        self.waiting().filter(is_lost).map(asked)
    }

    /// When the passing of time alone changes what is to be done.
    pub fn wakes_at(&self, now: Duration) -> Duration {
        let waiting = self.waiting().filter_map(|candidate| match candidate.standing {
            Standing::Waiting { since } => {
                let slow_after = self.slow_after();
                Some([since + slow_after, since + slow_after * LOST_FACTOR])
            }
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
        all.filter(|c| c.standing == Standing::Answered).map(|candidate| &candidate.contact)
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

    /// Whether the limit of requests is reached.
    fn is_exhausted(&self) -> bool {
        self.queries >= self.k * QUERIES_PER_RESULT
    }

    /// Whether another request may be sent now.
    fn may_ask(&self) -> bool {
        self.in_flight.len() < self.alpha * SLOW_FACTOR && !self.is_exhausted()
    }

    /// Whether a peer is slow, so that it does not keep others from being asked.
    fn is_slow(&self, candidate: &Candidate, now: Duration) -> bool {
        let Standing::Waiting { since } = candidate.standing else { return false };
        candidate.silent || now >= since + self.slow_after()
    }

    /// Whether a request sent at this time is given up. While no peer has answered, all may be
    /// slow.
    fn is_lost(&self, candidate: &Candidate, since: Duration, now: Duration) -> bool {
        let factor = if candidate.silent { 1 } else { LOST_FACTOR };
        !self.answers.is_empty() && now >= since + self.slow_after() * factor
    }

    /// The time after which a request is slow, from the response times of the others.
    fn slow_after(&self) -> Duration {
        let median = self.answers.get(self.answers.len().saturating_sub(1) / 2);
        let slow = median.map_or(self.slow_after_at_most, |median| *median * SLOWER);
        slow.max(SLOW_AT_LEAST).min(self.slow_after_at_most)
    }

    /// The nearest unasked candidate among the k nearest that have neither failed nor are slow. If
    /// there are fewer than k of those, it may be one that was silent lately.
    fn next_in_window(&self, now: Duration) -> Option<Distance> {
        let is_unasked = |c: &Candidate| c.standing == Standing::New;
        let is_awake = |c: &Candidate| {
            let is_hopeless = c.silent && is_unasked(c);
            c.standing != Standing::Failed && !self.is_slow(c, now) && !is_hopeless
        };
        let awake = self.candidates.iter().filter(|(_, c)| is_awake(c)).take(self.k);
        let mut awake_count = 0;
        let unasked = awake.inspect(|_| awake_count += 1).find(|(_, c)| is_unasked(c));
        let silent = || self.candidates.iter().find(|(_, c)| c.silent && is_unasked(c));
        let next = match unasked {
            None if awake_count < self.k => silent(),
            unasked => unasked,
        };
        next.map(|(distance, _)| *distance)
    }
}

impl Candidate {
    fn learn(&mut self, addresses: Vec<SocketAddr>) {
        if self.standing == Standing::Answered {
            return;
        }
        for address in addresses {
            let full = self.contact.addresses.len() >= MAX_ADDRESSES;
            let known = self.contact.addresses.contains(&address);
            let failed = self.standing == Standing::Failed && self.tried.contains(&address);
            if !full && !known && !failed {
                self.contact.addresses.push(address);
            }
        }
        self.reconsider();
    }

    /// A failed peer is retried once another of its addresses is known.
    fn reconsider(&mut self) {
        if self.standing == Standing::Failed
            && !self.contact.addresses.is_empty()
            && self.retries < MAX_RETRIES
        {
            self.retries += 1;
            self.standing = Standing::New;
        }
    }
}
