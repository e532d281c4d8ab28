//! `fragment_cache_size_mb`.

use tesseras_core::code::Piece;
use tesseras_replication::messages::Request;

use super::node::Running;
use super::peer::{Asker, Owner};

const HITS: &str = "tesseras_fragment_cache_hits_total";
const MISSES: &str = "tesseras_fragment_cache_misses_total";
const BYTES: &str = "tesseras_fragment_cache_bytes";

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_the_fragment_cache_says_which_pieces_are_served_from_memory() {
    let [off, small, large] = [0, 1, 128].map(|mib| {
        let node = Running::start(&format!("fragment_cache_size_mb = {mib}"));
        assert_eq!(node.metric(BYTES), (mib > 0).then_some(0), "{mib}");
        node
    });
    let owner = Owner::knowing(&[&off, &small, &large]).await;
    // More than an eighth of 1 MiB, so a cache of that size does not keep it.
    let hash = owner.capsule(200_000);
    assert_eq!(owner.publish(hash).await, Ok(3));

    let asker = Asker::new();
    let request = Request::GetPiece { tessera: hash, piece: Piece::Whole, offset: 0 };
    let mut length = 0;
    for node in [&off, &small, &large] {
        for _ in 0..3 {
            length = asker.get(&node.contact, &request).await.len() as u64;
        }
    }
    assert!(length > 200_000);
    for name in [HITS, MISSES, BYTES] {
        assert_eq!(off.metric(name), None, "{name}");
    }
    let seen = |node: &Running| [HITS, MISSES, BYTES].map(|name| node.metric(name).expect(name));
    assert_eq!(seen(&small), [0, 3, 0]);
    assert_eq!(seen(&large), [2, 1, length]);
}
