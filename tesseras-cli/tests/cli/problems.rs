//! What is wrong, and what to do about it, in words.

use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_rpc::calls::Response;
use tesseras_rpc::frame::{Event, MAX_EVENT_BYTES, encode};
use tesseras_rpc::messages::{FetchReply, FragmentCount, NodeStatus, TesseraGlance, TesseraState};
use tesseras_rpc::problem::Problem;
use tesseras_rpc::{Cause, Failure};

use crate::environment::Environment;

fn status(problems: Vec<Problem>) -> Vec<u8> {
    status_of(problems, Vec::new())
}

fn status_of(problems: Vec<Problem>, tesserae: Vec<TesseraGlance>) -> Vec<u8> {
    encoded(node_status(problems, tesserae))
}

fn encoded(status: NodeStatus) -> Vec<u8> {
    encode(&Event::Done(Response::Status(status)), MAX_EVENT_BYTES).expect("short")
}

fn node_status(problems: Vec<Problem>, tesserae: Vec<TesseraGlance>) -> NodeStatus {
    NodeStatus {
        node_id: NodeId::new([7; 20]),
        listen: "0.0.0.0:7310".parse().expect("an address"),
        addresses: Vec::new(),
        reachable: false,
        peers: 3,
        silent_peers: 0,
        fragments: 1,
        bytes: 1000,
        damaged: 1,
        storage_limit: 1 << 30,
        clock_offset_seconds: Some(-7260),
        problems,
        jobs: Vec::new(),
        tesserae,
    }
}

#[test]
fn a_node_that_is_alone_says_whether_others_are_silent() {
    let environment = Environment::new();
    let alone = |silent_peers| NodeStatus { peers: 0, silent_peers, ..node_status(vec![], vec![]) };
    let node = environment.fake_node([0, 3].map(|silent| encoded(alone(silent))).into());
    for words in ["It knows nobody", "None of the 3 nodes that it remembers answers"] {
        let human = String::from_utf8(environment.human(&["status"]).stdout).expect("UTF-8");
        assert!(human.contains(words), "{words}: {human}");
    }
    node.join().expect("no panic");
}

#[test]
fn each_problem_of_a_node_is_named_with_what_to_do() {
    let environment = Environment::new();
    let addresses = vec!["[2001:db8::1]:7310".parse().expect("an address")];
    let problems = vec![
        Problem::ClockOff { seconds: -7260, witnesses: 1 },
        Problem::DiskReserve { free: 1 << 20, reserve: 1 << 30 },
        Problem::StorageLimit { used: 1 << 30, limit: 1 << 30 },
        Problem::Unreachable,
        Problem::BootstrapUnknown { peer: "nowhere.example:7310".to_owned() },
        Problem::BootstrapSilent { peer: "gone.example:7310".to_owned(), addresses },
        Problem::IndexGone { path: "/data/db/tesseras.db".to_owned() },
    ];
    let node = environment.fake_node(vec![status(problems.clone()), status(problems)]);
    let json = environment.ok(&["status"]);
    assert_eq!(json["clock_offset_seconds"], -7260);
    let clock =
        serde_json::json!({ "code": "clock_off", "data": { "seconds": -7260, "witnesses": 1 } });
    assert_eq!(json["problems"][0], clock);
    assert_eq!(json["problems"][3], serde_json::json!({ "code": "unreachable" }));
    assert_eq!(json["problems"][5]["data"]["addresses"][0], "[2001:db8::1]:7310");
    let human = String::from_utf8(environment.human(&["status"]).stdout).expect("UTF-8");
    assert!(human.contains("1 of these pieces is damaged"), "{human}");
    for words in [
        "Problem     this computer's clock is 2 h 1 min behind its only peer's",
        "set it right (NTP)",
        "the disk has 1.0 MiB free, and 1.0 GiB are to stay free",
        "min_free_space",
        "used up: 1.0 GiB of 1.0 GiB",
        "storage_limit",
        "no other node can reach this one",
        "--advertise ADDRESS:7310",
        "nowhere.example:7310 is not known",
        "gone.example:7310 ([2001:db8::1]:7310) has not answered",
        "--bootstrap HOST:PORT",
        "the index /data/db/tesseras.db was removed or replaced while tesd runs",
        "put the directory db/ back as it was if you can, and start tesd again",
    ] {
        assert!(human.contains(words), "{words}: {human}");
    }
    assert_eq!(node.join().expect("no panic").len(), 2);
}

