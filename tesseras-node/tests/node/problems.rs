//! What an operator can do something about is named while it lasts.

use std::net::{SocketAddr, UdpSocket};

use tesseras_core::code::Piece;
use tesseras_core::ports::FragmentStore as _;
use tesseras_rpc::problem::Problem;
use tesseras_wire::codec::Refusal;

use crate::clocks::status;
use crate::network::{Net, until};
use crate::stranger::{Goods, Stranger};

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

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_moved_away_is_named_and_nothing_is_acknowledged_until_it_is_back() {
    let net = Net::of(4).await;
    let node = &net.nodes[1];
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    node.fetch(hash).await.unwrap();
    let (db, away) = (node.dir.join("db"), node.dir.join("away"));
    std::fs::rename(&db, &away).unwrap();
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(1000, 20));
    let put = async || stranger.put(&node.contact(), goods.parcel(Piece::Whole)).await;
    assert_eq!(put().await.err().as_deref(), Some(Refusal::INTERNAL));
    let problems = status(node).await.problems;
    let path = db.join("tesseras.db").display().to_string();
    assert_eq!(problems[..], [Problem::IndexGone { path }]);
    assert!(!db.exists(), "no new one is begun");
    std::fs::rename(&away, &db).unwrap();
    put().await.unwrap();
    assert_eq!(status(node).await.problems, []);
    assert_eq!(node.store.fragments().list_sound_fragments(&goods.tessera).unwrap().len(), 1);
}
