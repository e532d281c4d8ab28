//! What a node learns of silent peers reaches its routing table, and its next start.

use std::time::Duration;

use tesseras_core::ports::PeerRepository as _;

use crate::network::{Net, open, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_did_not_answer_about_a_tessera_leaves_the_table_and_is_silent_after_a_restart()
{
    let mut net = Net::of(5).await;
    net.settle().await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let dead = net.nodes[3].node.id();
    net.destroy(dead).await;

    let owner = &net.nodes[0];
    let is_known = async || {
        let peers = owner.node.dht().peers().await;
        peers.iter().any(|peer| peer.id == dead)
    };
    assert!(is_known().await);
    until("the dead holder has left the table", async || {
        owner.health(hash).await;
        !is_known().await
    })
    .await;

    let id = owner.node.id();
    let owner = net.nodes.remove(id).unwrap();
    let dir = owner.dir.clone();
    owner.stop().await;
    let silent = open(&dir).peers().silent_peers().unwrap();
    assert!(silent.iter().any(|peer| peer.id == dead && peer.failures > 0), "{silent:?}");

    let config = {
        let mut config = net.config();
        config.data_dir.clone_from(&dir);
        config
    };
    let again = net.join_with(config).await;
    let asked = tokio::time::timeout(Duration::from_secs(60), net.nodes[again].health(hash));
    assert_eq!(asked.await.expect("an answer").live, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_swept_keeps_no_peer_from_being_remembered_and_no_node_from_starting() {
    let mut net = Net::of(2).await;
    let id = net.nodes[0].node.id();
    let dir = net.nodes[0].dir.clone();
    // A sweep removes files; it fails at a directory.
    std::fs::create_dir_all(dir.join("tmp/1-0/in the way")).unwrap();
    let newcomer = net.join().await;
    let newcomer = net.nodes[newcomer].node.id();
    let owner = net.nodes.iter().find(|member| member.node.id() == id).unwrap();
    until("the newcomer is known", async || {
        owner.node.dht().peers().await.iter().any(|peer| peer.id == newcomer)
    })
    .await;
    net.nodes.remove(id).unwrap().stop().await;
    let known = open(&dir).peers().known_peers(100).unwrap();
    assert!(known.iter().any(|peer| peer.id == newcomer), "{known:?}");

    let mut config = net.config();
    config.data_dir = dir;
    let again = net.join_with(config).await;
    assert_eq!(net.nodes[again].node.id(), id);
}
