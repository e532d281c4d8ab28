//! Faults of this node itself: they neither undo what is done nor are taken for those of others.

use std::time::Duration;

use tesseras_core::contact::Contact;
use tesseras_core::ports::{HoldingRepository as _, Origin};
use tesseras_core::progress::silent;
use tesseras_core::publication::{PublicationEvent, PublicationStop};
use tesseras_replication::fetch::FetchError;

use crate::capsules::{add, coded, many, small};
use crate::network::Conduct;
use crate::world::simulate;

#[test]
fn what_is_done_is_done_though_the_pieces_of_the_task_cannot_be_removed() {
    simulate(100..101, 30, async |world| {
        let made = coded();
        world.place(0).memory.fail("unpin");
        let published = world.publish(0, made).await.unwrap();
        assert_eq!((published.placed, published.fragments), (24, 24));
        let reader = world.join();
        world.place(reader).memory.fail("unpin");
        world.fetch(reader, made).await.unwrap();
        let holders = world.holders(made);
        world.kill(holders[0]);
        world.kill(holders[1]);
        world.wait(Duration::from_secs(60)).await;
        world.place(holders[2]).memory.fail("unpin");
        assert!(world.repair(holders[2], made).await.unwrap().restored > 0);
        assert_eq!(world.pieces(made).0, 24);
    });
}

#[test]
fn a_capsule_is_fetched_though_its_holders_cannot_be_recorded() {
    simulate(101..102, 8, async |world| {
        world.publish(0, small()).await.unwrap();
        let reader = world.join();
        world.place(reader).memory.fail("remember_holders");
        assert_eq!(world.fetch(reader, small()).await.unwrap().holders, 1);
    });
}

#[test]
fn a_capsule_that_cannot_be_read_now_is_not_taken_for_damaged() {
    simulate(102..103, 8, async |world| {
        world.publish(0, small()).await.unwrap();
        let reader = world.join();
        let memory = world.place(reader).memory;
        add(&memory, small(), Origin::Fetched);
        memory.fail("open_capsule");
        let fetched = world.fetch(reader, small()).await;
        assert!(matches!(fetched, Err(FetchError::Store(_))), "{fetched:?}");
        assert_eq!(world.answered("get_piece"), 0, "nothing is fetched anew");
    });
}

#[test]
fn a_node_that_moved_is_not_given_up_because_of_its_old_address() {
    simulate(103..104, 8, async |world| {
        let made = small();
        let hash = made.record.hash;
        world.publish(0, made).await.unwrap();
        let holders = world.holders(made);
        let (near, moved) = (world.place(holders[0]), world.place(holders[1]));
        world.behave(holders[0], Conduct::Late(Duration::from_secs(4)));
        world.behave(holders[1], Conduct::Late(Duration::from_secs(9)));
        let asker = world.join();
        let place = world.place(asker);
        let old = Contact { id: moved.id, addresses: vec![([99, 9, 9, 9], 9).into()] };
        let known = [near.contact(), old];
        place.memory.remember_holders(&hash, &known, place.clock.now()).unwrap();
        place.memory.note_publication(&hash, PublicationEvent::Wanted).unwrap();
        let report = place.replication.stop_publication(hash, PublicationStop::Stop).await.unwrap();
        assert_eq!(report.placed, 2, "both were waited for");
    });
}

#[test]
fn a_node_does_not_take_its_own_queue_for_the_lateness_of_others() {
    simulate(105..107, 20, async |world| {
        for made in many() {
            world.publish(0, made).await.unwrap();
        }
        // Not late: the first answer may take a second.
        (0..20).for_each(|index| world.behave(index, Conduct::Late(Duration::from_millis(600))));
        let reader = world.join();
        let place = world.place(reader);
        let (replication, silent) = (&place.replication, silent());
        let fetching = many().iter().map(|made| replication.fetch(made.record.hash, &silent));
        let fetched = futures_util::future::join_all(fetching).await;
        assert!(fetched.iter().all(Result::is_ok), "{fetched:?}");
        assert_eq!(world.requests(reader).hedged, 0);
    });
}

#[test]
fn a_fetch_names_the_fault_of_this_node_whatever_else_is_wrong() {
    simulate(104..108, 12, async |world| {
        let made = coded();
        let (truth, lie) = crate::plans::two_plans(world).await;
        for index in truth {
            world.behave(index, Conduct::Late(Duration::from_millis(200)));
        }
        let _ = lie;
        let reader = world.join();
        let memory = world.place(reader).memory;
        // The false plan is tried first, and found out when a piece is rebuilt by it.
        let on_progress =
            std::sync::Arc::new(move |progress: tesseras_core::progress::Progress| {
                if progress.stage == "rebuilding" {
                    memory.fail("pin");
                }
            });
        let replication = world.place(reader).replication;
        let fetched = replication.fetch(made.record.hash, &(on_progress as _)).await;
        let error = fetched.unwrap_err().to_string();
        assert!(error.contains("too many open files"), "{error}");
    });
}
