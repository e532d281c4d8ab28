//! Nodes that slow others down: that send or take pieces barely fast enough, answer late, or withhold
//! what they have. And a slow line of one's own, behind which everybody seems to be slow.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::ports::HoldingRepository as _;
use tesseras_core::time::Timestamp;
use tokio::time::{Instant, sleep};

use crate::capsules::{Made, album, coded, film, small};
use crate::network::Conduct;
use crate::world::{World, simulate};

/// 64 KiB/s: a node with this line is as slow towards everybody as a few that drip.
const SLOW: u64 = 64 << 10;

fn behave(world: &mut World, nodes: &[usize], conduct: Conduct) {
    nodes.iter().for_each(|index| world.behave(*index, conduct));
}

/// The holders of the first data fragments, which are asked first.
fn holders_of_first(world: &World, made: &Made, count: u8) -> Vec<usize> {
    let placement = world.true_placement(made);
    let has = |index: &usize| {
        let pieces = &placement[&world.place(*index).id];
        pieces.iter().any(|piece| matches!(piece, Piece::Index(index) if *index < count))
    };
    world.holders(made).into_iter().filter(has).collect()
}

/// How long a new node takes to fetch.
async fn fetch(world: &mut World, made: &Made) -> Duration {
    let fetcher = world.join();
    let begun = Instant::now();
    world.fetch(fetcher, made).await.unwrap();
    begun.elapsed()
}

#[test]
fn whole_copies_that_drip_do_not_hold_a_fetch_where_one_holder_is_quick() {
    simulate(100..104, 20, async |world| {
        let made = album();
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        behave(world, &holders[1..], Conduct::Drips);
        let took = fetch(world, made).await;
        assert!(took < Duration::from_secs(50), "{took:?}");
    });
}

#[test]
fn fragments_that_drip_do_not_hold_a_fetch_where_others_suffice() {
    simulate(110..112, 40, async |world| {
        let made = film();
        world.publish(0, made).await.unwrap();
        let first = holders_of_first(world, made, 8);
        assert_eq!(first.len(), 8);
        behave(world, &first, Conduct::Drips);
        let took = fetch(world, made).await;
        assert!(took < Duration::from_secs(50), "{took:?}");
    });
}

#[test]
fn fragments_that_drip_do_not_hold_a_repair_where_others_suffice() {
    simulate(190..192, 40, async |world| {
        let made = film();
        world.publish(0, made).await.unwrap();
        let first = holders_of_first(world, made, 4);
        let others: Vec<usize> =
            world.holders(made).into_iter().filter(|index| !first.contains(index)).collect();
        behave(world, &first, Conduct::Drips);
        world.kill(0);
        world.kill(others[0]);
        world.kill(others[1]);
        let begun = Instant::now();
        let repaired = world.repair(others[2], made).await.unwrap();
        let took = begun.elapsed();
        assert_eq!((repaired.restored, repaired.missing), (2, 0), "{repaired:?}");
        assert!(took < Duration::from_secs(50), "{took:?}");
    });
}

/// Holders of `count` fragments behave so: how long a fetch takes, and when a small one of the same
/// node ends that begins after 5 s.
async fn fetch_two(world: &mut World, count: u8, conduct: Conduct) -> (Duration, Duration) {
    let (made, wanted) = (film(), small());
    world.publish(0, made).await.unwrap();
    world.publish(0, wanted).await.unwrap();
    let first = holders_of_first(world, made, count);
    behave(world, &first, conduct);
    assert!(world.holders(wanted).iter().any(|index| !first.contains(index)));
    let fetcher = world.join();
    let begun = Instant::now();
    let other = async {
        sleep(Duration::from_secs(5)).await;
        world.fetch(fetcher, wanted).await.unwrap();
        begun.elapsed()
    };
    let one = async {
        world.fetch(fetcher, made).await.unwrap();
        begun.elapsed()
    };
    tokio::join!(one, other)
}

#[test]
fn holders_that_drip_late_hold_neither_a_fetch_nor_another_one_of_the_node() {
    simulate(200..202, 40, async |world| {
        let (one, other) = fetch_two(world, 8, Conduct::DripsLate).await;
        assert!(one < Duration::from_secs(50), "{one:?}");
        assert!(other < Duration::from_secs(10), "{other:?}");
    });
}

#[test]
fn holders_that_are_busy_before_they_drip_hold_no_permits() {
    simulate(306..308, 40, async |world| {
        let (_, other) = fetch_two(world, 12, Conduct::BusyThenDrips).await;
        assert!(other < Duration::from_secs(10), "{other:?}");
    });
}

