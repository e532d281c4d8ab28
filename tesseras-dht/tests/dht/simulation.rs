//! Networks of pure engines under virtual time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_crypto::NodeKeys;
use tesseras_dht::Bootstrap;
use tesseras_dht::engine::{Command, CommandOutcome};

use crate::world::{World, address_of};

fn random_key(world: &mut World) -> DhtKey {
    DhtKey::new(world.rng.random())
}

fn ids(contacts: &[tesseras_core::contact::Contact]) -> Vec<NodeId> {
    contacts.iter().map(|contact| contact.id).collect()
}

#[test]
fn two_hundred_nodes_join_through_one_and_find_those_who_are_nearest() {
    let mut world = World::joined(1, 200);
    let (mut right, mut all) = (0, 0);
    for round in 0..30 {
        let target = random_key(&mut world);
        let asker = round * 6;
        let found: BTreeSet<_> = ids(&world.lookup(asker, target)).into_iter().collect();
        for id in world.truly_closest(&target, 20, asker) {
            all += 1;
            right += usize::from(found.contains(&id));
        }
    }
    assert!(right * 100 >= all * 99, "{right} of {all} true neighbours found");
}

#[test]
fn records_are_found_when_a_fifth_of_the_nodes_has_died_unnoticed() {
    let mut world = World::joined(2, 120);
    let keys: Vec<_> = (0..40).map(|_| random_key(&mut world)).collect();
    let holder = world.nodes[7].engine.id();
    let CommandOutcome::Announced(stored) = world.command(7, Command::Announce(keys.clone()))
    else {
        panic!("another outcome");
    };
    assert_eq!(stored.len(), keys.len());
    assert!(stored.values().all(|count| *count >= 19), "{stored:?}");
    for dead in (0..120).filter(|index| index % 5 == 3) {
        world.nodes[dead].alive = false;
    }
    for (asker, key) in (0..120).filter(|index| index % 5 != 3).zip(keys) {
        let CommandOutcome::Holders(records) = world.command(asker, Command::FindHolders(key))
        else {
            panic!("another outcome");
        };
        assert!(records.iter().any(|record| record.node() == holder), "{key} from {asker}");
    }
}

#[test]
fn in_a_small_network_everyone_soon_knows_everyone() {
    for n in [2, 12, 30] {
        let mut world = World::new(3);
        for index in 0..n {
            let bootstrap = if index == 0 { vec![] } else { vec![address_of(0)] };
            world.add(bootstrap, address_of(index), true);
        }
        world.run_for(Duration::from_secs(20));
        for node in &world.nodes {
            assert_eq!(node.engine.peers().len(), n - 1, "of {n}");
            let status = node.engine.status(world.now);
            assert!(status.reachable);
            assert_eq!(status.addresses, [node.address]);
        }
    }
}

#[test]
fn a_node_that_nobody_can_dial_enters_no_table_and_yet_finds_others() {
    let mut world = World::joined(4, 20);
    let hidden = world.add(vec![address_of(0)], address_of(300), false);
    world.run_for(Duration::from_secs(60));
    let id = world.nodes[hidden].engine.id();
    for node in &world.nodes {
        assert!(node.engine.peers().iter().all(|contact| contact.id != id));
    }
    assert!(!world.nodes[hidden].engine.status(world.now).reachable);
    let target = random_key(&mut world);
    assert_eq!(ids(&world.lookup(hidden, target)), world.truly_closest(&target, 20, hidden));
}

#[test]
fn the_dead_leave_the_tables_and_lookups_do_not_wait_for_them() {
    let mut world = World::joined(5, 60);
    for dead in 30..60 {
        world.nodes[dead].alive = false;
    }
    for _ in 0..20 {
        let target = random_key(&mut world);
        let found = ids(&world.lookup(0, target));
        let truth = world.truly_closest(&target, 20, 0);
        let right = truth.iter().filter(|id| found.contains(id)).count();
        assert!(right >= 19, "{right}");
    }
    world.run_for(Duration::from_secs(30));
    let dead: BTreeSet<_> = (30..60).map(|index| world.nodes[index].engine.id()).collect();
    let left = world.nodes[0].engine.peers();
    assert!(left.iter().filter(|contact| dead.contains(&contact.id)).count() <= 3);
}

