//! Many strangers of one neighbourhood at once: they share the transfers of a node, and others do not
//! wait behind them.

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_replication::messages::{Bulk, Request, Stored, refusal};
use tesseras_wire::{Body, codec};

use crate::network::{MIB, Net, until};
use crate::stranger::{Goods, Stranger};

/// More than all permits and places of a queue that one node keeps.
const MANY: u8 = 30;

fn crowd() -> Vec<Stranger> {
    (1..=MANY).map(|host| Stranger::at(&format!("127.0.80.{host}"))).collect()
}

/// Brings a piece and stops in the middle, again and again.
async fn stall_for_ever(stranger: &Stranger, to: &Contact, goods: &Goods) {
    let parcel = goods.parcel(Piece::Index(1));
    let half = Bytes::from(parcel.body[..parcel.body.len() / 2].to_vec());
    loop {
        let begun = stream::iter([Ok(parcel.head.clone().into()), Ok(half.clone())]);
        let body: Body = Box::pin(begun.chain(stream::pending()));
        let _ = stranger.ask::<Stored>(to, &parcel.request, Some(body)).await;
    }
}

/// Asks for a piece and does not read it, again and again.
async fn leave_unread(stranger: &Stranger, from: &Contact, goods: &Goods) {
    let request = Request::GetPiece { tessera: goods.tessera, piece: Piece::Whole, offset: 0 };
    let frame = codec::encode(&request).unwrap();
    loop {
        if let Ok((Bulk { .. }, _unread)) = stranger.send(from, frame.clone(), None).await {
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_a_piece_does_not_wait_behind_a_crowd_of_another_neighbourhood() {
    let net = Net::of(1).await;
    let (to, crowd) = (net.nodes[0].contact(), crowd());
    let (goods, own) = (Goods::make(5 * MIB, 20), Goods::make(5 * MIB, 40));
    let mut stalling: FuturesUnordered<_> =
        crowd.iter().map(|stranger| stall_for_ever(stranger, &to, &goods)).collect();
    let honest = Stranger::at("127.0.66.1");
    let bringing = async {
        let all_are_here = || net.nodes[0].gate.asked_so_far() >= usize::from(MANY);
        until("the crowd is here", async || all_are_here()).await;
        for index in 0..3 {
            honest.put(&to, own.parcel(Piece::Index(index))).await.unwrap();
        }
    };
    tokio::select! {
        _ = stalling.next() => unreachable!("they never stop"),
        () = bringing => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_fetches_a_piece_does_not_wait_behind_a_crowd_of_another_neighbourhood() {
    let net = Net::of(1).await;
    let (to, crowd) = (net.nodes[0].contact(), crowd());
    let goods = Goods::make(8 * MIB, 20);
    let honest = Stranger::at("127.0.66.1");
    honest.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
    net.nodes[0].gate.take_asked();
    let mut stalling: FuturesUnordered<_> =
        crowd.iter().map(|stranger| leave_unread(stranger, &to, &goods)).collect();
    let fetching = async {
        let all_are_here = || net.nodes[0].gate.asked_so_far() >= usize::from(MANY);
        until("the crowd is here", async || all_are_here()).await;
        for _ in 0..3 {
            let got = honest.get(&to, goods.tessera, Piece::Whole, 0).await.unwrap();
            assert!(got == goods.bytes(Piece::Whole));
        }
    };
    tokio::select! {
        _ = stalling.next() => unreachable!("they never stop"),
        () = fetching => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_while_all_permits_are_taken() {
    let mut net = Net::new();
    let mut config = net.config();
    config.replication.max_transfers = 1;
    net.join_with(config).await;
    let (to, goods) = (net.nodes[0].contact(), Goods::make(5 * MIB, 20));
    let (slow, other) = (Stranger::at("127.0.80.1"), Stranger::at("127.0.66.1"));
    let stalling = stall_for_ever(&slow, &to, &goods);
    let asking = async {
        until("it has begun", async || net.nodes[0].gate.asked_so_far() > 0).await;
        let parcel = || goods.parcel(Piece::Index(2));
        let dossier = parcel().head.len() as u64;
        let cases = [
            (parcel().said_to_be(u64::MAX, dossier), refusal::DECLINED),
            (parcel().with_head(Vec::new()), refusal::NEED_DOSSIER),
        ];
        let (other, to) = (&other, &to);
        let puts = cases.map(|(parcel, code)| async move {
            assert_eq!(other.put(to, parcel).await.unwrap_err(), code);
        });
        futures_util::future::join_all(puts).await;
        let request = Request::GetPiece { tessera: goods.tessera, piece: Piece::Whole, offset: 0 };
        let given = other.ask::<Bulk>(to, &request, None).await;
        assert_eq!(given.unwrap_err(), refusal::NOT_HELD);
    };
    tokio::select! {
        () = stalling => unreachable!("it never stops"),
        () = asking => {}
    }
}
