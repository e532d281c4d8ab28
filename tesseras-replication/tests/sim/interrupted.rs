//! A publication that is interrupted at each of its awaits: nothing unpublished is announced,
//! nothing is lost, and it can start again.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_fn;
use tesseras_replication::status::HealthState;

use crate::capsules::small;
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
    let is_published = state.state == tesseras_core::publication::PublicationState::Published;
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
