//! Properties of every table and lookup under arbitrary input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::prop_assert;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tesseras_core::contact::{Contact, MAX_ADDRESSES, Subnet};
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_dht::lookup::Lookup;
use tesseras_dht::routing::RoutingTable;

use crate::world::config;

#[derive(Debug, Clone)]
enum Step {
    Seen(NodeId, SocketAddr),
    Failed(NodeId),
    Wait(u64),
}

const OWN: NodeId = NodeId::new([0; 20]);

/// Few ids in few buckets, so that they meet again.
fn id() -> impl Strategy<Value = NodeId> {
    (0_u8..6, any::<u8>()).prop_map(|(bucket, n)| {
        let mut id = [0; 20];
        id[0] = 0x80 >> bucket;
        id[19] = n;
        NodeId::new(id)
    })
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let global = (0_u8..8, any::<u8>()).prop_map(|(net, host)| Ipv4Addr::new(198, 51, net, host));
    let local = any::<u8>().prop_map(|host| Ipv4Addr::new(10, 0, 0, host));
    prop_oneof![global, local].prop_map(|ip| SocketAddr::new(ip.into(), 4433))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (id(), address()).prop_map(|(id, address)| Step::Seen(id, address)),
        2 => id().prop_map(Step::Failed),
        1 => (0_u64..100).prop_map(Step::Wait),
    ]
}

fn bucket(id: &NodeId) -> u32 {
    DhtKey::from(OWN).distance(&(*id).into()).leading_zeros()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_keeps_its_bounds(steps in proptest::collection::vec(step(), 0..400)) {
        let config = config();
        let mut table = RoutingTable::new(OWN, &config);
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Seen(id, address) => { table.seen(id, address, now); }
                Step::Failed(id) => { table.failed(&id, now); }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let mut ids = BTreeSet::new();
            let mut in_bucket: BTreeMap<u32, usize> = BTreeMap::new();
            let mut of_subnet: BTreeMap<Subnet, usize> = BTreeMap::new();
            let mut of_both: BTreeMap<(u32, Subnet), usize> = BTreeMap::new();
            for entry in table.entries() {
                let contact = &entry.contact;
                let bucket = bucket(&contact.id);
                prop_assert!(contact.id != OWN && ids.insert(contact.id), "once, and never oneself");
                prop_assert!((1..=MAX_ADDRESSES).contains(&contact.addresses.len()));
                prop_assert!(entry.failures < 2 && entry.last_seen <= now);
                *in_bucket.entry(bucket).or_default() += 1;
                let subnets: BTreeSet<_> =
                    contact.addresses.iter().map(|a| Subnet::of(a.ip())).collect();
                for subnet in subnets.into_iter().filter(|subnet| !subnet.is_local()) {
                    *of_subnet.entry(subnet).or_default() += 1;
                    *of_both.entry((bucket, subnet)).or_default() += 1;
                }
            }
            prop_assert!(in_bucket.values().all(|n| *n <= config.k));
            prop_assert!(of_subnet.values().all(|n| *n <= config.subnet_per_table));
            prop_assert!(of_both.values().all(|n| *n <= config.subnet_per_bucket));
            prop_assert!(table.len() == ids.len() && table.is_empty() == ids.is_empty());
        }
        for target in [OWN.into(), DhtKey::new([1; 20]), DhtKey::new([0x22; 20])] {
            let mut all: Vec<_> = table.entries().filter(|entry| entry.failures == 0).collect();
            all.sort_by_cached_key(|entry| entry.contact.id.distance(&target));
            let all: Vec<_> = all.into_iter().map(|entry| entry.contact.clone()).collect();
            prop_assert!(table.closest(&target, usize::MAX, true) == all);
            prop_assert!(table.closest(&target, 7, true) == all[..all.len().min(7)]);
            prop_assert!(table.closest(&target, usize::MAX, false).len() == table.len());
        }
    }

    #[test]
    fn a_random_point_lies_in_its_bucket(own in any::<[u8; 20]>(), index in 0_usize..160) {
        let table = RoutingTable::new(NodeId::new(own), &config());
        let point = table.random_point(index, &mut StdRng::seed_from_u64(7));
        prop_assert!(NodeId::new(own).distance(&point).leading_zeros() == index as u32);
    }

    /// Whatever peers say, a lookup asks a bounded number of them, a bounded number at once, and
    /// ends.
    #[test]
    fn a_lookup_ends(seed in any::<u64>(), answers in any::<bool>(), lies in 0_u8..25) {
        use rand::RngExt;
        let mut rng = StdRng::seed_from_u64(seed);
        let config = config();
        let mut lookup = Lookup::new(DhtKey::new([0; 20]), &config, Duration::ZERO);
        let invent = |rng: &mut StdRng| Contact {
            id: NodeId::new(rng.random()),
            addresses: vec![SocketAddr::from((rng.random::<[u8; 4]>(), 1))],
        };
        for n in 0..20 {
            match n % 3 {
                0 => lookup.add_silent(invent(&mut rng)),
                _ => lookup.add(invent(&mut rng)),
            }
        }
        let (mut asked, mut now, mut out) = (0, Duration::ZERO, Vec::new());
        while !lookup.is_done(now) {
            out.extend(lookup.next(now));
            prop_assert!(out.len() <= 4 * config.alpha);
            now += Duration::from_millis(100);
            if out.is_empty() {
                prop_assert!(lookup.is_done(now), "nobody is asked, and yet it goes on");
                break;
            }
            let one: Contact = out.swap_remove(rng.random_range(0..out.len()));
            asked += 1;
            if answers || rng.random_bool(0.3) {
                for _ in 0..lies {
                    lookup.add(invent(&mut rng));
                }
                lookup.answered(&one.id, one.addresses.first().copied(), now);
            } else {
                lookup.failed(&one.id);
            }
        }
        prop_assert!(asked <= 8 * config.k);
        let found = lookup.closest();
        prop_assert!(found.len() <= config.k);
    }
}

