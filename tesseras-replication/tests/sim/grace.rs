//! Routine repair waits for holders that may come back, unless a tessera is endangered.

use std::time::Duration;

use crate::capsules::{coded, small};
use crate::world::{World, simulate};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Publishes a capsule, lets one holder see all others, and lets `lost` of these die.
async fn lose(world: &mut World, made: &'static crate::capsules::Made, lost: usize) -> usize {
    world.publish(0, made).await.unwrap();
    let holders = world.holders(made);
    let by = holders[0];
    world.repair_each(by).await;
    holders[1..=lost].iter().for_each(|holder| world.kill(*holder));
    world.wait(HOUR).await;
    by
}

/// What one routine repair restored, and left for later.
async fn repair(world: &World, by: usize) -> (usize, usize) {
    let done = world.repair_in_time(by).await;
    (done[0].restored, done[0].waiting)
}

#[test]
fn pieces_of_holders_that_may_come_back_are_replaced_only_after_the_grace_period() {
    simulate(80..83, 40, async |world| {
        let by = lose(world, coded(), 2).await;
        assert_eq!(repair(world, by).await, (0, 2));
        world.wait(22 * HOUR).await;
        assert_eq!(repair(world, by).await, (0, 2), "they were seen 23 hours ago");
        world.wait(2 * HOUR).await;
        assert_eq!(repair(world, by).await, (2, 0));
        assert_eq!(world.pieces(coded()).0, 24);
    });
}

#[test]
fn a_single_fragment_waits_for_others_and_is_replaced_in_the_end() {
    simulate(83..85, 40, async |world| {
        let by = lose(world, coded(), 1).await;
        world.wait(DAY).await;
        assert_eq!(repair(world, by).await, (0, 1));
        world.wait(6 * DAY).await;
        assert_eq!(repair(world, by).await, (1, 0));
    });
}

#[test]
fn an_endangered_tessera_is_repaired_at_once_and_so_is_one_that_someone_asks_for() {
    simulate(85..88, 40, async |world| {
        let by = lose(world, coded(), 5).await;
        assert_eq!(repair(world, by).await, (5, 0), "three more losses, of eight");
        let by = lose(world, small(), 4).await;
        let done = world.repair_in_time(by).await;
        assert!(done.iter().any(|done| done.restored == 4), "{done:?}");
    });
    simulate(88..90, 40, async |world| {
        let by = lose(world, coded(), 1).await;
        let done = world.repair_each(by).await;
        assert_eq!((done[0].restored, done[0].waiting), (1, 0));
    });
}
