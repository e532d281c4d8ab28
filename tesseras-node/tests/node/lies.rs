//! Holders that lie to a reader. With enough honest ones the reader notices nothing; with too few,
//! the error says so.

use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{ReciprocityLedger as _, TesseraRepository as _, Workbench as _};
use tesseras_replication::collect::CollectError;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::publish::PublishError;

use crate::gate::Lie;
use crate::network::{MIB, Member, Net, assert_tidy};
use crate::stranger::{Goods, draft, encode};

/// Every lie that a holder can tell about a tessera.
fn lies(owner: &Member, hash: TesseraHash) -> Vec<Lie> {
    let (plan, _) = draft(&owner.store, hash);
    owner.store.workbench().unpin(&hash).unwrap();
    let other = Goods::make(100, 90);
    let record = owner.store.library().get(&hash).unwrap().unwrap();
    let stranger = other.creator.sign(plan.render().as_bytes());
    let dossier = crate::stranger::dossier(&owner.store, hash, &plan, stranger);
    let mut damaged = dossier.clone();
    damaged.plan[100] ^= 1;
    let mut manifest = dossier.clone();
    manifest.manifest.push(b'\n');
    assert_eq!(record.hash, hash);
    vec![
        Lie::WrongBytes,
        Lie::TooFewBytes,
        Lie::TooManyBytes,
        Lie::WrongLength,
        Lie::Refuse,
        Lie::AttestAll(Box::new(plan)),
        Lie::BadSignature,
        Lie::Dossier(encode(&other.dossier)),
        Lie::Dossier(encode(&dossier)),
        Lie::Dossier(encode(&damaged)),
        Lie::Dossier(encode(&manifest)),
        Lie::Dossier(Vec::new()),
        Lie::HalfAndSilence,
        Lie::SilentOnPieces,
        Lie::SilentOnAttest,
    ]
}

/// One more node, that does not wait long for those who stall.
async fn impatient(net: &mut Net) -> usize {
    let mut config = net.config();
    config.replication.answer_deadline = Duration::from_millis(1500);
    config.replication.transfer_deadline = Duration::from_secs(2);
    net.join_with(config).await
}

/// Fetches, compares, and forgets again.
async fn fetches(member: &Member, hash: TesseraHash, want: &[(String, Vec<u8>)], lie: &Lie) {
    member.fetch(hash).await.unwrap_or_else(|error| panic!("{lie:?}: {error}"));
    let to = tempfile::tempdir().unwrap();
    assert!(member.export(hash, to.path()) == want, "{lie:?}");
    member.forget(hash);
    assert_tidy(&member.store, &member.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_liars_among_the_holders_of_a_coded_capsule_do_no_harm_and_many_are_noticed() {
    let mut net = Net::tight(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.placed, published.holders, published.survives), (24, 7, 2));
    let want = owner.export(hash, &net.path("want"));
    let lies = lies(owner, hash);
    let at = impatient(&mut net).await;
    let (holders, fetcher) = (&net.nodes[1..at], &net.nodes[at]);
    for lie in &lies {
        holders[1..3].iter().for_each(|holder| holder.gate.lie(lie.clone()));
        fetches(fetcher, hash, &want, lie).await;
        holders.iter().for_each(|holder| holder.gate.be_honest());
    }
    // Of 24 pieces on seven holders, three holders' pieces are too many to miss.
    for lie in [Lie::WrongBytes, Lie::BadSignature] {
        holders[1..4].iter().for_each(|holder| holder.gate.lie(lie.clone()));
        match fetcher.fetch(hash).await.unwrap_err() {
            FetchError::Collect(CollectError::TooFew { found, needed: 16, .. }) => {
                assert!((12..16).contains(&found), "{found}");
            }
            other => panic!("{lie:?}: {other}"),
        }
        assert_eq!(fetcher.store.library().list().unwrap(), []);
        assert_tidy(&fetcher.store, &fetcher.dir).await;
        holders.iter().for_each(|holder| holder.gate.be_honest());
    }
    // Nobody tells the truth about what it is.
    let wrong = Lie::Dossier(encode(&Goods::make(100, 91).dossier));
    holders.iter().for_each(|holder| holder.gate.lie(wrong.clone()));
    let error = fetcher.fetch(hash).await.unwrap_err();
    assert!(matches!(error, FetchError::NoDossier(_)), "{error}");
    holders.iter().for_each(|holder| holder.gate.be_honest());
    fetches(fetcher, hash, &want, &wrong).await;
    assert_eq!(fetcher.store.workbench().pinned(&hash).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_honest_holder_of_a_whole_copy_is_enough() {
    let mut net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    assert_eq!(owner.publish(hash, &keys).await.unwrap().holders, 3);
    let want = owner.export(hash, &net.path("want"));
    let lies = lies(owner, hash);
    let at = impatient(&mut net).await;
    let (holders, fetcher) = (&net.nodes[1..at], &net.nodes[at]);
    for (honest, lie) in [0, 1, 2].into_iter().cycle().zip(&lies) {
        holders.iter().for_each(|holder| holder.gate.lie(lie.clone()));
        holders[honest].gate.be_honest();
        fetches(fetcher, hash, &want, lie).await;
    }
    holders.iter().for_each(|holder| holder.gate.lie(Lie::WrongBytes));
    let error = fetcher.fetch(hash).await.unwrap_err();
    let too_few = CollectError::TooFew { found: 0, needed: 1, last: None };
    let FetchError::Collect(CollectError::TooFew { found: 0, needed: 1, last }) = error else {
        panic!("{error} instead of {too_few}")
    };
    assert!(last.unwrap().contains("the bytes hash to"), "the reason is told");
    assert_eq!(fetcher.store.library().list().unwrap(), []);
    assert_tidy(&fetcher.store, &fetcher.dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_holds_is_not_found() {
    let net = Net::of(2).await;
    let hash = TesseraHash::new([9; 32]);
    let error = net.nodes[0].fetch(hash).await.unwrap_err();
    assert!(matches!(error, FetchError::NoHolders(_)), "{error}");
    assert_eq!(net.nodes[0].node.replication().status(hash).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn thanks_are_not_believed_without_an_attestation() {
    let net = Net::of(4).await;
    let (owner, holders) = (&net.nodes[0], &net.nodes[1..]);
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    holders.iter().for_each(|holder| holder.gate.lie(Lie::KeepNothing));
    let error = owner.publish(hash, &keys).await.unwrap_err();
    assert!(matches!(error, PublishError::TooFew { placed: 0, needed: 1, .. }), "{error}");
    holders[1].gate.be_honest();
    holders[2].gate.be_honest();
    let published = owner.publish(hash, &keys).await.unwrap();
    assert_eq!((published.fragments, published.placed, published.survives), (3, 2, 1));
    let credit = |at: usize| {
        let ledger = owner.store.ledger();
        ledger.account(&holders[at].node.id()).unwrap().stored_by
    };
    assert!(credit(1) > 0 && credit(2) > 0);
    assert_eq!(credit(0), 0, "who attests nothing has no credit");
    holders[0].gate.be_honest();
    assert_eq!(owner.publish(hash, &keys).await.unwrap().placed, 3);
}
