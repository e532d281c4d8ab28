//! Published means that holders know of it: those that no roster reached, and those whose pieces
//! another node had placed.

use std::collections::BTreeSet;
use std::time::Duration;

use tesseras_core::code::{CodedForm, Piece};
use tesseras_core::ports::HoldingRepository as _;
use tesseras_core::progress::silent;
use tesseras_replication::publish::{PublishError, Published};
use tesseras_replication::status::HealthState;

use crate::capsules::{Made, coded, small};
use crate::network::Conduct;
use crate::world::{World, simulate};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest pause after which a node goes on with a publication.
const LATER: Duration = Duration::from_secs(3600);

/// The nodes that hold something, and how many of them know that it is published.
fn told(world: &World, made: &Made) -> (usize, usize) {
    let holders = world.holders(made);
    let knows = |node: &&usize| {
        world.place(**node).memory.publication(&made.record.hash).unwrap().confirmed
    };
    (holders.len(), holders.iter().filter(knows).count())
}

/// The fragments of those.
fn known_pieces(world: &World, made: &Made) -> BTreeSet<Piece> {
    let mut placement = world.true_placement(made);
    for node in 0..world.len() {
        let place = world.place(node);
        if !place.memory.publication(&made.record.hash).unwrap().confirmed {
            placement.remove(&place.id);
        }
    }
    placement.into_values().flatten().filter(|piece| *piece != Piece::Whole).collect()
}

fn has_whole(world: &World, node: usize, made: &Made) -> bool {
    let id = world.place(node).id;
    world.true_placement(made).get(&id).is_some_and(|pieces| pieces.contains(&Piece::Whole))
}

/// Publishes again as the job of a node does: some time later, when those that did not answer are
/// waited for again.
async fn goes_on(world: &World, owner: usize, made: &Made) -> Result<Published, PublishError> {
    world.wait(LATER).await;
    world.place(owner).replication.publish_signed(made.record.hash, &silent()).await
}

/// The owner's node dies, and the others live on for a week.
async fn outlives_its_owner(world: &mut World, owner: usize, made: &Made) {
    world.kill(owner);
    let rest: Vec<usize> = (0..world.len()).filter(|node| world.is_alive(*node)).collect();
    world.live(&rest, WEEK).await;
    let reader = world.join();
    world.fetch(reader, made).await.unwrap();
}

#[test]
fn what_no_holder_was_told_of_is_not_published_until_one_is() {
    simulate(60..62, 8, async |world| {
        let (made, owner) = (small(), 0);
        let hash = made.record.hash;
        (1..8).for_each(|node| world.behave(node, Conduct::DeafToRosters));
        let published = world.publish(owner, made).await;
        assert!(matches!(published, Err(PublishError::Untold { told: 0, .. })), "{published:?}");
        // Until then, those that did not answer are not waited for.
        world.wait(LATER).await;
        let (health, replication) =
            (world.status(owner, made).await, world.place(owner).replication);
        assert_eq!(health.state, HealthState::Publishing, "all pieces are there: {health:?}");
        assert_eq!((health.live, told(world, made).1), (health.total, 0));
        assert_eq!(replication.publishing().await.unwrap(), [hash], "its node goes on by itself");
        (1..8).for_each(|node| world.behave(node, Conduct::Honest));
        let published = replication.publish_signed(hash, &silent()).await.unwrap();
        assert_eq!(replication.publishing().await.unwrap(), []);
        assert_eq!(told(world, made), (published.holders, published.holders));
        assert_eq!(world.status(owner, made).await.state, HealthState::Healthy);
        outlives_its_owner(world, owner, made).await;
    });
}

/// That holders are to be told hides no danger.
#[test]
fn what_no_holder_was_told_of_is_endangered_when_its_holders_vanish() {
    simulate(70..71, 8, async |world| {
        let (made, owner) = (small(), 0);
        (1..8).for_each(|node| world.behave(node, Conduct::DeafToRosters));
        world.publish(owner, made).await.unwrap_err();
        world.wait(LATER).await;
        let all = world.status(owner, made).await;
        assert_eq!(all.state, HealthState::Publishing, "{all:?}");
        (2..8).for_each(|node| world.kill(node));
        world.wait(LATER).await;
        let left = world.status(owner, made).await;
        let is_named = !matches!(left.state, HealthState::Publishing | HealthState::Healthy);
        assert!(is_named && left.live < all.live, "{left:?}");
    });
}

#[test]
fn what_some_holders_were_told_of_is_published() {
    simulate(62..64, 8, async |world| {
        let (made, owner) = (small(), 0);
        (2..8).for_each(|node| world.behave(node, Conduct::DeafToRosters));
        world.publish(owner, made).await.unwrap();
        assert_eq!(told(world, made).1, 1);
        outlives_its_owner(world, owner, made).await;
    });
}

#[test]
fn fragments_are_published_once_enough_to_read_them_were_told_of() {
    simulate(64..65, 24, async |world| {
        let (made, owner) = (coded(), 0);
        (1..24).for_each(|node| world.behave(node, Conduct::DeafToRosters));
        let published = world.publish(owner, made).await;
        assert!(matches!(published, Err(PublishError::Untold { told: 0, .. })), "{published:?}");
        let k = CodedForm::of_pack(made.pack.len() as u64).unwrap().shape.k;
        let hears: Vec<usize> =
            world.holders(made).into_iter().filter(|node| !has_whole(world, *node, made)).collect();
        for (count, node) in hears.into_iter().enumerate() {
            world.behave(node, Conduct::Honest);
            let published = goes_on(world, owner, made).await;
            let told = known_pieces(world, made);
            assert!(told.len() > count, "it hears now: {told:?}");
            assert_eq!(published.is_ok(), told.len() >= usize::from(k), "{told:?}: {published:?}");
            if published.is_ok() {
                return;
            }
        }
        panic!("too few were told of");
    });
}

/// Another node has placed everything, and told nobody: one that was given a copy first, or that of
/// the owner, which was then installed anew.
async fn placed_by_another(world: &mut World, made: &'static Made) {
    let (other, owner) = (1, 0);
    let everybody = 0..world.len();
    everybody.clone().for_each(|node| world.behave(node, Conduct::DeafToRosters));
    // Whatever it is told: it is gone.
    let _ = world.publish(other, made).await;
    assert!(world.holders(made).len() > 5);
    world.kill(other);
    everybody.for_each(|node| world.behave(node, Conduct::Honest));
    let published = world.publish(owner, made).await.unwrap();
    let (holders, told) = told(world, made);
    assert_eq!(told, holders, "of {published:?}");
    outlives_its_owner(world, owner, made).await;
}

#[test]
fn copies_that_another_node_has_placed_are_published_all_the_same() {
    simulate(66..68, 8, async |world| placed_by_another(world, small()).await);
}

#[test]
fn fragments_that_another_node_has_placed_are_published_all_the_same() {
    simulate(68..70, 24, async |world| placed_by_another(world, coded()).await);
}
