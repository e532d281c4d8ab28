//! Who stores how much for whom, after publications and repairs.

use tesseras_core::code::Piece;
use tesseras_core::contact::Subnet;
use tesseras_core::ports::{
    Account, FragmentStore as _, HoldingRepository as _, PeerAt, ReciprocityLedger as _, Usage,
};

use crate::network::{Member, Net};
use crate::stranger::draft;

fn account(of: &Member, with: &Member) -> Account {
    of.store.ledger().account(&with.node.id()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_is_on_the_owners_account_and_repair_on_nobodys() {
    let net = Net::of(4).await;
    let [owner, first, second, third] = &net.nodes[..] else { panic!("four nodes") };
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let bytes = draft(&owner.store, hash).0.piece_bytes(Piece::Whole).unwrap();
    let at = |member: &Member| PeerAt {
        id: member.node.id(),
        subnet: Subnet::of(member.node.listen().ip()),
    };
    // The dossier counts with the only piece of each; the owner counts its pieces alone.
    let dossier = first.store.holdings().dossier(&hash).unwrap().unwrap().stored_bytes();
    let kept = bytes + dossier;
    let (with_owner, with_second) = (at(owner), at(second));
    for holder in [first, second, third] {
        let stored = Account { stored_for: kept, stored_by: 0 };
        assert_eq!(account(holder, owner), stored);
        assert_eq!(account(owner, holder), Account { stored_for: 0, stored_by: bytes });
        let usage = holder.store.ledger().usage(&with_owner).unwrap();
        let placed =
            Usage { total: kept, indebted: kept, indebted_in_subnet: kept, ..Usage::default() };
        assert_eq!(usage, placed);
    }
    // A holder in whose debt the owner is has a balance, and is not a newcomer.
    assert!(account(owner, first).is_positive() && !account(first, owner).is_positive());

    let lost = first.held(hash).remove(0);
    first.store.fragments().delete_fragment(&lost).unwrap();
    assert_eq!(second.repair(hash).await.restored, 1);
    assert_eq!(first.held(hash), [lost]);
    assert_eq!(account(first, owner), Account::default());
    assert_eq!(account(first, second), Account::default(), "the steward owes nothing");
    assert_eq!(account(second, first), Account::default(), "and is owed nothing");
    let repaired = Usage {
        total: kept,
        repair: kept,
        repair_by_peer: kept,
        repair_in_subnet: kept,
        ..Usage::default()
    };
    assert_eq!(first.store.ledger().usage(&with_second).unwrap(), repaired);
}
