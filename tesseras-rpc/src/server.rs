//! The server: a bounded number of connections, one request each.
//!
//! Everything here is bounded: [`MAX_CLIENTS`] connections, [`REQUEST_DEADLINE`] for a request to
//! arrive, [`RESULT_DEADLINE`] for a result to be read, one progress event per client. A client
//! that disconnects cancels its request. An unclean stop leaves the socket file, which the next
//! start replaces.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::MAX_SOCKET_PATH_BYTES;
use crate::calls::{Request, Response};
use crate::client::SILENCE_LIMIT;
use crate::failure::{Cause, Failure};
use crate::frame::{self, Event, FrameError, FrameWriter, MAX_EVENT_BYTES, MAX_REQUEST_BYTES};
use crate::progress::{ProgressSink, ProgressStream};

/// The most clients at once; any more are refused as busy.
pub const MAX_CLIENTS: usize = 64;
/// How long a client may take to send its request.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to receive its result.
pub const RESULT_DEADLINE: Duration = Duration::from_secs(30);
/// The interval of signs of life to a client, while there is no progress.
pub const ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a client may take to receive the message that the node is stopping.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// How long to wait for a process that may still listen on an existing socket.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);
/// How long to wait after accepting failed, for example because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(ALIVE_INTERVAL.as_secs() * 3 <= SILENCE_LIMIT.as_secs());

/// A future on the heap; the same type as in the `futures` crates.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Executes the requests.
pub trait Handler: Send + Sync + 'static {
    /// Executes a request. The future is dropped when the client disconnects or the node stops, and
    /// must then leave nothing incomplete.
    fn handle(
        &self,
        request: Request,
        progress: ProgressSink,
    ) -> BoxFuture<'_, Result<Response, Failure>>;
}

/// Why a node cannot listen for `tes`.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process answers on that socket.
    #[error("another tesd is already running on {}", path.parent().unwrap_or(path).display())]
    AlreadyRunning {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The path of the socket is longer than the system allows.
    #[error(
        "the socket's path {} has {bytes} bytes; the system allows {MAX_SOCKET_PATH_BYTES}: \
         choose a data directory with a shorter path",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The path exists and is not a socket.
    #[error("{} is in the way: it is not a socket", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The directory is shared by all users (it is sticky, like `/tmp`).
    #[error("{} is shared with others; give the node a directory of its own", path.display())]
    Shared {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation, as an infinitive.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A bound socket; no request is answered yet. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    file: SocketFile,
}

impl Server {
    /// Listens on a socket that only this user may open (0600), in a directory that only this
    /// user may enter (0700). A socket on which no process answers is replaced.
    pub async fn bind(path: &Path) -> Result<Self, ServerError> {
        if let Some(bytes) = crate::path_excess(path) {
            return Err(ServerError::PathTooLong { path: path.to_owned(), bytes });
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        own_directory(directory.unwrap_or(Path::new(".")))?;
        remove_stale(path).await?;
        let listener = UnixListener::bind(path).map_err(io_error("listen on", path))?;
        let metadata = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
        let file = SocketFile { path: path.to_owned(), identity: identity(&metadata) };
        // Between these two calls only the mode of the directory excludes other users.
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(io_error("protect", path))?;
        Ok(Self { listener, file })
    }

    /// Serves until the token is cancelled, then removes the socket. Each client is a task of the
    /// tracker that ends soon after.
    pub async fn run(
        self,
        handler: Arc<dyn Handler>,
        tracker: TaskTracker,
        token: CancellationToken,
    ) {
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = token.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, "cannot accept a client of the local socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&clients).try_acquire_owned() else {
                refuse(&stream);
                continue;
            };
            let (handler, token) = (Arc::clone(&handler), token.clone());
            tracker.spawn(async move {
                if let Err(error) = serve(stream, handler, token).await {
                    debug!(%error, "a client of the local socket was not answered");
                }
                drop(permit);
            });
        }
        drop(self.file);
    }
}

/// Refuses a client above the limit. A new socket takes these few bytes without waiting.
fn refuse(stream: &UnixStream) {
    let busy = format!("tesd is already serving {MAX_CLIENTS} requests");
    let busy = Event::Failed(Failure::new(Cause::Busy, busy));
    if let Ok(frame) = frame::encode(&busy, MAX_EVENT_BYTES) {
        let _ = stream.try_write(&frame);
    }
}

