//! Nodes that are silent for a while: no lookup waits for them, and they are not forgotten.

use std::time::Duration;

use rand::RngExt;
use tesseras_core::ids::DhtKey;
use tesseras_dht::engine::{Command, CommandOutcome};

use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// How many other nodes have it in their tables.
fn known_by(world: &World, node: usize) -> usize {
    let id = world.nodes[node].engine.id();
    world.nodes.iter().filter(|other| other.engine.table().get(&id).is_some()).count()
}

/// Everybody but one looks something up, so that they find out who does not answer.
fn everybody_searches(world: &mut World, but: usize) {
    for asker in (0..world.nodes.len()).filter(|asker| *asker != but) {
        let target = DhtKey::new(world.rng.random());
        world.lookup(asker, target);
    }
}

#[test]
fn a_node_that_slept_is_known_again_within_seconds_of_waking() {
    let mut world = World::joined(21, 30);
    assert_eq!(known_by(&world, 7), 29);
    let wakes_at = world.now + 45 * SECOND;
    world.nodes[7].asleep_until = wakes_at;
    everybody_searches(&mut world, 7);
    assert!(world.now < wakes_at);
    world.run_for(wakes_at.saturating_sub(world.now));
    assert!(known_by(&world, 7) < 15, "it was found silent by {}", 29 - known_by(&world, 7));
    world.run_for(10 * SECOND);
    assert_eq!(known_by(&world, 7), 29);
}

#[test]
fn a_node_that_was_cut_off_is_known_again_within_a_minute_or_two() {
    let mut world = World::joined(22, 30);
    world.nodes[7].reachable = false;
    let cut_off = world.now;
    everybody_searches(&mut world, 7);
    world.run_for((cut_off + 45 * SECOND).saturating_sub(world.now));
    assert!(known_by(&world, 7) < 15, "it was found silent by {}", 29 - known_by(&world, 7));
    // It does not know that it could not be reached, and asks nobody.
    world.nodes[7].reachable = true;
    world.run_for(90 * SECOND);
    assert_eq!(known_by(&world, 7), 29);
}

#[test]
fn a_silent_node_is_back_as_soon_as_it_asks() {
    let mut world = World::joined(23, 30);
    world.nodes[7].reachable = false;
    everybody_searches(&mut world, 7);
    world.run_for(60 * SECOND);
    world.nodes[7].reachable = true;
    let before = known_by(&world, 7);
    assert!(before < 15, "{before}");
    // It asks at least the twenty nearest to the point.
    let target = DhtKey::new(world.rng.random());
    world.command(7, Command::Lookup(target));
    world.run_for(SECOND);
    assert!(known_by(&world, 7) >= before.max(20), "{}", known_by(&world, 7));
}

/// How long a lookup takes from each of these nodes.
fn search_times(world: &mut World, askers: std::ops::Range<usize>) -> Vec<Duration> {
    let search = |asker| {
        let begun = world.now;
        let key = DhtKey::new(world.rng.random());
        let outcome = world.command(asker, Command::FindHolders(key));
        assert_eq!(outcome, CommandOutcome::Holders(Vec::new()));
        world.now - begun
    };
    askers.map(search).collect()
}

#[test]
fn among_few_nodes_a_third_of_which_is_dead_a_second_search_is_as_fast_as_among_the_living() {
    let mut world = World::joined(24, 24);
    let alive = search_times(&mut world, 8..9)[0];
    (0..8).for_each(|dead| world.nodes[dead].alive = false);
    let first = search_times(&mut world, 8..9)[0];
    let second = search_times(&mut world, 8..9)[0];
    assert!(first < 3 * SECOND, "{first:?}: nobody waits for a deadline");
    // A silent peer may still be asked; it delays the lookup by no more than a slow one does.
    assert!(second < alive + SECOND && second < first, "{alive:?} {first:?} {second:?}");
}

#[test]
fn an_announcement_does_not_wait_for_the_dead() {
    let mut world = World::joined(28, 24);
    (0..8).for_each(|dead| world.nodes[dead].alive = false);
    let begun = world.now;
    let key = DhtKey::new(world.rng.random());
    let outcome = world.command(8, Command::Announce(vec![key]));
    let announcing = world.now - begun;
    let CommandOutcome::Announced(stored) = outcome else { panic!("{outcome:?}") };
    assert!(stored[&key] >= 10, "{stored:?}");
    // Node 9 does not know of the deaths either, and waits for all.
    let searching = search_times(&mut world, 9..10)[0];
    assert!(announcing < searching, "{announcing:?} {searching:?}");
}

#[test]
fn many_searches_at_once_ask_a_silent_peer_once() {
    let mut world = World::joined(27, 24);
    (0..8).for_each(|dead| world.nodes[dead].alive = false);
    search_times(&mut world, 8..9);
    world.run_for(5 * SECOND);
    let before = world.to_the_dead;
    let searches: Vec<_> = (0..16)
        .map(|_| {
            let key = DhtKey::new(world.rng.random());
            world.begin(8, Command::FindHolders(key))
        })
        .collect();
    world.run_for(2 * SECOND);
    assert!(searches.iter().all(|search| world.outcomes.contains_key(search)));
    let asked = world.to_the_dead - before;
    // By a search, and by a greeting.
    assert!((1..=16).contains(&asked), "{asked} requests to 8 dead nodes");
}

#[test]
fn a_silent_peer_is_asked_last_and_found_again() {
    let mut world = World::joined(25, 40);
    let target = world.nodes[7].engine.id().into();
    world.nodes[7].reachable = false;
    let found = world.lookup(3, target);
    assert!(found.iter().all(|contact| contact.id != world.nodes[7].engine.id()));
    world.run_for(4 * SECOND);
    // Twenty others answer, so it is not asked again.
    world.nodes[7].reachable = true;
    let found = world.lookup(3, target);
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|contact| contact.id != world.nodes[7].engine.id()));
    // It is greeted soon, and counts again.
    world.run_for(10 * SECOND);
    assert_eq!(world.lookup(3, target)[0].id, world.nodes[7].engine.id());
}

#[test]
fn a_search_that_is_abandoned_asks_nobody_any_more() {
    let mut world = World::joined(26, 60);
    for command in [Command::FindHolders(DhtKey::new([9; 20])), Command::Discover(1000)] {
        let before = world.messages;
        let operation = world.begin(3, command);
        world.run_for(Duration::from_millis(1));
        assert!(world.messages > before, "it has begun");
        world.abandon(3, operation);
        world.run_for(Duration::from_millis(1));
        let asked = world.messages;
        world.run_for(5 * SECOND);
        assert_eq!(world.messages, asked);
    }
}
