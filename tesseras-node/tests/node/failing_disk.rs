//! A node whose disk fails at each of its touches in turn, once, with an error or because it is
//! full, while the node creates, receives, publishes and fetches: the operations of our
//! files and those of SQLite. It may refuse or report that; afterwards everything that it had
//! acknowledged is there, every byte of it is read, and the same works again. That it is there
//! holds, too, if the node is killed or loses its power right after the act.
//!
//! By default one touch in some is tried; `FAILING_DISK_STRIDE=1` tries all.

use std::cell::{Cell, RefCell};

use rustix::io::Errno;
use tesseras_core::code::Piece;
use tesseras_core::ports::{FragmentStore as _, TesseraRepository as _};
use tesseras_core::progress::silent;
use tesseras_power_cut::Fault;
use tesseras_replication::status::HealthState;

use crate::frail::{Frail, assert_sound, publish, stride};
use crate::network::{MIB, Net, try_create_in};
use crate::stranger::{Goods, Stranger, read};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_on_a_disk_that_fails_is_there_if_it_was_acknowledged() {
    let mut net = Net::new();
    let frail = Frail::join(&mut net).await;
    let stranger = Stranger::at("127.0.100.1");
    let goods = Goods::make(4 * MIB, 20);
    let piece = Piece::Index(3);
    let bytes = goods.bytes(piece);
    let is_acknowledged = Cell::new(false);
    let (mut acknowledged, mut refused) = (0, 0);
    let failed = frail
        .fail_everywhere(
            stride(1),
            async |_| {
                let answer = stranger.put(&frail.contact(), goods.parcel(piece)).await;
                is_acknowledged.set(answer.is_ok());
                match answer {
                    Ok(_) => acknowledged += 1,
                    Err(_) => refused += 1,
                }
            },
            |store| {
                assert_sound(store);
                if is_acknowledged.get() {
                    let held = store.fragments().list_fragments(&goods.tessera).unwrap();
                    let reader = store.fragments().read_fragment(&held[0]).unwrap();
                    assert!(read(&*reader) == bytes);
                }
            },
            async || {
                stranger.put(&frail.contact(), goods.parcel(piece)).await.unwrap();
                let held = frail.held(goods.tessera);
                is_acknowledged.set(false);
                assert!(frail.open().fragments().delete_fragment(&held[0]).unwrap());
            },
        )
        .await;
    eprintln!("receive: {failed}, {acknowledged} acknowledged, {refused} refused");
    assert!(acknowledged > 0 && refused > 0);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_created_and_published_on_a_disk_that_fails_is_whole() {
    let mut net = Net::of(4).await;
    let frail = Frail::join(&mut net).await;
    // Made by the act, and published again after it.
    let made = RefCell::new(None);
    let failed = frail
        .fail_everywhere(
            stride(9),
            async |number| {
                let Ok(store) = frail.try_open() else { return };
                let folder = net.path(&format!("album-{number}"));
                let (bytes, seed) = (3000 + number as usize, 1 + number as u8 % 200);
                let outcome = try_create_in(&store, &folder, bytes, seed);
                drop(store);
                if let Ok((hash, keys)) = outcome {
                    let _ = publish(&frail.node, hash, &keys).await;
                    made.replace(Some((hash, keys)));
                }
            },
            |store| {
                assert_sound(store);
                if let Some((hash, _)) = &*made.borrow() {
                    assert!(store.library().get(hash).unwrap().is_some());
                }
            },
            async || {
                let last = made.take();
                if let Some((hash, keys)) = last {
                    publish(&frail.node, hash, &keys).await.unwrap();
                    let health = frail.node.replication().status(hash).await.unwrap().unwrap();
                    assert_eq!(health.state, HealthState::Healthy);
                }
            },
        )
        .await;
    eprintln!("create and publish: {failed}");
    assert!(failed.faults > 1);
    frail.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_on_a_disk_that_fails_is_whole_or_not_there() {
    let mut net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 100_000, 7);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let frail = Frail::join(&mut net).await;
    let fetch = async || frail.node.replication().fetch(hash, &silent()).await;
    let is_acknowledged = Cell::new(false);
    let failed = frail
        .fail_everywhere(
            stride(5),
            async |_| is_acknowledged.set(fetch().await.is_ok()),
            |store| {
                assert_sound(store);
                let listed = store.library().get(&hash).unwrap().is_some();
                assert!(listed || !is_acknowledged.get(), "it is told to be here");
            },
            async || {
                fetch().await.unwrap();
                let store = frail.open();
                assert_sound(&store);
                is_acknowledged.set(false);
                assert!(store.library().remove(&hash).unwrap().is_some());
            },
        )
        .await;
    eprintln!("fetch: {failed}");
    assert!(failed.faults > 1);
    frail.node.stop().await;
}

/// The node has the directory open, so that nobody else can verify what a command could not write.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_that_a_command_could_not_sync_locks_nobody_out_of_an_idle_node() {
    let mut net = Net::new();
    let frail = Frail::join(&mut net).await;
    let store = frail.open();
    frail.disk.set_fault(Fault::NextLogSync(Errno::IO));
    try_create_in(&store, &net.path("album"), 3000, 7).unwrap_err();
    drop(store);
    assert_sound(&frail.open());
    let (hash, _) = try_create_in(&frail.open(), &net.path("again"), 3000, 7).unwrap();
    assert!(frail.open().library().get(&hash).unwrap().is_some());
    frail.node.stop().await;
}
