//! What strangers say, what a wrong clock dated, and what failed once, puts no repair off.

use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::HoldingRepository as _;
use tesseras_core::time::Timestamp;
use tesseras_replication::messages::{Announced, Request};
use tesseras_wire::{codec, empty_body};

use crate::capsules::coded;
use crate::world::{World, simulate};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: u64 = 365 * 86_400;

/// Nodes that do not exist.
fn invented(numbers: std::ops::Range<u16>) -> Vec<Contact> {
    let contact = |number: u16| {
        let [a, b] = number.to_be_bytes();
        let mut id = [0x5a; 20];
        id[..2].copy_from_slice(&[a, b]);
        Contact { id: NodeId::new(id), addresses: vec![([90, a, b, 1], 9).into()] }
    };
    numbers.map(contact).collect()
}

async fn send_roster(
    world: &World,
    from: usize,
    to: usize,
    tessera: TesseraHash,
    holders: Vec<Contact>,
) {
    let frame = codec::encode(&Request::Roster { tessera, holders }).unwrap();
    let peer = world.place(from).as_peer();
    let served = world.place(to).replication.serve(peer, "roster", &frame, empty_body()).await;
    let answer: codec::Answer<Announced> = codec::decode(&served.unwrap().frame).unwrap();
    assert!(matches!(answer, codec::Answer::Ok(_)), "the roster was refused");
}

#[test]
fn a_stranger_who_names_invented_holders_does_not_put_repair_off() {
    simulate(300..302, 40, async |world| {
        let made = coded();
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        let by = holders[0];
        world.repair_each(by).await;
        holders[1..=4].iter().for_each(|holder| world.kill(*holder));
        let stranger = world.join();
        world.wait(HOUR).await;
        for day in 0..2 {
            let names = invented(day * 6..day * 6 + 6);
            send_roster(world, stranger, by, made.record.hash, names).await;
            let done = world.repair_in_time(by).await;
            let expected = if day == 0 { (0, 4) } else { (4, 0) };
            assert_eq!((done[0].restored, done[0].waiting), expected, "on day {day}");
            world.wait(DAY).await;
        }
    });
}

#[test]
fn a_holder_that_was_recorded_with_a_date_in_the_future_is_replaced_once_it_is_gone() {
    simulate(302..304, 40, async |world| {
        let made = coded();
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        let place = world.place(holders[0]);
        let contact = |index: &usize| world.place(*index).contact();
        let dead: Vec<Contact> = holders[1..=4].iter().map(contact).collect();
        let ahead = Timestamp(place.clock.now().0 + 2 * YEAR);
        place.memory.remember_holders(&made.record.hash, &dead, ahead).unwrap();
        world.repair_each(holders[0]).await;
        holders[1..=4].iter().for_each(|holder| world.kill(*holder));
        world.wait(HOUR).await;
        let done = world.repair_in_time(holders[0]).await;
        assert_eq!((done[0].restored, done[0].waiting), (0, 4), "they were seen an hour ago");
        world.wait(DAY).await;
        let done = world.repair_in_time(holders[0]).await;
        assert_eq!((done[0].restored, done[0].waiting), (4, 0));
    });
}

#[test]
fn who_holds_a_repaired_piece_looks_after_it_though_a_write_failed_once() {
    simulate(304..306, 30, async |world| {
        let made = coded();
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        let by = holders[0];
        world.repair_each(by).await;
        holders[1..=5].iter().for_each(|holder| world.kill(*holder));
        let new: Vec<usize> = (0..8).map(|_| world.join()).collect();
        // By a fetch they meet the holders, and believe them as witnesses.
        for index in &new {
            world.fetch(*index, made).await.unwrap();
            world.place(*index).memory.fail("note_publication");
        }
        world.repair(by, made).await.unwrap();
        new.iter().for_each(|index| world.place(*index).memory.works("note_publication"));
        for _ in 0..3 {
            world.wait(DAY).await;
            world.repair(by, made).await.unwrap();
        }
        for index in world.holders(made) {
            let kept = world.place(index).replication.looked_after().await.unwrap();
            assert!(kept.contains(&made.record.hash), "{index} holds a piece and does not repair");
        }
    });
}