#[test]
fn a_node_that_moved_is_found_by_its_id() {
    let mut world = World::joined(6, 40);
    let wanderer = || NodeKeys::from_parts(&[77; 32], [0; 8]);
    let id = wanderer().id();
    let listening = |address, bootstrap| Bootstrap {
        candidates: vec![address],
        addresses: vec![bootstrap],
        ..Bootstrap::default()
    };
    let (old, new) = (address_of(400), address_of(401));
    let before = world.add_with(wanderer(), listening(old, address_of(1)), old, true);
    world.run_for(Duration::from_secs(60));
    world.nodes[before].alive = false;
    let nobody = world.command(5, Command::Resolve(id));
    assert_eq!(nobody, CommandOutcome::Resolved(None));

    world.add_with(wanderer(), listening(new, address_of(2)), new, true);
    world.run_for(Duration::from_secs(5));
    for asker in 0..40 {
        let asked = world.command(asker, Command::Resolve(id));
        let CommandOutcome::Resolved(Some(contact)) = asked else { panic!("{asked:?}") };
        assert_eq!((contact.id, contact.addresses), (id, vec![new]));
    }
}

#[test]
fn a_node_on_a_wildcard_address_learns_from_others_where_it_is() {
    let mut world = World::new(12);
    let public = |n: u8| SocketAddr::from(([198, 51, n, 1], 4433));
    for n in 0..10 {
        let bootstrap = if n == 0 { vec![] } else { vec![public(0)] };
        world.add(bootstrap, public(n), true);
    }
    world.run_for(Duration::from_secs(30));
    let here = SocketAddr::from(([203, 0, 113, 5], 4433));
    let behind = Bootstrap {
        // None of its interfaces' addresses is usable by other nodes.
        candidates: vec![address_of(1)],
        wildcard_port: Some(4433),
        addresses: vec![public(0)],
        ..Bootstrap::default()
    };
    let keys = NodeKeys::from_parts(&[77; 32], [0; 8]);
    let node = world.add_with(keys, behind, here, true);
    world.run_for(Duration::from_secs(30));
    let status = world.nodes[node].engine.status(world.now);
    assert!(status.reachable);
    assert_eq!(status.addresses, [here]);
    let id = world.nodes[node].engine.id();
    for other in &world.nodes[..10] {
        let entry = other.engine.table().get(&id).expect("everyone knows it");
        assert_eq!(entry.contact.addresses, [here]);
    }
}

#[test]
fn one_neighbourhood_cannot_fill_the_tables_of_others() {
    let mut world = World::new(13);
    let honest = |n: u8| SocketAddr::from(([198, 51, n, 1], 4433));
    for n in 0..10 {
        let bootstrap = if n == 0 { vec![] } else { vec![honest(0)] };
        world.add(bootstrap, honest(n), true);
    }
    for n in 0..40 {
        world.add(vec![honest(0)], SocketAddr::from(([203, 0, 113, n], 4433)), true);
    }
    world.run_for(Duration::from_secs(60));
    for node in &world.nodes[..10] {
        let peers = node.engine.peers();
        let crowd = peers.iter().filter(|c| c.addresses[0].ip().to_string().starts_with("203."));
        assert!(crowd.count() <= node.engine.config().subnet_per_table);
        assert!(peers.len() >= 9 + 2, "the honest and a few of the crowd");
    }
}