async fn serve(
    stream: UnixStream,
    handler: Arc<dyn Handler>,
    token: CancellationToken,
) -> Result<(), FrameError> {
    let (mut from, to) = stream.into_split();
    let mut to = FrameWriter::new(to);
    let request = tokio::select! {
        request = timeout(REQUEST_DEADLINE, frame::read(&mut from, MAX_REQUEST_BYTES)) => request,
        () = token.cancelled() => return say_goodbye(&mut to).await,
    };
    let request: Request = match request {
        Ok(Ok(request)) => request,
        Ok(Err(FrameError::Closed)) => return Ok(()),
        Ok(Err(error)) => {
            let message = format!("tesd does not understand the request: {error}");
            let failure = Failure::new(Cause::UnknownRequest, message);
            return send_result(&mut to, Err(failure), RESULT_DEADLINE).await;
        }
        Err(_) => {
            let failure = Failure::new(Cause::TooSlow, "no request arrived in time");
            return send_result(&mut to, Err(failure), RESULT_DEADLINE).await;
        }
    };
    let (sink, progress) = ProgressSink::new();
    let result = tokio::select! {
        result = handler.handle(request, sink) => result,
        error = forward(&mut to, progress) => return Err(error),
        () = left(&mut from) => return Err(FrameError::Closed),
        () = token.cancelled() => return say_goodbye(&mut to).await,
    };
    send_result(&mut to, result, RESULT_DEADLINE).await
}

/// Sends progress and signs of life until the client no longer reads them.
async fn forward(to: &mut FrameWriter<OwnedWriteHalf>, mut progress: ProgressStream) -> FrameError {
    loop {
        let event = match timeout(ALIVE_INTERVAL, progress.next()).await {
            Ok(progress) => Event::Progress(progress),
            Err(_) => Event::Alive,
        };
        let sent = match frame::encode(&event, MAX_EVENT_BYTES) {
            Ok(frame) => to.send(frame).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

/// Returns when the client has disconnected, or has sent more than its one request.
async fn left(from: &mut OwnedReadHalf) {
    let _ = from.read(&mut [0]).await;
}

async fn say_goodbye(to: &mut FrameWriter<OwnedWriteHalf>) -> Result<(), FrameError> {
    let failure = Failure::new(Cause::Stopping, "tesd is stopping");
    send_result(to, Err(failure), GOODBYE_DEADLINE).await
}

async fn send_result(
    to: &mut FrameWriter<OwnedWriteHalf>,
    result: Result<Response, Failure>,
    deadline: Duration,
) -> Result<(), FrameError> {
    let event = match result {
        Ok(response) => Event::Done(response),
        Err(failure) => Event::Failed(failure),
    };
    let frame = frame::encode(&event, MAX_EVENT_BYTES).or_else(|error| {
        let failure =
            Failure::new(Cause::AnswerTooLong, format!("the answer cannot be sent: {error}"));
        frame::encode(&Event::Failed(failure), MAX_EVENT_BYTES)
    })?;
    match timeout(deadline, to.send(frame)).await {
        Ok(sent) => sent,
        Err(_) => Err(FrameError::Closed),
    }
}

/// The file of the socket; removed when dropped, unless another has replaced it.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(%error, path = %self.path.display(), "cannot remove the local socket");
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ServerError + 'a {
    move |source| ServerError::Io { what, path: path.to_owned(), source }
}

/// Creates the directory, or restricts it to this user.
fn own_directory(path: &Path) -> Result<(), ServerError> {
    const STICKY: u32 = 0o1000;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make the directory", path))?;
    let mode = fs::metadata(path).map_err(io_error("look at", path))?.mode();
    if mode & STICKY != 0 {
        return Err(ServerError::Shared { path: path.to_owned() });
    }
    if mode & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(io_error("protect", path))?;
    }
    Ok(())
}

/// Removes a socket on which no process answers; an error if one answers.
async fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("look at", path)(error)),
    };
    if !found.file_type().is_socket() {
        return Err(ServerError::InTheWay { path: path.to_owned() });
    }
    match timeout(PROBE_DEADLINE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io_error("replace", path))
        }
        Ok(Err(error)) => Err(io_error("ask who listens on", path)(error)),
        Ok(Ok(_)) | Err(_) => Err(ServerError::AlreadyRunning { path: path.to_owned() }),
    }
}
