//! The client: one connection, one request.

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

/// How long a node may send nothing before it counts as hung. It sends a keep-alive every
/// [`crate::server::ALIVE_INTERVAL`].
pub const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node listens in that data directory.
    #[error("no tesd is running on {}", data_dir.display())]
    NotRunning {
        /// The data directory.
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
        /// Its length in bytes.
        bytes: usize,
    },
    /// The socket cannot be opened, although a process may listen on it.
    #[error("cannot reach tesd at {}: {source}", path.display())]
    Connect {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The connection was closed before the result.
    #[error("tesd closed the connection before it answered")]
    Ended,
    /// The node has sent nothing for [`SILENCE_LIMIT`].
    #[error("tesd has not responded for {} seconds", SILENCE_LIMIT.as_secs())]
    Silent,
    /// A message is not one of this version.
    #[error("tes and tesd do not understand each other: {0}")]
    Frame(#[source] FrameError),
    /// The answer belongs to another call.
    #[error("tesd sent the answer of another request")]
    Unexpected,
    /// The node executed the request, and it failed.
    #[error("{0}")]
    Failed(Failure),
}

/// A connection to a running node. It carries one request.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the node that listens on this socket.
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

    /// Sends a request, reports its progress, and returns the answer. If this is dropped, the node
    /// cancels the request.
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
