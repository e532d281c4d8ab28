//! The commands that ask a node, with and without one.

use crate::environment::{Environment, text};

use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::progress::{Progress, Unit};
use tesseras_rpc::calls::Response;
use tesseras_rpc::frame::{Event, MAX_EVENT_BYTES, encode};
use tesseras_rpc::messages::{
    CopyCount, DraftedPlan, FetchReply, FragmentCount, LastRepair, PeerInfo, PeerList,
    PieceLocation, RepairDue, RepairReason, RepairReply, TesseraState, TesseraStatus,
};
use tesseras_rpc::{Cause, Failure};

fn done(response: Response) -> Vec<u8> {
    encode(&Event::Done(response), MAX_EVENT_BYTES).expect("short")
}

#[test]
fn without_a_node_each_says_how_to_start_one() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["status", &hash],
        &["peers"],
        &["repair"],
        &["fetch", &hash],
        &["publish", &hash, "--yes"],
    ];
    for command in commands {
        let answer = environment.json(command);
        assert_eq!(answer.code, Some(1), "{command:?}");
        let error = answer.json["error"].as_str().expect("a reason");
        assert!(error.contains("no tesd is running"), "{error}");
        let hint = answer.json["hint"].as_str().expect("a hint");
        assert!(hint.contains(text(&environment.data_dir())), "{hint}");
        assert_eq!(answer.json["code"], "not_running");
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_named() {
    let environment = Environment::new();
    let long = environment.path(&"x".repeat(120));
    let output = environment.tes().args(["peers", "--data-dir", text(&long)]).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the system allows 107"));
}

#[test]
fn what_the_node_says_is_shown() {
    let environment = Environment::new();
    let node_id = NodeId::new([7; 20]);
    let address = "127.0.1.1:7310".parse().expect("an address");
    let hash = TesseraHash::new([0xab; 32]);
    let progress = Progress { stage: "fetching".into(), done: 1, total: 2, unit: Unit::Bytes };
    let mut fetched = encode(&Event::Progress(progress), MAX_EVENT_BYTES).expect("short");
    fetched.extend(encode(&Event::Alive, MAX_EVENT_BYTES).expect("short"));
    let title = "Summer".to_owned();
    let got =
        FetchReply { hash, title, memories: 3, files: 20, bytes: 9000, holders: 4, already: false };
    fetched.extend(done(Response::Fetched(got)));
    let failed = Failure::new(Cause::NotFound, "nobody has it");
    let tessera = TesseraStatus {
        hash,
        state: TesseraState::Healthy,
        fragments: FragmentCount { total: 24, live: 24, needed: 16 },
        copies: CopyCount { total: 3, live: 3 },
        holders: 11,
        survives: 3,
        only_silent: 0,
        placement: vec![
            PieceLocation { fragment: tesseras_core::code::Piece::Index(5), node_id },
            PieceLocation { fragment: tesseras_core::code::Piece::Whole, node_id },
        ],
        in_library: false,
        last_repair: None,
        repair_due: None,
        notes: Vec::new(),
    };
    let degraded = TesseraStatus { state: TesseraState::Degraded, ..tessera.clone() };
    let steward = NodeId::new([8; 20]);
    let date = "2026-07-01T10:00:00Z".to_owned();
    let repaired = LastRepair {
        node_id,
        here: true,
        date: date.clone(),
        pieces: 5,
        silent: 8,
        reason: Some(RepairReason::Turn),
    };
    let given = LastRepair { here: false, pieces: 1, silent: 0, reason: None, ..repaired.clone() };
    let at = "2026-07-01T10:15:00Z".to_owned();
    let due = RepairDue { since: date, at, steward: Some(steward) };
    let silent =
        TesseraStatus { only_silent: 3, last_repair: Some(repaired.into()), ..degraded.clone() };
    let degraded = TesseraStatus {
        last_repair: Some(given.into()),
        repair_due: Some(due.into()),
        ..degraded.clone()
    };
    let node = environment.fake_node(vec![
        done(Response::Peers(PeerList { peers: vec![PeerInfo { node_id, address }] })),
        fetched,
        encode(&Event::Failed(failed), MAX_EVENT_BYTES).expect("short"),
        done(Response::TesseraStatus(tessera.clone())),
        done(Response::TesseraStatus(tessera.clone())),
        done(Response::TesseraStatus(silent)),
        done(Response::TesseraStatus(degraded)),
        done(Response::Repaired(RepairReply { checked: 2, ..RepairReply::default() })),
        done(Response::Peers(PeerList { peers: Vec::new() })),
    ]);
    let peers = environment.ok(&["peers"]);
    let id = "07".repeat(20);
    assert_eq!(peers["peers"], serde_json::json!([{ "node_id": id, "address": "127.0.1.1:7310" }]));
    let name = hash.to_string();
    // As a card spells it; unquoted, so that the shell makes an argument of each group.
    let code = hash.to_code();
    let fetched = environment.ok(&["fetch", &code[..4], &code[4..40], &code[40..]]);
    assert_eq!((&fetched["hash"], &fetched["holders"]), (&name.as_str().into(), &4.into()));
    assert_eq!(fetched["code"], code);
    assert_eq!(environment.fails(&["fetch", &name]), "nobody has it");
    let status = environment.ok(&["status", &name]);
    assert_eq!(status["state"], "healthy");
    assert_eq!(status["fragments"], serde_json::json!({ "total": 24, "live": 24, "needed": 16 }));
    assert_eq!(status["copies"], serde_json::json!({ "total": 3, "live": 3 }));
    let placement = serde_json::json!([
        { "fragment": 5, "node_id": id }, { "fragment": "whole", "node_id": id }
    ]);
    assert_eq!(status["placement"], placement);
    let human = String::from_utf8(environment.human(&["status", &name]).stdout).expect("UTF-8");
    assert!(human.contains("survives the loss of any 3") && human.contains("5 whole"), "{human}");
    assert!(human.contains("In addition: 3 of 3 whole copies."), "{human}");
    let human = String::from_utf8(environment.human(&["status", &name]).stdout).expect("UTF-8");
    let last = "Last repaired by this node, 2026-07-01T10:00:00Z: 5 pieces; 8 holders were gone; it \
                was its turn.";
    assert!(human.contains(last), "{human}");
    let silent = "3 holders do not answer, and nothing is missing on the others.";
    assert!(human.contains(silent) && !human.contains("tes repair"), "{human}");
    let human = String::from_utf8(environment.human(&["status", &name]).stdout).expect("UTF-8");
    let by = NodeId::new([8; 20]).to_string();
    let last = format!("Last repaired by {id}, 2026-07-01T10:00:00Z: 1 piece for this node.");
    let waits = format!("It waits for its steward {by} until 2026-07-01T10:15:00Z;");
    assert!(human.contains(&last) && human.contains(&waits), "{human}");
    assert!(human.contains("pieces are missing; `tes repair` helps"), "{human}");
    assert_eq!(environment.ok(&["repair"])["checked"], 2);
    let other = environment.json(&["status"]);
    assert_eq!((other.code, &other.json["code"]), (Some(1), &"other_version".into()));
    assert!(
        other.json["error"].as_str().expect("a reason").contains("the answer of another request")
    );
    assert_eq!(node.join().expect("no panic").len(), 9);
}

#[test]
fn a_plan_of_another_tessera_is_not_signed() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let plan = tesseras_core::plan::Plan::new(
        TesseraHash::new([1; 32]),
        1000,
        tesseras_core::ids::ContentHash::new([2; 32]),
        Vec::new(),
    );
    let plan = plan.expect("a plan").render().into_bytes();
    let peers = done(Response::Peers(PeerList { peers: Vec::new() }));
    let node = environment.fake_node(vec![peers, done(Response::DraftPlan(DraftedPlan { plan }))]);
    assert!(environment.fails(&["publish", &hash, "--yes"]).contains("cannot be signed"));
    assert_eq!(node.join().expect("no panic").len(), 2);
}

