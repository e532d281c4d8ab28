//! Token buckets that limit the request rate of each peer and each neighbourhood. Pure; it is given
//! `now`.

use std::collections::HashMap;
use std::hash::Hash;

use tesseras_core::contact::Subnet;
use tesseras_core::ids::NodeId;
use tokio::time::Instant;

use crate::settings::RateLimit;

/// The most peers, and the most neighbourhoods, that have a bucket of their own.
///
/// Above this, buckets that have filled up again are removed, which loses no information. If all
/// are in use, new peers share one bucket: a flood of new peers slows only new peers.
pub(crate) const MAX_BUCKETS: usize = 4096;

/// The rate limits of peers and neighbourhoods.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    nodes: Buckets<NodeId>,
    subnets: Buckets<Subnet>,
}

impl RateLimiter {
    pub(crate) fn new(limit: RateLimit, now: Instant) -> Self {
        let subnet = RateLimit {
            requests_per_second: limit.requests_per_second.saturating_mul(RateLimit::SUBNET_FACTOR),
            burst: limit.burst.saturating_mul(RateLimit::SUBNET_FACTOR),
        };
        Self { nodes: Buckets::new(limit, now), subnets: Buckets::new(subnet, now) }
    }

    /// Takes one token of the peer's and one of its neighbourhood's; `false` if one is missing.
    pub(crate) fn admit(&mut self, node: NodeId, subnet: Subnet, now: Instant) -> bool {
        let subnet = subnet.limited();
        // Asked before the peer: of a crowd that is refused anyway, no name gets a bucket.
        if subnet.is_some_and(|subnet| self.subnets.of(subnet, now) < 1.0) {
            return false;
        }
        if !self.nodes.take(node, now) {
            return false;
        }
        subnet.is_none_or(|subnet| self.subnets.take(subnet, now))
    }

    /// Charges a request that was admitted for more tokens; `false`, and no charge, if the peer or
    /// its neighbourhood owes some already. So a request that costs more than a burst is possible,
    /// and paid for before the next.
    pub(crate) fn charge(
        &mut self,
        node: NodeId,
        subnet: Subnet,
        tokens: u32,
        now: Instant,
    ) -> bool {
        let subnet = subnet.limited();
        if subnet.is_some_and(|subnet| self.subnets.of(subnet, now) < 0.0) {
            return false;
        }
        if !self.nodes.charge(node, tokens, now) {
            return false;
        }
        subnet.is_none_or(|subnet| self.subnets.charge(subnet, tokens, now))
    }
}

#[derive(Debug)]
struct Buckets<K> {
    limit: RateLimit,
    own: HashMap<K, TokenBucket>,
    shared: TokenBucket,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(limit: RateLimit, now: Instant) -> Self {
        let limit = RateLimit { burst: limit.burst.max(1), ..limit };
        Self { limit, own: HashMap::new(), shared: TokenBucket::full(limit, now) }
    }

    /// The tokens at hand; negative if some are owed.
    fn of(&mut self, key: K, now: Instant) -> f64 {
        let limit = self.limit;
        self.bucket(key, now).tokens_at(limit, now)
    }

    fn take(&mut self, key: K, now: Instant) -> bool {
        let limit = self.limit;
        self.bucket(key, now).take(limit, now)
    }

    fn charge(&mut self, key: K, tokens: u32, now: Instant) -> bool {
        let limit = self.limit;
        self.bucket(key, now).charge(tokens, limit, now)
    }

    fn bucket(&mut self, key: K, now: Instant) -> &mut TokenBucket {
        let limit = self.limit;
        let is_new = !self.own.contains_key(&key);
        if is_new && self.own.len() >= MAX_BUCKETS {
            self.own.retain(|_, bucket| !bucket.is_full(limit, now));
        }
        if is_new && self.own.len() >= MAX_BUCKETS {
            return &mut self.shared;
        }
        self.own.entry(key).or_insert_with(|| TokenBucket::full(limit, now))
    }
}

#[derive(Debug)]
struct TokenBucket {
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn full(limit: RateLimit, now: Instant) -> Self {
        Self { tokens: f64::from(limit.burst), at: now }
    }

    fn tokens_at(&self, limit: RateLimit, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64()
            * f64::from(limit.requests_per_second);
        (self.tokens + gained).min(f64::from(limit.burst))
    }

    fn is_full(&self, limit: RateLimit, now: Instant) -> bool {
        self.tokens_at(limit, now) >= f64::from(limit.burst)
    }

