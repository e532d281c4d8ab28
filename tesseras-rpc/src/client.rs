//! The asking side: one connection, one request.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tesseras_core::progress::Progress;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::MAX_SOCKET_PATH_BYTES;
use crate::calls::{Call, Request};
use crate::failure::Failure;
use crate::frame::{self, Event, FrameError, MAX_EVENT_BYTES, MAX_REQUEST_BYTES};

/// How long a node may stay silent before it counts as hung. It says that it is alive every
/// [`crate::server::ALIVE_INTERVAL`].
pub const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Why a request got no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No node listens in that data directory.
    #[error("no tesd is running on {}", data_dir.display())]
    NotRunning {
        /// Which.
        data_dir: PathBuf,
    },
    /// The path of the socket is longer than the system allows.
    #[error(
        "the socket's path {} has {bytes} bytes; the system allows {MAX_SOCKET_PATH_BYTES}",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The socket could not be opened, for another reason than that nobody listens.
    #[error("cannot reach tesd at {}: {source}", path.display())]
    Connect {
        /// Which socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node went away before it had answered.
    #[error("tesd ended before it had answered")]
    Ended,
    /// The node says nothing any more.
    #[error("tesd has said nothing for {} seconds", SILENCE_LIMIT.as_secs())]
    Silent,
    /// What was said is not a message of this version.
    #[error("tes and tesd do not understand each other: {0}")]
    Frame(#[source] FrameError),
    /// The node answered another call than this one.
    #[error("tesd answered something else than it was asked")]
    Unexpected,
    /// The node did what it was asked and failed.
    #[error("{0}")]
    Failed(Failure),
}

/// A connection to a running node. It carries one request.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the node that listens on a socket.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        if let Some(bytes) = crate::path_excess(socket) {
            return Err(ClientError::PathTooLong { path: socket.to_owned(), bytes });
        }
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Self { stream }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    let data_dir = socket.parent().unwrap_or(socket).to_owned();
                    ClientError::NotRunning { data_dir }
                }
                _ => ClientError::Connect { path: socket.to_owned(), source: error },
            }),
        }
    }

    /// Asks, and waits for the answer, showing progress on the way. Dropped before that, the node
    /// stops working on it.
    pub async fn ask<C: Call>(
        mut self,
        call: C,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<C::Answer, ClientError> {
        let request: Request = call.into();
        let frame = frame::encode(&request, MAX_REQUEST_BYTES).map_err(ClientError::Frame)?;
        // A node that is busy answers and closes without reading, so a failed write is no reason
        // not to read; if the node is gone, reading says so.
        let sent = timeout(SILENCE_LIMIT, self.stream.write_all(&frame)).await;
        if sent.is_err() {
            return Err(ClientError::Silent);
        }
        loop {
            let event = timeout(SILENCE_LIMIT, frame::read(&mut self.stream, MAX_EVENT_BYTES));
            match event.await {
                Err(_) => return Err(ClientError::Silent),
                Ok(Err(FrameError::Closed)) => return Err(ClientError::Ended),
                Ok(Err(error)) => return Err(ClientError::Frame(error)),
                Ok(Ok(Event::Progress(progress))) => on_progress(progress),
                Ok(Ok(Event::Alive)) => {}
                Ok(Ok(Event::Done(response))) => {
                    return C::answer(response).ok_or(ClientError::Unexpected);
                }
                Ok(Ok(Event::Failed(failure))) => return Err(ClientError::Failed(failure)),
            }
        }
    }
}
