//! What a node's person made, or does not want, is not held here.

use tesseras_core::code::Piece;
use tesseras_core::ports::{Charge, HoldingRepository as _};
use tesseras_node::clock;
use tesseras_replication::messages::{Offered, Request, refusal};

use crate::network::Net;
use crate::stranger::{Goods, Stranger, draft, encode};

#[tokio::test(flavor = "multi_thread")]
async fn own_capsules_and_dropped_ones_are_refused_until_they_are_fetched() {
    let net = Net::of(3).await;
    let [owner, holder, other] = &net.nodes[..] else { panic!("three nodes") };
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 2);
    let stranger = Stranger::at("127.0.100.1");
    let (plan, source) = draft(&owner.store, hash);
    let signatures = keys.sign(plan.render().as_bytes());
    let dossier = encode(&crate::stranger::dossier(&owner.store, hash, &plan, signatures));
    let bytes = crate::stranger::read(&*source.open(Piece::Whole).unwrap());
    let parcel = Goods::make(10, 50).parcel(Piece::Whole).with_head(dossier).with_body(bytes);
    let parcel = parcel.of(hash);

    let given = stranger.put(&owner.contact(), parcel.clone()).await;
    assert_eq!(given.unwrap_err(), refusal::DECLINED);
    let ask = Request::Offer { tessera: hash, bytes: 1, charge: Charge::REPAIR };
    let offered: Offered = stranger.ask(&owner.contact(), &ask, None).await.unwrap();
    assert!(!offered.accepts);

    // Dropped: refused, no matter who offers it, and not repaired onto it either.
    for fragment in holder.held(hash) {
        use tesseras_core::ports::FragmentStore as _;
        holder.store.fragments().delete_fragment(&fragment).unwrap();
    }
    holder.store.holdings().block(&hash, clock::system().now()).unwrap();
    let given = stranger.put(&holder.contact(), parcel.clone()).await;
    assert_eq!(given.unwrap_err(), refusal::DECLINED);
    other.repair(hash).await;
    assert_eq!(holder.held(hash), []);

    // The owner asks for it: it comes, and is accepted again.
    holder.fetch(hash).await.unwrap();
    assert!(!holder.store.holdings().is_blocked(&hash).unwrap());
    stranger.put(&holder.contact(), parcel).await.unwrap();
    assert_eq!(holder.held(hash).len(), 1);
}
