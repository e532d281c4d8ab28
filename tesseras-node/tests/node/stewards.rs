//! Holders repair by themselves, in turns, with the owner gone and without a command.

use std::time::Duration;

use tesseras_rpc::calls::AskTesseraStatus;

use crate::network::{Net, until};
use crate::reasons::ask;

#[tokio::test(flavor = "multi_thread")]
async fn a_capsule_is_whole_again_after_its_owner_and_a_holder_are_gone_and_nobody_asked() {
    let mut net = Net::new();
    for _ in 0..7 {
        let mut config = net.config();
        let repair = &mut config.replication.repair;
        repair.interval = Duration::from_secs(2);
        repair.jitter = Duration::from_secs(1);
        repair.steward_step = Duration::from_secs(1);
        net.join_with(config).await;
    }
    net.settle().await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 1000, 5);
    let published = net.nodes[0].publish(hash, &keys).await.unwrap();
    assert_eq!(published.holders, 6);
    let (owner, holder) = (net.nodes[0].node.id(), net.nodes[1].node.id());
    net.destroy(owner).await;
    net.destroy(holder).await;
    for _ in 0..2 {
        net.join().await;
    }
    until("all nodes hold a copy", async || {
        net.nodes.iter().all(|member| !member.held(hash).is_empty())
    })
    .await;
    let mut told = Vec::new();
    for member in net.nodes.iter() {
        let status = ask(member, AskTesseraStatus { hash }).await.unwrap();
        told.extend(status.last_repair);
    }
    let by = told.iter().find(|last| last.here).unwrap();
    assert!(by.pieces > 0 && by.reason.is_some(), "{told:?}");
    let given = told.iter().find(|last| !last.here && last.reason.is_none()).unwrap();
    assert!(net.nodes.iter().any(|member| member.node.id() == given.node_id), "{told:?}");
}
