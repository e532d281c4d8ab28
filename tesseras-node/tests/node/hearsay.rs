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
