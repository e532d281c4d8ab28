//! What `tes` is told when something cannot be done: why, and no false hope.

use tesseras_core::ids::TesseraHash;
use tesseras_rpc::calls::{AskTesseraStatus, Call, Fetch, Repair};
use tesseras_rpc::{Cause, Client, ClientError, Failure, socket_path};

use crate::gate::Lie;
use crate::network::{Member, Net};

/// Asks a node as `tes` does.
pub async fn ask<C: Call>(member: &Member, call: C) -> Result<C::Answer, Failure> {
    let client = Client::connect(&socket_path(&member.dir)).await.unwrap();
    match client.ask(call, |_| {}).await {
        Ok(answer) => Ok(answer),
        Err(ClientError::Failed(failure)) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

/// The hash with another last digit.
fn mistyped(hash: TesseraHash) -> TesseraHash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 1;
    TesseraHash::new(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digit_is_found_out() {
    let net = Net::of(4).await;
    let (owner, other) = (&net.nodes[0], &net.nodes[1]);
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let wrong = mistyped(hash);
    assert_eq!(wrong.dht_key(), hash.dht_key(), "holders are announced under the same key");
    let failure = ask(other, Fetch { hash: wrong }).await.unwrap_err();
    assert!(failure.message.contains("a digit may be wrong"), "{failure:?}");
    assert_eq!(failure.cause, Cause::OtherHash { answered: 3, silent: 0 });
    assert!(!failure.message.contains("later"), "{failure:?}");
    // Nobody holds it, so its state is not that of the other.
    let failure = ask(other, AskTesseraStatus { hash: wrong }).await.unwrap_err();
    assert!(failure.message.contains("no node is known to hold"), "{failure:?}");
    assert_eq!(failure.cause, Cause::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_holders_are_counted_and_may_be_back() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    // It knows all three holders, and loses what it has itself.
    net.nodes[0].forget(hash);
    for holder in &net.nodes[1..] {
        holder.gate.lie(Lie::SilentOnAttest);
    }
    let failure = ask(&net.nodes[0], Fetch { hash }).await.unwrap_err();
    assert_eq!(failure.cause, Cause::HoldersSilent { silent: 3 });
    for holder in &net.nodes[1..] {
        holder.gate.be_honest();
    }
    net.nodes[0].fetch(hash).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_without_room_on_the_disk_gives_no_hope_of_holders() {
    let mut net = Net::of(3).await;
    let mut config = net.config();
    config.replication.limits.min_free_space = u64::MAX;
    let small = net.join_with(config).await;
    net.settle().await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let failure = ask(&net.nodes[small], Fetch { hash }).await.unwrap_err();
    assert!(!failure.message.contains("later"), "{failure:?}");
    // The piece, and beside it the files that are unpacked from it.
    let pack = net.nodes[1].held(hash)[0].bytes;
    match failure.cause {
        Cause::NoSpace { needed, free: 0 } => assert_eq!(needed, 2 * pack),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_of_two_capsules_is_counted_once() {
    let mut net = Net::of(3).await;
    for seed in [5, 15] {
        let owner = &net.nodes[0];
        let (hash, keys) = owner.create(&net.path(&format!("album{seed}")), 1000, seed);
        assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 2);
    }
    net.destroy(net.nodes[2].node.id()).await;
    let answer = ask(&net.nodes[0], Repair { hash: None }).await.unwrap();
    assert_eq!((answer.checked, answer.unreachable), (2, 1));
}
