//! Nodes that are silent for a while: nobody waits for them, and nobody forgets them.

use std::time::Duration;

use rand::RngExt;
use tesseras_core::ids::DhtKey;
use tesseras_dht::engine::Command;

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
