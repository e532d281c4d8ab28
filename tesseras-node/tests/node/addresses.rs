//! Nodes that listen on every interface, and networks of IPv6.

use crate::network::{Net, until};

/// A network of which one node listens on a wildcard: it is reached, holds, and serves alone.
async fn a_wildcard_takes_part(listen: &str) {
    let mut net = Net::of(2).await;
    let mut config = net.config();
    config.listen = listen.parse().unwrap();
    let at = net.join_with(config).await;
    net.settle().await;
    let wild = &net.nodes[at];
    until("the wildcard is reachable", async || wild.node.dht().status().await.unwrap().reachable)
        .await;
    let status = wild.node.dht().status().await.unwrap();
    assert!(status.addresses.iter().all(|address| !address.ip().is_unspecified()), "{status:?}");

    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    let want = owner.export(hash, &net.path("want"));
    assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 2);
    assert_eq!(wild.held(hash).len(), 1);
    // The others go; what remains is the wildcard.
    let gone = [net.nodes[0].node.id(), net.nodes[1].node.id()];
    let wild = wild.node.dht().status().await.unwrap().addresses[0];
    let mut config = net.config();
    config.bootstrap = vec![wild.into()];
    for id in gone {
        net.destroy(id).await;
    }
    let fetcher = net.join_with(config).await;
    net.nodes[fetcher].fetch(hash).await.unwrap();
    assert!(net.nodes[fetcher].export(hash, &net.path("got")) == want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_every_ipv4_interface_takes_part() {
    a_wildcard_takes_part("0.0.0.0:0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_every_interface_takes_part() {
    a_wildcard_takes_part("[::]:0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_ipv6_publishes_and_fetches() {
    let mut net = Net::new();
    for _ in 0..3 {
        let mut config = net.config();
        config.listen = "[::1]:0".parse().unwrap();
        net.join_with(config).await;
    }
    net.settle().await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    let want = owner.export(hash, &net.path("want"));
    assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 2);
    let mut config = net.config();
    config.listen = "[::1]:0".parse().unwrap();
    let fetcher = net.join_with(config).await;
    net.nodes[fetcher].fetch(hash).await.unwrap();
    assert!(net.nodes[fetcher].export(hash, &net.path("got")) == want);
}
