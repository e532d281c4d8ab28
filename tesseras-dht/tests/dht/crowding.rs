//! Nodes near a key that tell of holders whom they have made up.

use std::net::SocketAddr;

use tesseras_core::ids::DhtKey;
use tesseras_core::time::Timestamp;
use tesseras_dht::HolderRecord;
use tesseras_dht::engine::{Command, CommandOutcome};

use crate::world::{EPOCH, World, keys};

/// Names cost a tenth of a second each, and the addresses in a record are only claimed.
fn made_up(world: &mut World, key: DhtKey, many: usize) -> Vec<HolderRecord> {
    let wall = Timestamp(EPOCH).plus(world.now);
    (0..many)
        .map(|_| {
            let keys = keys(&mut world.rng);
            let address = SocketAddr::from(([203, 0, 113, 1], 4433));
            HolderRecord::sign(&keys, key, &[address], wall)
        })
        .collect()
}

#[test]
fn six_of_the_twenty_nodes_near_a_key_cannot_hide_the_true_holders() {
    let mut found = Vec::new();
    for seed in 40..46 {
        let mut world = World::joined(seed, 60);
        let key = DhtKey::new([seed as u8; 20]);
        let index_of = |world: &World, id| {
            world.nodes.iter().position(|node| node.engine.id() == id).expect("a node")
        };
        let near = world.truly_closest(&key, 20, usize::MAX);
        let holder = (0..60).find(|at| !near.contains(&world.nodes[*at].engine.id())).expect("far");
        world.command(holder, Command::Announce(vec![key]));
        let asker = (0..60)
            .rev()
            .find(|at| *at != holder && !near.contains(&world.nodes[*at].engine.id()))
            .expect("far");
        for id in &near[..6] {
            let evil = index_of(&world, *id);
            world.nodes[evil].forges = made_up(&mut world, key, 128);
        }
        let CommandOutcome::Holders(records) = world.command(asker, Command::FindHolders(key))
        else {
            panic!("holders are found");
        };
        let holder = world.nodes[holder].engine.id();
        let is_found = records.iter().any(|record| record.node() == holder);
        found.push(is_found);
    }
    assert!(found.iter().all(|is_found| *is_found), "14 of 20 honest nodes have told: {found:?}");
}
