//! Networks of pure engines under virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_dht::engine::{Command, Outcome};

use crate::world::{World, address_of};

fn random_key(world: &mut World) -> DhtKey {
    DhtKey::new(world.rng.random())
}

fn ids(contacts: &[tesseras_core::contact::Contact]) -> Vec<NodeId> {
    contacts.iter().map(|contact| contact.id).collect()
}

#[test]
fn two_hundred_nodes_join_through_one_and_find_whoever_is_nearest() {
    let mut world = World::joined(1, 200);
    eprintln!("messages {}", world.messages);
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
    let mut world = World::joined(2, 200);
    let keys: Vec<_> = (0..40).map(|_| random_key(&mut world)).collect();
    let holder = world.nodes[7].engine.id();
    let Outcome::Announced(stored) = world.command(7, Command::Announce(keys.clone())) else {
        panic!("another outcome");
    };
    assert_eq!(stored.len(), keys.len());
    assert!(stored.values().all(|count| *count >= 19), "{stored:?}");
    for dead in (0..200).filter(|index| index % 5 == 3) {
        world.nodes[dead].alive = false;
    }
    for (asker, key) in (0..200).filter(|index| index % 5 != 3).zip(keys) {
        let Outcome::Holders(records) = world.command(asker, Command::FindHolders(key)) else {
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
    let dead: BTreeSet<_> = (30..60).map(|index| world.nodes[index].engine.id()).collect();
    let left = world.nodes[0].engine.peers();
    assert!(left.iter().filter(|contact| dead.contains(&contact.id)).count() <= 3);
}

#[test]
fn a_node_that_moved_is_found_by_its_id() {
    let mut world = World::joined(6, 40);
    let id = world.nodes[9].engine.id();
    let asked = world.command(5, Command::Resolve(id));
    let Outcome::Resolved(Some(contact)) = asked else { panic!("{asked:?}") };
    assert_eq!((contact.id, contact.addresses), (id, vec![world.nodes[9].address]));
    let nobody = world.command(5, Command::Resolve(NodeId::new([7; 20])));
    assert_eq!(nobody, Outcome::Resolved(None));
}

#[test]
fn discovery_meets_more_peers_than_a_table_holds() {
    let mut world = World::joined(7, 150);
    let Outcome::Contacts(found) = world.command(3, Command::Discover(140)) else {
        panic!("another outcome");
    };
    assert!(found.len() >= 140, "{}", found.len());
    let Outcome::Contacts(found) = world.command(3, Command::Discover(1000)) else {
        panic!("another outcome");
    };
    assert!(found.len() <= 149);
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
    let Outcome::Announced(stored) = world.command(0, Command::Announce(keys)) else {
        panic!("another outcome");
    };
    assert!(stored.len() == 20_000 && stored.values().all(|count| *count == 0));
    let share = world.nodes[0].engine.config().records_per_announcer();
    assert_eq!(world.nodes[0].engine.records().len(), share);
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
