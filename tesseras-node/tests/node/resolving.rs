//! The address of a node is searched for once for all who ask, and the answer is kept for 15 s.

use std::time::Duration;

use futures_util::future::join_all;
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_node::clock;
use tesseras_node::directory::DhtDirectory;
use tesseras_replication::Directory as _;
use tesseras_wire::SharedMemory;

use crate::network::{Member, Net};

const CONCURRENT: usize = 50;
/// Longer than an answer is kept.
const KEPT: Duration = Duration::from_secs(16);

/// A directory as the replication of this node uses it.
fn directory(of: &Member) -> DhtDirectory {
    let memory = SharedMemory::new(Vec::new(), clock::system());
    DhtDirectory::new(of.node.dht().clone(), of.node.id(), memory, Duration::ZERO)
}

async fn resolve_often(directory: &DhtDirectory, id: NodeId) -> Vec<Option<Contact>> {
    join_all((0..CONCURRENT).map(|_| directory.resolve(id))).await
}

/// How many requests for contacts near this id each of these nodes received since the last call.
fn take_searches(members: &[Member], id: NodeId) -> Vec<usize> {
    let searches = |member: &Member| {
        let sought = member.gate.take_sought();
        sought.into_iter().filter(|target| *target == id.into()).count()
    };
    members.iter().map(searches).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_for_a_silent_node_make_one_search_and_its_failure_is_not_kept() {
    let mut net = Net::of(4).await;
    let id = net.nodes[3].node.id();
    let dir = net.nodes[3].dir.clone();
    net.nodes.remove(id).unwrap().stop().await;
    let directory = directory(&net.nodes[0]);
    take_searches(&net.nodes[1..], id);

    assert_eq!(resolve_often(&directory, id).await, vec![None; CONCURRENT]);
    let searches = take_searches(&net.nodes[1..], id);
    assert!(searches.iter().all(|requests| *requests <= 1), "one search: {searches:?}");
    assert!(searches.contains(&1), "it was searched for: {searches:?}");
    assert_eq!(directory.resolve(id).await, None);
    assert_eq!(take_searches(&net.nodes[1..], id), [0, 0], "the failure is still kept");

    let mut config = net.config();
    config.data_dir = dir;
    net.join_with(config).await;
    net.settle().await;
    tokio::time::sleep(KEPT).await;
    let found = directory.resolve(id).await;
    assert_eq!(found.map(|contact| contact.addresses), Some(vec![net.nodes[3].node.listen()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_found_is_the_answer_to_all_who_ask() {
    let mut net = Net::of(4).await;
    let living = net.nodes[3].contact();
    let directory = directory(&net.nodes[0]);

    let found = resolve_often(&directory, living.id).await;
    assert_eq!(found, vec![Some(living.clone()); CONCURRENT]);
    // A new search would not find it.
    net.destroy(living.id).await;
    assert_eq!(directory.resolve(living.id).await, Some(living.clone()));
    tokio::time::sleep(KEPT).await;
    assert_eq!(directory.resolve(living.id).await, None);
}
