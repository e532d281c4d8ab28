//! The schedule of requests and greetings: bootstrap addresses, peers remembered outside the
//! routing table, greetings that are due, and the rounds of joining.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::{Contact, MAX_ADDRESSES, canonical};
use tesseras_core::ids::NodeId;

use tesseras_core::address;

/// Bootstrap addresses that are kept.
const MAX_BOOTSTRAP: usize = 64;
/// Peers outside the table that are remembered; the one that left it first is dropped.
const MAX_REMEMBERED: usize = 256;
/// The first and the longest pause before such a peer is searched for again, while other peers are
/// known; it doubles in between.
const SEARCH_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How many of them are searched for at once.
pub(super) const SEARCHED_AT_ONCE: usize = 4;
/// The first and the longest pause before trying the bootstrap addresses again; it doubles in
/// between.
pub(super) const KNOCK_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_KNOCK_PAUSE: Duration = Duration::from_secs(60);
/// Concurrent bucket refreshes.
pub(super) const REFRESHES_AT_ONCE: usize = 2;
/// Greetings in flight.
pub(super) const GREETINGS_AT_ONCE: usize = 8;
/// Greetings that are queued; more are dropped, and the next round makes up for it.
const MAX_GREETINGS: usize = 4096;
/// How often an unanswered greeting is retried, and after which pause.
const GREETING_RETRIES: u8 = 3;
const GREETING_PAUSE: Duration = Duration::from_secs(5);

/// When to greet a peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Duration,
    pub(super) retries: u8,
}

/// A peer that is not in the table, or was not when it was remembered.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) contact: Contact,
    /// When it is searched for next, and the pause after that attempt fails.
    pub(super) due: Duration,
    pub(super) pause: Duration,
    pub(super) asked: Option<Duration>,
}

/// Which peers to ask and to greet, and when.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) bootstrap: Vec<SocketAddr>,
    /// The bootstrap addresses that have answered since the start, and those that have failed.
    pub(super) answered: BTreeSet<SocketAddr>,
    pub(super) failed: BTreeSet<SocketAddr>,
    /// The most recent last.
    pub(super) remembered: VecDeque<Remembered>,
    /// First contacts in flight.
    pub(super) knocks: usize,
    pub(super) next_knock: Duration,
    pub(super) knock_pause: Duration,
    /// When the remaining join rounds are due.
    pub(super) rounds: VecDeque<Duration>,
    pub(super) joining: bool,
    /// Buckets that wait to be refreshed.
    pub(super) to_refresh: VecDeque<usize>,
    pub(super) refreshing: usize,
    pub(super) greetings: BTreeMap<NodeId, Due>,
    pub(super) greeting: BTreeMap<NodeId, Due>,
    pub(super) next_round: Option<Duration>,
}

impl Neighbours {
    pub(super) fn new(bootstrap: Vec<SocketAddr>, remembered: Vec<Contact>, own: NodeId) -> Self {
        let bootstrap: BTreeSet<_> = bootstrap.into_iter().map(canonical).collect();
        let mut kept = Self {
            bootstrap: bootstrap
                .into_iter()
                .filter(|address| address::is_dialable(*address))
                .take(MAX_BOOTSTRAP)
                .collect(),
            answered: BTreeSet::new(),
            failed: BTreeSet::new(),
            remembered: VecDeque::new(),
            knocks: 0,
            next_knock: Duration::ZERO,
            knock_pause: KNOCK_PAUSE,
            rounds: VecDeque::new(),
            joining: false,
            to_refresh: VecDeque::new(),
            refreshing: 0,
            greetings: BTreeMap::new(),
            greeting: BTreeMap::new(),
            next_round: None,
        };
        for contact in remembered.into_iter().filter(|contact| contact.id != own).rev() {
            kept.remember(contact, Duration::ZERO);
        }
        kept
    }

    /// A node answered at these addresses.
    pub(super) fn bootstrap_answered(&mut self, addresses: &[SocketAddr]) {
        self.answered.extend(addresses.iter().filter(|a| self.bootstrap.contains(a)));
    }

    /// No node answered at these addresses.
    pub(super) fn bootstrap_failed(&mut self, addresses: &[SocketAddr]) {
        self.failed.extend(addresses.iter().filter(|a| self.bootstrap.contains(a)));
    }

    /// Bootstrap addresses that were tried and have not answered since the start.
    pub(super) fn silent_bootstrap(&self) -> Vec<SocketAddr> {
        self.failed.difference(&self.answered).copied().collect()
    }

