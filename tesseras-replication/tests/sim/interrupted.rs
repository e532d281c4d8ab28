//! Tasks that are interrupted at each of their awaits or at any time: nothing unpublished is
//! announced, nothing is lost, nothing is stored after a stop, and they can start again.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_fn;
use tesseras_core::code::Piece;
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{HoldingRepository as _, Origin, TesseraRepository, Workbench as _};
use tesseras_core::progress::silent;
use tesseras_core::publication::{PublicationEvent, PublicationState, PublicationStop};
use tesseras_replication::fetch::FetchError;
use tesseras_replication::status::HealthState;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::capsules::{add, coded, creator, small};
use crate::world::{World, simulate};

/// Polls a future this many times and drops it; returns its result if it was ready before.
async fn interrupted<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn interrupt_at(world: &mut World, polls: usize) -> bool {
    let made = small();
    let owner = 0;
    let ended = interrupted(world.publish(owner, made), polls).await.is_some();
    world.wait(Duration::from_secs(60)).await;
    let announced = world.shared.records(&made.record.hash.dht_key(), owner);
    let state = world.place(owner).replication.publication(made.record.hash).await.unwrap();
    let is_published = state.state == PublicationState::Published;
    assert!(announced.is_empty() || is_published, "{announced:?}");
    let published = world.publish(owner, made).await.unwrap();
    assert_eq!((published.placed, published.fragments), (5, 5), "after {polls} polls");
    assert_eq!(world.status(3, made).await.state, HealthState::Healthy);
    let reader = world.join();
    world.fetch(reader, made).await.unwrap();
    ended
}

#[test]
fn a_publication_can_be_interrupted_at_each_await() {
    let mut polls = 1;
    let ended = std::cell::Cell::new(false);
    while !ended.get() {
        simulate(50..51, 6, async |world| ended.set(interrupt_at(world, polls).await));
        polls += 1;
    }
    assert!(polls > 40, "there were only {polls} awaits");
}

/// How long blocking work takes at most in the tests of stops.
const DISK: Duration = Duration::from_millis(300);
/// A task is stopped after each multiple of this.
const STEP: Duration = Duration::from_millis(41);

/// Stops whatever a node does with the coded capsule, as `tes drop` does, and fails if anything of
/// it is stored or pinned later.
async fn stop(world: &mut World, node: usize, after: Duration) {
    let (place, hash) = (world.place(node), coded().record.hash);
    place.replication.stop_publication(hash, PublicationStop::Unpublish).await.unwrap();
    TesseraRepository::remove(&place.memory, &hash).unwrap();
    place.memory.block(&hash, place.clock.now()).unwrap();
    let left = || {
        let pinned = place.memory.pinned(&hash).unwrap().len();
        let stored = TesseraRepository::get(&place.memory, &hash).unwrap().is_some();
        let dossier = place.memory.plan(&hash).unwrap().is_some();
        (pinned, stored, dossier, place.memory.is_blocked(&hash).unwrap())
    };
    assert_eq!(left(), (0, false, false, true), "stopped after {after:?}");
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(left(), (0, false, false, true), "a minute after it was stopped after {after:?}");
    assert_eq!(place.memory.staged(), 0, "a minute after it was stopped after {after:?}");
}

#[test]
fn a_publication_that_was_stopped_at_any_time_stores_nothing_later() {
    simulate(91..92, 12, async |world| {
        world.delay_disks(DISK);
        let (place, made) = (world.place(0), coded());
        let hash = made.record.hash;
        let mut after = Duration::ZERO;
        loop {
            add(&place.memory, made, Origin::Created);
            let publishing = async {
                let plan = place.replication.draft_plan(hash, &silent()).await.unwrap();
                let signed = SignedPlan { signatures: creator().sign(&plan), plan };
                place.replication.publish(hash, signed, &silent()).await.unwrap()
            };
            let ended = timeout(after, publishing).await.is_ok();
            stop(world, 0, after).await;
            if ended {
                break;
            }
            after += STEP;
        }
        assert!(after > 20 * STEP, "it took only {after:?}");
    });
}

#[test]
fn a_fetch_that_was_stopped_at_any_time_stores_nothing_later() {
    simulate(92..93, 24, async |world| {
        let made = coded();
        world.publish(0, made).await.unwrap();
        // Some data are lost, so that they are rebuilt.
        let placement = world.true_placement(made);
        let of_data = |index: &usize| {
            let held = placement.get(&world.place(*index).id);
            held.is_some_and(|held| held.iter().any(|piece| matches!(piece, Piece::Index(..2))))
        };
        let lost: Vec<usize> = (0..24).filter(of_data).collect();
        lost.into_iter().for_each(|index| world.kill(index));
        world.delay_disks(DISK);
        let reader = world.join();
        let mut after = Duration::ZERO;
        while timeout(after, world.fetch(reader, made)).await.is_err() {
            stop(world, reader, after).await;
            after += STEP;
        }
        assert!(after > 20 * STEP, "it took only {after:?}");
    });
}

