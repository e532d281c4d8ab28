//! Full buckets: the oldest peer is pinged before it is replaced.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tesseras_core::ids::NodeId;
use tesseras_core::time::Timestamp;
use tesseras_crypto::NodeKeys;
use tesseras_dht::engine::{Bootstrap, Effect, Engine, Event, Moment, Ticket};
use tesseras_dht::messages::{DhtRequest, DhtResponse, Pong};

use crate::world::config;

struct Bench {
    engine: Engine,
    rng: StdRng,
    now: Duration,
}

/// A peer of the farthest bucket.
fn peer(engine: &Engine, n: u8) -> (NodeId, SocketAddr) {
    let mut id = *engine.id().as_bytes();
    id[0] ^= 0x80;
    id[19] = n;
    (NodeId::new(id), SocketAddr::from(([10, 0, 0, n], 1000)))
}

impl Bench {
    fn new() -> Self {
        let keys = NodeKeys::from_parts(&[1; 32], [0; 8]);
        let engine = Engine::new(config(), Arc::new(keys), Bootstrap::default());
        Self { engine, rng: StdRng::seed_from_u64(1), now: Duration::ZERO }
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let moment = Moment { elapsed: self.now, wall: Timestamp(1_700_000_000).plus(self.now) };
        self.engine.handle(moment, &mut self.rng, event)
    }

    /// A peer answered another protocol; returns the eviction ping that this caused.
    fn meet(&mut self, n: u8) -> Option<(Ticket, NodeId)> {
        let (id, address) = peer(&self.engine, n);
        let effects = self.handle(Event::Observed { id, address });
        effects.into_iter().find_map(|effect| match effect {
            Effect::Send { ticket, id: Some(id), request: DhtRequest::Ping {}, .. } => {
                Some((ticket, id))
            }
            _ => None,
        })
    }

    fn knows(&self, n: u8) -> bool {
        self.engine.table().get(&peer(&self.engine, n).0).is_some()
    }
}

/// A bench whose farthest bucket is full of peers 1 to 20, met one second apart.
fn full() -> Bench {
    let mut bench = Bench::new();
    for n in 1..=20 {
        bench.now += Duration::from_secs(1);
        assert_eq!(bench.meet(n), None);
    }
    bench
}

#[test]
fn the_oldest_is_pinged_and_stays_if_it_lives() {
    let mut bench = full();
    assert_eq!(bench.meet(21), None, "all were seen a moment ago");
    bench.now += Duration::from_secs(120);
    let (ticket, oldest) = bench.meet(22).expect("a ping");
    assert_eq!(oldest, peer(&bench.engine, 1).0);
    assert_eq!(bench.meet(23), None, "one ping at a time");
    let (from, remote) = peer(&bench.engine, 1);
    let answer = Ok(DhtResponse::Pong(Pong { date: None }));
    bench.handle(Event::Replied { ticket, from, remote, answer });
    assert!(bench.knows(1) && !bench.knows(22) && !bench.knows(23));
    let (_, next) = bench.meet(24).expect("a ping");
    assert_eq!(next, peer(&bench.engine, 2).0, "the first is the latest now");
}

#[test]
fn the_oldest_goes_if_it_is_dead_and_the_latest_replacement_comes() {
    let mut bench = full();
    bench.now += Duration::from_secs(120);
    let (ticket, _) = bench.meet(21).expect("a ping");
    assert_eq!(bench.meet(22), None);
    bench.handle(Event::Failed { ticket, blame: true });
    assert!(!bench.knows(1) && !bench.knows(21) && bench.knows(22));
    assert_eq!(bench.engine.table().len(), 20);
}

#[test]
fn a_ping_that_could_not_be_sent_evicts_nobody() {
    let mut bench = full();
    bench.now += Duration::from_secs(120);
    let (ticket, _) = bench.meet(21).expect("a ping");
    bench.handle(Event::Failed { ticket, blame: false });
    assert!(bench.knows(1));
    assert!(bench.meet(22).is_some(), "the next newcomer asks again");
}

#[test]
fn two_failures_in_a_row_remove_a_peer_and_one_only_shames_it() {
    let mut bench = full();
    let (id, address) = peer(&bench.engine, 5);
    bench.handle(Event::Accused { id });
    let all = bench.engine.closest(&id.into(), 20);
    assert_eq!(all.last().map(|contact| contact.id), Some(id), "asked last");
    bench.handle(Event::Observed { id, address });
    bench.handle(Event::Accused { id });
    assert!(bench.knows(5));
    bench.handle(Event::Accused { id });
    assert!(!bench.knows(5));
}
