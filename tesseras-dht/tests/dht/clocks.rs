//! Nodes compare their clocks with those of their peers.

use std::net::SocketAddr;
use std::time::Duration;

use tesseras_dht::engine::Bootstrap;

use crate::world::{World, address_of, keys};

const MINUTE: Duration = Duration::from_secs(60);

/// Adds a node whose clock is wrong.
fn add_ahead(world: &mut World, address: SocketAddr, ahead: i64) -> usize {
    let node = world.add(vec![address_of(0)], address, true);
    world.nodes[node].ahead = ahead;
    node
}

fn offset(world: &World, node: usize) -> Option<i64> {
    world.nodes[node].engine.status(world.now).clock.map(|offset| offset.seconds)
}

#[test]
fn a_node_knows_within_a_minute_that_its_clock_is_wrong_and_nobody_else_doubts() {
    for ahead in [7200, -7200] {
        let mut world = World::joined(3, 30);
        let wrong = add_ahead(&mut world, address_of(30), ahead);
        world.run_for(MINUTE);
        assert!(offset(&world, wrong).is_some_and(|seconds| seconds.abs_diff(ahead) <= 3));
        for _ in 0..6 {
            for node in 0..30 {
                assert!(offset(&world, node).is_some_and(|seconds| seconds.abs() <= 3), "{node}");
            }
            world.run_for(10 * MINUTE);
            assert!(offset(&world, wrong).is_some_and(|seconds| seconds.abs_diff(ahead) <= 3));
        }
    }
}

#[test]
fn a_node_with_few_witnesses_knows_soon_that_its_clock_is_wrong() {
    // All the others are in one neighbourhood, so there is only one witness.
    let near = |n: u8| SocketAddr::from(([8, 8, 8, n], 4433));
    let mut world = World::new(3);
    world.add(vec![], near(1), true);
    (2..=4).for_each(|n| _ = world.add(vec![near(1)], near(n), true));
    let wrong = world.add(vec![near(1)], SocketAddr::from(([9, 9, 9, 9], 4433)), true);
    world.nodes[wrong].ahead = 7200;
    world.run_for(MINUTE / 4);
    assert!(offset(&world, wrong).is_some_and(|seconds| seconds.abs_diff(7200) <= 3));
}

#[test]
fn one_wrong_clock_among_nodes_of_one_network_is_noticed_by_its_own_node_only() {
    // Eight nodes on one machine, and in one neighbourhood: one witness for all of them.
    let machine = |n: u8| SocketAddr::from(([127, 0, 0, 1], 4433 + u16::from(n)));
    let neighbourhood = |n: u8| SocketAddr::from(([8, 8, 8, 1 + n], 4433));
    for address in [machine as fn(u8) -> SocketAddr, neighbourhood] {
        for wrong in [0, 7] {
            let mut world = World::new(3);
            for n in 0..8 {
                let bootstrap = (n > 0).then(|| address(0)).into_iter().collect();
                let node = world.add(bootstrap, address(n), true);
                world.nodes[node].ahead = if n == wrong { 7200 } else { 0 };
            }
            for _ in 0..12 {
                world.run_for(5 * MINUTE);
                for node in 0..8 {
                    let expected = world.nodes[node].ahead;
                    let told = offset(&world, node).expect("known");
                    assert!(told.abs_diff(expected) <= 3, "{node}, {wrong} is wrong: {told}");
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_right_is_right_within_a_minute() {
    let mut world = World::joined(5, 10);
    let node = add_ahead(&mut world, address_of(10), 7200);
    world.run_for(MINUTE);
    assert!(offset(&world, node).is_some_and(|seconds| seconds > 7000));
    world.nodes[node].ahead = 0;
    world.run_for(MINUTE * 12);
    assert!(offset(&world, node).is_some_and(|seconds| seconds.abs() <= 3));
}

#[test]
fn strangers_of_many_names_in_one_neighbourhood_set_nobodys_clock() {
    let mut world = World::joined(7, 5);
    for n in 1..=20 {
        add_ahead(&mut world, SocketAddr::from(([9, 9, 9, n], 4433)), 7200);
    }
    for _ in 0..6 {
        world.run_for(10 * MINUTE);
        for node in 0..5 {
            assert!(offset(&world, node).is_some_and(|seconds| seconds.abs() <= 3), "{node}");
        }
    }
}

#[test]
fn names_on_one_machine_of_a_private_network_set_nobodys_clock() {
    let mut world = World::joined(7, 5);
    for port in 1..=20 {
        add_ahead(&mut world, SocketAddr::from(([10, 9, 9, 9], port)), 7200);
    }
    for _ in 0..6 {
        world.run_for(10 * MINUTE);
        for node in 0..5 {
            assert!(offset(&world, node).is_some_and(|seconds| seconds.abs() <= 3), "{node}");
        }
    }
}

#[test]
fn a_bootstrap_address_is_dead_until_something_answers_there() {
    let mut world = World::joined(9, 3);
    let late = address_of(40);
    let key = keys(&mut world.rng);
    let bootstrap = Bootstrap {
        candidates: vec![address_of(3)],
        addresses: vec![address_of(0), late],
        ..Bootstrap::default()
    };
    let node = world.add_with(key, bootstrap, address_of(3), true);
    let silent = |world: &World| world.nodes[node].engine.status(world.now).silent_bootstrap;
    assert_eq!(silent(&world), [], "it was not tried yet");
    world.run_for(MINUTE);
    assert_eq!(silent(&world), [late]);
    // A node that starts there knows no peer; bootstrap nodes try it again.
    world.add(vec![], late, true);
    world.run_for(20 * MINUTE);
    assert_eq!(silent(&world), []);
}
