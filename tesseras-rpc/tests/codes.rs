//! The codes of failures are words that scripts may rely on.

use tesseras_core::ids::NodeId;
use tesseras_rpc::failure::{Cause, Failure, Shortage};

/// What is read of a cause that is not known.
#[derive(serde::Deserialize)]
struct Tagged {
    code: String,
}

/// One of each kind.
fn causes() -> Vec<Cause> {
    let shortage = Some(Box::new(Shortage {
        node_id: NodeId::new([7; 20]),
        address: Some("127.0.0.1:7310".parse().expect("an address")),
        room: 1,
        bytes_per_node: 2,
        lacking: 3,
    }));
    vec![
        Cause::Failed,
        Cause::Busy,
        Cause::Stopping,
        Cause::UnknownRequest,
        Cause::TooSlow,
        Cause::AnswerTooLong,
        Cause::ClockOff { seconds: -7200, witnesses: 3 },
        Cause::NoSpace { needed: 2, free: 1 },
        Cause::DiskFull,
        Cause::Locked,
        Cause::IndexGone,
        Cause::StoreFailed,
        Cause::Damaged,
        Cause::NotValid,
        Cause::NotFound,
        Cause::NoneHoldsIt { answered: 1, silent: 0 },
        Cause::HoldersSilent { silent: 1 },
        Cause::TooFewPieces,
        Cause::NotInLibrary,
        Cause::NotHeld,
        Cause::NotPublished,
        Cause::NoSignedPlan,
        Cause::PlanRefused,
        Cause::InProgress,
        Cause::Stopped,
        Cause::NobodyEligible { shortage: None },
        Cause::NoRoom { shortage: shortage.clone() },
        Cause::TooFewPlaced { shortage },
        Cause::HoldersNotTold,
    ]
}

#[test]
fn every_cause_is_sent_with_its_code_and_comes_back() {
    let codes: Vec<_> = causes().iter().map(Cause::code).collect();
    assert_eq!(codes, Cause::CODES);
    for cause in causes() {
        let bytes = rmp_serde::to_vec_named(&cause).expect("encoded");
        let sent: Tagged = rmp_serde::from_slice(&bytes).expect("a map");
        assert_eq!(sent.code, cause.code());
        let failure = Failure::new(cause, "in words");
        let bytes = rmp_serde::to_vec_named(&failure).expect("encoded");
        assert_eq!(rmp_serde::from_slice::<Failure>(&bytes).expect("decoded"), failure);
    }
}

#[test]
fn the_manual_lists_every_code() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    for code in Cause::CODES {
        assert!(manual.contains(&format!("\n| `{code}` | ")), "{code} is not in the manual");
    }
}
