//! What `tes publish` asks, and how it is ended.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use serde_json::json;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{HoldingRepository as _, TesseraRepository as _};
use tesseras_core::progress::{Progress, Unit};
use tesseras_core::publication::{PublicationEvent, PublicationState, PublicationStop};
use tesseras_rpc::calls::{PublishInBackground, Request, Response, StopPublication};
use tesseras_rpc::frame::{Event, MAX_EVENT_BYTES, encode};
use tesseras_rpc::messages::{DraftedPlan, PeerList, PublicationReply};
use tesseras_storage::{StorageConfig, Store};

use crate::environment::{Environment, text};
use crate::interrupted::{assert_interrupted, kill, start};
use crate::terminal::talk;

/// A node that makes a plan, publishes for ever, and does as it is told after that.
struct PatientNode {
    /// Gets one message when it is asked to publish, and one when it hangs.
    publishing: Receiver<()>,
    /// Ends with the last request, which is the one that tells it what to do. Where it
    /// waits, that is the one after the stop.
    told: JoinHandle<Request>,
}

/// What the node does when it is asked to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ToldToStop {
    /// Stops; it is asked nothing more.
    Stops,
    /// Stops, and waits for what it is asked next.
    Waits,
    /// Says that it was asked, and never answers.
    Hangs,
}

fn patient_node(
    environment: &Environment,
    hash: TesseraHash,
    told_to_stop: ToldToStop,
) -> PatientNode {
    let store = Store::open(&environment.data_dir(), &StorageConfig::default()).expect("opened");
    let record = store.library().get(&hash).expect("asked").expect("in the library");
    let capsule = tesseras_capsule::StoredCapsule::of_record(&*store.blobs(), &record);
    let bytes = capsule.expect("sound").layout().bytes();
    let plan = Plan::new(hash, bytes, ContentHash::new([2; 32]), Vec::new()).expect("a plan");
    let plan = plan.render().into_bytes();
    let socket = environment.data_dir().join("daemon.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    let (say, publishing) = sync_channel(1);
    let told = std::thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().expect("a client");
            let request = read(&mut stream);
            let state = match request {
                Request::Peers(_) => {
                    answer(&mut stream, Response::Peers(PeerList { peers: Vec::new() }));
                    continue;
                }
                Request::DraftPlan(_) => {
                    answer(&mut stream, Response::DraftPlan(DraftedPlan { plan: plan.clone() }));
                    continue;
                }
                Request::Publish(_) => {
                    let stage = "placing pieces".into();
                    let progress = Progress { stage, done: 1, total: 9, unit: Unit::Items };
                    send(&mut stream, &Event::Progress(progress));
                    kept.push(stream);
                    say.send(()).expect("somebody waits");
                    continue;
                }
                Request::StopPublication(_) if told_to_stop == ToldToStop::Hangs => {
                    kept.push(stream);
                    say.send(()).expect("somebody waits");
                    continue;
                }
                Request::StopPublication(_) if told_to_stop == ToldToStop::Waits => {
                    let report =
                        PublicationReply { hash, state: PublicationState::Local, placed: 3 };
                    answer(&mut stream, Response::Publication(report));
                    continue;
                }
                Request::StopPublication(_) => PublicationState::Local,
                _ => PublicationState::Publishing,
            };
            answer(&mut stream, Response::Publication(PublicationReply { hash, state, placed: 3 }));
            std::fs::remove_file(socket).expect("removed");
            return request;
        }
    });
    PatientNode { publishing, told }
}

fn read(stream: &mut UnixStream) -> Request {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a length");
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).expect("a request");
    rmp_serde::from_slice(&request).expect("a request")
}

fn answer(stream: &mut UnixStream, response: Response) {
    send(stream, &Event::Done(response));
}

fn send(stream: &mut UnixStream, event: &Event) {
    let frame = encode(event, MAX_EVENT_BYTES).expect("short");
    stream.write_all(&frame).expect("sent");
}

