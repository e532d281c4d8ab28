//! Conversations over real sockets, friendly and hostile.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::progress::{Progress, Unit};
use tesseras_rpc::calls::{
    AskPeers, AskStatus, AskTesseraStatus, Call, Fetch, Repair, Request, Response,
};
use tesseras_rpc::client::{Client, ClientError};
use tesseras_rpc::messages::{PeerInfo, PeerList, RepairReply};
use tesseras_rpc::server::MAX_CLIENTS;
use tesseras_rpc::{
    BoxFuture, Cause, Failure, Handler, ProgressSink, SOCKET_NAME, Server, ServerError,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Status never ends; Peers answers too much; Fetch reports progress; Repair answers.
#[derive(Default)]
struct Node {
    cancelled: AtomicUsize,
    working: AtomicUsize,
}

struct Working<'a>(&'a Node);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler for Node {
    fn handle(
        &self,
        request: Request,
        progress: ProgressSink,
    ) -> BoxFuture<'_, Result<Response, Failure>> {
        Box::pin(async move {
            match request {
                Request::Status(_) => {
                    self.working.fetch_add(1, Ordering::SeqCst);
                    let _working = Working(self);
                    loop {
                        let stage = "x".repeat(10_000).into();
                        progress.report(Progress { stage, done: 1, total: 2, unit: Unit::Items });
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                Request::Peers(_) => {
                    let node_id = tesseras_core::ids::NodeId::new([1; 20]);
                    let address = "127.0.0.1:1".parse().expect("an address");
                    let peers = vec![PeerInfo { node_id, address }; 400_000];
                    Ok(Response::Peers(PeerList { peers }))
                }
                Request::Fetch(_) => {
                    for done in 0..1000 {
                        let (stage, unit) = ("fetching".into(), Unit::Bytes);
                        progress.report(Progress { stage, done, total: 1000, unit });
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Err(Failure::new(Cause::HoldersSilent { silent: 3 }, "nobody has it"))
                }
                _ => Ok(Response::Repaired(RepairReply { checked: 3, ..RepairReply::default() })),
            }
        })
    }
}

struct Running {
    dir: tempfile::TempDir,
    node: Arc<Node>,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::bind(&dir.path().join(SOCKET_NAME)).await.expect("it binds");
        let running = Self {
            dir,
            node: Arc::default(),
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
        };
        let node: Arc<dyn Handler> = Arc::clone(&running.node) as _;
        let run = server.run(node, running.tracker.clone(), running.token.clone());
        running.tracker.spawn(run);
        running
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(SOCKET_NAME)
    }

    async fn ask<C: Call>(&self, call: C) -> Result<C::Answer, ClientError> {
        Client::connect(&self.socket()).await?.ask(call, |_| {}).await
    }

    async fn stop(self) {
        let socket = self.socket();
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(4), self.tracker.wait())
            .await
            .expect("all tasks end soon");
        assert!(!socket.exists(), "the socket's file is gone");
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not in time: {what}");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_request_is_answered_and_only_this_user_may_ask() {
    let running = Running::start().await;
    assert_eq!(mode(&running.socket()), 0o600);
    assert_eq!(mode(running.dir.path()), 0o700);
    let answer = running.ask(Repair { hash: None }).await.expect("an answer");
    assert_eq!(answer.checked, 3);
    running.stop().await;
}

#[tokio::test]
async fn progress_comes_a_few_times_a_second_and_then_the_failure() {
    let running = Running::start().await;
    let mut seen = Vec::new();
    let hash = TesseraHash::new([9; 32]);
    let client = Client::connect(&running.socket()).await.expect("it listens");
    let begun = tokio::time::Instant::now();
    let result = client.ask(Fetch { hash }, |p| seen.push(p)).await;
    // On a busy machine it takes longer, and so there are more.
    let most = 7 + begun.elapsed().as_millis() as usize / 200;
    let Err(ClientError::Failed(failure)) = result else { panic!("{result:?}") };
    assert_eq!(failure.cause, Cause::HoldersSilent { silent: 3 });
    assert_eq!(failure.message, "nobody has it");
    assert!((2..=most).contains(&seen.len()), "{} events, at most {most}", seen.len());
    assert!(seen.iter().all(|p| p.unit == Unit::Bytes && p.total == 1000));
    assert!(seen.is_sorted_by_key(|p| p.done));
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let running = Running::start().await;
    let asking = tokio::time::timeout(Duration::from_millis(300), running.ask(AskStatus {}));
    assert!(asking.await.is_err());
    until("the request is cancelled", || running.node.cancelled.load(Ordering::SeqCst) == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_holds_nothing_up() {
    let running = Running::start().await;
    let mut deaf = UnixStream::connect(running.socket()).expect("it listens");
    let frame = tesseras_rpc::frame::encode(&Request::from(AskPeers {}), 100).expect("short");
    deaf.write_all(&frame).expect("sent");
    assert!(running.ask(Repair { hash: None }).await.is_ok());
    drop(deaf);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_a_failure_and_not_a_dead_line() {
    let running = Running::start().await;
    let result = running.ask(AskPeers {}).await;
    let Err(ClientError::Failed(failure)) = result else { panic!("{result:?}") };
    assert!(failure.message.contains("too long"), "{failure}");
    assert_eq!(failure.cause, Cause::AnswerTooLong);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_are_answered_with_a_failure_or_nothing() {
    let running = Running::start().await;
    let hostile: [&[u8]; 6] = [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x05\x91\x91\x91\x91\x91",
        b"\0\0\0\x0b\xaadrop_table",
    ];
    for bytes in hostile {
        let mut stream = UnixStream::connect(running.socket()).expect("it listens");
        stream.write_all(bytes).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        let mut answer = Vec::new();
        // A connection closed with bytes unread is reset after the answer; that is fine.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 500);
    }
    assert!(running.ask(Repair { hash: None }).await.is_ok());
    running.stop().await;
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_half_open_ones_do_not_stop_a_shutdown() {
    let running = Running::start().await;
    let mut open = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut stream = UnixStream::connect(running.socket()).expect("it listens");
        stream.write_all(b"\0\0\0").expect("sent");
        open.push(stream);
        tokio::task::yield_now().await;
    }
    let mut last = String::new();
    for _ in 0..100 {
        match running.ask(Repair { hash: None }).await {
            Err(ClientError::Failed(failure)) => {
                assert_eq!(failure.cause, Cause::Busy);
                last = failure.message;
                break;
            }
            other => last = format!("{other:?}"),
        }
    }
    assert!(last.contains("already serving"), "{last}");
    running.stop().await;
}

#[tokio::test]
async fn a_stop_tells_the_waiting_client() {
    let running = Running::start().await;
    let socket = running.socket();
    let tracker = running.tracker.clone();
    let client = Client::connect(&socket).await.expect("it listens");
    let waiting = tracker.spawn(async move { client.ask(AskStatus {}, |_| {}).await });
    until("the request is at work", || running.node.working.load(Ordering::SeqCst) == 1).await;
    running.stop().await;
    let result = waiting.await.expect("no panic");
    let Err(ClientError::Failed(failure)) = result else { panic!("{result:?}") };
    assert_eq!(failure.message, "tesd is stopping");
    assert_eq!(failure.cause, Cause::Stopping);
}

#[tokio::test]
async fn a_node_that_dies_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join(SOCKET_NAME);
    let listener = UnixListener::bind(&socket).expect("it binds");
    let client = Client::connect(&socket).await.expect("it listens");
    let (dying, _) = listener.accept().expect("a client");
    drop(dying);
    let result = client.ask(AskStatus {}, |_| {}).await;
    assert!(matches!(result, Err(ClientError::Ended)), "{result:?}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join(SOCKET_NAME);
    drop(UnixListener::bind(&socket).expect("it binds"));
    assert!(socket.exists());
    let not_running = Client::connect(&socket).await;
    assert!(matches!(not_running, Err(ClientError::NotRunning { .. })), "{not_running:?}");
    let first = Server::bind(&socket).await.expect("the stale one is replaced");
    let second = Server::bind(&socket).await;
    assert!(matches!(second, Err(ServerError::AlreadyRunning { .. })), "{second:?}");
    assert!(std::fs::symlink_metadata(&socket).expect("kept").file_type().is_socket());
    drop(first);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_path_that_cannot_be_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let long = dir.path().join("x".repeat(108)).join(SOCKET_NAME);
    let error = Server::bind(&long).await.expect_err("too long");
    assert!(error.to_string().contains("the system allows 107"), "{error}");
    assert!(!long.parent().expect("a parent").exists());
    assert!(matches!(Client::connect(&long).await, Err(ClientError::PathTooLong { .. })));
    let in_the_way = dir.path().join(SOCKET_NAME);
    std::fs::write(&in_the_way, "a letter").expect("written");
    let error = Server::bind(&in_the_way).await.expect_err("no socket");
    assert!(matches!(error, ServerError::InTheWay { .. }), "{error}");
    assert_eq!(std::fs::read(&in_the_way).expect("kept"), b"a letter");
    let sticky = dir.path().join("shared");
    std::fs::create_dir(&sticky).expect("made");
    std::fs::set_permissions(&sticky, std::fs::Permissions::from_mode(0o1777)).expect("set");
    let error = Server::bind(&sticky.join(SOCKET_NAME)).await.expect_err("shared");
    assert!(matches!(error, ServerError::Shared { .. }), "{error}");
    assert!(dir.path().join("none").join(SOCKET_NAME).symlink_metadata().is_err());
    let none = Client::connect(&dir.path().join("none").join(SOCKET_NAME)).await;
    assert!(matches!(none, Err(ClientError::NotRunning { .. })));
}

#[tokio::test]
async fn an_answer_to_another_call_and_an_unknown_request_are_told_apart() {
    let running = Running::start().await;
    // This node answers so to whatever it does not know.
    let result = running.ask(AskTesseraStatus { hash: TesseraHash::new([9; 32]) }).await;
    assert!(matches!(result, Err(ClientError::Unexpected)), "{result:?}");

    let mut stream = UnixStream::connect(running.socket()).expect("it listens");
    let unknown = std::collections::BTreeMap::from([("drop_table", 1)]);
    let frame = tesseras_rpc::frame::encode(&unknown, 100).expect("short");
    stream.write_all(&frame).expect("sent");
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        answer
    });
    let answer = answer.await.expect("no panic");
    let event = tesseras_rpc::frame::read(&mut &answer[..], 1000).await.expect("an event");
    let tesseras_rpc::frame::Event::Failed(failure) = event else { panic!("{event:?}") };
    assert_eq!(failure.cause, Cause::UnknownRequest, "{failure}");
    running.stop().await;
}
