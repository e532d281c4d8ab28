//! How a node finds its neighbours and they find it: joining, greeting, refreshing (Kademlia,
//! sections 2.3 and 2.4).
//!
//! A node knocks with a greeting, so that the node that it asks first can name it to those who come
//! next; then it looks itself up, refreshes the farther buckets, and greets everyone whom it meets
//! on the way. It does so again after a few seconds, for those who came at the same time.
//!
//! Who is silent leaves the table and is not forgotten: it is looked for after a while that grows,
//! and at once when it asks something.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};

use super::search::Want;
use super::{Engine, Purpose, Turn};
use crate::address;
use crate::messages::{Greeted, Request};

/// Bootstrap addresses that are kept.
const MAX_BOOTSTRAP: usize = 64;
/// Peers outside the table that are remembered; the one that left it first goes.
const MAX_REMEMBERED: usize = 256;
/// After which pause such a peer is looked for, while others are known, and the longest one; it
/// doubles between.
const SEARCH_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(60 * 60);
/// How many of them are looked for at once.
const SEARCHED_AT_ONCE: usize = 4;
/// Knocks of one attempt, each of bootstrap addresses and remembered peers.
const KNOCKS_AT_ONCE: usize = 16;
/// The first pause before knocking again, and the longest; it doubles between.
const KNOCK_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_KNOCK_PAUSE: Duration = Duration::from_secs(60);
/// When a node that has met its first peer looks around, counted from then.
const JOIN_ROUNDS: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(3), Duration::from_secs(12)];
/// Refreshes that run at once.
const REFRESHES_AT_ONCE: usize = 2;
/// Greetings that are out at once.
const GREETINGS_AT_ONCE: usize = 8;
/// Greetings that are waiting; more are dropped, the next round makes up for it.
const MAX_GREETINGS: usize = 4096;
/// How often a greeting that was not answered is tried again, and after which pause.
const GREETING_RETRIES: u8 = 3;
const GREETING_PAUSE: Duration = Duration::from_secs(5);
/// Peers that are greeted in every round; the least recently seen.
const GREETINGS_PER_ROUND: usize = 3;

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Duration,
    retries: u8,
}

/// A peer that is not in the table, or was not when it was remembered.
#[derive(Debug)]
struct Remembered {
    contact: Contact,
    /// When it is looked for next, and how long to wait if that is in vain.
    due: Duration,
    pause: Duration,
    asked: Option<Duration>,
}

/// Whom to ask, whom to greet, and when.
#[derive(Debug)]
pub(super) struct Neighbours {
    bootstrap: Vec<SocketAddr>,
    /// Those of them that have answered since the start, and those that have failed.
    answered: BTreeSet<SocketAddr>,
    failed: BTreeSet<SocketAddr>,
    /// The latest last.
    remembered: VecDeque<Remembered>,
    /// Knocks that are out.
    pub(super) knocks: usize,
    next_knock: Duration,
    knock_pause: Duration,
    /// When the rest of the join rounds are due.
    rounds: VecDeque<Duration>,
    joining: bool,
    /// Buckets that wait for their refresh.
    to_refresh: VecDeque<usize>,
    refreshing: usize,
    greetings: BTreeMap<NodeId, Due>,
    greeting: BTreeMap<NodeId, Due>,
    next_round: Option<Duration>,
}

