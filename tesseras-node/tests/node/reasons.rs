//! What `tes` is told when something cannot be done: why, and no false hope.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tesseras_core::ids::TesseraHash;
use tesseras_replication::messages::refusal;
use tesseras_rpc::calls::{AskTesseraStatus, Call, Fetch, Repair};
use tesseras_rpc::{Cause, Client, ClientError, Failure, socket_path};
use tesseras_wire::codec;

use crate::gate::Lie;
use crate::network::{Member, Net};

/// Asks a node as `tes` does.
pub async fn ask<C: Call>(member: &Member, call: C) -> Result<C::Answer, Failure> {
    ask_at(&member.dir, call).await
}

/// Asks the node with this data directory.
pub async fn ask_at<C: Call>(dir: &Path, call: C) -> Result<C::Answer, Failure> {
    let client = Client::connect(&socket_path(dir)).await.unwrap();
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
    assert!(failure.message.contains("a digit of the hash is wrong"), "{failure:?}");
    assert_eq!(failure.cause, Cause::NoneHoldsIt { answered: 3, silent: 0 });
    assert!(!failure.message.contains("later"), "{failure:?}");
    // Nobody holds it, so its state is not that of the other.
    let failure = ask(other, AskTesseraStatus { hash: wrong }).await.unwrap_err();
    assert!(failure.message.contains("no node that answered knows"), "{failure:?}");
    assert_eq!(failure.cause, Cause::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_hash_that_all_have_dropped_is_not_called_wrong() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    for member in &net.nodes {
        member.drop_tessera(hash);
    }
    // Their announcements are still there.
    let failure = ask(&net.nodes[0], Fetch { hash }).await.unwrap_err();
    assert_eq!(failure.cause, Cause::NoneHoldsIt { answered: 3, silent: 0 }, "{failure:?}");
    assert!(failure.message.contains("dropped or lost it"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_counted_of_a_hash_that_no_node_that_answered_knows() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    net.nodes[2].gate.lie(Lie::SilentOnAttest);
    let failure = ask(&net.nodes[1], AskTesseraStatus { hash: mistyped(hash) }).await.unwrap_err();
    assert_eq!(failure.cause, Cause::NotFound, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_node_that_refused() {
    let net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    let refuses = &net.nodes[2];
    let declined = codec::refuse(refusal::DECLINED, "this node does not accept it");
    refuses.gate.lie(Lie::AnswerToPuts(declined));
    let published = net.nodes[0].publish(hash, &keys).await.unwrap();
    let named = format!("node {}: refused: ", refuses.node.id());
    assert!(published.refusals.iter().any(|why| why.starts_with(&named)), "{published:?}");
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
async fn a_fetch_without_room_on_the_disk_does_not_tell_to_wait_for_holders() {
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
        Cause::NoSpace { needed, free: 0 } => assert!(needed > 2 * pack, "{needed}"),
        other => panic!("{other:?}"),
    }
}

/// What the files below a directory occupy, in bytes.
fn occupied(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let each = entries.map(|entry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => occupied(&entry.path()),
        metadata => metadata.blocks() * 512,
    });
    each.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_many_small_letters_is_that_of_their_blocks() {
    let mut net = Net::of(3).await;
    let mut config = net.config();
    config.replication.limits.min_free_space = u64::MAX;
    let small = net.join_with(config).await;
    net.settle().await;
    let folder = net.path("letters");
    std::fs::create_dir_all(&folder).unwrap();
    for number in 0..300 {
        let text = format!("Letter {number}: all is well here.\n");
        std::fs::write(folder.join(format!("{number}.txt")), text).unwrap();
    }
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&folder, 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let failure = ask(&net.nodes[small], Fetch { hash }).await.unwrap_err();
    let Cause::NoSpace { needed, .. } = failure.cause else { panic!("{failure:?}") };

    let reader = &net.nodes[1];
    let cas = reader.dir.join("cas");
    let before = occupied(&cas);
    reader.fetch(hash).await.unwrap();
    let files = occupied(&cas) - before;
    let pack = reader.held(hash)[0].bytes;
    assert!(needed >= files + pack, "{needed} are asked for; {files} of files, {pack} of the pack");
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
