//! The conversation between `tes` and a running `tesd`, over a Unix socket.
//!
//! One request, then progress events, then one result. Follow one request: [`client`] sends a
//! [`Call`] as a [`frame`]; [`server`] reads it, gives it to the node's [`Handler`] with a
//! [`ProgressSink`], and sends back events until the result, whose type the call has named. What the
//! node does with a request is not known here.

pub mod calls;
pub mod client;
pub mod failure;
pub mod frame;
pub mod job;
pub mod messages;
pub mod problem;
pub mod progress;
pub mod server;

pub use calls::Call;
pub use client::{Client, ClientError};
pub use failure::{Cause, Failure};
pub use progress::ProgressSink;
pub use server::{BoxFuture, Handler, Server, ServerError};

use std::path::{Path, PathBuf};

/// The name of the socket in a data directory.
pub const SOCKET_NAME: &str = "daemon.sock";
/// The longest path of a Unix socket, in bytes; `sun_path` has 108, one of them for the NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Where the `tesd` of a data directory listens.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET_NAME)
}

/// The length of a path that no Unix socket can have; `None` if it fits.
fn path_excess(path: &Path) -> Option<usize> {
    let bytes = path.as_os_str().len();
    (bytes > MAX_SOCKET_PATH_BYTES).then_some(bytes)
}
