//! Routine repair is done by the live holder nearest to the key, and by the next one if that does
//! nothing; with the owner gone, and nobody asking for it.

use std::ops::Range;
use std::time::Duration;

use tesseras_core::ports::RepairReason;
use tesseras_replication::repair::Repaired;

use crate::capsules::{Made, coded, small};
use crate::world::{World, simulate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const STEP: Duration = Duration::from_secs(900);

/// Runs a test with nodes of which each waits a step for each nearer one.
fn in_turns(seeds: Range<u64>, nodes: usize, test: impl AsyncFn(&mut World)) {
    simulate(seeds, 0, async |world| {
        world.repair_in_turns(STEP);
        for _ in 0..nodes {
            world.join();
        }
        test(world).await;
    });
}

/// The live holders, the nearest to the key first.
fn by_distance(world: &World, made: &Made) -> Vec<usize> {
    let key = made.record.hash.dht_key();
    let mut holders = world.holders(made);
    holders.sort_by_key(|index| world.place(*index).id.distance(&key));
    holders
}

/// Publishes a capsule on many nodes; a day after the farthest two holders and the owner have died,
/// returns the others, the nearest first, each of which has seen all holders.
async fn two_die(world: &mut World) -> Vec<usize> {
    world.publish(0, coded()).await.unwrap();
    let mut holders = by_distance(world, coded());
    for index in &holders[..3] {
        world.repair_each(*index).await;
    }
    for index in holders.split_off(22).into_iter().chain([0]) {
        world.kill(index);
    }
    world.wait(DAY).await;
    holders
}

/// What became of the capsule.
async fn postponed(world: &World, by: usize) -> Option<Repaired> {
    world.repair_postponed(by).await.remove(&coded().record.hash)
}

#[test]
fn after_a_third_of_the_holders_died_one_node_restores_all_without_the_owner_or_a_command() {
    in_turns(300..302, 25, async |world| {
        for made in [coded(), small()] {
            world.publish(0, made).await.unwrap();
        }
        assert_eq!(world.holders(coded()).len(), 24);
        let dead = world.choose(8, 24);
        dead.into_iter().for_each(|index| world.kill(index + 1));
        world.kill(0);
        let live: Vec<usize> = (1..25).filter(|index| world.is_alive(*index)).collect();
        let acted = world.live(&live, 3 * DAY).await;
        for made in [coded(), small()] {
            let by = world.holders(made)[0];
            let health = world.status(by, made).await;
            // The form for the nodes that are left; those that are silent may come back.
            assert_eq!(health.live, health.total, "{health:?}");
            assert_eq!(health.copies.live, health.copies.total, "{health:?}");
            assert!(health.survives >= 5, "{health:?}");
        }
        assert_eq!(world.pieces(coded()).0, 24);
        assert!(acted.len() <= 2, "one for each capsule: {acted:?}");
    });
}

#[test]
fn a_capsule_published_to_five_nodes_ends_on_twenty_four_when_there_are_so_many() {
    in_turns(310..312, 6, async |world| {
        let published = world.publish(0, coded()).await.unwrap();
        assert_eq!(published.holders, 5);
        world.kill(0);
        for _ in 0..19 {
            world.join();
        }
        let live: Vec<usize> = (1..25).collect();
        let acted = world.live(&live, 3 * DAY).await;
        assert_eq!(world.holders(coded()).len(), 24, "{acted:?}");
        assert_eq!(world.pieces(coded()).0, 24);
        assert_eq!(acted.len(), 1, "{acted:?}");
    });
}

#[test]
fn if_the_steward_never_acts_the_next_holder_does_a_step_later() {
    in_turns(320..323, 40, async |world| {
        let holders = two_die(world).await;
        let [steward, second, third] = [0, 1, 2].map(|rank| holders[rank]);
        for (by, rank) in [(second, 1), (third, 2)] {
            let now = world.place(by).clock.now();
            let done = world.round(by).await;
            assert_eq!(done[&coded().record.hash].waiting, 2, "{done:?}");
            let waits = world.place(by).replication.postponed(&coded().record.hash).unwrap();
            assert_eq!(waits.steward, Some(world.place(steward).id));
            assert_eq!(waits.at.0 - waits.since.0, rank * STEP.as_secs());
            assert!(waits.since.0 - now.0 < 60, "{waits:?}");
        }
        assert_eq!(postponed(world, second).await, None);
        world.wait(STEP).await;
        assert_eq!(postponed(world, second).await.unwrap().restored, 2);
        let (hash, by) = (coded().record.hash, world.place(second).id);
        let told = world.place(second).replication.last_repair(hash).await.unwrap().unwrap();
        let reason = Some(RepairReason::Turn);
        assert_eq!((told.by, told.pieces, told.reason), (by, 2, reason), "{told:?}");
        assert!(told.silent >= 2, "{told:?}");
        let new = world.holders(coded()).into_iter().filter(|index| !holders.contains(index));
        let mut given = 0;
        for index in new {
            // Without a witness that it has met, it does not know that a piece is of a repair.
            let told = world.place(index).replication.last_repair(hash).await.unwrap();
            if let Some(told) = told {
                assert_eq!((told.by, told.reason), (by, None), "{told:?}");
                given += told.pieces;
            }
        }
        assert!(given <= 2, "{given}");
        world.wait(STEP).await;
        let found = postponed(world, third).await.unwrap();
        assert_eq!((found.restored, found.missing), (0, 0), "it is whole by then");
    });
}

#[test]
fn the_steward_acts_at_once_and_so_does_whoever_is_asked() {
    in_turns(330..332, 40, async |world| {
        let holders = two_die(world).await;
        world.round(holders[1]).await;
        world.round(holders[0]).await;
        assert_eq!(postponed(world, holders[0]).await.unwrap().restored, 2);
        world.kill(holders[20]);
        assert_eq!(world.repair(holders[2], coded()).await.unwrap().restored, 1);
        world.wait(STEP).await;
        assert_eq!(postponed(world, holders[1]).await.unwrap().restored, 0);
    });
}

#[test]
fn two_that_act_at_once_do_no_harm() {
    simulate(340..343, 40, async |world| {
        let holders = two_die(world).await;
        for by in &holders[..2] {
            world.round(*by).await;
        }
        let [one, other] = [holders[0], holders[1]].map(|by| world.repair_postponed(by));
        let (one, other) = tokio::join!(one, other);
        for done in [one, other] {
            assert_eq!(done[&coded().record.hash].missing, 0, "{done:?}");
        }
        assert_eq!(world.pieces(coded()).0, 24);
        let all: usize = world.true_placement(coded()).values().map(|held| held.len()).sum();
        assert!(all <= 24 + 2, "{all} pieces");
    });
}
