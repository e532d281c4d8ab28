//! Joining, greeting and refreshing (Kademlia, sections 2.3 and 2.4): how a node finds its
//! neighbours and they find it.
//!
//! A node first greets a bootstrap address or remembered peer, so that this node can name it to
//! those who join next; then it looks up its own id, refreshes the farther buckets, and greets
//! every peer it meets on the way. It repeats this after a few seconds to find nodes that joined at
//! the same time.
//!
//! A peer that does not answer leaves the table but is remembered: it is searched for at growing
//! intervals, and at once when it sends a request.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};

use super::neighbours::{
    GREETINGS_AT_ONCE, KNOCK_PAUSE, LONGEST_KNOCK_PAUSE, REFRESHES_AT_ONCE, SEARCHED_AT_ONCE,
};
use super::state::{Engine, Purpose, Turn, Want};
use crate::messages::{DhtRequest, Greeted};

/// The most first contacts of one attempt, for bootstrap addresses and for remembered peers each.
const KNOCKS_AT_ONCE: usize = 16;
/// When a node looks up its own id, counted from its first contact with a peer.
const JOIN_ROUNDS: [Duration; 3] =
    [Duration::ZERO, Duration::from_secs(3), Duration::from_secs(12)];
/// Peers that are greeted in every round, the least recently seen.
const GREETINGS_PER_ROUND: usize = 3;

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

    /// Greets peers that left the table and whose retry is due.
    fn look_for_the_silent(&mut self, turn: &mut Turn<'_>) {
        while !self.table.is_empty()
            && self.neighbours.knocks < SEARCHED_AT_ONCE
            && let Some(contact) = self.neighbours.next_sought(turn.now)
        {
            self.knock_at(turn, Some(contact.id), contact.addresses);
        }
    }

    /// A peer sent a request. If it was silent lately, checks whether it can be reached again.
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

    /// Greets bootstrap addresses and remembered peers without knowing which node answers.
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
        // Peers that do not answer go to the back of the queue, so that the next attempt asks
        // others.
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
        let hello = DhtRequest::Hello { addresses: self.reach.to_try(turn.now, peer) };
        self.neighbours.knocks += 1;
        let deadline = self.config.hello_deadline();
        self.dispatch(turn, id, addresses, hello, deadline, Purpose::Knock);
    }

    /// The first peer has answered: schedules the rounds of joining.
    pub(super) fn begin_joining(&mut self, now: Duration) {
        if !self.neighbours.joining {
            self.neighbours.joining = true;
            self.neighbours.knock_pause = KNOCK_PAUSE;
            self.neighbours.rounds = JOIN_ROUNDS.iter().map(|after| now + *after).collect();
        }
    }

    /// Looks up this node's own id; the farther buckets are refreshed afterwards.
    fn look_around(&mut self, turn: &mut Turn<'_>) {
        self.search(turn, self.id.into(), Want::Neighbourhood);
    }

    /// The lookup of this node's own id has ended. It has covered the buckets as far as the k-th
    /// node; the farther ones are refreshed.
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

    /// Greets the least recently seen peers and one bootstrap address, so that a partitioned
    /// network finds together again.
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
            // And one bootstrap address that has never answered: it may have started after this
            // node.
            let silent = self.neighbours.silent_bootstrap();
            if !silent.is_empty() {
                let address = silent[turn.rng.random_range(0..silent.len())];
                self.knock_at(turn, None, vec![address]);
            }
        }
    }

    /// Schedules a greeting of every peer in the table.
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
            let hello = DhtRequest::Hello { addresses: self.reach.to_try(turn.now, peer) };
            let deadline = self.config.hello_deadline();
            self.send(turn, &contact, hello, deadline, Purpose::Greet(id));
        }
    }

    /// A peer reported how it sees this node.
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
            // Peers that could not reach us before may be able to now.
            self.greet_everyone(turn.now);
        }
        self.send_greetings(turn);
    }

    /// Notes that a point is being looked up.
    pub(super) fn note_lookup(&mut self, target: &DhtKey, now: Duration) {
        self.table.looked_up(target, now);
    }
}