#[test]
fn a_fetch_over_a_slow_line_is_barely_slower_than_the_line() {
    simulate(120..122, 40, async |world| {
        for made in [album(), coded()] {
            world.publish(0, made).await.unwrap();
            let fetcher = world.join();
            world.slow_line(fetcher, SLOW);
            let begun = Instant::now();
            world.fetch(fetcher, made).await.unwrap();
            let (took, needed) = (begun.elapsed(), made.pack.len() as u64 / SLOW);
            assert!(took < Duration::from_secs(needed * 3 / 2), "{took:?} instead of {needed} s");
        }
    });
}

#[test]
fn nodes_that_acknowledge_at_once_and_keep_nothing_do_not_take_the_place_of_slower_ones() {
    simulate(130..132, 60, async |world| {
        let made = film();
        let liars = world.choose(12, 59);
        liars.iter().for_each(|index| world.behave(index + 1, Conduct::KeepsNothing));
        world.slow_line(0, 256 << 10);
        world.publish(0, made).await.unwrap();
        let (fragments, _) = world.pieces(made);
        assert!(fragments >= 16, "{fragments} are stored");
    });
}

#[test]
fn where_all_nodes_take_pieces_slowly_all_pieces_are_placed() {
    simulate(140..142, 12, async |world| {
        let made = coded();
        (1..12).for_each(|index| world.behave(index, Conduct::Drips));
        let published = world.publish(0, made).await.unwrap();
        assert_eq!(published.placed, published.fragments);
    });
}

#[test]
fn a_publication_over_a_slow_line_places_all_and_sends_little_in_vain() {
    simulate(150..152, 60, async |world| {
        for made in [album(), coded()] {
            world.slow_line(0, SLOW);
            let begun = Instant::now();
            let published = world.publish(0, made).await.unwrap();
            let took = begun.elapsed();
            assert_eq!(published.placed, published.fragments);
            let placement = world.true_placement(made);
            let all: usize = placement.values().map(std::collections::BTreeSet::len).sum();
            let each = if made.pack.len() < 4 << 20 { made.pack.len() } else { 257 << 10 };
            let needed = (published.fragments * each) as u64 / SLOW;
            assert!(took < Duration::from_secs(needed * 3 / 2), "{took:?} instead of {needed} s");
            assert!(all <= published.fragments + 4, "{all} pieces");
        }
    });
}

#[test]
fn the_repair_of_strangers_capsules_leaves_transfers_to_the_owner() {
    simulate(160..162, 40, async |world| {
        let (kept, wanted) = ([coded(), film()], small());
        for made in kept {
            world.publish(0, made).await.unwrap();
        }
        world.publish(0, wanted).await.unwrap();
        let keeps = |index: &usize| world.holders(kept[1]).contains(index);
        let keeper = world.holders(kept[0]).into_iter().find(keeps).unwrap();
        let others: Vec<usize> = (1..40).filter(|index| *index != keeper).collect();
        world.kill(0);
        world.kill(others[0]);
        world.kill(others[1]);
        let needed = world.holders(wanted);
        let slow: Vec<usize> =
            others[2..].iter().copied().filter(|i| !needed.contains(i)).collect();
        behave(world, &slow, Conduct::Drips);
        let fetching = async {
            sleep(Duration::from_secs(8)).await;
            let begun = Instant::now();
            world.fetch(keeper, wanted).await.unwrap();
            begun.elapsed()
        };
        let took = tokio::select! {
            biased;
            took = fetching => took,
            done = world.repair_each(keeper) => panic!("it ended before: {done:?}"),
        };
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
}

#[test]
fn holders_that_are_busy_for_long_do_not_hold_a_check() {
    simulate(170..172, 12, async |world| {
        let made = small();
        world.publish(0, made).await.unwrap();
        let keeper = world.holders(made)[0];
        let busy: Vec<usize> = (0..128).map(|_| world.join()).collect();
        behave(world, &busy, Conduct::Busy(Duration::from_secs(8)));
        let named: Vec<_> = busy.iter().map(|index| world.place(*index).contact()).collect();
        let memory = world.place(keeper).memory;
        let now = Timestamp(1_800_000_000);
        memory.remember_holders(&made.record.hash, &named, now).unwrap();
        let begun = Instant::now();
        world.repair(keeper, made).await.unwrap();
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
}

#[test]
fn holders_that_withhold_the_dossier_do_not_hold_a_fetch() {
    simulate(180..186, 20, async |world| {
        let made = small();
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        let honest = world.choose(1, holders.len())[0];
        let others: Vec<usize> =
            holders.iter().copied().filter(|index| *index != holders[honest]).collect();
        behave(world, &others, Conduct::Withholds);
        let took = fetch(world, made).await;
        assert!(took < Duration::from_secs(25), "{took:?}");
    });
}
