//! A larger network never keeps a capsule less safe, and what does not fit is known before it is
//! sent.

use tesseras_replication::publish::PublishError;

use crate::network::{MIB, Net};

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_network_is_never_less_safe() {
    let mut net = Net::of(2).await;
    let mut last = 0;
    for holders in 1..=9_u8 {
        let seed = 10 * holders;
        let folder = net.path(&format!("album{holders}"));
        let (hash, keys) = net.nodes[0].create(&folder, 4 * MIB, seed);
        let published = net.nodes[0].publish(hash, &keys).await.unwrap();
        let expected = usize::from(holders - 1).min(5);
        assert!(published.survives >= expected.max(last), "{holders} holders: {published:?}");
        assert_eq!(published.placed, published.fragments, "{holders} holders");
        let health = net.nodes[1].health(hash).await;
        assert_eq!(health.survives, published.survives, "{holders} holders");
        last = published.survives;
        net.join().await;
        net.settle().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_readable_is_refused_before_a_piece_is_sent() {
    let mut net = Net::new();
    net.join().await;
    for _ in 0..7 {
        let mut config = net.config();
        // Room for two fragments each: fourteen of the sixteen that are needed.
        config.replication.limits.deficit_allowance = 700_000;
        net.join_with(config).await;
    }
    net.settle().await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let error = owner.publish(hash, &keys).await.unwrap_err();
    let PublishError::NoRoom { causes, .. } = error else { panic!("{error}") };
    assert_eq!((causes.willing, causes.short.len()), (7, 4), "{causes:?}");
    assert!(causes.short.iter().all(|short| short.room < causes.bytes_per_node), "{causes:?}");
    assert!(causes.lacking > 7 * 1024 && causes.lacking < 7 * causes.bytes_per_node, "{causes:?}");
    for member in &net.nodes[1..] {
        assert_eq!(member.held(hash), [], "nothing was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readable_placement_is_made_even_where_no_node_has_room_for_a_whole_copy() {
    let mut net = Net::new();
    net.join().await;
    for _ in 0..5 {
        let mut config = net.config();
        // Room for five fragments each, and for no whole copy.
        config.replication.limits.deficit_allowance = 1_700_000;
        net.join_with(config).await;
    }
    net.settle().await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed, published.holders), (24, 24, 5));
    assert_eq!(published.survives, 1);
}