#[test]
fn only_its_creator_publishes_a_tessera_and_only_after_a_yes() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let node = environment.fake_node(vec![done(Response::Peers(PeerList { peers: Vec::new() }))]);
    let asked = environment.human(&["publish", &hash]);
    assert_eq!(asked.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&asked.stderr);
    assert!(stderr.contains("for ever") && stderr.contains("--yes"), "{stderr}");
    std::fs::remove_dir_all(environment.data_dir().join("identity")).expect("removed");
    environment.ok(&["init", "--name", "Rui"]);
    assert!(environment.fails(&["publish", &hash]).contains("only its creator"));
    environment.ok(&["peers"]);
    assert_eq!(node.join().expect("no panic").len(), 1);
}

#[test]
fn a_repair_that_restores_nothing_says_how_many_are_missing_and_why() {
    let environment = Environment::new();
    let why = "abcd: 2 pieces are still missing: no other node is known";
    let lacking = RepairReply {
        checked: 1,
        missing: 2,
        notes: vec![why.to_owned()],
        ..RepairReply::default()
    };
    let failed = RepairReply { checked: 3, failed: 1, ..RepairReply::default() };
    let node = environment.fake_node(vec![
        done(Response::Repaired(lacking.clone())),
        done(Response::Repaired(lacking.clone())),
        done(Response::Repaired(failed)),
        done(Response::Repaired(RepairReply { restored: 1, ..lacking })),
        done(Response::Repaired(RepairReply { damaged: 2, replaced: 1, ..RepairReply::default() })),
    ]);
    let answer = environment.json(&["repair"]);
    assert_eq!((answer.code, &answer.json["missing"]), (Some(0), &2.into()));
    let human = environment.human(&["repair"]);
    assert_eq!(human.status.code(), Some(0));
    let shown = String::from_utf8(human.stdout).expect("UTF-8");
    assert!(shown.contains("2 pieces are still missing.") && shown.contains(why), "{shown}");
    let answer = environment.json(&["repair"]);
    assert_eq!((answer.code, &answer.json["failed"]), (Some(0), &1.into()));
    // Something was done, though not all.
    assert_eq!(environment.ok(&["repair"])["missing"], 2);
    let human = environment.human(&["repair"]);
    let shown = String::from_utf8(human.stdout).expect("UTF-8");
    let words = "2 of this node's pieces were damaged; 1 was replaced; check the disk.";
    assert!(shown.contains(words), "{shown}");
    node.join().expect("no panic");
}
