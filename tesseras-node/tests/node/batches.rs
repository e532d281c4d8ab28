//! A request about many tesserae counts as many requests.

use futures_util::future::join_all;
use tesseras_core::ids::TesseraHash;
use tesseras_replication::messages::{BatchAnswer, MAX_BATCH, Request};
use tesseras_wire::codec::Refusal;

use crate::network::Net;
use crate::stranger::Stranger;

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_about_thousands_of_tesserae_at_once_is_told_to_wait() {
    let net = Net::of(1).await;
    let (to, stranger) = (net.nodes[0].contact(), Stranger::at("127.0.100.1"));
    // Of no kind that a batch may have: it costs next to nothing to answer, and counts all the same.
    let ask = |n: usize| Request::GetDossier { tessera: TesseraHash::new([n as u8; 32]) };
    let batch = Request::Batch { requests: (0..MAX_BATCH).map(ask).collect() };
    // As single requests they would not be too many.
    let asking = (0..120).map(|_| stranger.ask::<BatchAnswer>(&to, &batch, None));
    let answers = join_all(asking).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|a| a.as_ref().is_err_and(|code| code == Refusal::BUSY));
    assert!(answered > 0);
    assert_eq!(refused.count(), answers.len() - answered);
    assert!(answered < answers.len(), "{answered} batches of {MAX_BATCH}");
    // Whoever asks little is answered.
    let other = Stranger::at("127.0.66.1");
    other.ask::<BatchAnswer>(&to, &batch, None).await.unwrap();
}