#[test]
fn a_failure_is_told_in_human_units_and_without_false_hope() {
    let environment = Environment::new();
    let hash = TesseraHash::new([0xab; 32]).to_string();
    let cases = [
        (
            Cause::ClockOff { seconds: 7200, witnesses: 3 },
            "this computer's clock is 2 h 0 min ahead of its peers'",
            "set it right (NTP) and try again",
        ),
        (
            Cause::NoSpace { needed: 12 << 20, free: 1536 },
            "12.0 MiB are needed, 1.5 KiB are free in addition to the reserve",
            "free some disk space",
        ),
        (Cause::DiskFull, "as the node said", "free some disk space"),
        (
            Cause::NoneHoldsIt { answered: 1, silent: 0 },
            "1 announced holder has nothing of it",
            "compare the hash with the card; if every digit is right, they have dropped or lost it",
        ),
        (
            Cause::NoneHoldsIt { answered: 3, silent: 2 },
            "3 announced holders have nothing of it (2 more did not answer)",
            "compare the hash with the card; if every digit is right, they have dropped or lost it",
        ),
        (
            Cause::HoldersSilent { silent: 4 },
            "4 nodes are known to hold it, but none of them answers now",
            "they may be back later",
        ),
        (Cause::NotFound, "as the node said", "`tes peers`"),
        (Cause::NotPublished, "as the node said", "`tes publish`"),
        (Cause::NotInLibrary, "as the node said", "`tes list`"),
        (Cause::Damaged, "as the node said", "`tes verify HASH`"),
        (Cause::Busy, "as the node said", "try again when one of them is done"),
        (Cause::Locked, "as the node said", "try again in a moment"),
    ];
    let failed = |cause: &Cause| {
        let failure = Failure::new(cause.clone(), "as the node said");
        encode(&Event::Failed(failure), MAX_EVENT_BYTES).expect("short")
    };
    let node = environment.fake_node(cases.iter().map(|(cause, ..)| failed(cause)).collect());
    for (cause, message, hint) in &cases {
        let answer = environment.json(&["fetch", &hash]);
        assert_eq!(answer.code, Some(1), "{cause:?}");
        let said = |key: &str| answer.json[key].as_str().expect("words").to_owned();
        assert!(said("error").contains(message), "{}", said("error"));
        assert!(said("hint").contains(hint), "{}", said("hint"));
        assert_eq!(said("code"), cause.code());
        let hopeful = matches!(cause, Cause::HoldersSilent { .. });
        assert_eq!(answer.stderr.contains("later"), hopeful, "{}", answer.stderr);
    }
    assert_eq!(node.join().expect("no panic").len(), cases.len());
}

#[test]
fn the_endangered_come_first_and_are_counted() {
    let environment = Environment::new();
    let glance = |seed: u8, state, survives| TesseraGlance {
        hash: TesseraHash::new([seed; 32]),
        title: format!("album {seed}"),
        state,
        fragments: FragmentCount { total: 7, live: 3, needed: 1 },
        survives,
        checked: None,
    };
    let tesserae = vec![
        glance(1, TesseraState::Healthy, 6),
        glance(2, TesseraState::Degraded, 2),
        glance(3, TesseraState::Local, 0),
        glance(4, TesseraState::Degraded, 1),
        glance(5, TesseraState::Unreachable, 0),
        glance(6, TesseraState::Healthy, 0),
    ];
    let few = |seeds: &[usize]| seeds.iter().map(|n| tesserae[*n].clone()).collect();
    let node = environment.fake_node(vec![
        status_of(Vec::new(), tesserae.clone()),
        status_of(Vec::new(), few(&[0, 4])),
        status_of(Vec::new(), few(&[0, 1])),
        status_of(Vec::new(), few(&[0, 5])),
    ]);
    let said = || String::from_utf8(environment.human(&["status"]).stdout).expect("UTF-8");
    let human = said();
    let at = |seed| human.find(&format!("album {seed}")).expect("it is listed");
    let order = [5, 4, 2, 3, 6, 1].map(at);
    assert!(order.is_sorted(), "{human}");
    let counted = "Of 6 tesserae, 2 are degraded and 2 are only here; `tes repair` helps";
    assert!(human.contains(counted), "{human}");
    let human = said();
    assert!(human.contains("Of 2 tesserae, 1 is only here.\n"), "{human}");
    let human = said();
    assert!(human.contains("Of 2 tesserae, 1 is degraded; `tes repair` helps"), "{human}");
    let human = said();
    assert!(!human.contains("Of 2 tesserae"), "{human}");
    node.join().expect("it answered");
}

#[test]
fn a_fetch_that_had_all_pieces_is_not_told_as_one_of_what_was_in_the_library() {
    let environment = Environment::new();
    let hash = TesseraHash::new([7; 32]);
    let fetched = |already| {
        let title = "album".to_owned();
        let fetched =
            FetchReply { hash, title, memories: 1, files: 9, bytes: 1000, holders: 0, already };
        encode(&Event::Done(Response::Fetched(fetched)), MAX_EVENT_BYTES).expect("short")
    };
    let node = environment.fake_node(vec![fetched(true), fetched(false)]);
    let told = || {
        let output = environment.human(&["fetch", &hash.to_string()]);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(told().contains("in the library already"));
    let told = told();
    assert!(told.starts_with("Fetched") && told.contains("signatures are valid"), "{told}");
    node.join().expect("it answered");
}
