//! One `tesd` in a process of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tesseras_core::ids::NodeId;

use crate::clock::wait_for;
use crate::failure::Result;
use crate::programs::Programs;

/// The longest time that a start may take.
const START: Duration = Duration::from_secs(120);
/// The longest time that a stop may take.
const STOP: Duration = Duration::from_secs(20);

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// The settings.
    pub config: &'a Path,
    /// Its data directory.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whom it joins through.
    pub bootstrap: Vec<SocketAddr>,
    /// What its log is appended to.
    pub log: PathBuf,
}

/// A running node. It is killed when this is dropped.
pub struct Daemon {
    child: Child,
    /// Its id.
    pub id: NodeId,
    /// Where it listens.
    pub listen: SocketAddr,
}

impl Daemon {
    /// Starts a node and waits until it is ready.
    pub fn start(programs: &Programs, start: &Start<'_>) -> Result<Self> {
        let log = File::options().create(true).append(true).open(&start.log)?;
        let peers: Vec<String> = start.bootstrap.iter().map(SocketAddr::to_string).collect();
        let mut command = Command::new(&programs.tesd);
        command.env_clear().env("RUST_LOG", "info").arg("--config").arg(start.config);
        command.arg("--data-dir").arg(&start.data).arg("--listen").arg(start.listen.to_string());
        if !peers.is_empty() {
            command.arg("--bootstrap").arg(peers.join(","));
        }
        let ready = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(ready.try_clone()?).stderr(log);
        let child = command.spawn()?;
        Self::once_ready(child, &ready).map_err(|why| {
            let log = start.log.display();
            format!("a node {why}; {log} says more").into()
        })
    }

    /// Waits until the process has said, in the file that it prints to, who and where it is. It is
    /// killed if it does not.
    fn once_ready(mut child: Child, printed: &File) -> std::result::Result<Self, String> {
        let mut ready = String::new();
        let in_time = wait_for(START, Duration::from_millis(5), || {
            let has_ended = !matches!(child.try_wait(), Ok(None));
            ready = line_in(printed);
            has_ended || ready.ends_with('\n')
        });
        let field = |name: &str| {
            let mut fields = ready.split_whitespace();
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let id = field("node").and_then(|id| id.parse().ok());
        let listen = field("listen").and_then(|listen| listen.parse().ok());
        if let (true, Some(id), Some(listen)) = (in_time, id, listen) {
            return Ok(Self { child, id, listen });
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(if in_time { "did not start" } else { "is not ready and does not end" }.to_owned())
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop; whether it did so, with exit code 0, before it had to be killed.
    pub fn stop(mut self) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let ended = || matches!(self.child.try_wait(), Ok(Some(status)) if status.success());
        sent && wait_for(STOP, Duration::from_millis(10), ended)
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The beginning of what a process prints to a file, which it goes on writing at its own position.
fn line_in(printed: &File) -> String {
    let mut bytes = [0; 1024];
    let read = printed.read_at(&mut bytes, 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}
