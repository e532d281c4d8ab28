//! Planted faults: each makes a named invariant fail, which shows that the invariants can fail.

use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_replication::Directory as _;

use crate::capsules::{coded, small};
use crate::network::{Conduct, SimDirectory};
use crate::world::{PLANTED, World, run};

fn violation(nodes: usize, test: impl AsyncFn(&mut World)) -> String {
    run(PLANTED, nodes, &test).1.expect("the fault is found")
}

#[test]
fn a_store_that_forgets_what_it_acknowledged_is_found_out() {
    let violated = violation(10, async |world| {
        let made = small();
        world.publish(0, made).await.unwrap();
        let holder = world.holders(made)[2];
        world.place(holder).memory.lose(&made.record.hash, Piece::Whole);
        world.status(0, made).await;
    });
    assert!(violated.starts_with("acknowledged_is_kept"), "{violated}");
}

#[test]
fn a_disk_that_damages_what_is_written_is_found_out() {
    let violated = violation(10, async |world| {
        (1..10).for_each(|index| world.place(index).memory.rot());
        world.publish(0, small()).await.unwrap();
    });
    assert!(violated.starts_with("stored_bytes_are_the_plans"), "{violated}");
}

#[test]
fn a_holder_that_announces_a_draft_is_found_out() {
    let violated = violation(10, async |world| {
        let made = small();
        let shared = std::sync::Arc::downgrade(&world.shared);
        let directory = SimDirectory { world: shared, own: 3 };
        directory.announce(vec![made.record.hash.dht_key()]).await;
    });
    assert!(violated.starts_with("nothing_unpublished_is_announced"), "{violated}");
}

#[test]
fn holders_that_attest_what_they_do_not_have_make_status_promise_too_much() {
    // Until pieces are proven by audits, attestations are believed.
    let violated = violation(30, async |world| {
        let made = coded();
        world.publish(0, made).await.unwrap();
        for holder in world.holders(made) {
            world.behave(holder, Conduct::Boasts);
        }
        world.wait(Duration::from_secs(1)).await;
        world.status(1, made).await;
    });
    assert!(violated.starts_with("survives_is_honest"), "{violated}");
}