#[test]
fn nobody_to_ask_is_no_yes() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    for arguments in [&["publish", &hash][..], &["publish", &hash, "--background"]] {
        let refused = environment.json(arguments);
        assert_eq!(refused.code, Some(2));
        assert!(refused.json["hint"].as_str().expect("a hint").contains("--yes"));
        assert_eq!(environment.human(arguments).status.code(), Some(2));
    }
}

#[test]
fn a_publication_that_is_interrupted_where_nobody_can_be_asked_is_stopped() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let node = patient_node(&environment, hash.parse().expect("a hash"), ToldToStop::Stops);
        let mut tes = Command::new(assert_cmd::cargo::cargo_bin("tes"));
        tes.args(["--json", "publish", &hash, "--yes", "--data-dir"]).arg(environment.data_dir());
        tes.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let tes = tes.spawn().expect("it runs");
        node.publishing.recv().expect("it is asked to publish");
        let killed = Command::new("kill").args([signal, &tes.id().to_string()]).status();
        assert!(killed.expect("it runs").success());
        let output = tes.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{signal}");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let error = said["error"].as_str().expect("a reason");
        assert!(error.contains("not published") && error.contains("3 pieces"), "{error}");
        assert!(said["hint"].as_str().is_some_and(|hint| hint.contains("tes publish --cancel")));
        assert_eq!(said["code"], "interrupted");
        let hash = hash.parse().expect("a hash");
        let stop = Request::from(StopPublication { hash, how: PublicationStop::Stop });
        assert_eq!(node.told.join().expect("no panic"), stop);
    }
}

#[test]
fn a_second_signal_does_not_wait_for_a_node_that_does_not_stop() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let node = patient_node(&environment, hash.parse().expect("a hash"), ToldToStop::Hangs);
    let tes = start(&environment, &["publish", &hash, "--yes"]);
    node.publishing.recv().expect("it is asked to publish");
    kill(&tes, "-INT");
    node.publishing.recv().expect("it is asked to stop");
    kill(&tes, "-INT");
    assert_interrupted(&tes.wait_with_output().expect("it ends"), "publish");
}

#[test]
fn a_person_at_a_terminal_is_asked_what_ctrl_c_means() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let stage = ("placing pieces", "\u{3}");
    // It is stopped before anything is asked.
    for (answer, goes_on) in [("b", true), ("s", false), ("", false), ("\u{3}", false)] {
        let told_to_stop = if goes_on { ToldToStop::Waits } else { ToldToStop::Stops };
        let node = patient_node(&environment, hash.parse().expect("a hash"), told_to_stop);
        let dialogue = [stage, ("leave it stopped", answer)];
        let Some(talked) = talk(&environment, &["publish", &hash, "--yes"], &dialogue) else {
            return;
        };
        assert_eq!(talked.code, i64::from(!goes_on), "{}", talked.shown);
        assert!(talked.shown.contains("stopped: it is not published"), "{}", talked.shown);
        let told = node.told.join().expect("no panic");
        if goes_on {
            assert!(matches!(told, Request::PublishInBackground(_)), "{told:?}");
            assert!(talked.shown.contains("in the background, also after"), "{}", talked.shown);
        } else {
            assert!(
                matches!(
                    told,
                    Request::StopPublication(StopPublication { how: PublicationStop::Stop, .. })
                ),
                "{told:?}"
            );
        }
    }
}

#[test]
fn giving_up_what_is_published_is_asked_first() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    environment.publish_in_store(&hash);
    assert_eq!(environment.json(&["publish", "--cancel", &hash]).code, Some(2));
    let dialogue = [("look after it no more? [y/N] ", "n")];
    if let Some(talked) = talk(&environment, &["publish", "--cancel", &hash], &dialogue) {
        assert!(talked.shown.contains("nothing was changed"), "{}", talked.shown);
    }
    assert_eq!(environment.ok(&["list"])["tesseras"][0]["state"], "published");
    let cancelled = environment.ok(&["publish", "--cancel", "--yes", &hash]);
    assert_eq!(cancelled, json!({ "hash": hash, "state": "local", "placed": 1 }));
}

