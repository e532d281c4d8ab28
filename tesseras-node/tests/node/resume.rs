//! What was interrupted goes on where it was.

use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::ports::{HoldingRepository as _, Workbench as _};
use tesseras_core::progress::silent;
use tesseras_crypto::CreatorKeys;
use tesseras_replication::messages::Request;

use crate::gate::Lie;
use crate::network::{MIB, Member, Net, until};
use crate::stranger::draft;

/// A network whose nodes wait long for each other, so that none gives up by itself.
async fn patient(count: usize) -> Net {
    let mut net = Net::new();
    for _ in 0..count {
        let mut config = net.tight_config();
        config.replication.transfer_deadline = std::time::Duration::from_secs(60);
        net.join_with(config).await;
    }
    net.settle().await;
    net
}

fn asked(nodes: &[Member]) -> Vec<Request> {
    nodes.iter().flat_map(|member| member.gate.take_asked()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_publication_and_an_interrupted_fetch_go_on_where_they_were() {
    let mut net = patient(8).await;
    let owner = &net.nodes[0];
    let holders = &net.nodes[1..];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let want = owner.export(hash, &net.path("want"));

    // One holder takes nothing, and keeps everybody waiting.
    holders[0].gate.lie(Lie::SilentOnPuts);
    let placed = || owner.store.holdings().placements(&hash).unwrap();
    tokio::select! {
        done = owner.publish(hash, &keys) => panic!("{done:?}"),
        () = until("some pieces are placed", async || placed().len() >= 9) => {}
    }
    let before: BTreeSet<Piece> = placed().iter().map(|placed| placed.piece).collect();
    holders[0].gate.be_honest();
    asked(holders);
    // It is not a publication any more, and can begin again.
    let published = owner.publish(hash, &CreatorKeys::from_seeds(&[5; 32], &[6; 32])).await;
    assert_eq!(published.unwrap().placed, 24);
    let put: BTreeSet<Piece> = asked(holders)
        .into_iter()
        .filter_map(|request| match request {
            Request::PutPiece { piece, .. } => Some(piece),
            _ => None,
        })
        .collect();
    assert!(put.is_disjoint(&before), "{put:?} were put again, though {before:?} were placed");
    let (plan, _) = draft(&owner.store, hash);
    let drafted = owner.node.replication().draft_plan(hash, &silent()).await.unwrap();
    assert_eq!(drafted, plan.render().into_bytes());

    let mut config = net.config();
    config.replication.transfer_deadline = std::time::Duration::from_secs(60);
    let at = net.join_with(config).await;
    let (holders, fetcher) = (&net.nodes[1..at], &net.nodes[at]);
    // So many are silent that the others do not suffice.
    let mut obtainable = 0;
    for holder in holders {
        let held = holder.held(hash);
        if held.iter().any(|held| held.piece == Piece::Whole) || obtainable + held.len() >= 16 {
            holder.gate.lie(Lie::SilentOnPieces);
        } else {
            obtainable += held.len();
        }
    }
    assert!(obtainable >= 5, "{obtainable}");
    let pinned = || fetcher.store.workbench().pinned(&hash).unwrap();
    tokio::select! {
        done = fetcher.fetch(hash) => panic!("{done:?}"),
        () = until("some pieces have come", async || pinned().len() >= 5) => {}
    }
    let before: BTreeSet<_> = pinned().into_iter().collect();
    holders.iter().for_each(|holder| holder.gate.be_honest());
    asked(holders);
    fetcher.fetch(hash).await.unwrap();
    let got: Vec<Piece> = asked(holders)
        .into_iter()
        .filter_map(|request| match request {
            Request::GetPiece { piece, .. } => Some(piece),
            _ => None,
        })
        .collect();
    let again: Vec<_> =
        got.iter().filter(|piece| before.contains(&plan.checksum(**piece).unwrap())).collect();
    assert!(again.is_empty(), "{again:?} came twice");
    assert!(!got.is_empty());
    assert!(fetcher.export(hash, &net.path("got")) == want);
    assert_eq!(pinned(), []);
}
