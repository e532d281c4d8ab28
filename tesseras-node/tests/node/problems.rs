//! What an operator can do something about is named while it lasts.

use std::net::{SocketAddr, UdpSocket};

use tesseras_rpc::problem::Problem;

use crate::clocks::status;
use crate::network::{Net, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_bootstrap_address_is_named_until_it_answers() {
    let mut net = Net::of(2).await;
    let dead = UdpSocket::bind("127.0.50.1:0").unwrap().local_addr().unwrap();
    let mut config = net.config();
    config.bootstrap.push(dead.into());
    let alive: Vec<SocketAddr> = net.nodes.iter().map(|member| member.node.listen()).collect();
    let joined: Vec<SocketAddr> =
        config.bootstrap.iter().flat_map(|peer| peer.addresses.clone()).collect();
    assert!(joined.len() == 3 && joined.starts_with(&alive));
    let node = net.join_with(config).await;
    let named = [Problem::BootstrapSilent { peer: dead.to_string(), addresses: vec![dead] }];
    until("it is named", async || status(&net.nodes[node]).await.problems == named).await;

    let mut config = net.config();
    config.listen = dead;
    net.join_with(config).await;
    until("it has answered", async || status(&net.nodes[node]).await.problems.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_at_its_reserve_is_named() {
    let mut net = Net::new();
    let mut config = net.config();
    config.replication.limits.min_free_space = u64::MAX;
    let node = net.join_with(config).await;
    let problems = status(&net.nodes[node]).await.problems;
    let [Problem::DiskReserve { free: 1.., reserve: u64::MAX }] = problems[..] else {
        panic!("{problems:?}")
    };
}