    fn take(&mut self, limit: RateLimit, now: Instant) -> bool {
        self.tokens = self.tokens_at(limit, now);
        self.at = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn charge(&mut self, tokens: u32, limit: RateLimit, now: Instant) -> bool {
        self.tokens = self.tokens_at(limit, now);
        self.at = now;
        if self.tokens < 0.0 {
            return false;
        }
        self.tokens -= f64::from(tokens);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(n: u32) -> NodeId {
        let mut bytes = [0; NodeId::LEN];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        NodeId::new(bytes)
    }

    fn subnet(text: &str) -> Subnet {
        Subnet::of(text.parse().unwrap())
    }

    const LIMIT: RateLimit = RateLimit { requests_per_second: 2, burst: 3 };

    #[test]
    fn a_burst_then_a_trickle() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(LIMIT, now);
        let home = subnet("192.168.1.1");
        let admitted = |limiter: &mut RateLimiter, now| {
            (0..10).filter(|_| limiter.admit(node(1), home, now)).count()
        };
        assert_eq!(admitted(&mut limiter, now), 3);
        assert_eq!(admitted(&mut limiter, now + Duration::from_secs(1)), 2);
        assert_eq!(admitted(&mut limiter, now + Duration::from_secs(60)), 3);
        assert!(limiter.admit(node(2), home, now), "another peer has its own");
    }

    #[test]
    fn what_a_neighbourhood_is_refused_costs_its_peers_nothing() {
        let now = Instant::now();
        let crowded = subnet("203.0.113.9");
        let mut limiter = RateLimiter::new(LIMIT, now);
        assert!(limiter.charge(node(1), crowded, 100, now), "into debt");
        assert!(!limiter.charge(node(2), crowded, 10, now));
        assert!(!limiter.admit(node(3), crowded, now));
        assert_eq!(limiter.nodes.own.len(), 1, "those who were refused have no bucket");
        let elsewhere = subnet("198.51.100.1");
        assert_eq!((0..9).filter(|_| limiter.admit(node(2), elsewhere, now)).count(), 3);
    }

    #[test]
    fn a_neighbourhood_has_a_limit_unless_it_is_ours() {
        let now = Instant::now();
        let count = |address: &str| {
            let mut limiter = RateLimiter::new(LIMIT, now);
            (0..100).filter(|n| limiter.admit(node(*n), subnet(address), now)).count()
        };
        assert_eq!(count("203.0.113.9"), 24);
        assert_eq!(count("127.0.0.1"), 100);
    }

    #[test]
    fn what_costs_more_is_paid_for_before_the_next() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(LIMIT, now);
        let there = subnet("203.0.113.9");
        let mut ask =
            |n, now| limiter.admit(node(n), there, now) && limiter.charge(node(n), there, 15, now);
        assert!(ask(1, now), "more than a burst");
        assert!(!ask(1, now + Duration::from_secs(6)));
        assert!(ask(1, now + Duration::from_secs(8)));
        // The neighbourhood pays, too: 24 tokens at once and 16 a second.
        let later = now + Duration::from_secs(60);
        assert_eq!((10..20).filter(|n| ask(*n, later)).count(), 2);
    }

    #[test]
    fn who_asks_for_much_at_once_is_charged_for_one_after_the_other() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(LIMIT, now);
        let home = subnet("10.0.0.1");
        // All are admitted before the first of them is charged.
        assert_eq!((0..3).filter(|_| limiter.admit(node(1), home, now)).count(), 3);
        assert_eq!((0..3).filter(|_| limiter.charge(node(1), home, 15, now)).count(), 1);
    }

    #[test]
    fn strangers_share_when_the_table_is_full() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(LIMIT, now);
        let home = subnet("10.0.0.1");
        let many = u32::try_from(MAX_BUCKETS).unwrap();
        for n in 0..many {
            assert!(limiter.admit(node(n), home, now));
        }
        let strangers = (many..many + 50).filter(|n| limiter.admit(node(*n), home, now)).count();
        assert_eq!(strangers, 3);
        assert!(limiter.admit(node(5), home, now), "known peers keep their own");
        assert_eq!(limiter.nodes.own.len(), MAX_BUCKETS);
        let later = now + Duration::from_secs(10);
        assert!(limiter.admit(node(many), home, later));
        assert_eq!(limiter.nodes.own.len(), 1, "the full ones were forgotten");
    }
}
