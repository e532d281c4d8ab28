//! The walk of one memory through a large network, and the losses that repair replaces.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_replication::repair::Repaired;
use tesseras_replication::status::HealthState;

use crate::capsules::{coded, many, small};
use crate::network::Conduct;
use crate::world::{World, run, simulate};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_capsule_outlives_its_owner_and_many_holders_among_a_hundred_nodes() {
    simulate(1..3, 100, async |world| {
        let made = coded();
        let published = world.publish(7, made).await.unwrap();
        assert_eq!((published.placed, published.fragments), (24, 24));
        let health = world.status(50, made).await;
        assert_eq!((health.state, health.live), (HealthState::Healthy, 24));
        world.kill(7);
        let holders = world.holders(made);
        for at in world.choose(health.survives, holders.len()) {
            world.kill(holders[at]);
        }
        world.wait(MINUTE).await;
        let live = (0..100).find(|index| world.is_alive(*index)).unwrap();
        world.fetch(live, made).await.unwrap();
        assert!(world.repair_by_all(made).await > 0);
        assert_eq!(world.pieces(made).0, 24, "every fragment is somewhere again");
        let health = world.status(live, made).await;
        assert_eq!((health.state, health.live), (HealthState::Healthy, 24));
    });
}

#[test]
fn waves_of_deaths_are_made_good_one_after_the_other() {
    simulate(10..13, 40, async |world| {
        let made = small();
        world.publish(0, made).await.unwrap();
        world.kill(0);
        for _ in 0..6 {
            let holders = world.holders(made);
            assert_eq!(holders.len(), 7);
            for at in world.choose(3, holders.len()) {
                world.kill(holders[at]);
            }
            world.wait(MINUTE).await;
            world.repair_by_all(made).await;
            assert_eq!(world.pieces(made), (0, 7), "seven whole copies again");
        }
        let last = world.join();
        world.fetch(last, made).await.unwrap();
    });
}

#[test]
fn a_round_over_many_capsules_asks_each_holder_about_many_at_once_and_nobody_else() {
    simulate(60..62, 20, async |world| {
        for made in many() {
            world.publish(0, made).await.unwrap();
        }
        world.wait(MINUTE).await;
        let kinds = ["attest", "batch", "offer"];
        let before = kinds.map(|kind| world.answered(kind));
        let done = world.repair_each(0).await;
        assert!(done.iter().all(|done| *done == Repaired::default()), "{done:?}");
        assert_eq!(done.len(), many().len());
        let after = kinds.map(|kind| world.answered(kind));
        let [attest, batch, offer] = [0, 1, 2].map(|at| after[at] - before[at]);
        assert_eq!(offer, 0, "nothing is to be placed");
        let questions = 7 * many().len();
        assert!(attest + batch <= questions / 3, "{attest} + {batch} of {questions}");
        // Lost copies are detected, and only these are placed again.
        world.kill(world.holders(&many()[0])[0]);
        world.wait(MINUTE).await;
        let lost: usize = many().iter().map(|made| 7 - world.pieces(made).1).sum();
        assert!(lost > 0);
        let restored: usize = world.repair_each(0).await.iter().map(|done| done.restored).sum();
        assert_eq!(restored, lost);
        assert!(many().iter().all(|made| world.pieces(made) == (0, 7)));
    });
}

#[test]
fn an_announcement_that_was_not_seen_to_end_is_made_again() {
    simulate(70..72, 12, async |world| {
        let made = small();
        let records = |world: &World| world.shared.records(&made.record.hash.dht_key(), 0).len();
        world.announce_slowly(MINUTE);
        let begun = tokio::time::Instant::now();
        world.publish(0, made).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for announcements");
        assert_eq!(records(world), 0);
        world.announce_slowly(Duration::ZERO);
        for holder in world.holders(made) {
            let replication = world.place(holder).replication;
            assert_eq!(replication.announce_unannounced().await, 1);
            assert_eq!(replication.announce_unannounced().await, 0, "it was seen to end");
        }
        assert_eq!(records(world), 7);
    });
}

