//! A running `tesd` with some `[performance]` settings, observed from outside.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tesseras_core::contact::Contact;

use crate::process::{Process, tesd};

/// A `tesd` on loopback in a home of its own.
pub struct Running {
    process: Process,
    home: TempDir,
    /// Its NodeId and address.
    pub contact: Contact,
    metrics: SocketAddr,
}

impl Running {
    /// Starts one with these lines under `[performance]`.
    pub fn start(performance: &str) -> Self {
        Self::start_with(performance, &[], &[])
    }

    /// Starts one that joins through these nodes.
    pub fn joining(performance: &str, bootstrap: &[SocketAddr]) -> Self {
        Self::start_with(performance, bootstrap, &[])
    }

    /// Starts one with additional environment variables.
    pub fn start_with(
        performance: &str,
        bootstrap: &[SocketAddr],
        environment: &[(&str, &Path)],
    ) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let config = home.path().join("node.toml");
        let peers: Vec<_> = bootstrap.iter().map(|peer| format!("\"{peer}\"")).collect();
        let text = format!(
            "[node]\nwork_bits = 0\n[dht]\nrequests_per_second = 100000\n\
             [replication]\nmin_free_space = 0\n[bootstrap]\npeers = [{}]\n\
             [performance]\n{performance}\n",
            peers.join(", ")
        );
        fs::write(&config, text).expect("written");
        let log = File::create(home.path().join("log")).expect("made");
        let mut command = tesd(home.path());
        command.envs(environment.iter().copied()).stderr(log);
        command.args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--config"]);
        command.arg(&config).arg("--data-dir").arg(home.path().join("data"));
        let process = Process::start(&mut command);
        let log = || fs::read_to_string(home.path().join("log"));
        let field = |name: &str| {
            process.field(name).unwrap_or_else(|| panic!("no {name}; its log: {:?}", log()))
        };
        let contact = Contact {
            id: field("node").parse().expect("a NodeId"),
            addresses: vec![field("listen").parse().expect("an address")],
        };
        let metrics = field("metrics").parse().expect("an address");
        Self { process, home, contact, metrics }
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The length of a file of its database.
    pub fn database_bytes(&self, name: &str) -> u64 {
        self.data_dir().join("db").join(name).metadata().expect("it is there").len()
    }

    /// The current value of a metric; `None` if there is none of this name and label.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.metrics).expect("it is served");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asked");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("UTF-8");
        assert!(page.starts_with("HTTP/1.0 200"), "{page}");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a whole number"))
    }

    /// Bytes read from files so far, as counted by the kernel.
    pub fn bytes_read(&self) -> u64 {
        let path = format!("/proc/{}/io", self.process.pid());
        let text = fs::read_to_string(path).expect("it runs");
        let value = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        value.expect("it is counted").parse().expect("a number")
    }
}

/// Far longer than any wait in these tests takes.
pub const FOR_EVER: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
pub async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let pause = Duration::from_millis(50);
    for _ in 0..patience.as_millis() / pause.as_millis() {
        if holds().await {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    panic!("not in time: {what}");
}