impl Neighbours {
    pub(super) fn new(bootstrap: Vec<SocketAddr>, remembered: Vec<Contact>, own: NodeId) -> Self {
        let bootstrap: BTreeSet<_> = bootstrap.into_iter().map(address::canonical).collect();
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

    /// Somebody answered at these addresses.
    pub(super) fn bootstrap_answered(&mut self, addresses: &[SocketAddr]) {
        self.answered.extend(addresses.iter().filter(|a| self.bootstrap.contains(a)));
    }

    /// Nobody answered at these addresses.
    pub(super) fn bootstrap_failed(&mut self, addresses: &[SocketAddr]) {
        self.failed.extend(addresses.iter().filter(|a| self.bootstrap.contains(a)));
    }

    /// Bootstrap addresses that were tried and have not answered since the start.
    pub(super) fn silent_bootstrap(&self) -> Vec<SocketAddr> {
        self.failed.difference(&self.answered).copied().collect()
    }

    /// Keeps a peer that is not in the table, to be looked for now and then, and knocked at when the
    /// table is empty.
    pub(super) fn remember(&mut self, mut contact: Contact, now: Duration) {
        contact.addresses = contact.addresses.into_iter().map(address::canonical).collect();
        contact.addresses.retain(|address| address::is_dialable(*address));
        contact.addresses.truncate(tesseras_core::contact::MAX_ADDRESSES);
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

    /// A peer is in the table.
    pub(super) fn found_again(&mut self, id: &NodeId) {
        self.remembered.retain(|known| known.contact.id != *id);
    }

    /// A remembered peer has asked something: it is there again, or it is silent to us alone.
    fn look_for_now(&mut self, id: &NodeId, now: Duration) {
        if let Some(known) = self.remembered.iter_mut().find(|known| known.contact.id == *id) {
            let asked = known.asked.map_or(now, |asked| asked + GREETING_PAUSE);
            known.due = known.due.min(asked.max(now));
        }
    }

    /// Whom to look for now.
    fn next_sought(&mut self, now: Duration) -> Option<Contact> {
        let known = self.remembered.iter_mut().find(|known| known.due <= now)?;
        known.pause = (known.pause * 2).min(LONGEST_SEARCH_PAUSE);
        known.due = now + known.pause;
        known.asked = Some(now);
        Some(known.contact.clone())
    }

    /// Notes that a peer should be greeted.
    pub(super) fn greet_at(&mut self, id: NodeId, at: Duration) {
        if self.greetings.len() < MAX_GREETINGS {
            self.greetings.entry(id).or_insert(Due { at, retries: 0 });
        }
    }

    /// Notes that a peer has failed and should be greeted when it has had time to recover.
    pub(super) fn greet_again(&mut self, id: NodeId, now: Duration) {
        self.greet_at(id, now + GREETING_PAUSE);
    }

    /// Notes that a peer that failed should be greeted at once.
    fn greet_now(&mut self, id: NodeId, now: Duration) {
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

    /// When there is something to do.
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

    /// Whom to greet next; one that is being greeted is left until that is over.
    fn next_greeting(&self) -> Option<(NodeId, Due)> {
        let idle = self.greetings.iter().filter(|(id, _)| !self.greeting.contains_key(id));
        idle.min_by_key(|(_, due)| due.at).map(|(id, due)| (*id, *due))
    }

    /// Whether a stale bucket would be refreshed now, rather than when others are done.
    pub(super) fn may_refresh(&self) -> bool {
        self.to_refresh.is_empty() && self.refreshing < REFRESHES_AT_ONCE
    }

    fn knows_anyone(&self) -> bool {
        !(self.bootstrap.is_empty() && self.remembered.is_empty())
    }
}

impl Engine {
    pub(super) fn tend_neighbours(&mut self, turn: &mut Turn<'_>) {
        let neighbours = &self.neighbours;
        if self.table.is_empty() && neighbours.knocks == 0 && turn.now >= neighbours.next_knock {
            self.knock(turn);
        }
        if self.neighbours.next_round.is_none_or(|at| turn.now >= at) {
            self.begin_round(turn);
        }
        if self.neighbours.rounds.front().is_some_and(|at| turn.now >= *at) {
            self.neighbours.rounds.pop_front();
            self.look_around(turn);
        }
        self.queue_stale_buckets(turn);
        self.refresh(turn);
        self.send_greetings(turn);
        self.look_for_the_silent(turn);
    }

    /// Greets those who left the table and are due.
    fn look_for_the_silent(&mut self, turn: &mut Turn<'_>) {
        while !self.table.is_empty()
            && self.neighbours.knocks < SEARCHED_AT_ONCE
            && let Some(contact) = self.neighbours.next_sought(turn.now)
        {
            self.knock_at(turn, Some(contact.id), contact.addresses);
        }
    }

    /// A peer asks something. If it was silent lately, it is seen whether it can be reached again.
    pub(super) fn look_for(&mut self, turn: &mut Turn<'_>, id: &NodeId) {
        match self.table.get(id) {
            Some(entry) if entry.failures > 0 => {
                self.neighbours.greet_now(*id, turn.now);
                self.send_greetings(turn);
            }
            Some(_) => {}
            None => {
                self.neighbours.look_for_now(id, turn.now);
                self.look_for_the_silent(turn);
            }
        }
    }

    /// Greets bootstrap addresses and remembered peers, without knowing who answers.
    fn knock(&mut self, turn: &mut Turn<'_>) {
        self.neighbours.joining = false;
        let pause = self.neighbours.knock_pause;
        let jitter = pause.mul_f64(turn.rng.random_range(0.0..0.25));
        self.neighbours.next_knock = turn.now + pause + jitter;
        self.neighbours.knock_pause = (pause * 2).min(LONGEST_KNOCK_PAUSE);
        let start = if self.neighbours.bootstrap.is_empty() {
            0
        } else {
            turn.rng.random_range(0..self.neighbours.bootstrap.len())
        };
        let (after, before) = self.neighbours.bootstrap.split_at(start);
        let bootstrap: Vec<_> = before.iter().chain(after).copied().take(KNOCKS_AT_ONCE).collect();
        for address in bootstrap {
            self.knock_at(turn, None, vec![address]);
        }
        // Those that do not answer go to the back, so that the next attempt asks others.
        for _ in 0..KNOCKS_AT_ONCE.min(self.neighbours.remembered.len()) {
            if let Some(known) = self.neighbours.remembered.pop_back() {
                let Contact { id, addresses } = known.contact.clone();
                self.neighbours.remembered.push_front(known);
                self.knock_at(turn, Some(id), addresses);
            }
        }
    }

    fn knock_at(&mut self, turn: &mut Turn<'_>, id: Option<NodeId>, addresses: Vec<SocketAddr>) {
        let peer = addresses.first().map(SocketAddr::ip);
        let hello = Request::Hello { addresses: self.reach.to_try(turn.now, peer) };
        self.neighbours.knocks += 1;
        let deadline = self.config.hello_deadline();
        self.dispatch(turn, id, addresses, hello, deadline, Purpose::Knock);
    }

    /// The first peer is met: the rounds of joining begin.
    pub(super) fn begin_joining(&mut self, now: Duration) {
        if !self.neighbours.joining {
            self.neighbours.joining = true;
            self.neighbours.knock_pause = KNOCK_PAUSE;
            self.neighbours.rounds = JOIN_ROUNDS.iter().map(|after| now + *after).collect();
        }
    }

    /// Looks itself up; the farther buckets follow when that is done.
    fn look_around(&mut self, turn: &mut Turn<'_>) {
        self.search(turn, self.id.into(), Want::Neighbourhood);
    }

    /// The own lookup is done. The buckets behind its k-th node hold nobody whom it has not asked;
    /// the farther ones are refreshed.
    pub(super) fn on_looked_around(&mut self, turn: &mut Turn<'_>, nearest: &[Contact]) {
        let farthest = nearest.last().filter(|_| nearest.len() >= self.config.k);
        let unasked = farthest
            .map_or(0, |contact| self.id.distance(&contact.id.into()).leading_zeros() as usize + 1);
        self.neighbours.to_refresh = (0..unasked).collect();
        self.refresh(turn);
    }

    pub(super) fn on_refreshed(&mut self, turn: &mut Turn<'_>) {
        self.neighbours.refreshing = self.neighbours.refreshing.saturating_sub(1);
        self.refresh(turn);
    }

    fn queue_stale_buckets(&mut self, turn: &mut Turn<'_>) {
        if self.neighbours.may_refresh()
            && let Some((index, at)) = self.table.stalest()
            && turn.now >= at + self.config.refresh_every
        {
            self.neighbours.to_refresh.push_back(index);
        }
    }

    fn refresh(&mut self, turn: &mut Turn<'_>) {
        while self.neighbours.refreshing < REFRESHES_AT_ONCE {
            let Some(index) = self.neighbours.to_refresh.pop_front() else { break };
            let target = self.table.random_point(index, turn.rng);
            self.neighbours.refreshing += 1;
            self.search(turn, target, Want::Refresh);
        }
    }

    /// Every so often: greet those that were silent for longest, and one bootstrap address, so
    /// that a network that fell apart finds together again.
    fn begin_round(&mut self, turn: &mut Turn<'_>) {
        let first = self.neighbours.next_round.is_none();
        let every = self.config.hello_every;
        let jitter = every.mul_f64(turn.rng.random_range(0.0..0.25));
        self.neighbours.next_round = Some(turn.now + every.mul_f64(0.875) + jitter);
        for id in self.table.least_recently_seen(GREETINGS_PER_ROUND) {
            self.neighbours.greet_at(id, turn.now);
        }
        if !first && !self.table.is_empty() && !self.neighbours.bootstrap.is_empty() {
            let one = turn.rng.random_range(0..self.neighbours.bootstrap.len());
            let address = self.neighbours.bootstrap[one];
            self.knock_at(turn, None, vec![address]);
            // And one of those that never answered: it may have started after this node.
            let silent = self.neighbours.silent_bootstrap();
            if !silent.is_empty() {
                let address = silent[turn.rng.random_range(0..silent.len())];
                self.knock_at(turn, None, vec![address]);
            }
        }
    }

    /// Greets the whole table soon.
    pub(super) fn greet_everyone(&mut self, now: Duration) {
        let everyone: Vec<_> = self.table.entries().map(|entry| entry.contact.id).collect();
        for id in everyone {
            self.neighbours.greet_now(id, now);
        }
    }

    pub(super) fn send_greetings(&mut self, turn: &mut Turn<'_>) {
        while self.neighbours.greeting.len() < GREETINGS_AT_ONCE {
            let next = self.neighbours.next_greeting();
            let Some((id, due)) = next.filter(|(_, due)| due.at <= turn.now) else { break };
            self.neighbours.greetings.remove(&id);
            let Some(entry) = self.table.get(&id) else { continue };
            let contact = entry.contact.clone();
            self.neighbours.greeting.insert(id, due);
            let peer = contact.addresses.first().map(SocketAddr::ip);
            let hello = Request::Hello { addresses: self.reach.to_try(turn.now, peer) };
            let deadline = self.config.hello_deadline();
            self.send(turn, &contact, hello, deadline, Purpose::Greet(id));
        }
    }

    /// A peer says how it sees us.
    pub(super) fn on_greeted(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        remote: SocketAddr,
        greeted: &Greeted,
    ) {
        let reach = &mut self.reach;
        let news = reach.learn(from, remote.ip(), greeted.observed, &greeted.reached, turn.now);
        if news {
            // Those who could not reach us before may be able to now.
            self.greet_everyone(turn.now);
        }
        self.send_greetings(turn);
    }

    /// Notes that a point is being looked up.
    pub(super) fn note_lookup(&mut self, target: &DhtKey, now: Duration) {
        self.table.looked_up(target, now);
    }
}