#[test]
fn lookups_find_their_way_when_one_message_in_ten_is_lost() {
    let mut world = World::joined(14, 60);
    world.loss = 0.05;
    world.run_for(Duration::from_secs(1800));
    let (mut right, mut all) = (0, 0);
    for asker in 0..20 {
        let target = random_key(&mut world);
        let found = ids(&world.lookup(asker, target));
        let truth = world.truly_closest(&target, 5, asker);
        all += truth.len();
        right += truth.iter().filter(|id| found.contains(id)).count();
    }
    assert!(right * 100 >= all * 85, "{right} of {all}");
}

#[test]
fn discovery_meets_more_peers_than_a_table_holds() {
    let mut world = World::joined(7, 100);
    let CommandOutcome::Contacts(found) = world.command(3, Command::Discover(95)) else {
        panic!("another outcome");
    };
    assert!(found.len() >= 95, "{}", found.len());
    let CommandOutcome::Contacts(found) = world.command(3, Command::Discover(1000)) else {
        panic!("another outcome");
    };
    assert!(found.len() <= 99);
}

#[test]
fn a_node_finds_the_network_again_after_it_was_alone() {
    let mut world = World::new(8);
    world.add(vec![address_of(1)], address_of(0), true);
    world.run_for(Duration::from_secs(120));
    world.add(vec![], address_of(1), true);
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.nodes[0].engine.peers().len(), 1);
    assert_eq!(world.nodes[1].engine.peers().len(), 1);
}

#[test]
fn announcing_alone_keeps_the_records_at_home_however_many() {
    let mut world = World::new(9);
    world.add(vec![], address_of(0), true);
    world.run_for(Duration::from_secs(1));
    let keys: Vec<_> = (0..20_000).map(|_| random_key(&mut world)).collect();
    let CommandOutcome::Announced(stored) = world.command(0, Command::Announce(keys)) else {
        panic!("another outcome");
    };
    assert!(stored.len() == 20_000 && stored.values().all(|count| *count == 0));
    let share = world.nodes[0].engine.config().records_per_announcer();
    assert_eq!(world.nodes[0].engine.records().len(), share);
}

#[test]
fn a_quiet_network_is_quiet() {
    let mut world = World::joined(15, 30);
    (world.ticks, world.messages) = (0, 0);
    world.run_for(Duration::from_secs(3600));
    eprintln!("per node and hour: {} ticks, {} messages", world.ticks / 30, world.messages / 30);
    assert!(world.ticks < 30 * 500, "{}", world.ticks);
    assert!(world.messages < 30 * 500, "{}", world.messages);
}

#[test]
fn one_seed_replays_to_the_bit() {
    let run = |seed| {
        let mut world = World::joined(seed, 30);
        let target = random_key(&mut world);
        let found = world.lookup(3, target);
        (world.trace, world.messages, found)
    };
    assert_eq!(run(10), run(10));
    assert_ne!(run(10).0, run(11).0);
}

#[test]
fn a_node_that_slept_is_known_again_as_soon_as_it_asks_anything() {
    let mut world = World::joined(11, 12);
    let sleeper = 5;
    let id = world.nodes[sleeper].engine.id();
    let who_knows = |world: &World| {
        let others = world.nodes.iter().enumerate().filter(|(index, _)| *index != sleeper);
        others.filter(|(_, node)| node.engine.table().get(&id).is_some()).count()
    };
    assert_eq!(who_knows(&world), 11);
    world.nodes[sleeper].alive = false;
    for round in 0..15 {
        for node in (0..12).filter(|node| *node != sleeper) {
            world.lookup(node, id.into());
        }
        world.run_for(Duration::from_secs(3));
        assert!(round < 14 || who_knows(&world) == 0, "everybody has noticed");
    }
    // It wakes and does not know that its peers dropped it.
    world.nodes[sleeper].alive = true;
    world.lookup(sleeper, DhtKey::new([7; 20]));
    world.run_for(Duration::from_secs(5));
    assert_eq!(who_knows(&world), 11);
}
