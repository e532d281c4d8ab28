//! What a stranger says about honest nodes does not make them look dead.

use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, MAX_ADDRESSES};
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{HoldingRepository as _, PeerRepository as _};
use tesseras_replication::messages::{Announced, Request};

use crate::network::{Net, open};
use crate::stranger::{Goods, Stranger};

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:9";

#[tokio::test(flavor = "multi_thread")]
async fn a_false_address_does_not_make_an_honest_node_look_dead() {
    let mut net = Net::of(3).await;
    let (victim, honest) = (net.nodes[0].contact(), net.nodes[1].node.id());
    let liar = Stranger::at("127.0.100.1");
    let misnamed = Contact { id: honest, addresses: vec![NOWHERE.parse().unwrap()] };
    // Each time the node asks the witness where the liar says it is.
    for seed in [20, 30, 40] {
        let parcel = Goods::make(100, seed).parcel(Piece::Whole);
        liar.put(&victim, parcel.witnessed_by(vec![misnamed.clone()])).await.unwrap();
    }
    let peers = net.nodes[0].node.dht().peers().await;
    assert!(peers.iter().any(|peer| peer.id == honest), "it is still known: {peers:?}");

    let victim = net.nodes.remove(victim.id).unwrap();
    let dir = victim.dir.clone();
    victim.stop().await;
    let silent = open(&dir).peers().silent_peers().unwrap();
    assert!(silent.iter().all(|peer| peer.id != honest), "{silent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_holders_that_a_peer_names_a_few_addresses_that_can_be_dialled_are_kept() {
    let net = Net::of(1).await;
    let (holder, to) = (&net.nodes[0], net.nodes[0].contact());
    let liar = Stranger::at("127.0.100.1");
    let goods = Goods::make(100, 20);
    liar.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
    let mut addresses =
        vec!["0.0.0.0:7", "224.0.0.1:7", "127.0.0.1:0", "127.0.0.1:7", "127.0.0.1:7"];
    let many: Vec<String> = (1..200).map(|port| format!("127.0.0.2:{port}")).collect();
    addresses.extend(many.iter().map(String::as_str));
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let named = Contact { id: NodeId::new([7; 20]), addresses };
    let roster = Request::Roster { tessera: goods.tessera, holders: vec![named; 3] };
    liar.ask::<Announced>(&to, &roster, None).await.unwrap();
    let known = holder.store.holdings().known_holders(&goods.tessera).unwrap();
    assert_eq!(known.len(), 1);
    let addresses = &known[0].contact.addresses;
    assert_eq!(addresses.len(), MAX_ADDRESSES);
    assert_eq!(addresses[..2], ["127.0.0.1:7", "127.0.0.2:1"].map(|a| a.parse().unwrap()));
}

/// A roster that names nodes that do not exist, one of each of these numbers.
fn roster(goods: &Goods, numbers: std::ops::RangeInclusive<u8>) -> Request {
    let named = |number: u8| Contact {
        id: NodeId::new([number; 20]),
        addresses: vec![([127, 0, 200, number], 9).into()],
    };
    Request::Roster { tessera: goods.tessera, holders: numbers.map(named).collect() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_holders_that_a_stranger_names_a_few_are_kept_and_none_was_seen() {
    let net = Net::of(1).await;
    let (holder, to) = (&net.nodes[0], net.nodes[0].contact());
    let goods = Goods::make(100, 20);
    let owner = Stranger::at("127.0.100.1");
    owner.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
    let stranger = Stranger::at("127.0.101.1");
    for numbers in [1..=200, 1..=200, 50..=250] {
        stranger.ask::<Announced>(&to, &roster(&goods, numbers), None).await.unwrap();
    }
    let known = holder.store.holdings().known_holders(&goods.tessera).unwrap();
    assert_eq!(known.len(), 3 * 8);
    assert!(known.iter().all(|known| known.seen.is_none()), "{known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_the_holders_that_the_owner_names_their_places() {
    let net = Net::of(1).await;
    let (holder, to) = (&net.nodes[0], net.nodes[0].contact());
    let goods = Goods::make(100, 20);
    let owner = Stranger::at("127.0.100.1");
    owner.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
    let stranger = Stranger::at("127.0.101.1");
    let named = || async {
        stranger.ask::<Announced>(&to, &roster(&goods, 1..=128), None).await.unwrap();
    };
    for _ in 0..20 {
        named().await;
    }
    owner.ask::<Announced>(&to, &roster(&goods, 100..=220), None).await.unwrap();
    named().await;
    let known = holder.store.holdings().known_holders(&goods.tessera).unwrap();
    let numbers: Vec<u8> = known.iter().map(|known| known.contact.id.as_bytes()[0]).collect();
    assert_eq!(numbers[..121], (100..=220).collect::<Vec<u8>>());
    assert!(known.iter().all(|known| known.seen.is_none()), "{known:?}");
}