#[test]
fn two_nodes_that_repair_at_once_do_no_harm() {
    simulate(20..24, 30, async |world| {
        let made = coded();
        world.publish(3, made).await.unwrap();
        world.kill(3);
        let holders = world.holders(made);
        let lost = world.choose(4, holders.len());
        lost.iter().for_each(|at| world.kill(holders[*at]));
        world.wait(MINUTE).await;
        let live: Vec<usize> = holders.into_iter().filter(|index| world.is_alive(*index)).collect();
        let (one, other) = tokio::join!(world.repair(live[0], made), world.repair(live[1], made));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.restored + other.restored >= 1, "{one:?} {other:?}");
        assert_eq!(world.pieces(made).0, 24);
        assert_eq!(world.status(live[0], made).await.state, HealthState::Healthy);
    });
}

#[test]
fn a_partition_that_heals_leaves_one_healthy_capsule() {
    simulate(30..33, 40, async |world| {
        let made = coded();
        world.publish(5, made).await.unwrap();
        world.part(|index| (index % 2) as u8);
        world.wait(MINUTE).await;
        // Each half repairs what it can on its own.
        world.repair_by_all(made).await;
        world.part(|_| 0);
        world.wait(2 * MINUTE).await;
        world.repair_by_all(made).await;
        assert_eq!(world.pieces(made).0, 24);
        let health = world.status(0, made).await;
        assert_eq!((health.state, health.live), (HealthState::Healthy, 24));
        let last = world.join();
        world.fetch(last, made).await.unwrap();
    });
}

#[test]
fn holders_that_lie_stall_forget_or_are_late_stop_no_fetch_and_no_repair() {
    let conducts = [
        Conduct::Silent,
        Conduct::Late(Duration::from_secs(4)),
        Conduct::Corrupts,
        Conduct::Stalls,
        Conduct::Boasts,
    ];
    simulate(40..43, 30, async |world| {
        let made = coded();
        world.publish(1, made).await.unwrap();
        let holders = world.holders(made);
        // Those of data are asked first.
        let placement = world.true_placement(made);
        let has_data = |index: &usize| {
            placement[&world.place(*index).id].iter().any(|p| matches!(p, Piece::Index(..16)))
        };
        let of_data: Vec<usize> = holders.iter().copied().filter(has_data).collect();
        for (at, conduct) in world.choose(conducts.len(), of_data.len()).into_iter().zip(conducts) {
            world.behave(of_data[at], conduct);
        }
        let begun = tokio::time::Instant::now();
        let fetcher = world.join();
        let fetched = world.fetch(fetcher, made).await;
        fetched.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let requests = world.requests(fetcher);
        assert!(requests.hedged > 0, "the holder that stalls is not waited for: {requests:?}");
        assert!(requests.needed > 0, "it never went on: {requests:?}");
        assert!(requests.may_hedge(10), "within the share: {requests:?}");
        let mut forgetful = world.join();
        world.behave(forgetful, Conduct::Forgets);
        world.kill(holders[0]);
        world.kill(holders[1]);
        world.wait(MINUTE).await;
        let by =
            holders.iter().copied().skip(2).find(|index| {
                world.is_alive(*index) && world.place(*index).conduct == Conduct::Honest
            });
        world.repair(by.unwrap(), made).await.unwrap();
        forgetful = world.join();
        world.fetch(forgetful, made).await.unwrap();
    });
}

#[test]
fn one_seed_gives_the_same_world_to_the_bit() {
    let test = async |world: &mut crate::world::World| {
        let made = small();
        world.publish(2, made).await.unwrap();
        let holders = world.holders(made);
        world.kill(holders[0]);
        world.kill(holders[1]);
        world.wait(MINUTE).await;
        world.repair_by_all(made).await;
        world.status(4, made).await;
    };
    let (first, again) = (run(77, 20, &test), run(77, 20, &test));
    assert_eq!(first, again);
    assert_ne!(first.0, run(78, 20, &test).0, "the trace says what happened");
}