#[test]
fn a_slow_peer_makes_room_for_another_and_does_not_hold_up_the_end() {
    let config = config();
    let mut lookup = Lookup::new(DhtKey::new([0; 20]), &config, Duration::ZERO);
    let contact = |n: u8| Contact {
        id: NodeId::new([n; 20]),
        addresses: vec![SocketAddr::from(([10, 0, 0, n], 1))],
    };
    for n in 1..=30 {
        lookup.add(contact(n));
    }
    let first = lookup.next(Duration::ZERO);
    assert_eq!(first, [contact(1), contact(2), contact(3)]);
    assert!(lookup.next(Duration::ZERO).is_empty());
    assert_eq!(lookup.wakes_at(Duration::ZERO), config.slow_after);
    let mut now = config.slow_after;
    let extra = lookup.next(now);
    assert_eq!(extra, [contact(4), contact(5), contact(6)]);
    let mut out = extra;
    while !lookup.is_done(now) {
        for one in std::mem::take(&mut out) {
            lookup.answered(&one.id, None, now);
        }
        out.extend(lookup.next(now));
        now += Duration::from_millis(1);
    }
    let expected: Vec<_> = (4..24).map(contact).collect();
    assert_eq!(lookup.closest(), expected, "the three that never answered are left behind");
}

#[test]
fn a_peer_is_tried_again_only_at_another_address() {
    let config = config();
    let id = NodeId::new([1; 20]);
    let at = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
    let mut lookup = Lookup::of_node(id, &config, Duration::ZERO);
    lookup.add(Contact { id, addresses: vec![at(1)] });
    assert_eq!(lookup.next(Duration::ZERO).len(), 1);
    lookup.failed(&id);
    lookup.add(Contact { id, addresses: vec![at(1)] });
    assert!(lookup.next(Duration::ZERO).is_empty(), "that one is dead");
    lookup.add(Contact { id, addresses: vec![at(1), at(2)] });
    assert_eq!(lookup.next(Duration::ZERO), [Contact { id, addresses: vec![at(2)] }]);
    lookup.answered(&id, Some(at(2)), Duration::ZERO);
    assert!(lookup.is_done(Duration::ZERO));
    assert_eq!(lookup.found_node(), Some(Contact { id, addresses: vec![at(2)] }));
}

#[test]
fn the_one_node_that_is_looked_for_is_asked_though_it_was_silent() {
    let contact = |n: u8| {
        let addresses = vec![SocketAddr::from(([10, 0, 0, n], 1))];
        Contact { id: NodeId::new([n; 20]), addresses }
    };
    let mut lookup = Lookup::of_node(contact(1).id, &config(), Duration::ZERO);
    (2..40).for_each(|n| lookup.add(contact(n)));
    // It was silent at its old address; here is another.
    lookup.add_silent(contact(1));
    assert_eq!(lookup.next(Duration::ZERO)[0], contact(1));
}

#[test]
fn among_few_nodes_the_dead_are_waited_for_no_longer_than_the_others_make_likely() {
    let config = config();
    let contact = |n: u8| {
        let addresses = vec![SocketAddr::from(([10, 0, 0, n], 1))];
        Contact { id: NodeId::new([n; 20]), addresses }
    };
    let mut lookup = Lookup::new(DhtKey::new([0; 20]), &config, Duration::ZERO);
    (1..=3).for_each(|n| lookup.add(contact(n)));
    assert_eq!(lookup.next(Duration::ZERO).len(), 3);
    let soon = Duration::from_millis(2);
    lookup.answered(&contact(1).id, None, soon);
    lookup.answered(&contact(2).id, None, soon);
    assert!(!lookup.is_done(soon), "the third may still answer");
    let slow = lookup.wakes_at(soon);
    assert!(slow < config.slow_after && !lookup.is_done(slow), "with few answers it may be needed");
    let lost = lookup.wakes_at(slow);
    assert!(lookup.is_done(lost) && lost < config.slow_after, "{lost:?}");
}