    /// Keeps a peer that is not in the table, to be searched for from time to time, and to be
    /// contacted when the table is empty.
    pub(super) fn remember(&mut self, mut contact: Contact, now: Duration) {
        contact.addresses = contact.addresses.into_iter().map(canonical).collect();
        contact.addresses.retain(|address| address::is_dialable(*address));
        contact.addresses.truncate(MAX_ADDRESSES);
        if contact.addresses.is_empty() {
            return;
        }
        self.found_again(&contact.id);
        let due = now + SEARCH_PAUSE;
        self.remembered.push_back(Remembered { contact, due, pause: SEARCH_PAUSE, asked: None });
        if self.remembered.len() > MAX_REMEMBERED {
            self.remembered.pop_front();
        }
    }

    /// A peer is in the table again.
    pub(super) fn found_again(&mut self, id: &NodeId) {
        self.remembered.retain(|known| known.contact.id != *id);
    }

    /// A remembered peer has sent a request: it is back, or only we cannot reach it.
    pub(super) fn look_for_now(&mut self, id: &NodeId, now: Duration) {
        if let Some(known) = self.remembered.iter_mut().find(|known| known.contact.id == *id) {
            let asked = known.asked.map_or(now, |asked| asked + GREETING_PAUSE);
            known.due = known.due.min(asked.max(now));
        }
    }

    /// The next peer to search for.
    pub(super) fn next_sought(&mut self, now: Duration) -> Option<Contact> {
        let known = self.remembered.iter_mut().find(|known| known.due <= now)?;
        known.pause = (known.pause * 2).min(LONGEST_SEARCH_PAUSE);
        known.due = now + known.pause;
        known.asked = Some(now);
        Some(known.contact.clone())
    }

    /// Schedules a greeting of a peer.
    pub(super) fn greet_at(&mut self, id: NodeId, at: Duration) {
        if self.greetings.len() < MAX_GREETINGS {
            self.greetings.entry(id).or_insert(Due { at, retries: 0 });
        }
    }

    /// Schedules a greeting of a peer that failed, after it has had time to recover.
    pub(super) fn greet_again(&mut self, id: NodeId, now: Duration) {
        self.greet_at(id, now + GREETING_PAUSE);
    }

    /// Schedules an immediate greeting of a peer that failed.
    pub(super) fn greet_now(&mut self, id: NodeId, now: Duration) {
        if let Some(due) = self.greetings.get_mut(&id) {
            due.at = due.at.min(now);
        } else {
            self.greet_at(id, now);
        }
    }

    pub(super) fn greeted(&mut self, id: &NodeId) {
        self.greeting.remove(id);
    }

    pub(super) fn greeting_failed(&mut self, id: NodeId, now: Duration) {
        if let Some(due) = self.greeting.remove(&id)
            && due.retries < GREETING_RETRIES
        {
            let retries = due.retries + 1;
            let at = now + GREETING_PAUSE * u32::from(retries);
            self.greetings.insert(id, Due { at, retries });
        }
    }

    /// When the next scheduled action is due.
    pub(super) fn wakes_at(&self, alone: bool) -> Option<Duration> {
        let can_knock = alone && self.knocks == 0 && self.knows_anyone();
        let knock = can_knock.then_some(self.next_knock);
        let can_greet = self.greeting.len() < GREETINGS_AT_ONCE;
        let greeting = self.next_greeting().map(|(_, due)| due.at).filter(|_| can_greet);
        let round = self.rounds.front().copied();
        let can_search = !alone && self.knocks < SEARCHED_AT_ONCE;
        let search = self.remembered.iter().map(|known| known.due).min().filter(|_| can_search);
        [knock, greeting, round, search, self.next_round].into_iter().flatten().min()
    }

    /// The next peer to greet; a peer whose greeting is in flight is skipped until that ends.
    pub(super) fn next_greeting(&self) -> Option<(NodeId, Due)> {
        let idle = self.greetings.iter().filter(|(id, _)| !self.greeting.contains_key(id));
        idle.min_by_key(|(_, due)| due.at).map(|(id, due)| (*id, *due))
    }

    /// Whether a stale bucket may be refreshed now, rather than after the current refreshes.
    pub(super) fn may_refresh(&self) -> bool {
        self.to_refresh.is_empty() && self.refreshing < REFRESHES_AT_ONCE
    }

    fn knows_anyone(&self) -> bool {
        !(self.bootstrap.is_empty() && self.remembered.is_empty())
    }
}