#[test]
fn a_publication_goes_on_in_the_background_until_it_is_cancelled() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let node = patient_node(&environment, hash.parse().expect("a hash"), ToldToStop::Stops);
    let begun = environment.ok(&["publish", &hash, "--yes", "--background"]);
    assert_eq!(begun, json!({ "hash": hash, "state": "publishing", "placed": 3 }));
    let told = node.told.join().expect("no panic");
    assert!(
        matches!(told, Request::PublishInBackground(PublishInBackground { signed: Some(_), .. })),
        "{told:?}"
    );
    // Without a node, too.
    let cancelled = environment.ok(&["publish", "--cancel", &hash]);
    assert_eq!(cancelled, json!({ "hash": hash, "state": "local", "placed": 0 }));
    assert_eq!(environment.ok(&["list"])["tesseras"][0]["state"], "local");
}

#[test]
fn what_is_being_published_in_the_background_is_not_called_done() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let store = Store::open(&environment.data_dir(), &StorageConfig::default()).expect("opened");
    let tessera = hash.parse().expect("a hash");
    store.holdings().note_publication(&tessera, PublicationEvent::Wanted).expect("noted");
    drop(store);
    let answer = environment.json(&["publish", &hash, "--yes"]);
    assert_eq!((answer.code, &answer.json["code"]), (Some(1), &"in_progress".into()));
    let hint = answer.json["hint"].as_str().expect("a hint");
    assert!(hint.contains("tes status") && hint.contains("--cancel"), "{hint}");
    // It is what was asked for.
    let begun = environment.ok(&["publish", &hash, "--yes", "--background"]);
    assert_eq!(begun, json!({ "hash": hash, "state": "publishing", "placed": 0 }));
}

#[test]
fn publishing_again_says_that_it_is_published_and_what_happens() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    environment.publish_in_store(&hash);
    let answers = [
        Response::Peers(PeerList { peers: Vec::new() }),
        Response::DraftPlan(DraftedPlan { plan: b"none".to_vec() }),
    ];
    let answers = answers.map(|done| encode(&Event::Done(done), MAX_EVENT_BYTES).expect("short"));
    let node = environment.fake_node(answers.to_vec());
    let told = environment.json(&["publish", &hash, "--yes"]).stderr;
    assert!(told.contains("published already") && told.contains("what is missing"), "{told}");
    assert!(!told.contains("becomes public"), "{told}");
    node.join().expect("no panic");
}

#[test]
fn what_was_only_fetched_cannot_be_cancelled() {
    let (maker, reader) = (Environment::with_creator(), Environment::new());
    let hash = maker.tessera();
    let exported = maker.ok(&["export", &hash, text(&maker.path("out"))]);
    reader.ok(&["import", "capsule", exported["path"].as_str().expect("a path")]);
    let answer = reader.json(&["publish", "--cancel", &hash]);
    assert_eq!((answer.code, &answer.json["code"]), (Some(1), &"not_published".into()));
    assert!(answer.json["hint"].as_str().expect("a hint").contains("tes drop"));
}

#[test]
fn a_publication_that_ends_before_anything_is_sent_says_so() {
    let environment = Environment::with_creator();
    let hash = environment.tessera();
    let listener = UnixListener::bind(environment.data_dir().join("daemon.sock")).expect("bound");
    let tes = start(&environment, &["publish", &hash, "--yes"]);
    let (mut stream, _) = listener.accept().expect("a client");
    assert!(matches!(read(&mut stream), Request::Peers(_)));
    answer(&mut stream, Response::Peers(PeerList { peers: Vec::new() }));
    let (mut stream, _) = listener.accept().expect("a client");
    assert!(matches!(read(&mut stream), Request::DraftPlan(_)));
    kill(&tes, "-INT");
    let output = tes.wait_with_output().expect("it ends");
    assert_interrupted(&output, "publish");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("nothing was sent, and it is not published"), "{said}");
    assert!(said.contains("begins again"), "{said}");
}