#[test]
fn a_fetch_whose_tessera_another_process_drops_adds_nothing() {
    simulate(94..95, 8, async |world| {
        let made = small();
        let hash = made.record.hash;
        world.publish(0, made).await.unwrap();
        let reader = world.join();
        world.delay_disks(DISK);
        let place = world.place(reader);
        let mut after = Duration::ZERO;
        let (mut dropped, on_progress) = (0, silent());
        loop {
            let fetching = place.replication.fetch(hash, &on_progress);
            let dropping = async {
                tokio::time::sleep(after).await;
                place.memory.block(&hash, place.clock.now()).unwrap();
                TesseraRepository::remove(&place.memory, &hash).unwrap();
                place.memory.unpin(&hash).unwrap();
            };
            let (fetched, ()) = tokio::join!(fetching, dropping);
            let is_listed = TesseraRepository::get(&place.memory, &hash).unwrap().is_some();
            let is_blocked = place.memory.is_blocked(&hash).unwrap();
            assert_ne!(is_listed, is_blocked, "dropped after {after:?}");
            assert_eq!(place.memory.pinned(&hash).unwrap(), [], "dropped after {after:?}");
            match fetched {
                Err(FetchError::Dropped(_)) => dropped += 1,
                // It asked for the tessera after the drop.
                Ok(_) if is_listed => {
                    TesseraRepository::remove(&place.memory, &hash).unwrap();
                }
                Ok(_) => break,
                Err(other) => panic!("dropped after {after:?}: {other}"),
            }
            after += STEP / 3;
        }
        assert!(dropped > 5, "only {dropped} fetches met a drop");
    });
}

#[test]
fn what_was_dropped_before_it_is_mended_is_not_fetched_again() {
    simulate(96..97, 8, async |world| {
        let made = small();
        let hash = made.record.hash;
        world.publish(0, made).await.unwrap();
        let reader = world.join();
        world.fetch(reader, made).await.unwrap();
        let place = world.place(reader);
        TesseraRepository::remove(&place.memory, &hash).unwrap();
        for is_blocked in [false, true] {
            let mended = place.replication.mend_capsule(hash, &silent()).await;
            assert!(matches!(mended, Err(FetchError::Dropped(_))), "{mended:?}");
            assert_eq!(TesseraRepository::get(&place.memory, &hash).unwrap(), None);
            assert_eq!(place.memory.is_blocked(&hash).unwrap(), is_blocked);
            place.memory.block(&hash, place.clock.now()).unwrap();
        }
    });
}

#[test]
fn a_publication_that_is_left_to_the_background_lets_nothing_in_that_is_dropped() {
    simulate(95..96, 8, async |world| {
        let made = small();
        let (place, hash) = (world.place(0), made.record.hash);
        world.delay_disks(DISK);
        let (mut after, step) = (Duration::ZERO, Duration::from_millis(1));
        let mut ended = false;
        while !ended {
            add(&place.memory, made, Origin::Created);
            let plan = place.replication.draft_plan(hash, &silent()).await.unwrap();
            let signed = SignedPlan { signatures: creator().sign(&plan), plan };
            let leaving = async {
                ended = place.replication.publish_later(hash, Some(signed)).await.is_ok();
            };
            let dropping = async {
                tokio::time::sleep(after).await;
                TesseraRepository::remove(&place.memory, &hash).unwrap();
                place.memory.block(&hash, place.clock.now()).unwrap();
            };
            tokio::join!(leaving, dropping);
            let state = place.memory.publication(&hash).unwrap();
            let left = (place.memory.is_blocked(&hash).unwrap(), state.wanted);
            assert_eq!(left, (true, false), "dropped after {after:?}");
            after += step;
        }
        assert!(after > 10 * step, "it took only {after:?}");
    });
}

#[test]
fn a_publication_that_is_cancelled_while_its_end_is_recorded_stays_cancelled() {
    simulate(98..99, 8, async |world| {
        let made = small();
        let (place, hash) = (world.place(0), made.record.hash);
        // By another process, just before this one records that the holders were told.
        place.memory.meanwhile(PublicationEvent::Told, move |memory| {
            let cancelled = PublicationEvent::Cancelled;
            memory.note_publication(&hash, cancelled).unwrap();
        });
        world.publish(0, made).await.unwrap();
        let known = place.memory.publication(&hash).unwrap();
        assert_eq!((known.published, known.wanted), (false, false));
    });
}

#[test]
fn a_task_on_a_tessera_begins_when_its_publication_has_told_the_holders() {
    simulate(93..94, 8, async |world| {
        let made = small();
        let (place, hash) = (world.place(0), made.record.hash);
        let (tell, ended) = oneshot::channel();
        let publishing = async {
            world.publish(0, made).await.unwrap();
            tell.send(()).unwrap();
        };
        let repairing = async {
            let published = async || {
                let known = place.replication.publication(hash).await.unwrap();
                known.state == PublicationState::Published
            };
            while !published().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let ended = std::sync::Mutex::new(ended);
            let began_after = std::sync::Arc::new(std::sync::Mutex::new(None));
            let note = began_after.clone();
            let on_progress = std::sync::Arc::new(move |_| {
                let has_ended = ended.lock().unwrap().try_recv().is_ok();
                note.lock().unwrap().get_or_insert(has_ended);
            });
            place.replication.repair(hash, &(on_progress as _)).await.unwrap();
            assert_eq!(*began_after.lock().unwrap(), Some(true));
        };
        tokio::join!(publishing, repairing);
    });
}
