//! Routine repairs keep within their bandwidth. Urgent ones do not wait, and nobody waits for those
//! that do.

use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_replication::repair::REPAIR_DEADLINE;
use tokio::time::Instant;

use crate::capsules::{Made, film, many};
use crate::network::Conduct;
use crate::world::{World, simulate};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after its start a routine repair is in the middle of its work.
const A_WHILE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// A node that keeps the film and a small capsule, and four others that keep this, of which two at
/// most keeps the film.
struct Chosen {
    by: usize,
    made: &'static Made,
    victims: Vec<usize>,
}

fn choose(world: &World) -> Chosen {
    let keepers = world.holders(film());
    let chosen = many().iter().find_map(|made| {
        let mut victims = world.holders(made);
        let by = *victims.iter().find(|index| keepers.contains(index))?;
        victims.retain(|index| *index != by);
        victims.sort_by_key(|index| keepers.contains(index));
        victims.truncate(4);
        let of_both = victims.iter().filter(|index| keepers.contains(index));
        (of_both.count() <= 2).then_some(Chosen { by, made, victims })
    });
    chosen.unwrap()
}

/// Sixty nodes with this bandwidth for repairs keep a film and other capsules.
async fn publish(world: &mut World, bandwidth: u64, others: &'static [Made]) {
    world.limit_repairs(bandwidth);
    for _ in 0..60 {
        world.join();
    }
    for made in others.iter().chain([film()]) {
        world.publish(0, made).await.unwrap();
    }
}

/// The owner dies, and two holders of the film that this node has seen, and a day passes.
async fn two_die(world: &mut World, by: usize, spared: &[usize]) {
    world.repair_each(by).await;
    let others = world.holders(film()).into_iter().filter(|index| *index != by);
    let others = others.filter(|index| !spared.contains(index));
    for index in others.take(2).chain([0]).collect::<Vec<_>>() {
        world.kill(index);
    }
    world.wait(DAY).await;
    world.take_moved(by);
}

/// Fails if more bytes have passed between any two times than the bandwidth allows, with a burst of
/// one second or one piece, and these bytes more.
fn assert_within(moved: &[(Duration, u64)], bandwidth: u64, more: u64) {
    for from in 0..moved.len() {
        let mut sum = 0;
        for (at, bytes) in &moved[from..] {
            sum += bytes;
            let seconds = (*at - moved[from].0).as_secs_f64();
            let most = (bandwidth as f64 * seconds) as u64 + bandwidth.max(MIB) + more;
            assert!(sum <= most, "{sum} bytes instead of {most} in {seconds} s");
        }
    }
}

fn total(moved: &[(Duration, u64)]) -> u64 {
    moved.iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn routine_repairs_stay_within_their_bandwidth_and_an_endangered_tessera_does_not_wait() {
    const BANDWIDTH: u64 = 64 << 10;
    simulate(200..203, 0, async |world| {
        publish(world, BANDWIDTH, many()).await;
        let Chosen { by, made, victims } = choose(world);
        two_die(world, by, &victims).await;
        let first = world.round(by).await;
        assert!(first[&film().record.hash].waiting >= 2, "{first:?}");
        assert_eq!(total(&world.take_moved(by)), 0, "it waits for its turn");
        let replication = world.place(by).replication;
        let routine = async {
            let begun = Instant::now();
            let done: Vec<_> = replication.repair_postponed().collect().await;
            (done, begun.elapsed())
        };
        let urgent = async {
            tokio::time::sleep(A_WHILE).await;
            victims.iter().for_each(|index| world.kill(*index));
            let begun = Instant::now();
            let replication = world.place(by).replication;
            let all = vec![made.record.hash];
            let done: Vec<_> = replication.repair_round(all).collect().await;
            (done, begun.elapsed())
        };
        let ((done, took), (urgent_done, urgent_took)) = tokio::join!(routine, urgent);
        assert_eq!(urgent_done[0].1.as_ref().unwrap().restored, 4);
        assert!(urgent_took < Duration::from_secs(30), "{urgent_took:?}");
        let (_, of_film) = done.iter().find(|(hash, _)| *hash == film().record.hash).unwrap();
        let of_film = of_film.as_ref().unwrap();
        assert_eq!((of_film.missing, of_film.restored >= 2), (0, true), "{done:?}");
        let moved = world.take_moved(by);
        assert_within(&moved, BANDWIDTH, MIB / 4);
        assert!(took.as_secs() > total(&moved) / BANDWIDTH - 20, "{took:?}");
    });
}

#[test]
fn a_repair_that_waits_for_bandwidth_for_more_than_its_deadline_succeeds() {
    simulate(210..211, 0, async |world| {
        publish(world, 4 << 10, &[]).await;
        let by = world.holders(film())[0];
        two_die(world, by, &[]).await;
        world.round(by).await;
        let (begun, hedged) = (Instant::now(), world.requests(by).hedged);
        let done = world.repair_postponed(by).await;
        assert!(begun.elapsed() > REPAIR_DEADLINE, "{:?}", begun.elapsed());
        assert_eq!(world.requests(by).hedged, hedged, "nobody was late");
        assert_eq!(done[&film().record.hash].missing, 0, "{done:?}");
        assert_eq!(world.pieces(film()).0, 24);
    });
}

#[test]
fn the_owner_does_not_wait_for_a_routine_repair_which_goes_on_with_what_it_has() {
    simulate(220..222, 0, async |world| {
        publish(world, 64 << 10, &[]).await;
        let by = world.holders(film())[0];
        two_die(world, by, &[]).await;
        world.round(by).await;
        let replication = world.place(by).replication;
        let routine = async { replication.repair_postponed().collect::<Vec<_>>().await };
        let asked = async {
            tokio::time::sleep(A_WHILE).await;
            let before = world.answered("get_piece");
            assert!((2..12).contains(&before), "{before} pieces are here");
            let begun = Instant::now();
            let done = world.repair(by, film()).await.unwrap();
            assert_eq!((done.missing, done.restored >= 2), (0, true), "{done:?}");
            begun.elapsed()
        };
        let (done, took) = tokio::join!(routine, asked);
        assert!(took < Duration::from_secs(30), "{took:?}");
        let (_, of_film) = done.iter().find(|(hash, _)| *hash == film().record.hash).unwrap();
        assert_eq!(of_film.as_ref().unwrap().restored, 0, "{done:?}");
        assert!(world.answered("get_piece") <= 18, "{}", world.answered("get_piece"));
    });
}

#[test]
fn what_a_repair_transfers_counts_whether_or_not_a_piece_is_taken() {
    simulate(230..232, 0, async |world| {
        publish(world, 64 << 10, &[]).await;
        let by = world.holders(film())[0];
        two_die(world, by, &[]).await;
        let holders = world.holders(film());
        let others = (0..world.len()).filter(|index| !holders.contains(index) && index % 5 > 0);
        for index in others.collect::<Vec<_>>() {
            world.behave(index, Conduct::Refuses);
        }
        let (counted, puts) =
            (world.place(by).replication.repair_bytes(), world.answered("put_piece"));
        let done = world.repair(by, film()).await.unwrap();
        let puts = world.answered("put_piece") - puts;
        assert!(puts > done.restored && done.restored > 0, "{puts} puts: {done:?}");
        let counted = world.place(by).replication.repair_bytes() - counted;
        assert_eq!(counted, total(&world.take_moved(by)), "{done:?}");
    });
}
