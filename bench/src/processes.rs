//! Nodes that are processes of their own on loopback, so that they can be killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use futures_util::StreamExt as _;
use tesseras_core::progress::silent;
use tesseras_node::Node;
use tesseras_node::loopback::{self, Member};

use crate::failure::Result;
use crate::network::config;
use crate::scene::Scene;

/// Nodes that all others join through. They are never killed.
const BOOTSTRAP: usize = 3;

/// One node, until its standard input ends or it is killed
#[derive(Debug, Clone, clap::Args)]
pub struct Alone {
    dir: PathBuf,
    listen: SocketAddr,
    bootstrap: Vec<SocketAddr>,
}

impl Alone {
    /// Runs it; prints the address it listens on.
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let node = runtime.block_on(Node::start(config(
            &self.dir,
            self.listen,
            self.bootstrap.clone(),
        )))?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", node.listen())?;
        out.flush()?;
        std::io::stdin().lines().last();
        Ok(())
    }
}

/// A running node; it is killed when this is dropped.
pub struct Process {
    child: Child,
    listen: SocketAddr,
    /// The node ends when its standard input does.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts nodes 1 to `count`, each in a /24 of its own.
    pub fn start_many(scene: &Scene, count: u8) -> Result<Vec<Self>> {
        let mut processes = Vec::new();
        for number in 1..=count {
            processes.push(Self::start(scene, number, &bootstrap(&processes))?);
        }
        Ok(processes)
    }

    fn start(scene: &Scene, number: u8, bootstrap: &[SocketAddr]) -> Result<Self> {
        let dir = scene.empty(&format!("process-{number}"))?;
        let listen = loopback::address(number);
        let mut child = Command::new(std::env::current_exe()?)
            .arg("alone")
            .arg(dir)
            .arg(listen.to_string())
            .args(bootstrap.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("a pipe was asked for")?;
        let line = BufReader::new(out).lines().next().ok_or("a node did not start")??;
        let stdin = child.stdin.take();
        Ok(Self { child, listen: line.parse()?, _stdin: stdin })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses that others join through.
pub fn bootstrap(processes: &[Process]) -> Vec<SocketAddr> {
    processes.iter().take(BOOTSTRAP).map(|process| process.listen).collect()
}

/// Kills this many, but none that others join through.
pub fn kill(processes: &mut Vec<Process>, count: usize) {
    processes.drain(BOOTSTRAP..BOOTSTRAP + count);
}

/// Runs the daily round of a node; returns how many pieces it restored.
pub async fn look_after_all(member: &Member) -> Result<usize> {
    let replication = member.node.replication();
    let all = replication.looked_after().await?;
    let mut each = replication.repair_each(all, silent());
    let mut restored = 0;
    while let Some((_, result)) = each.next().await {
        restored += result?.restored;
    }
    Ok(restored)
}
